"""A cluster before and after a change: what differs, in sentences, as a document, as JSON. Pure.

In go two :class:`State` objects, and why pairs lose each other where that was traced; out come
the pairs that are lost, denied or take another way, path MTUs and routes, and :func:`findings`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from calico_mn.calico.policy.matrix import Flow
from calico_mn.calico.policy.verdict import Verdict
from calico_mn.difference import Difference
from calico_mn.measure.paths import SAME_NODE, Endpoint, Pair
from calico_mn.report import matrix
from calico_mn.report.document import BAD, GOOD, Document, Table
from calico_mn.state import Route
from calico_mn.text import join, join_some, plural

_MOST_NAMES = 4
PING: Flow = ("icmp", 1, 0)
NO_ANSWER, DIRECT, LOST = "no answer", "direct", "lost"
#: the names of two pods, the sender first
Ends = tuple[str, str]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class State:
    """A cluster before or after the change, ``pods`` by name.

    ``ways`` are ``direct``, ``IPIP``, ``VXLAN`` or ``no answer``, for each pair tried. ``mtus`` are
    the largest packets in bytes that get through in a place (:func:`where`), or ``lost`` where one
    of the pods' MTU does not and no ICMP error tells why. ``routes`` are the main tables of nodes
    and routers. ``verdicts`` are those of the policies, by flow.
    """

    pods: Mapping[str, Endpoint]
    ways: Mapping[Ends, str]
    mtus: Mapping[str, str]
    routes: Mapping[str, tuple[Route, ...]]
    verdicts: Mapping[str, Mapping[Ends, Verdict]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both states. ``causes``: why pairs lose each other, by place, from a trace of one of them."""

    before: State
    after: State
    causes: Mapping[str, str]
    is_sample: bool

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that were tried before and after."""
        return tuple(Pair(*(self.before.pods[name] for name in ends)) for ends in self.after.ways)

    @property
    def lost(self) -> tuple[Pair, ...]:
        """The pairs that answered before the change and not after it."""
        return tuple(pair for pair in self.pairs
                     if self.ways(pair)[1] == NO_ANSWER != self.ways(pair)[0])

    @property
    def denied(self) -> dict[str, tuple[Pair, ...]]:
        """For each flow the pairs that policies allowed before and deny after."""
        return {flow: tuple(
            pair for pair in self.pairs if self.before.verdicts[flow][ends_of(pair)].allowed
            and not after[ends_of(pair)].allowed) for flow, after in self.after.verdicts.items()}

    @property
    def breaks(self) -> bool:
        """Whether a pair, a flow, or packets of the pods' MTU get lost that got through before."""
        return bool(self.lost or any(self.denied.values())) or any(
            after == LOST and before not in (LOST, NO_ANSWER) for _, before, after in self.mtus)

    @property
    def mtus(self) -> tuple[tuple[str, str, str], ...]:
        """Places, and the path MTU before and after: ``no answer`` where nothing gets through."""
        before, after = self.before.mtus, self.after.mtus
        return tuple((place, before.get(place, NO_ANSWER), after.get(place, NO_ANSWER))
                     for place in dict.fromkeys([*before, *after]))

    @property
    def groups(self) -> Counter[tuple[str, str, str]]:
        """How many pairs of each place went which way before, and go which way after."""
        return Counter((where(pair), *self.ways(pair)) for pair in self.pairs)

    @property
    def routes(self) -> Iterator[Difference]:
        """Routes that differ: ``wanted`` is the one from before, ``present`` the one after."""
        for name in dict.fromkeys([*self.before.routes, *self.after.routes]):
            old, new = ({route.place: route for route in state.routes.get(name, ())}
                        for state in (self.before, self.after))
            yield from (Difference(name, old.get(place), new.get(place))
                        for place in dict.fromkeys([*old, *new])
                        if old.get(place) != new.get(place))

    def why(self, pair: Pair) -> str:
        """Why a pair that is lost gets no answer, as far as it is known."""
        verdict = self.after.verdicts[PING[0]][ends_of(pair)]
        return self.causes.get(where(pair), "") if verdict.allowed else _denial(verdict)

    def ways(self, pair: Pair) -> tuple[str, str]:
        """Which way a pair goes before the change, and after it."""
        return self.before.ways[ends_of(pair)], self.after.ways[ends_of(pair)]


def ends_of(pair: Pair) -> Ends:
    """The key of a pair."""
    return pair.source.name, pair.destination.name


def _denial(verdict: Verdict) -> str:
    return f"on {verdict.decisions[-1].direction.lower()} {verdict.decisions[-1].reason}"


def where(pair: Pair) -> str:
    """Where the two pods of a pair are, the same in both directions."""
    near, far = sorted((pair.source.subnet, pair.destination.subnet))
    if pair.path == SAME_NODE:
        return "on one node"
    return f"within {near}" if near == far else f"{near} <-> {far}"


# --- what it says

