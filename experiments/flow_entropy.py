"""IPIP over two equal cables: do the flows between two pods spread, and by what do routers choose?

Question  A tunnel hides its flows' ports. Which hash policies of a router spread them over equal
          paths all the same, and which put all that one node sends to another on one path?
Method    Two racks are joined by two equal cables. 200 flows, each from a port of its own, go from
          a pod in one rack to a pod in the other; the router in between has a route with two next
          hops, and the kernel counts what it sends into each cable. A flow is a datagram, or a TCP
          connection of about five packets. Factors:
          1. Mode: Always (inside IPIP), or Never (as they are; the routers know the pods' blocks).
          2. Policy: net.ipv4.fib_multipath_hash_policy of the routers. 0 outer addresses, 1 outer
             addresses and ports, 2 inner addresses, 3 chosen fields (outer, or inner).
          3. Flow hashes kept, as between namespaces, where a packet brings the hash of the socket
             that sent it; or forgotten: routers erase that hash from what they receive, since
             no cable carries it.
          4. Protocol: UDP or TCP.

          Trials run in seeded random order, in blocks that hold every combination once. The share
          of the fuller cable is judged by the binomial distribution of fair coins.
Expected  Never: only policy 1 looks at ports, and spreads. Always: policy 1 has no ports to look
          at; it spreads only while the sockets' hashes are kept, which is an artefact of emulation.
          Policy 3 with inner fields spreads in earnest. See docs/experiments/flow_entropy.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.calico.encapsulation import IPIP
    from calico_mn.experiment import options
    from calico_mn.experiment.frame import Experiment, Repetitions
    from calico_mn.experiment.options import int_between
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

experiment = Experiment(__file__, __doc__, topology="two-paths.yaml",
                        why_emulated="it counts packets on a router's devices",
                        full=Repetitions(5, duration=1), quick=Repetitions(1, duration=1))

NEVER = "Never"
MODES = experiment.factor("--modes", options.mode_list, ("Always", NEVER), "MODE[,MODE...]",
                          f"{IPIP} modes to compare (default: Always,Never)")
FLOWS = experiment.factor("--flows", int_between(20, 5000), 200, "N",
                          "flows of a trial (default: 200)")

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean

from calico_mn.emulation.node import Pod
from calico_mn.errors import ClusterError
from calico_mn.experiment.report import begin, document
from calico_mn.experiment.run import Run
from calico_mn.measure import equal_paths, paths
from calico_mn.measure.equal_paths import FLOWS_ARRIVED, ONE_PATH, PATH_SHARE, PROTOCOLS, SPREAD
from calico_mn.measure.paths import CROSS_SUBNET
from calico_mn.measure.readings import Measurement, Reading, by_factors, values
from calico_mn.measure.trials import PLAIN, POD_ROUTES, Trial, conditions, factorial
from calico_mn.model import INNER_FLOW, OUTER_FIELDS, MultipathHash
from calico_mn.report.document import BAD, GOOD, MIXED, Document, Figure, Numbers, Table, median_of
from calico_mn.report.plots.grid import grid
from calico_mn.report.plots.stacks import Stack, stacks
from calico_mn.text import join, percent

KEPT, FORGOTTEN = "kept", "forgotten"

#: name -> what routers choose by, and in words
POLICIES: dict[str, tuple[MultipathHash, str]] = {
    "0": (MultipathHash(0), "outer addresses"),
    "1": (MultipathHash(1), "outer addresses, ports"),
    "2": (MultipathHash(2), "inner addresses"),
    "3 outer": (MultipathHash(3, OUTER_FIELDS), "outer addresses, protocol"),
    "3 inner": (MultipathHash(3, INNER_FLOW), "inner addresses, ports"),
}

#: seconds of a trial, and of each of its flows
_TRIAL_S, _FLOW_S = 0.12, 0.0004


# --- method

def measure(run: Run) -> None:
    net = run.net()
    pair = paths.one_pair(net, CROSS_SUBNET, needed=(
        "all pods are in one subnet, and no router has a choice; see topologies/two-paths.yaml for"
        " a topology in which one has"))
    router = equal_paths.fork(net, pair)
    if len(router.devices) != 2:
        raise ClusterError(f"{net.topology.source}: {router.router} has {len(router.devices)}"
                           " equal ways, and this experiment is about two")
    settings = [{**setting, **pair.factors, "tunnel": net.tunnel,
                 "fabric": POD_ROUTES if setting["mode"] == NEVER else PLAIN, "flows": run[FLOWS]}
                for setting in factorial(mode=run[MODES], policy=tuple(POLICIES),
                                         hashes=(KEPT, FORGOTTEN), protocol=PROTOCOLS)]
    each = _TRIAL_S + _FLOW_S * run[FLOWS]
    begin(run, net, "Which of two equal cables do flows take?", settings, lambda _: each, facts={
        "flows": f"{run[FLOWS]} a trial, from {pair}, counted at {router.router}'s"
                 f" {join(router.devices)}"},
        **run.levels(MODES), policies={
            name: {"policy": chosen.policy, "fields": chosen.fields}
            for name, (chosen, _) in POLICIES.items()},
        flows=run[FLOWS], pair=pair.names, router=router.router, devices=list(router.devices))
    client, server = (net[name] for name in pair.names)
    assert isinstance(server, Pod)

    def send(trial: Trial) -> Measurement:
        """Set what the trial asks for, send its flows, count them where the cables begin."""
        chosen, _ = POLICIES[trial.text("policy")]
        net.set_multipath_hash(chosen.policy, chosen.fields)
        with ExitStack() as stack:
            if trial["hashes"] == FORGOTTEN:
                stack.enter_context(net.forgetting_flow_hashes())
            observed = stack.enter_context(conditions(
                net, trial.text("mode"), pair, pod_routes=trial["fabric"] == POD_ROUTES,
                encapsulation=IPIP))
            counted = equal_paths.flows(
                client, server, net[router.router], router.devices, trial.text("protocol"),
                run[FLOWS], patience=run.duration)
        return replace(counted, seen={"encapsulated": observed.encapsulated})

    run.trials(settings, lambda trial: run.measure("flows", trial, lambda: send(trial)),
               doing=lambda trial: f"{trial['mode']}, policy {trial['policy']},"
                                   f" {trial['protocol']}")


def expected(mode: str, policy: str, hashes: str) -> str:
    """What a flow's packets show to a router with this policy: whether flows can spread.

    Policy 1 believes a hash that the packet brings along (fib_multipath_hash in Linux'
    net/ipv4/route.c: ``if (skb->l4_hash)``), also inside a tunnel, whose header has no ports.
    """
    if mode == NEVER:
        return SPREAD if policy == "1" else ONE_PATH
    return SPREAD if policy == "3 inner" or (policy, hashes) == ("1", KEPT) else ONE_PATH


# --- cells

@dataclass(frozen=True)
class Cell:
    """All readings of a mode, policy and treatment of hashes."""

    readings: tuple[Reading, ...]
    mode: str
    policy: str
    hashes: str

    def shares(self, protocol: str) -> list[float]:
        """Of the packets on the first cable, one for each repeat."""
        return values(self.readings, PATH_SHARE, protocol=protocol)

    @property
    def words(self) -> dict[str, str]:
        """protocol -> verdict."""
        count = int(self.readings[0].text("flows"))
        return {protocol: equal_paths.spread_verdict(shares, count) for protocol in PROTOCOLS
                if (shares := self.shares(protocol))}

    @property
    def word(self) -> str:
        """The verdict that all protocols share, or each one's."""
        verdicts = self.words
        if len(set(verdicts.values())) == 1:
            return next(iter(verdicts.values()))
        return ", ".join(f"{protocol.upper()} {word}" for protocol, word in verdicts.items())

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
        return GOOD if self.word == SPREAD else ""

    def percent(self, protocol: str) -> Numbers | None:
        """The fuller cable's share of the packets, the repeats' median."""
        return median_of([*map(equal_paths.larger_share, self.shares(protocol))], 1, 100)

    def __str__(self) -> str:
        return f"{self.mode}, policy {self.policy}, hashes {self.hashes}"


