"""Flows over two equal cables: from readings to what people read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from calico_mn.experiment.common import document
from calico_mn.experiment.entropy import (
    FORGOTTEN,
    INSTRUMENT,
    KEPT,
    NEVER,
    POLICIES,
    PROTOCOLS,
    expected,
)
from calico_mn.experiment.run import Run
from calico_mn.measure.readings import Reading
from calico_mn.measure.statistics import ONE_PATH, SPREAD, fair_limit, larger_share, spread_verdict
from calico_mn.report.document import BAD, GOOD, MIXED, PLAIN_TONE, Document, Figure, Table
from calico_mn.report.plots.grid import grid
from calico_mn.report.plots.stacks import Stack, shares

#: of a hundred spreads that chance makes, so many lie within the range that is told
_TOLD = 0.95


@dataclass(frozen=True)
class Cell:
    """All readings of a mode, policy and treatment of hashes, by protocol."""

    mode: str
    policy: str
    hashes: str
    by_protocol: dict[str, tuple[Reading, ...]]

    @property
    def words(self) -> dict[str, str]:
        """protocol -> verdict."""
        return {protocol: spread_verdict([_share(one) for one in found],
                                  int(str(found[0].setting["flows"])))
                for protocol, found in self.by_protocol.items()}

    @property
    def word(self) -> str:
        """The verdict that all protocols share, or each one's."""
        words = self.words
        if len(set(words.values())) == 1:
            return next(iter(words.values()))
        return ", ".join(f"{protocol.upper()} {word}" for protocol, word in words.items())

    @property
    def wanted(self) -> str:
        """What is expected."""
        return expected(self.mode, self.policy, self.hashes)

    @property
    def artefact(self) -> bool:
        """Whether the hash that packets bring along makes flows spread that look alike."""
        return (self.word == SPREAD == self.wanted
                and expected(self.mode, self.policy, FORGOTTEN) == ONE_PATH)

    @property
    def tone(self) -> str:
        """For tables and pictures."""
        if self.word != self.wanted:
            return BAD
        if self.artefact:
            return MIXED
        return GOOD if self.word == SPREAD else PLAIN_TONE

    def percent(self, protocol: str) -> float | None:
        """The fuller cable's share of the packets, the repeats' median."""
        found = self.by_protocol.get(protocol)
        return round(100 * median(larger_share(_share(one)) for one in found), 1) if found else None

    def __str__(self) -> str:
        return f"{self.mode}, policy {self.policy}, hashes {self.hashes}"


def report(run: Run) -> Document:
    """What people read."""
    cells, flows = cells_of(run.log.readings, run.plan["modes"]), run.plan["flows"]
    limit = 100 * fair_limit(flows, _TOLD)
    chance = (f"Of {flows} flows that take either cable by chance, the fuller one carries 50 to"
              f" {limit:.0f} % in {100 * _TOLD:.0f} of 100 cases.")
    run.notes["cells"] = [{"mode": cell.mode, "policy": cell.policy, "hashes": cell.hashes,
                           "verdict": cell.words, "expected": cell.wanted} for cell in cells]
    return document(
        run, title="Which of two equal cables do flows take?",
        question="A tunnel hides its flows' ports. Which hash policies of a router spread them"
                 " over two equal paths all the same?",
        method=(
            f"{flows} flows, each from a port of its own, go from {run.plan['pair'][0]} to"
            f" {run.plan['pair'][1]}. {run.plan['router']} has two next hops on the way, and the"
            " kernel counts what it sends by each. Trials of all combinations run in random"
            " order, in blocks that hold each once.",
            "A packet between network namespaces brings along the hash of the socket that sent"
            " it, which no cable carries. With hashes forgotten, a small program erases it where"
            " the routers receive.",
            "One path: one cable had more than 98 % in each repeat (ARP is counted too). Spread:"
            " all flows together lie within what chance does in 99.9 % of cases."),
        findings=_findings(cells),
        tables=(_table(cells, chance),),
        figures=(_grid(cells, run.plan["modes"]), *_bars(cells, run.plan["modes"])),
        caveats=_caveats(run, cells))


def cells_of(readings: Sequence[Reading], modes: Sequence[str]) -> tuple[Cell, ...]:
    """The readings by mode, policy and hashes, in that order; what has none is left out."""
    found = []
    for mode in modes:
        for policy in POLICIES:
            for hashes in (KEPT, FORGOTTEN):
                mine = [one for one in readings if one.instrument == INSTRUMENT
                        and (mode, policy, hashes) == tuple(
                            one.setting[name] for name in ("mode", "policy", "hashes"))]
                by_protocol = {protocol: tuple(one for one in mine
                                               if one.setting["protocol"] == protocol)
                               for protocol in PROTOCOLS}
                if mine:
                    found.append(Cell(mode, policy, hashes, {
                        protocol: some for protocol, some in by_protocol.items() if some}))
    return tuple(found)


