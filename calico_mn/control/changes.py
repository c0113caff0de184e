"""Changes to a running cluster, with the commands they amount to; and its verification."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import Any

from calico_mn.calico.encapsulation import named
from calico_mn.control.dispatcher import Job, operation
from calico_mn.control.queries import refresh_sessions
from calico_mn.delta import Delta
from calico_mn.difference import Difference, Item, line
from calico_mn.emulation.net import CalicoNet
from calico_mn.kernel import iptext
from calico_mn.rules import RuleChain

#: seconds between messages of a watch without changes; sending one shows whether the caller is
#: still connected
_HEARTBEAT_S = 1.0
_WAIT_S = 0.2


def commands(changes: Iterable[Delta]) -> list[dict[str, Any]]:
    """The changes as commands, for each namespace."""
    return [{"namespace": change.namespace, "commands": iptext.commands(change)}
            for change in changes]


@operation("mode")
def mode(job: Job, mode: str, node: str | None = None, encapsulation: str | None = None,
         pool: str | None = None) -> dict[str, Any]:
    """Change the mode of all pools or of one, of one node alone or of the cluster.

    Without ``encapsulation`` each pool keeps its own.
    """
    if node is not None:
        job.require_node(node, ": only nodes have a mode")
    cluster = job.net.cluster
    names = {str(named(encapsulation))} if encapsulation else {
        str(cluster.mode_of_pool(item).encapsulation) for item in cluster.topology.pools
        if pool in (None, item.name)}
    before = job.net.warnings
    changes = job.net.set_mode(mode, node, encapsulation, pool)
    return {"mode": mode, "node": node, "pool": pool, "encapsulations": sorted(names),
            "changes": commands(changes),
            "warnings": [text for text in job.net.warnings if text not in before]}


@operation("pod-add")
def pod_add(job: Job, pod: str, node: str, ip: str | None = None) -> dict[str, Any]:
    """Run one more pod; ``pod`` is ``[NAMESPACE/]NAME``."""
    namespace, _, name = pod.rpartition("/")
    job.require_node(node, ": pods run on nodes")
    new = job.net.add_pod(namespace=namespace or "default", name=name, node=node, ip=ip)
    return {"pod": new.name, "ip": new.ip, "node": new.node, "interface": new.device}


@operation("pod-delete")
def pod_delete(job: Job, pod: str) -> dict[str, Any]:
    """End a pod and what runs in it."""
    name = job.pod(pod)
    endpoint = job.net.cluster.endpoints.get(name)
    job.net.delete_pod(name)
    return {"pod": name, "ip": str(endpoint.address) if endpoint else None}


@operation("down")
def down(job: Job) -> dict[str, Any]:
    """End the run once the caller has the answer."""
    job.on_reply = lambda: os.kill(os.getpid(), signal.SIGTERM)
    return {"pid": os.getpid()}


def facts(net: CalicoNet, differences: Iterable[Difference]) -> list[dict[str, Any]]:
    """Differences for JSON; ``wanted`` and ``present`` are lines of ``ip``, or None."""
    def text(item: Item | None) -> str | None:
        back_end = f" (iptables-{net.iptables})" if isinstance(item, RuleChain) else ""
        return None if item is None else line(item) + back_end

    return [{"namespace": item.namespace, "kind": item.kind, "subject": item.subject,
             "wanted": text(item.wanted), "present": text(item.present),
             "failure": item.failure or None} for item in differences]


@operation("verify")
def verify(job: Job, places: list[str] | None = None) -> list[dict[str, Any]]:
    """What differs, in these places or in all."""
    refresh_sessions(job.net)
    return facts(job.net, job.net.verify(job.names(places)))


@operation("remarks")
def remarks(job: Job, places: list[str] | None = None) -> list[str]:
    """What fares differently because of the tunnel's back end, and BGP that is not as it was at
    the boot, in these places or in all; routes that nothing writes, or two.
    """
    names = job.names(places)
    return [*job.net.verifier.remarks(names), *job.net.cluster.route_warnings(),
            *(f"{name}: {text}" for name, text in job.net.bgp.remarks().items()
              if names is None or name in names)]


@operation("repair")
def repair(job: Job, places: list[str] | None = None) -> dict[str, Any]:
    """Repair these places, or all: the differences found, the commands, what is left and why."""
    done = job.net.repair(job.names(places))
    refresh_sessions(job.net)
    return {"found": facts(job.net, done.found),
            "done": [{"namespace": step.namespace, "commands": list(step.commands)}
                     for step in done.done],
            "remaining": facts(job.net, done.remaining), "failures": list(done.failures)}


@operation("watch", exclusive=False)
def watch(job: Job, places: list[str] | None = None) -> None:
    """Report differences as they appear and disappear, until the caller is gone or the run ends."""
    with job.lock():
        names = job.names(places)
        watching = job.net.watch()
    with watching:
        last = 0.0
        while True:
            message: dict[str, Any] = {}
            if watching.wait(_WAIT_S):
                with job.lock():
                    change = watching.look()
                message = {
                    key: facts(job.net, (item for item in items
                                         if names is None or item.namespace in names))
                    for key, items in (("appeared", change.appeared),
                                       ("disappeared", change.disappeared))}
            if any(message.values()) or time.monotonic() - last > _HEARTBEAT_S:
                job.progress(message)
                last = time.monotonic()
