"""Packets lost by a change of mode: from readings to what people read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from calico_mn.experiment.common import document
from calico_mn.experiment.run import Run
from calico_mn.experiment.switch import (
    ALL,
    COUNTER,
    DIES,
    LIVES,
    ONE,
    ONLY_FROM,
    ONLY_TO,
    PARTLY,
    STREAM,
    VARIES,
    expected,
)
from calico_mn.measure.paths import PATHS
from calico_mn.measure.readings import Reading
from calico_mn.report.document import BAD, GOOD, MIXED, Cell, Document, Figure, Table
from calico_mn.report.plots.grid import grid
from calico_mn.report.plots.timeline import Losses, timeline
from calico_mn.report.words import listed

_FILTERS = {0: "off", 1: "strict", 2: "loose"}
#: shares of packets lost long after the change that count as none and as all
_NONE, _ALL = 0.01, 0.99

#: (before, after, followers, rp_filter, path)
_Place = tuple[str, str, str, int, str]


class Outcomes:
    """The readings by place, with what they say taken together."""

    def __init__(self, readings: Iterable[Reading], node: str, sources: Iterable[str]) -> None:
        self.node = node
        self._sources = frozenset(sources)
        self.streams: dict[_Place, list[Reading]] = defaultdict(list)
        self.filtered: dict[tuple[str, str, str, int, str], list[int]] = defaultdict(list)
        for reading in readings:
            where = reading.setting
            if reading.instrument == STREAM:
                self.streams[_place(reading, str(where["path"]))].append(reading)
            elif reading.instrument == COUNTER:
                self.filtered[_place(reading, str(where["node"]))].append(
                    int(_number(reading, "rp_dropped")))

    def verdict(self, place: _Place) -> str:
        """One of the words above: what stays of a pair's traffic after the change."""
        words = {_word(self._shares(both)) for both in self._repeats(place)}
        return words.pop() if len(words) == 1 else VARIES

    def lost(self, place: _Place) -> list[int]:
        """Packets lost in both directions, a number for each repeat."""
        return [sum(int(_number(r, "lost")) for r in both) for both in self._repeats(place)]

    def _repeats(self, place: _Place) -> Iterator[list[Reading]]:
        by_repeat: dict[int, list[Reading]] = defaultdict(list)
        for reading in self.streams.get(place, ()):
            by_repeat[reading.repeat].append(reading)
        yield from by_repeat.values()

    def _shares(self, both: Sequence[Reading]) -> tuple[float, float]:
        """Lasting loss from the node that follows and to it."""
        out = [_number(r, "lasting_loss") for r in both if r.setting["source"] in self._sources]
        back = [_number(r, "lasting_loss") for r in both
                if r.setting["source"] not in self._sources]
        return max(out, default=0), max(back, default=0)


def report(run: Run) -> Document:
    """What people read."""
    plan = run.plan
    found = Outcomes(run.log.readings, plan["node"], (pair[0] for pair in plan["pairs"].values()))
    return document(
        run,
        title="Packets lost by a live change of the IPIP mode",
        question="What does a change of ipipMode cost running traffic, and what stays broken when"
                 " one node follows alone?",
        method=_METHOD,
        findings=_findings(found, plan["packets_per_s"]),
        tables=[*_lasting(found), *_moment(found), *_filtered(found)],
        figures=[*_grid(found), *_timeline(found)],
        caveats=_caveats(plan),
    )


# --- tables

def _lasting(found: Outcomes) -> Iterator[Table]:
    filters = _filters(found)
    rows: list[tuple[Cell, ...]] = []
    tones = []
    for before, after, path in _changes(found, ONE):
        words = [found.verdict((before, after, ONE, number, path)) for number in filters]
        rows.append((f"{before} to {after}", path, *(_named(word, found.node) for word in words)))
        tones.append(GOOD if set(words) == {LIVES} else MIXED if LIVES in words else BAD)
    if rows:
        yield Table(
            "alone", f"What lasts when {found.node} alone changes, between its pods and others",
            ("change", "path", *_columns(filters)), tuple(rows), tones=tuple(tones),
            note=f"dies: in both directions. {_named(ONLY_FROM, found.node)}: its packets arrive,"
                 " those to it do not, so nothing that needs an answer works; the other way round"
                 f" with {_named(ONLY_TO, found.node)}.")


def _moment(found: Outcomes) -> Iterator[Table]:
    filters = _filters(found)
    rows: list[tuple[Cell, ...]] = []
    for before, after, path in _changes(found, ALL):
        places = [(before, after, ALL, number, path) for number in filters]
        change = [_number(r, "change") for p in places for r in found.streams.get(p, ())]
        rows.append((f"{before} to {after}", path, *(_passing(found, p) for p in places),
                     round(median(change), 1)))
    if rows:
        yield Table(
            "moment", "Packets lost when all nodes change, both directions together",
            ("change", "path", *(f"rp_filter {number}" for number in filters), "took ms"),
            tuple(rows),
            note="Median of the repeats (least to most). took ms: from asking for the change until"
                 " the last node had its routes.")


