"""Pods: Deployments become pods on nodes, and what fixed addresses and pool sizes allow."""

from __future__ import annotations

from ipaddress import IPv4Address

from calico_mn.model import EncapsulationMode, Pod
from calico_mn.topology import drafts as d
from calico_mn.topology.networks import NetworkIndex
from calico_mn.topology.problems import Mark, Report, count, quote

MAX_PODS = 20_000
_MAX_NAME = 253


def place_pods(report: Report, drafts: d.Drafts) -> list[Pod]:
    """The pods in file order; pods of a Deployment without nodeName go to the nodes in turn."""
    total = sum(pod.replicas.value if pod.replicas else 1 for pod in drafts.pods)
    if total > MAX_PODS:
        largest = max(drafts.pods, key=lambda pod: pod.replicas.value if pod.replicas else 1)
        report.add(f"{total} pods are more than the {MAX_PODS} that one machine can hold",
                   largest.replicas.mark if largest.replicas else largest.name.mark,
                   "use fewer replicas")
        return []
    nodes = [node.name.value for node in drafts.nodes if node.name]
    known_nodes = set(nodes)
    all_named = len(nodes) == len(drafts.nodes)
    marks: dict[str, Mark] = {}
    pods = []
    for draft in drafts.pods:
        kind = "Deployment" if draft.replicas else "Pod"
        title = f"{kind} {draft.namespace}/{draft.name.value}"
        if draft.node and draft.node.value not in known_nodes and all_named and nodes:
            report.add(f"{title} is on unknown node {quote(draft.node.value)}", draft.node.mark,
                       report.guess(draft.node.value, nodes)
                       or f"the file has {_some(nodes)}")
        for turn, name in enumerate(_names(draft)):
            node = draft.node.value if draft.node else nodes[turn % len(nodes)] if nodes else ""
            pod = Pod(draft.namespace, name, node, draft.ip.value if draft.ip else None)
            if len(name) > _MAX_NAME:
                report.add(f"{title} makes a pod name of {len(name)} characters", draft.name.mark,
                           f"a name has at most {_MAX_NAME}; shorten it")
                break
            if pod.key in marks:
                report.add(f"duplicate pod {pod.key}", draft.name.mark,
                           f"line {marks[pod.key].line} has it already")
                break
            marks[pod.key] = draft.name.mark
            pods.append(pod)
    return pods


def check_addresses(report: Report, drafts: d.Drafts, pods: int) -> None:
    """Fixed addresses are in an enabled pool and taken once; pools have room for everybody.

    The count is a necessary condition only: who gets which block is decided by IPAM.
    """
    enabled = [pool for pool in drafts.pools if not pool.disabled]
    complete = drafts.pools_given in (0, len(drafts.pools))
    index = NetworkIndex((pool.cidr.value, pool.cidr) for pool in enabled)
    taken: dict[IPv4Address, tuple[str, Mark]] = {}
    for pod in drafts.pods:
        if pod.ip is None or (pod.replicas and pod.replicas.value == 0):
            continue
        title = f"{pod.namespace}/{pod.name.value}"
        address, mark = pod.ip.value, pod.ip.mark
        if index.find(address) is None and complete:
            report.add(f"pod {title} asks for {address}, which is in no enabled IPPool", mark,
                       f"the pools are {_some([str(p.cidr.value) for p in enabled])}"
                       if enabled else "add an IPPool")
        if pod.replicas and pod.replicas.value > 1:
            report.add(f"Deployment {title} asks for one address {address} for "
                       f"{pod.replicas.value} pods", mark,
                       "a fixed address goes with replicas: 1")
        elif address in taken:
            other, other_mark = taken[address]
            report.add(f"pod {title} asks for {address}, which pod {other} has asked for", mark,
                       f"the other one is in line {other_mark.line}")
        taken.setdefault(address, (title, mark))
    tunnelled = any(pool.ipip_mode is not EncapsulationMode.NEVER for pool in enabled)
    tunnels = len(drafts.nodes) if tunnelled else 0
    room = sum(pool.cidr.value.num_addresses for pool in enabled)
    if pods and complete and pods + tunnels > room:
        takers = count(pods, "pod") + (f" and {count(tunnels, 'tunnel')}" if tunnels else "")
        what = (
            f"no room for {takers} ({count(pods + tunnels, 'address')}): the enabled IPPools "
            f"have {count(room, 'address')}"
        )
        if enabled:
            report.add(what, enabled[0].cidr.mark, "use a larger pool, or fewer pods")
        else:
            report.add_for_file(what, "add an IPPool that is not disabled")


def _names(draft: d.PodDraft) -> list[str]:
    if draft.replicas is None:
        return [draft.name.value]
    return [f"{draft.name.value}-{i}" for i in range(draft.replicas.value)]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
