"""A node's state as its calico-node pod sees it -> the texts that ``check-node`` compares.

In go an API server and a node's name. calico-node has the host's network, so the commands of
:mod:`calico_mn.node_outputs` run in its container, by exec. What cannot be had is said.
"""

from __future__ import annotations

from calico_mn import node_outputs
from calico_mn.errors import ClusterError, NotFoundError, ToolError
from calico_mn.kubernetes import programs
from calico_mn.kubernetes.client import ApiError, ApiServer, path
from calico_mn.text import join, one_line

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
        found = [_output(server, namespace, pod, command)]
        for other in _INSTEAD.get(name, ()):
            if _is_good(name, found[-1]):
                break
            found.append(_output(server, namespace, pod, other))
        text, why = next((item for item in reversed(found) if _is_good(name, item)),
                         next((item for item in found if item[0]), found[0]))
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
        found = server.list(path("v1", "pods", namespace), labelSelector=LABEL,
                            fieldSelector=f"spec.nodeName={node}")
        try:
            names = [str(item["metadata"]["name"]) for item in found["items"]
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
        done = programs.run(server, namespace, pod, CONTAINER, command.split())
    except ApiError as error:
        if error.status:  # without a right or a pod the others fail, too
            raise
        return "", str(error)
    text = done.stdout
    if command.startswith("grep"):
        text = "".join(f"{name.removeprefix('/proc/sys/')} = {value}\n" for name, _, value in (
            line.rpartition(":") for line in text.splitlines()))
    try:
        node_outputs.read([(command, text)])
    except ClusterError as error:
        return "", one_line(done.stderr.strip())[:200] or str(error)
    return text, ""


def _is_good(name: str, output: tuple[str, str]) -> bool:
    """Whether no other command need be tried: Felix may use the other back end of iptables."""
    return ":cali-" in output[0] if name == "rules" else bool(output[0])
