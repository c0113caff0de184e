"""The experiment on MTUs: from its readings to its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from calico_mn.calico.encapsulation import IPIP
from calico_mn.experiment import common
from calico_mn.experiment.mtu import FILTERED, PASSES
from calico_mn.experiment.run import Run
from calico_mn.measure.path_mtu import (
    FRAGMENTS,
    HANGS,
    LEARNS,
    PROBES,
    REFUSED,
    SMALL_PING,
    WORKS,
)
from calico_mn.measure.readings import Reading
from calico_mn.report.document import BAD, GOOD, MIXED, Document, Figure, Table
from calico_mn.report.plots.grid import grid
from calico_mn.report.words import listed

_FACTORS = ("pod_mtu", "tunnel_mtu", "link_mtu", "icmp")
_EVIDENCE = ("answered", "delivered", "path_mtu", "frag_needed", "dropped", "fragments",
             "largest_packet", "retransmits")
_TONES = {WORKS: GOOD, LEARNS: MIXED, FRAGMENTS: MIXED, REFUSED: MIXED, HANGS: BAD}
_SMALL = ("ping 84", "TCP 64")
_BULK, _UNCUT = "TCP", "TCP GSO"
_PICTURED = ("ping DF", "ping no DF", "TCP", "TCP no DF")
_LEGEND = (f"{WORKS}: as it was sent. {LEARNS}: after ICMP taught the source pod the path MTU."
           f" {FRAGMENTS}: seen on the uplink in fragments. {REFUSED}: the sender's kernel says"
           f" \"message too long\", which it knows from ICMP. {HANGS}: nothing or not all gets"
           " through, and nobody says so.")


@dataclass(frozen=True)
class Case:
    """One combination: its three MTUs, ICMP, and each probe's outcome.

    Where repeats disagree, an outcome is that of most of them, with a question mark.
    """

    pod: int
    tunnel: int
    link: int
    icmp: str
    outcomes: dict[str, str]
    readings: tuple[Reading, ...]

    @property
    def fits(self) -> bool:
        """Whether header sizes say that every packet of the pods fits all the way."""
        return self.pod <= self.tunnel <= self.link - IPIP.overhead

    @property
    def name(self) -> str:
        """The combination in a few words."""
        return f"{self.pod}/{self.tunnel}/{self.link}, ICMP {self.icmp}"

    def of(self, probe: str, metric: str) -> list[int]:
        """The values that the repeats gave."""
        return [int(value) for reading in self.readings if reading.setting["probe"] == probe
                for value in [reading.values.get(metric)] if isinstance(value, (int, float))]


def cases(readings: Sequence[Reading]) -> tuple[Case, ...]:
    """Every combination that was probed, smallest MTUs first."""
    groups: dict[tuple[int, int, int, str], list[Reading]] = {}
    for reading in readings:
        pod, tunnel, link = (int(str(reading.setting[name])) for name in _FACTORS[:3])
        groups.setdefault((pod, tunnel, link, str(reading.setting["icmp"])), []).append(reading)
    # Larger links first: the usual before the special. "passes" before "filtered".
    order = sorted(groups, key=lambda key: (-key[2], key[0], key[1], key[3] != PASSES))
    return tuple(Case(*key, _outcomes(groups[key]), tuple(groups[key])) for key in order)


def _outcomes(readings: Sequence[Reading]) -> dict[str, str]:
    found = {}
    for probe in PROBES:
        words = [str(r.values["outcome"]) for r in readings if r.setting["probe"] == probe.name]
        if words:
            most = max(words, key=words.count)
            found[probe.name] = most if len(set(words)) == 1 else f"{most}?"
    return found


def report(run: Run) -> Document:
    """What people read."""
    found = cases(run.log.readings)
    return common.document(
        run, title="MTUs that do not fit",
        question="What happens to packets of each kind when the MTUs of pods, tunl0 and links do"
                 " not fit together, and ICMP \"fragmentation needed\" arrives or is filtered?",
        method=_METHOD, findings=_findings(found),
        tables=(_outcome_table(found),), data=(_evidence(run.log.readings),),
        figures=tuple(_grid(found, icmp) for icmp in (PASSES, FILTERED)
                      if any(case.icmp == icmp for case in found)),
        caveats=_caveats(run, found))


def _outcome_table(found: Sequence[Case]) -> Table:
    probes = tuple(probe.name for probe in PROBES)
    return Table(
        "outcomes", "What became of each probe",
        ("pods", "tunl0", "links", "ICMP", *probes),
        tuple((case.pod, case.tunnel, case.link, case.icmp,
               *(case.outcomes.get(probe) for probe in probes)) for case in found),
        note=f"pods, tunl0, links: MTUs in bytes. {_LEGEND}",
        tones=tuple(_tone(case) for case in found))


def _grid(found: Sequence[Case], icmp: str) -> Figure:
    rows = {f"{case.pod}/{case.tunnel}/{case.link}": case for case in found
            if case.icmp == icmp}
    return grid(
        f"outcomes-{icmp}", f'What became of each probe: ICMP "fragmentation needed" {icmp}',
        list(rows), _PICTURED,
        {(row, probe): (outcome, _TONES.get(outcome, MIXED))
         for row, case in rows.items() for probe, outcome in case.outcomes.items()
         if probe in _PICTURED},
        row_heading="pods/tunl0/links", column_heading="what was sent",
        note="Rows: the MTUs of pods, tunl0 and links, in bytes.", caption=_LEGEND)


def _tone(case: Case) -> str:
    tones = {_TONES.get(outcome, BAD) for outcome in case.outcomes.values()}
    return BAD if BAD in tones else MIXED if MIXED in tones else GOOD


def _evidence(readings: Sequence[Reading]) -> Table:
    rows = tuple(
        (*(reading.setting[name] for name in (*_FACTORS, "probe")), reading.repeat,
         *(reading.values.get(name) for name in ("outcome", *_EVIDENCE)))
        for reading in readings)
    return Table("evidence", "What was seen of each probe",
                 (*_FACTORS, "probe", "repeat", "outcome", *_EVIDENCE), rows,
                 note="delivered: bytes acknowledged; answered: of 3 pings. path_mtu: the route"
                      " exception in the source pod. dropped: ICMP messages that the filter lost."
                      " fragments and largest_packet (bytes, outer header included): on the"
                      " source node's uplink.")


def _findings(found: Sequence[Case]) -> Iterator[str]:
    yield from _about_fitting(found)
    yield from _about_pods(found)
    yield from _about_tunnels(found)


def _about_fitting(found: Sequence[Case]) -> Iterator[str]:
    fitting = [case for case in found if case.fits]
    good = [case for case in fitting if set(case.outcomes.values()) == {WORKS}]
    if fitting:
        yield (f"Where pod MTU <= tunl0 MTU <= link MTU - {IPIP.overhead}, {len(good)} of"
               f" {len(fitting)} combinations carry every probe as it was sent, whether ICMP is"
               " filtered or not."
               + "".join(f" Not so: {case.name}." for case in fitting if case not in good))
    others = [case for case in found if not case.fits]
    small = [case for case in others
             if all(case.outcomes.get(probe) == WORKS for probe in _SMALL)]
    if others:
        count = "all" if len(small) == len(others) else len(small)
        yield (f"In {count} of the other {len(others)}, a ping of {SMALL_PING} bytes and a short"
               " TCP exchange work all the same: they prove nothing about an MTU.")


def _about_pods(found: Sequence[Case]) -> Iterator[str]:
    """Pods above a tunl0 that itself is right: the case of many a report."""
    there = [case for case in found
             if case.pod > case.tunnel and case.tunnel <= case.link - IPIP.overhead]
    for icmp, title in ((PASSES, "Pods above tunl0, ICMP passes"),
                        (FILTERED, "Pods above tunl0, ICMP filtered")):
        of = [case for case in there if case.icmp == icmp]
        if of:
            learned = sorted({mtu for case in of for mtu in case.of(_BULK, "path_mtu")})
            lost = sum(sum(case.of(probe.name, "dropped")) for case in of for probe in PROBES)
            yield (f"{title} ({common.some(of, 'combination')}): {_each(of)}."
                   + (f" TCP learned the path MTU, {listed([str(mtu) for mtu in learned])}"
                      " (ip route get in the pod shows it, and when it expires)."
                      if learned else "")
                   + (f" The filter lost {lost} messages that would have told." if lost else ""))


def _about_tunnels(found: Sequence[Case]) -> Iterator[str]:
    there = [case for case in found if case.tunnel > case.link - IPIP.overhead]
    large = [case for case in there if case.pod > case.link - IPIP.overhead]
    small = [case for case in there if case not in large]
    if large:
        sizes = [size for case in large for size in case.of("ping DF", "largest_packet")]
        taught = [case for case in large if any(case.of(_BULK, "path_mtu"))]
        yield (f"tunl0 above link MTU - {IPIP.overhead}, and pods that use it"
               f" ({common.some(large, 'combination')}): {_each(large)}. tunl0 takes what its link"
               " cannot carry"
               + (f" (packets of up to {max(sizes)} bytes were handed to the uplink)"
                  if any(sizes) else "")
               + (f", and in {len(taught)} of them ICMP taught tunl0's MTU, which is too large."
                  if taught else ", and no message tells the pod."))
        yield from _about_uncut(large)
    if small:
        good = [case for case in small if set(case.outcomes.values()) <= {WORKS, LEARNS}]
        yield (f"tunl0 above link MTU - {IPIP.overhead}, but pods below it: {len(good)} of"
               f" {common.some(small, 'combination')} carry everything. The pods' MTU hides the"
               " wrong one.")


def _about_uncut(large: Sequence[Case]) -> Iterator[str]:
    other = [case for case in large if case.outcomes.get(_UNCUT) != case.outcomes.get(_BULK)]
    if other:
        most = max(size for case in other for size in case.of(_UNCUT, "largest_packet"))
        yield (f"Not to be trusted: in {len(other)} of these {len(large)}, TCP with segmentation"
               f" offloads {_words(other, _UNCUT)} where it {_words(other, _BULK)} without. A veth"
               f" passes on packets of up to {most:,} bytes uncut, and checks no segment's size; a"
               " network card would cut them to segments that the link refuses.")


def _each(of: Sequence[Case]) -> str:
    """What each kind of large packet does, in words."""
    return "; ".join(f"{name}: {_words(of, probe)}" for probe, name in (
        (_BULK, "TCP (DF)"), ("TCP no DF", "TCP without DF"),
        ("ping DF", "a ping that insists on DF"),
        ("ping as UDP", "datagrams as UDP sends them"), ("ping no DF", "datagrams without DF")))


def _words(of: Sequence[Case], probe: str) -> str:
    """``hangs``, or ``works (4) or hangs (2)``."""
    words = [case.outcomes[probe] for case in of if probe in case.outcomes]
    counts = {word: words.count(word) for word in words}
    if len(counts) == 1:
        return next(iter(counts))
    return " or ".join(f"{word} ({count})" for word, count in counts.items())


def _caveats(run: Run, found: Sequence[Case]) -> Iterator[str]:
    devices = {str(r.seen.get("offloads_off") or "") for r in run.log.readings} - {""}
    for switched in sorted(devices):
        yield (f"Segmentation offloads (tso, gso, gro) were switched off on {switched}, except"
               f" for {_UNCUT}: with them, TCP sends packets of up to 64 kB, and no packet that is"
               " seen tells what a wire would carry.")
    if run.environment["cluster"]["tunnel"] == "ebpf" and any(
            case.tunnel > case.link - IPIP.overhead for case in found):
        yield ("tunl0 is the eBPF device. The kernel's ipip module sends an outer packet that is"
               " too large for the link in fragments if it has no DF, and the eBPF device loses"
               " it: there, the columns without DF may differ.")
    if any(outcome.endswith("?") for case in found for outcome in case.outcomes.values()):
        yield "?: repeats disagreed, and this is what most of them said."


_METHOD = (
    "For each combination of MTUs a cluster of its own boots, in mode Always. Two pods on different"
    " nodes are probed, once with ICMP as it is, once with \"fragmentation needed\" (type 3, code"
    " 4) lost on both nodes.",
    "Before each probe, what was learned of paths is forgotten. Pings are three; as large as the"
    " pod's MTU, with DF (-M do), as a UDP socket sends by default (-M want), or without DF (-M"
    " dont). TCP carries 64 bytes, or 256 kB with path MTU discovery on or off.",
    "The outcome is what was seen: answers or acknowledged bytes, the route exception in the"
    " source pod, ICMP that reached it, and what left its node through the uplink.",
)