def findings(compared: Comparison) -> Iterator[str]:
    """What changes, in sentences, losses first."""
    total = len(compared.pairs)
    every = f"{total} sampled pairs" if compared.is_sample else plural(total, "pair")
    if not compared.breaks:
        yield f"Nothing breaks: none of {every} loses its connection."
    for (outcome, reason), places in _merged(_outcomes(compared)):
        because = reason and f", because {reason}"
        yield f"{places.total()} of {every} {outcome} ({_some(places)}){because}."
    for (old, new), places in _merged(((old, new), place) for place, old, new in compared.mtus):
        if old != new == LOST:
            yield f"Packets of the pods' MTU vanish without an ICMP error ({_some(places)})."
        elif old != new and not {old, new} & {NO_ANSWER, LOST}:
            yield f"The path MTU is {new} bytes instead of {old} ({_some(places)})."
    for (verb, verbs), places in _merged((_route_change(item), item.namespace)
                                          for item in compared.routes):
        count = places.total()
        yield f"{plural(count, f'route {verb}', f'routes {verbs}')} ({_some(places)})."
    for state, other, words in ((compared.before, compared.after, "gone"),
                                (compared.after, compared.before, "new, and in no pair")):
        if names := sorted(state.pods.keys() - other.pods.keys()):
            yield f"{plural(len(names), 'pod is', 'pods are')} {words}: {_some(names)}."


def _some(names: Iterable[str]) -> str:
    return join_some(names, _MOST_NAMES)


def _merged(items: Iterable[tuple[Key, str]]) -> Iterable[tuple[Key, Counter[str]]]:
    """The places of each key, counted."""
    merged: defaultdict[Key, Counter[str]] = defaultdict(Counter)
    for key, place in items:
        merged[key][place] += 1
    return merged.items()


def _outcomes(compared: Comparison) -> Iterator[tuple[tuple[str, str], str]]:
    """What becomes of pairs, with the reason where there is one, and where they are."""
    for pair in compared.lost:
        yield ("lose each other", compared.why(pair)), where(pair)
    for flow, pairs in compared.denied.items():
        for pair in pairs if flow != PING[0] else ():
            reason = _denial(compared.after.verdicts[flow][ends_of(pair)])
            yield (f"may no longer talk {flow}", reason), where(pair)
    for pair in compared.pairs:
        old, new = compared.ways(pair)
        if old != new != NO_ANSWER:
            yield ("reach each other that did not" if old == NO_ANSWER else
                   f"cross {_how(new)} instead of {_how(old)}",
                   ""), where(pair)


def _how(way: str) -> str:
    return "directly" if way == DIRECT else f"inside {way}"


def _route_change(item: Difference) -> tuple[str, str]:
    """What a route does, and what several do."""
    if item.kind != "changed":
        return ("appears", "appear") if item.wanted is None else ("disappears", "disappear")
    old, new = (join(sorted(route.devices)) for route in (item.wanted, item.present)
                if isinstance(route, Route))
    way = f"by {new} instead of {old}"
    return (f"leaves {way}", f"leave {way}") if old != new else (
        "changes and keeps its device", "change and keep their device")


# --- as a page, and as JSON

_MOST_ROUTES = 40


def document(compared: Comparison, change: str, command: str) -> Document:
    """A page of the comparison, and what a terminal shows."""
    routes = [(item.namespace, str(item.wanted or ""), str(item.present or ""))
              for item in compared.routes]
    groups = compared.groups
    tables = (
        Table("pairs", "Pairs of pods", ("where", "pairs", "before", "after"),
              tuple((place, count, old, new) for (place, old, new), count in groups.items()),
              tones=tuple("" if NO_ANSWER not in (old, new) or old == new else
                          BAD if new == NO_ANSWER else GOOD for _, old, new in groups)),
        Table("mtus", "Largest packets that get through, in bytes", ("where", "before", "after"),
              compared.mtus),
        Table("routes", "Routes that change", ("on", "before", "after"),
              tuple(routes[:_MOST_ROUTES]), note=f"{len(routes) - _MOST_ROUTES:,} more are in"
              " --json" if len(routes) > _MOST_ROUTES else ""))
    # A sample has a pair for each pair of nodes, which then stand for their pods.
    shown = {name: replace(pod, name=pod.node, ip="") if compared.is_sample else pod
             for name, pod in compared.before.pods.items() if name in compared.after.pods}
    marks = {title: {(shown[source].name, shown[destination].name): matrix.mark(
        state.ways[source, destination] != NO_ANSWER, state.ways[source, destination] != DIRECT)
        for source, destination in compared.after.ways}
        for title, state in (("before", compared.before), ("after", compared.after))}
    return Document(
        "What if", f"What if: {change}", "What would this change do to the cluster?",
        ("One pair of pods is tried for each pair of nodes, before the change and after it."
         if compared.is_sample else "Every pod pings every other before the change and after it.",
         ), tuple(findings(compared)),
        tuple(table for table in tables if table.rows), (), (), (command,), {},
        plural(len(shown), "pod"),
        matrices=matrix.drawn(marks, list(dict.fromkeys(shown.values()))))


def facts(compared: Comparison) -> dict[str, object]:
    """The comparison for JSON."""
    return {
        "breaks": compared.breaks, "sampled": compared.is_sample,
        "findings": list(findings(compared)),
        "pairs": [{"source": source, "destination": destination,
                   "before": compared.before.ways[source, destination], "after": way}
                  for (source, destination), way in compared.after.ways.items()],
        "flows": {flow: [{"source": pair.source.name, "destination": pair.destination.name}
                         for pair in pairs] for flow, pairs in compared.denied.items()},
        "pathMTUs": [{"where": place, "before": old, "after": new}
                     for place, old, new in compared.mtus],
        "routes": [{"place": item.namespace, "before": item.wanted and str(item.wanted),
                    "after": item.present and str(item.present)} for item in compared.routes]}