def cells_of(readings: Sequence[Reading], modes: Sequence[str]) -> tuple[Cell, ...]:
    """The readings by mode, policy and hashes, in that order; what has none is left out."""
    groups = by_factors(readings, "mode", "policy", "hashes")
    return tuple(Cell(groups[key], *key) for key in product(modes, POLICIES, (KEPT, FORGOTTEN))
                 if key in groups)


# --- report

def report(run: Run) -> Document:
    """What people read."""
    modes, count = run.plan["modes"], run.plan["flows"]
    cells = cells_of(run.log.readings, modes)
    chance = (f"Of {count} flows that take either cable by chance, the fuller one carries 50 to"
              f" {percent(equal_paths.fair_limit(count, 0.95))} in 95 of 100 cases.")
    run.notes["cells"] = [{"mode": cell.mode, "policy": cell.policy, "hashes": cell.hashes,
                           "verdict": cell.words, "expected": cell.wanted} for cell in cells]
    return document(
        run, experiment, title="Which of two equal cables do flows take?",
        findings=findings(cells), tables=(table(cells, chance),),
        figures=(verdicts(cells, modes), *bars(cells, modes)), caveats=caveats(run))


def findings(cells: Sequence[Cell]) -> Iterator[str]:
    for mode in dict.fromkeys(cell.mode for cell in cells):
        honest = {cell.policy: cell for cell in cells
                  if cell.mode == mode and cell.hashes == FORGOTTEN}
        many = [label(name, " by") for name, cell in honest.items() if cell.word == SPREAD]
        single = [label(name, " by") for name, cell in honest.items() if cell.word == ONE_PATH]
        if honest:
            yield (f"{mode}, as on real cables (hashes forgotten): "
                   + (f"flows spread with policy {'; '.join(many)}" if many
                      else "no policy spread the flows")
                   + (f". All took one cable with policy {'; '.join(single)}." if single else "."))
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
        yield ("For a real cluster: what hashes the outer header (switches with ECMP or link"
               " aggregation, a network card's receive queues) puts all that one node tunnels to"
               " another on one link and one queue. More parallel connections do not help; more"
               " pairs of nodes do.")