def _passing(found: Outcomes, place: _Place) -> str:
    lost = found.lost(place)
    if not lost or found.verdict(place) != LIVES:
        return "for good" if lost else ""
    middle = f"{median(lost):g}"
    return middle if min(lost) == max(lost) else f"{middle} ({min(lost)} to {max(lost)})"


def _filtered(found: Outcomes) -> Iterator[Table]:
    nodes = list(dict.fromkeys(place[4] for place in found.filtered))
    rows: list[tuple[Cell, ...]] = []
    for before, after in dict.fromkeys(c[:2] for c in _changes(found, ONE)):
        for number in _filters(found):
            counts = [median(found.filtered.get((before, after, ONE, number, node), [0]))
                      for node in nodes]
            if any(counts):
                rows.append((f"{before} to {after}", number, *(int(c) for c in counts)))
    if rows:
        yield Table(
            "filters", f"Who dropped packets when {found.node} alone changed, and how many",
            ("change", "rp_filter", *nodes), tuple(rows),
            note="The nodes' own counts of packets that failed their reverse path filter"
                 " (IPReversePathFilter), median of the trials. A change with no such packet is"
                 " not listed.")


def _columns(filters: Iterable[int]) -> list[str]:
    return [f"rp_filter {number} ({_FILTERS[number]})" for number in filters]


def _named(word: str, node: str) -> str:
    return f"{word} {node}" if word in (ONLY_FROM, ONLY_TO) else word


# --- figures

def _grid(found: Outcomes) -> Iterator[Figure]:
    cells = {}
    for before, after, path in _changes(found, ONE):
        for number in _filters(found):
            word = found.verdict((before, after, ONE, number, path))
            tone = GOOD if word == LIVES else BAD if word == DIES else MIXED
            cells[f"{before} to {after}", f"{path}, rp_filter {number}"] = (
                _named(word, found.node), tone)
    if cells:
        yield grid(
            "alone", f"What lasts when {found.node} alone changes",
            list(dict.fromkeys(row for row, _ in cells)),
            sorted({column for _, column in cells},
                   key=lambda c: (PATHS.index(c.partition(",")[0]), c)), cells,
            row_heading="the change", column_heading="path, and the nodes' reverse path filter",
            note=f"{found.node} against nodes that did not change. {_named(ONLY_FROM, found.node)}:"
                 " its packets arrive, those to it do not.",
            caption="Without a reverse path filter a mixed cluster works. With one, it depends on"
                    " the two modes.")


def _timeline(found: Outcomes) -> Iterator[Figure]:
    """Where anything was lost while all nodes changed: a row for each change and filter."""
    lost: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    sent: dict[tuple[str, str, int], int] = defaultdict(int)
    for place, readings in found.streams.items():
        if place[2] == ALL and found.verdict(place) == LIVES:
            row = place[0], place[1], place[3]
            lost[row] += [at for r in readings for at in r.series["lost_at"]]
            sent[row] += sum(int(_number(r, "sent")) for r in readings)
    rows = [Losses(f"{before} to {after}, rp_filter {number}", tuple(times),
                   sent[before, after, number])
            for (before, after, number), times in sorted(lost.items()) if times]
    if rows:
        yield timeline(
            "moment", "Packets lost while all nodes change", "the change was asked for", rows,
            window=(0, 5), note="All repeats, paths and directions together. Changes without a"
            " loss are not listed.",
            caption="Nodes change one after the other; in between, two ends of a path are in"
                    " different modes.")


# --- sentences

#: why a node that changes alone loses what it loses, by reverse path filter
_RULES = {
    0: "no packet is refused",
    1: "a packet is refused if the way back to its sender leaves by another device, so both"
       " directions die where one end tunnels and the other does not",
    2: "a packet is refused only if it comes in by a device that has no address, as tunl0 has none"
       " on a node in Never, so what is tunnelled to such a node dies",
}


def _findings(found: Outcomes, rate: int) -> Iterator[str]:
    yield from _about_all(found)
    for number in _filters(found):
        yield from _about_one(found, number)
    yield from _about_evidence(found)
    every = [reading for readings in found.streams.values() for reading in readings]
    sent = sum(_number(r, "sent") for r in every)
    odd = {what: sum(_number(r, metric) for r in every) for metric, what in (
        ("lost_before", "lost before its change"), ("reordered", "reordered"),
        ("duplicated", "duplicated"))}
    if any(odd.values()):
        yield (f"Of {sent:,.0f} packets, "
               + listed([f"{count:g} {what}" for what, count in odd.items()]) + ".")
    else:
        yield (f"No packet was lost before its change, none came out of order or twice ({sent:,.0f}"
               f" packets, {rate} a second in each direction).")


