"""What runs of a cluster and what does not: pods and nodes for which there is no address.

Kubernetes and Calico go on without them. A pod that no node can have is Pending; one that the CNI
plug-in cannot give an address stays ContainerCreating. A node whose tunnel gets no address at the
start runs neither Felix nor BIRD: calico-node ends there (``-allocate-tunnel-addrs`` in
node/filesystem/etc/rc.local), and is restarted until there is one. In go pods, out come those that
run, and sentences about the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from calico_mn.calico.allocateip import TunnelAddresses
from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.errors import IPAMError
from calico_mn.model import Pod, Topology
from calico_mn.text import join_some, plural

AddPod = Callable[[Pod], WorkloadEndpoint]

_MAX_SENTENCES = 10


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pod that does not run, and why not."""

    pod: Pod
    reason: str

    @property
    def status(self) -> str:
        """As ``kubectl get pods`` shows it."""
        return "ContainerCreating" if self.pod.node else "Pending"


class Admission:
    """The pods of a cluster that wait, and its nodes that did not start (``unstarted``).

    ``add_pod`` gives a pod its address, or raises IPAMError.
    """

    def __init__(self, topology: Topology, tunnels: TunnelAddresses) -> None:
        self._lines = topology.lines
        self._tunnels = tunnels
        self.waiting: dict[str, Waiting] = {}
        self.unstarted: set[str] = set()

    @property
    def is_waiting(self) -> bool:
        """Whether an address is missing anywhere."""
        return bool(self.waiting or self._tunnels.missing)

    def admit(self, pods: Iterable[Pod], add_pod: AddPod) -> list[WorkloadEndpoint]:
        """Add pods, or let them wait. Returns those that run."""
        admitted = []
        # What was refused once is refused to all that ask for the same.
        refused: dict[tuple[str, tuple[str, ...]], str] = {}
        for pod in pods:
            asked = (pod.node, pod.pools)
            reason = pod.pending if pod.ip or not pod.node else refused.get(asked, "")
            if not reason:
                try:
                    admitted.append(add_pod(pod))
                    continue
                except IPAMError as error:
                    reason = error.reason
                    if pod.ip is None:
                        refused[asked] = reason
            self.waiting[pod.key] = Waiting(pod, reason)
        return admitted

    def start(self, nodes: Collection[str]) -> None:
        """Let calico-node start on these nodes, where the tunnels have addresses."""
        self.unstarted.difference_update(nodes)
        self.unstarted.update(self._tunnels.incomplete.intersection(nodes))

    def retry(self, add_pod: AddPod) -> tuple[list[str], list[str], list[WorkloadEndpoint]]:
        """Ask again for what is missing: nodes with a new address, nodes that start, pods that run.
        """
        addressed = self._tunnels.retry()
        started = self.unstarted - self._tunnels.incomplete
        self.unstarted -= started
        waiting, self.waiting = self.waiting, {}
        return addressed, sorted(started), self.admit(
            (item.pod for item in waiting.values()), add_pod)

    def forget_node(self, node: str) -> None:
        """Forget a node, and the pods that wait on it."""
        self.unstarted.discard(node)
        self.waiting = {key: item for key, item in self.waiting.items() if item.pod.node != node}

    def warnings(self) -> tuple[str, ...]:
        """A sentence for each reason, with the pods or nodes that it concerns."""
        groups: dict[str, list[str]] = {}
        for (node, encapsulation), reason in self._tunnels.missing.items():
            device = f"{encapsulation.device} has no address"
            what = (f"calico-node does not start, so no route comes or goes, because {device}"
                    if node in self.unstarted else device)
            groups.setdefault(f"{what}: {reason}", []).append(f"{node}{self._line(node)}")
        for key, item in self.waiting.items():
            place = f" on {item.pod.node}" if item.pod.node else ""
            groups.setdefault(f"{item.status}, because {item.reason}", []).append(
                f"{key}{place}{self._line(key)}")
        sentences = [f"{join_some(names, 5)}: {what}." for what, names in groups.items()]
        hidden = sentences[_MAX_SENTENCES:]
        more = f"{plural(len(hidden), 'more reason')}: see 'calico-mn get pods -A'."
        return (*sentences[:_MAX_SENTENCES], *([more] if hidden else []))

    def _line(self, subject: str) -> str:
        line = self._lines.get(subject)
        return f" ({line})" if line else ""
