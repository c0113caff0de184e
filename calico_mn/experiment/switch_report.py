"""Packets lost by a change of mode: from what was seen to what people read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median

from calico_mn.experiment.common import document
from calico_mn.experiment.run import Run
from calico_mn.experiment.switch import ALL, LIVES, ONE, ONLY_FROM, ONLY_TO, expected
from calico_mn.experiment.switch_outcomes import Change, Outcomes, value_of
from calico_mn.experiment.switch_pictures import pictures
from calico_mn.measure.paths import PATHS
from calico_mn.report.document import BAD, GOOD, MIXED, Cell, Document, Table
from calico_mn.report.words import listed

_FILTERS = {0: "off", 1: "strict", 2: "loose"}


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
        figures=pictures(found),
        caveats=_caveats(plan),
    )


# --- tables

def _lasting(found: Outcomes) -> Iterator[Table]:
    filters = found.filters
    rows: list[tuple[Cell, ...]] = []
    tones = []
    for before, after, path in found.pairs(ONE):
        words = [found.verdict(Change(before, after, ONE, number), path) for number in filters]
        rows.append((f"{before} to {after}", path, *(found.named(word) for word in words)))
        known = set(filter(None, words))
        tones.append(GOOD if known == {LIVES} else MIXED if LIVES in known else BAD)
    if rows:
        yield Table(
            "alone", f"What lasts when {found.node} alone changes, between its pods and others",
            ("change", "path", *_columns(filters)), tuple(rows), tones=tuple(tones),
            note=f"dies: in both directions. {found.named(ONLY_FROM)}: its packets arrive,"
                 " those to it do not, so nothing that needs an answer works; the other way round"
                 f" with {found.named(ONLY_TO)}.")


def _moment(found: Outcomes) -> Iterator[Table]:
    filters = found.filters
    rows: list[tuple[Cell, ...]] = []
    for before, after, path in found.pairs(ALL):
        changes = [Change(before, after, ALL, number) for number in filters]
        took = [value_of(one, "change") for change in changes
                for one in found.streams.get((change, path), ())]
        rows.append((f"{before} to {after}", path,
                     *(_passing(found, change, path) for change in changes),
                     round(median(took), 1)))
    if rows:
        yield Table(
            "moment", "Packets lost when all nodes change, both directions together",
            ("change", "path", *(f"rp_filter {number}" for number in filters), "took ms"),
            tuple(rows),
            note="Median of the repeats (least to most). took ms: from asking for the change until"
                 " the last node had its routes.")


def _passing(found: Outcomes, change: Change, path: str) -> str:
    lost = found.lost(change, path)
    if not lost or found.verdict(change, path) != LIVES:
        return "for good" if lost else ""
    middle = f"{median(lost):g}"
    return middle if min(lost) == max(lost) else f"{middle} ({min(lost)} to {max(lost)})"


def _filtered(found: Outcomes) -> Iterator[Table]:
    nodes = list(dict.fromkeys(node for _, node in found.filtered))
    rows: list[tuple[Cell, ...]] = []
    for before, after in dict.fromkeys(pair[:2] for pair in found.pairs(ONE)):
        for number in found.filters:
            change = Change(before, after, ONE, number)
            counts = [median(found.filtered.get((change, node), [0])) for node in nodes]
            if any(counts):
                rows.append((str(change), number, *map(int, counts)))
    if rows:
        yield Table(
            "filters", f"Who dropped packets when {found.node} alone changed, and how many",
            ("change", "rp_filter", *nodes), tuple(rows),
            note="The nodes' own counts of packets that failed their reverse path filter"
                 " (IPReversePathFilter), median of the trials. A change with no such packet is"
                 " not listed.")


def _columns(filters: Iterable[int]) -> list[str]:
    return [f"rp_filter {number} ({_FILTERS[number]})" for number in filters]


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
    for number in found.filters:
        yield from _about_one(found, number)
    yield from _about_evidence(found)
    every = [reading for readings in found.streams.values() for reading in readings]
    sent = sum(value_of(one, "sent") for one in every)
    odd = {what: sum(value_of(one, metric) for one in every) for metric, what in (
        ("lost_before", "lost before its change"), ("reordered", "reordered"),
        ("duplicated", "duplicated"))}
    if any(odd.values()):
        yield (f"Of {sent:,.0f} packets, "
               + listed([f"{count:g} {what}" for what, count in odd.items()]) + ".")
    else:
        yield (f"No packet was lost before its change, none came out of order or twice ({sent:,.0f}"
               f" packets, {rate} a second in each direction).")


def _about_all(found: Outcomes) -> Iterator[str]:
    seen = [(change, path) for change, path in found.streams if change.followers == ALL]
    if not seen:
        return
    for change, path in seen:
        if found.verdict(change, path) != LIVES:
            yield (f"All nodes change: {change} on the {path} path with rp_filter"
                   f" {change.rp_filter} did not come back to life.")
    lost = [count for change, path in seen for count in found.lost(change, path)]
    if not any(lost):
        yield f"All nodes change: nothing was lost, in {len(lost)} changes seen on a path."
        return
    worst = max(value_of(one, "gap") for key in seen for one in found.streams[key])
    where = sorted({change.rp_filter for change, path in seen if any(found.lost(change, path))})
    yield (f"All nodes change: a path lost nothing in {lost.count(0)} of {len(lost)} changes. In"
           f" the others it lost {min(filter(None, lost))} to {max(lost)} packets, both directions"
           f" together, {worst:.1f} ms of a direction at the most, with rp_filter"
           f" {listed([str(number) for number in where])}.")


def _about_one(found: Outcomes, number: int) -> Iterator[str]:
    verdicts = {pair: found.verdict(Change(*pair[:2], ONE, number), pair[2])
                for pair in found.pairs(ONE)}
    words = {pair: word for pair, word in verdicts.items() if word}
    if not words:
        return
    broken = sum(word != LIVES for word in words.values())
    odd = [f"{before} to {after} ({path}) {found.named(word)}"
           for (before, after, path), word in words.items()
           if word != expected(before, after, number, path)]
    yield (f"{found.node} changes alone, rp_filter {number} ({_FILTERS[number]}):"
           f" {broken or 'none'} of {len(words)} stay broken. "
           + (f"That is what the kernel's rule says: {_RULES[number]}." if not odd else
              f"The kernel's rule ({_RULES[number]}) says otherwise of: {'; '.join(odd)}."))


def _about_evidence(found: Outcomes) -> Iterator[str]:
    """Lost packets beside the filters' counts, where a change broke something for good."""
    broken = {change for change, path in found.streams if found.verdict(change, path) != LIVES}
    lost = sum(value_of(one, "lost") for (change, _), readings in found.streams.items()
               if change in broken for one in readings)
    dropped = sum(sum(counts) for (change, _), counts in found.filtered.items()
                  if change in broken)
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