def _about_all(found: Outcomes) -> Iterator[str]:
    places = [place for place in found.streams if place[2] == ALL]
    if not places:
        return
    for before, after, _, number, path in places:
        if found.verdict((before, after, ALL, number, path)) != LIVES:
            yield (f"All nodes change: {before} to {after} on the {path} path with rp_filter"
                   f" {number} did not come back to life.")
    lost = [count for place in places for count in found.lost(place)]
    if not any(lost):
        yield f"All nodes change: nothing was lost, in {len(lost)} changes seen on a path."
        return
    worst = max(_number(r, "gap") for p in places for r in found.streams[p])
    where = sorted({place[3] for place in places if any(found.lost(place))})
    yield (f"All nodes change: a path lost nothing in {lost.count(0)} of {len(lost)} changes. In"
           f" the others it lost {min(filter(None, lost))} to {max(lost)} packets, both directions"
           f" together, {worst:.1f} ms of a direction at the most, with rp_filter"
           f" {listed([str(number) for number in where])}.")


def _about_one(found: Outcomes, number: int) -> Iterator[str]:
    words = {(before, after, path): found.verdict((before, after, ONE, number, path))
             for before, after, path in _changes(found, ONE)
             if (before, after, ONE, number, path) in found.streams}
    if not words:
        return
    broken = sum(word != LIVES for word in words.values())
    odd = [f"{before} to {after} ({path}) {_named(word, found.node)}"
           for (before, after, path), word in words.items()
           if word != expected(before, after, number, path)]
    yield (f"{found.node} changes alone, rp_filter {number} ({_FILTERS[number]}):"
           f" {broken or 'none'} of {len(words)} stay broken. "
           + (f"That is what the kernel's rule says: {_RULES[number]}." if not odd else
              f"The kernel's rule ({_RULES[number]}) says otherwise of: {'; '.join(odd)}."))


def _about_evidence(found: Outcomes) -> Iterator[str]:
    """Lost packets beside the filters' counts, where a change broke something for good."""
    broken = {place[:4] for place in found.streams if found.verdict(place) != LIVES}
    lost = sum(_number(r, "lost") for place, readings in found.streams.items()
               if place[:4] in broken for r in readings)
    dropped = sum(sum(counts) for place, counts in found.filtered.items() if place[:4] in broken)
    if lost:
        yield (f"Where something stays broken, {lost:,.0f} packets were lost, and the nodes'"
               f" reverse path filters counted {dropped:,} dropped ones (theirs include those sent"
               " while the streams were ending): the filter is "
               + ("the whole cause." if dropped >= lost else "not the whole cause."))


def _caveats(plan: dict[str, object]) -> Iterator[str]:
    assert isinstance(plan["packets_per_s"], int) and isinstance(plan["pairs"], dict)
    yield (f"Losses are seen in steps of {1000 / plan['packets_per_s']:g} ms, the time between two"
           " packets of a stream; a shorter one can pass unseen.")
    yield ("A real cluster changes more slowly: the new pool has to reach each node's Felix and"
           " confd, which restart or reload, and BIRD deletes a route before it adds the other."
           " None of that is emulated; here a route is replaced in one step, and all nodes change"
           " within milliseconds. What is shown for one node alone is what a real cluster lives"
           " through while its nodes have not all changed.")
    yield ("Where Never is involved, cross-subnet is measured with the pods' routes in the routers."
           " On a fabric that knows no pods, Never has no way across subnets at all.")
    missing = [path for path in PATHS[1:] if path not in plan["pairs"]]
    if missing:
        yield f"Not measured: {listed(missing)}; {plan['node']} has no such pair of pods."


# --- readings

def _place(reading: Reading, last: str) -> tuple[str, str, str, int, str]:
    where = reading.setting
    return (str(where["before"]), str(where["after"]), str(where["followers"]),
            int(str(where["rp_filter"])), last)


def _changes(found: Outcomes, followers: str) -> list[tuple[str, str, str]]:
    """(before, after, path) of what was measured, in the order of modes and paths."""
    return sorted({(p[0], p[1], p[4]) for p in found.streams if p[2] == followers},
                  key=lambda c: (c[0], c[1], PATHS.index(c[2])))


def _filters(found: Outcomes) -> list[int]:
    return sorted({place[3] for place in found.streams})


def _number(reading: Reading, metric: str) -> float:
    value = reading.values[metric]
    return value if isinstance(value, (int, float)) else 0


def _word(shares: tuple[float, float]) -> str:
    if not all(share <= _NONE or share >= _ALL for share in shares):
        return PARTLY
    return {(False, False): LIVES, (True, True): DIES, (False, True): ONLY_FROM,
            (True, False): ONLY_TO}[shares[0] >= _ALL, shares[1] >= _ALL]


_METHOD = (
    "Clusters that differ in the nodes' reverse path filter run side by side. In a trial all nodes"
    " are in one mode, and numbered packets flow at a steady rate between two pods of one subnet"
    " and two of different subnets, in both directions. Then the mode changes, on every node or on"
    " one, and the streams go on.",
    "Numbers tell which packets were lost, reordered or duplicated, and the sender's clock when."
    " What is still lost in the second half of the time after the change lasts. The nodes' own"
    " counters tell how many packets their reverse path filters dropped.",
    "Trials run in seeded random order, in blocks that hold every combination once.",
)
