"""What of a cluster makes a topology: one table, as kubectl commands, as requests, and as rights.

:func:`commands` prints the table for people who collect a dump by hand, :func:`lists` asks an API
server for the same, and :func:`role` names the rights that either needs. All of it reads only, and
none of it is a Secret. Kinds that a cluster lacks and optional ones without right are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import yaml

from calico_mn import node_outputs
from calico_mn.errors import ClusterError, NotFoundError, ToolError
from calico_mn.kubernetes import pods
from calico_mn.kubernetes.client import ApiError, ApiServer, Document, path
from calico_mn.text import join, one_line, wrap
from calico_mn.topology import dump


@dataclass(frozen=True, slots=True)
class Kinds:
    """Kinds of one group, by their names in paths; kubectl writes them to ``file``."""

    file: str
    api: str
    plurals: tuple[str, ...]

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api.rpartition("/")[0]

    @property
    def full_names(self) -> list[str]:
        """As kubectl takes them where several groups have such a name."""
        return [".".join(filter(None, (name, self.group))) for name in self.plurals]


KINDS = (
    Kinds("core", "v1", ("nodes", "pods", "namespaces", "serviceaccounts", "services")),
    Kinds("workloads", "apps/v1", ("deployments", "statefulsets", "daemonsets", "replicasets")),
    Kinds("kubernetes-policies", "networking.k8s.io/v1", ("networkpolicies",)),
    Kinds("endpoints", "discovery.k8s.io/v1", ("endpointslices",)),
    Kinds("installation", "operator.tigera.io/v1", ("installations",)),
)
#: Calico's, in either group: custom resources, and what Calico's API server makes of them
CRD, V3 = "crd.projectcalico.org/v1", "projectcalico.org/v3"
CALICO = ("ippools", "blockaffinities", "ipamblocks", "ipamconfigs", "ipreservations",
          "felixconfigurations", "bgpconfigurations", "bgppeers", "bgpfilters",
          "clusterinformations", "hostendpoints", "tiers", "networkpolicies",
          "globalnetworkpolicies", "networksets", "globalnetworksets")
#: which have another name in V3 (apiserver/pkg/rest, storage)
_IN_V3 = {"ipamconfigs": "ipamconfigurations"}
CONFIG_NAMESPACE, CONFIG_MAPS = "kube-system", ("calico-config", "kubeadm-config")
_CONFIG = "config"
#: without these there is no model
NEEDED = frozenset(("nodes", "pods", "ippools"))
#: no right, no such kind, a kind without lists, and no answer from Calico's API server
_PASSED_OVER = (403, 404, 405, 503)
_WIDTH = 96
_RIGHTS = "'calico-mn import --how' prints the rights that are needed"


def lists(server: ApiServer, remarks: list[str]) -> Iterator[tuple[str, Document]]:
    """What is asked for in messages, and a List of it or the resource, for ``read_dump``.

    ``remarks`` gets sentences about what was passed over. Raises ApiError.
    """
    missing = []
    for file, name, paths in _requests():
        errors = []
        for place in paths:
            try:
                answer = (server.get if file == _CONFIG else server.list)(place, _kept)
            except ApiError as error:
                if error.status not in _PASSED_OVER:
                    raise
                errors.append(error)
            else:
                if answer.get("items") != []:  # an empty list may be of a kind that has no table
                    yield f"{name} of {server}", answer
                break
        else:
            refused = next((error for error in errors if error.status != 404), None)
            if name in NEEDED:
                raise ApiError(f"{refused}; {_RIGHTS}" if refused else
                               f"{server} has no {name}: is it a cluster with Calico?",
                               errors[0].status)
            if refused:
                remarks.append(f"Without {name}: {refused}.")
            elif file != _CONFIG:
                missing.append(name)
    if missing:
        remarks.append(f"The cluster has no {join(missing)}.")


def _requests() -> list[tuple[str, str, list[str]]]:
    """The file that kubectl would write, a name in messages, and the paths to try in turn.

    In the order in which a dump's files are read: the first resource of a name counts, and the
    topology file keeps the order.
    """
    requests = [(kinds.file, name, [path(kinds.api, plural)]) for kinds in KINDS
                for name, plural in zip(kinds.full_names, kinds.plurals, strict=True)]
    requests += [(plural, plural, [path(CRD, plural), path(V3, _IN_V3.get(plural, plural))])
                 for plural in CALICO]
    requests += [(_CONFIG, f"the ConfigMap {name}",
                  [path("v1", "configmaps", CONFIG_NAMESPACE, name)]) for name in CONFIG_MAPS]
    return sorted(requests, key=itemgetter(0))


def _kept(pairs: list[tuple[str, Any]]) -> Document:
    """As :func:`calico_mn.topology.dump.kept`, in the order in which kubectl prints fields."""
    return dump.kept(sorted(pairs, key=itemgetter(0)))


# --- the same for kubectl

def commands() -> str:
    """The commands that collect a dump, and what to do with it. Kinds of which a cluster may lack
    some are asked for one by one.
    """
    crd, v3 = (api.rpartition("/")[0] for api in (CRD, V3))

    def either(name: str, other: str) -> str:
        return (f"{{ kubectl get {name}.{crd} -A -o json ||\n"
                f"    kubectl get {other}.{v3} -A -o json; }} > dump/{name}.json")

    lines = [
        *(f"kubectl get {','.join(kinds.full_names)} -A -o json > dump/{kinds.file}.json"
          for kinds in KINDS),
        f"kubectl get configmaps -n {CONFIG_NAMESPACE} --ignore-not-found {' '.join(CONFIG_MAPS)}"
        f" -o json > dump/{_CONFIG}.json",
        f"for kind in {' '.join(name for name in CALICO if name not in _IN_V3)}; do"]
    return "\n".join((
        "mkdir dump",
        *(" \\\n".join(wrap(line, _WIDTH, "    ", first="")) for line in lines),
        f"  {either('$kind', '$kind')}",
        "done",
        *(either(name, other) for name, other in _IN_V3.items()),
        "find dump -empty -delete",
        "calico-mn import dump -o cluster.yaml"))


def role() -> str:
    """The ClusterRole with the rights for :func:`lists` and :func:`commands`, in YAML."""
    def rule(groups: Sequence[str], resources: Sequence[str], verb: str, **more: list[str]
             ) -> Document:
        return {"apiGroups": list(groups), "resources": list(resources), **more, "verbs": [verb]}

    return yaml.safe_dump({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "calico-mn-import"},
        "rules": [
            *(rule([kinds.group], kinds.plurals, "list") for kinds in KINDS),
            rule([api.rpartition("/")[0] for api in (CRD, V3)], [*CALICO, *_IN_V3.values()],
                 "list"),
            rule([""], ["configmaps"], "get", resourceNames=list(CONFIG_MAPS))],
    }, sort_keys=False, default_flow_style=None, width=_WIDTH)


# --- a node's state, as commands print it in its calico-node pod

#: where the operator and the manifests put it (calico-node's DaemonSet)
NAMESPACES = ("calico-system", "kube-system")
LABEL, CONTAINER = "k8s-app=calico-node", "calico-node"
#: other commands for an output, where the first is not in the image or shows no rule of Felix's
_INSTEAD = {
    "rules": ("iptables-nft-save", "iptables-legacy-save"),
    "sysctls": ("grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/neigh",),
}


def outputs(server: ApiServer, node: str, remarks: list[str]) -> list[tuple[str, str]]:
    """Each command and what it printed; ``remarks`` gets sentences about those that failed.

    Raises ApiError, NotFoundError where no calico-node runs on the node, and ToolError where no
    command could be run.
    """
    namespace, pod = _calico_node(server, node)
    texts = []
    failed = []
    for name, command in node_outputs.COMMANDS.items():
        printed = [_output(server, namespace, pod, command)]
        for other in _INSTEAD.get(name, ()):
            if _is_good(name, printed[-1]):
                break
            printed.append(_output(server, namespace, pod, other))
        text, why = next((item for item in reversed(printed) if _is_good(name, item)),
                         next((item for item in printed if item[0]), printed[0]))
        if text:
            texts.append((command, text))
        else:
            failed.append(f"{command}: {why}")
    if not texts:
        raise ToolError(f"nothing could be read in pod {namespace}/{pod} on {node} of {server}: "
                        f"{failed[0]}")
    remarks += failed
    return texts


def _calico_node(server: ApiServer, node: str) -> tuple[str, str]:
    """The namespace and name of the pod."""
    for namespace in NAMESPACES:
        listed = server.list(path("v1", "pods", namespace), labelSelector=LABEL,
                             fieldSelector=f"spec.nodeName={node}")
        try:
            names = [str(item["metadata"]["name"]) for item in listed["items"]
                     if item["status"]["phase"] == "Running"]
        except (LookupError, TypeError):
            raise ApiError(f"{server} answered something unreadable to list pods") from None
        if names:
            return namespace, names[0]
    raise NotFoundError(f"{server} has no running pod with {LABEL} on node {one_line(node)} in"
                        f" namespace {join(NAMESPACES, 'or')}")


def _output(server: ApiServer, namespace: str, pod: str, command: str) -> tuple[str, str]:
    """What a command printed, or why nothing can be made of it."""
    try:
        done = pods.run(server, namespace, pod, CONTAINER, command.split())
    except ApiError as error:
        if error.status:  # without a right or a pod the others fail, too
            raise
        return "", str(error)
    text = done.out
    if command.startswith("grep"):
        text = "".join(f"{name.removeprefix('/proc/sys/')} = {value}\n" for name, _, value in (
            line.rpartition(":") for line in text.splitlines()))
    try:
        node_outputs.read([(command, text)])
    except ClusterError as error:
        return "", one_line(done.err.strip())[:200] or str(error)
    return text, ""


def _is_good(name: str, output: tuple[str, str]) -> bool:
    """Whether no other command need be tried: Felix may use the other back end of iptables."""
    return ":cali-" in output[0] if name == "rules" else bool(output[0])