def _share(reading: Reading) -> float:
    return float(str(reading.values["path_share"]))


def _findings(cells: Sequence[Cell]) -> Iterator[str]:
    for mode in dict.fromkeys(cell.mode for cell in cells):
        honest = {cell.policy: cell for cell in cells
                  if cell.mode == mode and cell.hashes == FORGOTTEN}
        many = [_policy(name) for name, cell in honest.items() if cell.word == SPREAD]
        one = [_policy(name) for name, cell in honest.items() if cell.word == ONE_PATH]
        if honest:
            yield (f"{mode}, as on real cables (hashes forgotten): "
                   + (f"flows spread with policy {'; '.join(many)}" if many
                      else "no policy spread the flows")
                   + (f". All took one cable with policy {'; '.join(one)}." if one else "."))
    artefacts = [str(cell) for cell in cells if cell.artefact]
    if artefacts:
        yield (f"An artefact: {'; '.join(artefacts)}. There flows spread although their outer"
               " headers are the same, because each packet still carries its socket's hash. Real"
               " switches never see it: do not take this for what a network would do.")
    wrong = [f"{cell}: {cell.word}, not {cell.wanted}" for cell in cells if cell.tone == BAD]
    if wrong:
        yield "Not as expected: " + "; ".join(wrong) + "."
    else:
        yield (f"All {len(cells)} combinations did what the headers let a router see, UDP as well"
               " as TCP.")
    if any(cell.mode != NEVER and cell.word == ONE_PATH for cell in cells):
        yield ("For a real cluster: whatever hashes the outer header (switches with ECMP or link"
               " aggregation, a network card's receive queues) puts all that one node tunnels to"
               " another on one link and one queue. More parallel connections do not help; more"
               " pairs of nodes do.")


def _policy(name: str) -> str:
    """``3 by inner addresses, ports``."""
    return f"{name.partition(' ')[0]} by {POLICIES[name][1]}"


def _table(cells: Sequence[Cell], chance: str) -> Table:
    return Table(
        "flows", "Packets on the fuller cable, %",
        ("mode", "policy", "routers look at", "hashes", "UDP", "TCP", "verdict"),
        tuple((cell.mode, cell.policy.partition(" ")[0], POLICIES[cell.policy][1], cell.hashes,
               cell.percent("udp"), cell.percent("tcp"),
               cell.word + (" (artefact)" if cell.artefact else "")
               + (f", expected {cell.wanted}" if cell.tone == BAD else "")) for cell in cells),
        note=f"Medians of the repeats. {chance}",
        tones=tuple(cell.tone for cell in cells))


def _grid(cells: Sequence[Cell], modes: Sequence[str]) -> Figure:
    return grid(
        "verdicts", "One path or spread?", [_label(policy) for policy in POLICIES],
        [f"{mode}, {hashes}" for mode in modes for hashes in (KEPT, FORGOTTEN)],
        {(_label(cell.policy), f"{cell.mode}, {cell.hashes}"): (
            cell.word + ("*" if cell.artefact else ""), cell.tone) for cell in cells},
        row_heading="routers look at", column_heading="mode, flow hashes",
        note="* an artefact of emulation: real cables carry no flow hash",
        caption="Inside a tunnel only the inner header tells flows apart.")


def _bars(cells: Sequence[Cell], modes: Sequence[str]) -> Iterator[Figure]:
    for mode in modes:
        bars = [Stack(f"policy {cell.policy}, {cell.hashes}", _parts(cell))
                for cell in cells if cell.mode == mode]
        if bars:
            yield shares(
                f"cables-{mode.lower()}", f"{mode}: which cable the packets took", "packets",
                bars, note="Mean of the repeats, UDP and TCP alike; the fuller cable of each"
                           " repeat first, whichever it was. policy:"
                           " net.ipv4.fib_multipath_hash_policy of the routers. kept, forgotten:"
                           " the hash of the sending socket, which no real cable carries.")


def _parts(cell: Cell) -> tuple[tuple[str, float], ...]:
    more = fmean(larger_share(_share(one)) for found in cell.by_protocol.values() for one in found)
    return ("fuller cable", more), ("other cable", 1 - more)


def _label(policy: str) -> str:
    return f"{policy.partition(' ')[0]}: {POLICIES[policy][1]}"


def _caveats(run: Run, cells: Sequence[Cell]) -> Iterator[str]:
    found = [one for cell in cells for some in cell.by_protocol.values() for one in some]
    sent = sum(int(str(one.setting["flows"])) for one in found)
    lost = sent - sum(int(str(one.values["flows_arrived"])) for one in found)
    if lost:
        yield f"{lost} of {sent} flows did not arrive in time; their packets are counted."
    yield ("Which cable gets all of it depends on addresses and on a secret of the kernel that"
           " changes from boot to boot; so the fuller cable's share is told.")
    yield (f"Counted is one direction, at {run.plan['router']}, for one pair of pods. With policy 2"
           " other pairs of pods may take the other cable.")