def table(cells: Sequence[Cell], chance: str) -> Table:
    return Table(
        "flows", "Packets on the fuller cable, %",
        ("mode", "policy", "routers look at", "hashes", "UDP", "TCP", "verdict"),
        tuple((cell.mode, cell.policy.partition(" ")[0], POLICIES[cell.policy][1], cell.hashes,
               cell.percent("udp"), cell.percent("tcp"),
               cell.word + (" (artefact)" if cell.artefact else "")
               + (f", expected {cell.wanted}" if cell.tone == BAD else "")) for cell in cells),
        note=f"Medians of the repeats. {chance}",
        tones=tuple(cell.tone for cell in cells))


def verdicts(cells: Sequence[Cell], modes: Sequence[str]) -> Figure:
    return grid(
        "verdicts", "One path or spread?", [label(policy) for policy in POLICIES],
        [f"{mode}, {hashes}" for mode in modes for hashes in (KEPT, FORGOTTEN)],
        {(label(cell.policy), f"{cell.mode}, {cell.hashes}"): (
            cell.word + ("*" if cell.artefact else ""), cell.tone) for cell in cells},
        row_heading="routers look at", column_heading="mode, flow hashes",
        note="* an artefact of emulation: real cables carry no flow hash",
        caption="Inside a tunnel only the inner header distinguishes flows.")


def bars(cells: Sequence[Cell], modes: Sequence[str]) -> Iterator[Figure]:
    for mode in modes:
        bars = [Stack(f"policy {cell.policy}, {cell.hashes}", parts(cell))
                for cell in cells if cell.mode == mode]
        if bars:
            yield stacks(
                f"cables-{mode.lower()}", f"{mode}: which cable the packets took", "packets", "%",
                bars, note="Mean of the repeats, UDP and TCP alike; the fuller cable of each"
                           " repeat first, whichever it was. policy:"
                           " net.ipv4.fib_multipath_hash_policy of the routers. kept, forgotten:"
                           " the hash of the sending socket, which no real cable carries.")


def parts(cell: Cell) -> tuple[tuple[str, float], ...]:
    more = fmean(map(equal_paths.larger_share, values(cell.readings, PATH_SHARE)))
    return ("fuller cable", more), ("other cable", 1 - more)


def label(policy: str, between: str = ":") -> str:
    """``3: inner addresses, ports``."""
    return f"{policy.partition(' ')[0]}{between} {POLICIES[policy][1]}"


def caveats(run: Run) -> Iterator[str]:
    sent = sum(int(reading.text("flows")) for reading in run.log.readings)
    lost = sent - sum(map(int, values(run.log.readings, FLOWS_ARRIVED)))
    if lost:
        yield f"{lost} of {sent} flows did not arrive in time; their packets are counted."
    yield ("Which cable is used depends on the addresses and on a hash seed that the kernel draws"
           " at each boot, so the table gives the share of the fuller cable.")
    yield (f"Counted is one direction, at {run.plan['router']}, for one pair of pods. With policy 2"
           " other pairs of pods may take the other cable.")


if __name__ == "__main__":
    experiment.main(measure, report)
