"""The verdicts on all pairs of pods, of a few groups instead of many pods. Pure.

In go an :class:`~.explain.Explainer` and flows; out comes a :class:`PolicyMatrix`. Pods of one
group are the same to every policy: the same ones select them, and every IP set and network of a
rule holds all of them or none. So one verdict stands for all pairs of two groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from calico_mn.calico.policy.active import Endpoint
from calico_mn.calico.policy.explain import Explainer
from calico_mn.calico.policy.resolve import EGRESS, INGRESS, ip_sets, resolved
from calico_mn.calico.policy.verdict import Verdict
from calico_mn.text import join_some

#: a flow as text (``tcp/80``), its protocol's number, and its port, 0 where it has none
Flow = tuple[str, int, int]
#: so many pods are shown one by one
MOST_SINGLE = 16


@dataclass(frozen=True, slots=True)
class Group:
    """Pods of a namespace that policies cannot tell apart, by their keys; all of it?"""

    namespace: str
    pods: tuple[str, ...]
    is_whole: bool = False

    @property
    def name(self) -> str:
        """The pod's name, or what names begin with and how many they are: ``web-* (3)``."""
        names = [pod.partition("/")[2] for pod in self.pods]
        if len(names) == 1:
            return names[0]
        alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
        start = "".join(letters[0] for letters in alike).rpartition("-")[0]
        return (f"{start}-* ({len(names)})" if start else f"all pods ({len(names)})"
                if self.is_whole else join_some(names, 1))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Cell:
    """The verdict on each of ``pairs`` pairs of pods."""

    verdict: Verdict
    pairs: int


@dataclass(frozen=True, slots=True)
class FlowMatrix:
    """One flow: a row of cells for each sending group; None where no pair is."""

    flow: str
    cells: tuple[tuple[Cell | None, ...], ...]

    @property
    def filled(self) -> Iterator[Cell]:
        """The cells with pairs."""
        return (cell for row in self.cells for cell in row if cell is not None)

    @property
    def pairs(self) -> int:
        """How many pairs of pods there are."""
        return sum(cell.pairs for cell in self.filled)

    @property
    def allowed_pairs(self) -> int:
        """How many of them may talk."""
        return sum(cell.pairs for cell in self.filled if cell.verdict.allowed)


@dataclass(frozen=True, slots=True)
class PolicyMatrix:
    """Who may talk to whom: ``groups`` in the order of rows and columns, and each flow's matrix."""

    groups: tuple[Group, ...]
    flows: tuple[FlowMatrix, ...]

    def allowed(self, flow: FlowMatrix) -> dict[tuple[str, str], bool]:
        """Whether they may talk, for each pair of pods by their keys."""
        return {(source, destination): is_allowed
                for senders, row in zip(self.groups, flow.cells, strict=True)
                for receivers, cell in zip(self.groups, row, strict=True) if cell is not None
                for is_allowed in (cell.verdict.allowed,)
                for source in senders.pods for destination in receivers.pods
                if source != destination}


def policy_matrix(explainer: Explainer, flows: Sequence[Flow], most_single: int = MOST_SINGLE
                  ) -> PolicyMatrix:
    """The matrix of all pods, namespace by namespace; up to ``most_single`` pods one by one."""
    groups = _groups(explainer, most_single)
    places = [[explainer.place(key) for key in group.pods[:2]] for group in groups]

    def cell(row: int, column: int, flow: Flow) -> Cell | None:
        source, destination = places[row][0], places[column][0]
        pairs = len(groups[row].pods) * len(groups[column].pods)
        if row == column:
            pairs -= len(groups[row].pods)
            destination = places[row][-1]
        return Cell(explainer.explain(source, destination, *flow[1:]), pairs) if pairs else None

    numbers = range(len(groups))
    return PolicyMatrix(groups, tuple(
        FlowMatrix(flow[0], tuple(tuple(cell(row, column, flow) for column in numbers)
                                  for row in numbers)) for flow in flows))


def _groups(explainer: Explainer, most_single: int) -> tuple[Group, ...]:
    index = explainer.index
    ordered = list(dict.fromkeys(endpoint.namespace for endpoint in index.endpoints.values()))
    sets = {item for policy in index.policies for direction in (INGRESS, EGRESS)
            for item in ip_sets(policy, direction)}
    members = [index.members(item) for item in sets]
    ports = [{address: frozenset((kind, number) for other, kind, number in item.ports
                                 if other == address) for address, _, _ in item.ports}
             for item in members if item.ports]
    nets = {net for policy in index.policies for direction in (INGRESS, EGRESS)
            for rule in resolved(policy, direction) for end in (rule.source, rule.destination)
            for net in (*end.nets, *end.not_nets)}

    def same(endpoint: Endpoint) -> object:
        if len(index.endpoints) <= most_single:
            return endpoint.key
        address = endpoint.address
        # Host endpoints judge what a node forwards, and that depends on the node.
        node = explainer.place(endpoint.key).node if index.hosts else ""
        return (endpoint.namespace, node, index.of(endpoint, INGRESS), index.of(endpoint, EGRESS),
                tuple(address in item for item in members),
                tuple(item.get(address) for item in ports), tuple(address in net for net in nets))

    groups: dict[object, list[Endpoint]] = {}
    for endpoint in sorted(index.endpoints.values(),
                           key=lambda endpoint: ordered.index(endpoint.namespace)):
        groups.setdefault(same(endpoint), []).append(endpoint)
    sizes = Counter(endpoint.namespace for endpoint in index.endpoints.values())
    return tuple(Group(pods[0].namespace, tuple(pod.key for pod in pods),
                       len(pods) == sizes[pods[0].namespace]) for pods in groups.values())
