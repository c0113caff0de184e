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
                        full=Repetitions(5, duration=1), quick=Repetitions(1, duration=1))

#: what hides the flows' ports
ENCAPSULATION = IPIP
NEVER = "Never"
MODES = experiment.factor("--modes", options.mode_list, ("Always", NEVER), "MODE[,MODE...]",
                          f"{ENCAPSULATION} modes to compare (default: Always,Never)")
FLOWS = experiment.factor("--flows", int_between(20, 5000), 200, "N",
                          "flows of a trial (default: 200)")

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, product
from statistics import fmean, median

from calico_mn.emulation.node import Pod
from calico_mn.errors import ClusterError
from calico_mn.experiment.report import document, heading, trials_line
from calico_mn.experiment.run import Run
from calico_mn.measure import paths, statistics
from calico_mn.measure.flows import FLOWS_ARRIVED, PATH_SHARE, PROTOCOLS, flows, fork
from calico_mn.measure.metrics import Measurement
from calico_mn.measure.paths import CROSS_SUBNET
from calico_mn.measure.readings import Reading, by_factors, values
from calico_mn.measure.statistics import ONE_PATH, SPREAD, fair_limit, larger_share
from calico_mn.measure.trials import PLAIN, POD_ROUTES, Trial, conditions, factorial
from calico_mn.model import INNER_FLOW, OUTER_FIELDS, MultipathHash
from calico_mn.report.document import BAD, GOOD, MIXED, PLAIN_TONE, Document, Figure, Table
from calico_mn.report.plots.grid import grid
from calico_mn.report.plots.stacks import Stack, stacks
from calico_mn.text import join

INSTRUMENT = "flows"
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
#: the percentage of random spreads that lie within the printed range
_TOLD = 0.95


# --- method

def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    net = run.net()
    pair = paths.representative_pairs(paths.endpoints(net)).get(CROSS_SUBNET)
    if pair is None:
        raise ClusterError(f"{net.topology.source}: all pods are in one subnet, and no router has"
                           " a choice; see topologies/two-paths.yaml for a topology in which"
                           " one has")
    router = fork(net, pair)
    if len(router.devices) != 2:
        raise ClusterError(f"{net.topology.source}: {router.router} has {len(router.devices)}"
                           " equal ways, and this experiment is about two")
    source, destination = pair.source, pair.destination
    settings = [{**setting, **pair.factors, "tunnel": net.tunnel,
                 "fabric": POD_ROUTES if setting["mode"] == NEVER else PLAIN, "flows": run[FLOWS]}
                for setting in factorial(mode=run[MODES], policy=tuple(POLICIES),
                                         hashes=(KEPT, FORGOTTEN), protocol=PROTOCOLS)]
    run.plan = {
        "modes": list(run[MODES]), "policies": {
            name: {"policy": chosen.policy, "fields": chosen.fields}
            for name, (chosen, _) in POLICIES.items()},
        "flows": run[FLOWS], "repeats": run.repeats, "seed": run.options.seed,
        "pair": [source.name, destination.name], "router": router.router,
        "devices": list(router.devices)}
    each = _TRIAL_S + _FLOW_S * run[FLOWS]
    seconds = len(settings) * run.repeats * each
    run.heading("Which of two equal cables do flows take?", [
        *heading(run, net),
        ("flows", f"{run[FLOWS]} a trial, from {source.name} on {source.node} to"
         f" {destination.name} on {destination.node}, counted at {router.router}'s"
         f" {join(router.devices)}"),
        trials_line(run, f"{len(settings)} settings", seconds)], seconds)

    def send(trial: Trial) -> Measurement:
        """Set what the trial asks for, send its flows, count them where the cables begin."""
        chosen, _ = POLICIES[trial.text("policy")]
        net.set_multipath_hash(chosen.policy, chosen.fields)
        with ExitStack() as stack:
            if trial["hashes"] == FORGOTTEN:
                stack.enter_context(net.forgetting_flow_hashes())
            observed = stack.enter_context(conditions(
                net, trial.text("mode"), pair, pod_routes=trial["fabric"] == POD_ROUTES,
                encapsulation=ENCAPSULATION))
            server = net[destination.name]
            assert isinstance(server, Pod)
            counted = flows(net[source.name], server, net[router.router], router.devices,
                            trial.text("protocol"), run[FLOWS], patience=run.duration)
        return replace(counted, seen={"encapsulated": observed.encapsulated})

    run.trials(settings, lambda trial: run.measure(INSTRUMENT, trial, partial(send, trial)),
               seconds=lambda _: each,
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
    """All readings of a mode, policy and treatment of hashes, by protocol."""

    mode: str
    policy: str
    hashes: str
    by_protocol: dict[str, tuple[Reading, ...]]

    @property
    def words(self) -> dict[str, str]:
        """protocol -> verdict."""
        return {protocol: statistics.spread_verdict(values(readings, PATH_SHARE),
                                                    int(readings[0].text("flows")))
                for protocol, readings in self.by_protocol.items()}

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
        return GOOD if self.word == SPREAD else PLAIN_TONE

    def percent(self, protocol: str) -> float | None:
        """The fuller cable's share of the packets, the repeats' median."""
        shares = values(self.by_protocol.get(protocol, ()), PATH_SHARE)
        return round(100 * median(map(larger_share, shares)), 1) if shares else None

    def __str__(self) -> str:
        return f"{self.mode}, policy {self.policy}, hashes {self.hashes}"


def cells_of(readings: Sequence[Reading], modes: Sequence[str]) -> tuple[Cell, ...]:
    """The readings by mode, policy and hashes, in that order; what has none is left out."""
    groups = by_factors(readings, "mode", "policy", "hashes", "protocol")
    cells = (Cell(*key, {protocol: groups[(*key, protocol)] for protocol in PROTOCOLS
                         if (*key, protocol) in groups})
             for key in product(modes, POLICIES, (KEPT, FORGOTTEN)))
    return tuple(cell for cell in cells if cell.by_protocol)


# --- report

def report(run: Run) -> Document:
    """What people read."""
    modes, count = run.plan["modes"], run.plan["flows"]
    cells = cells_of(run.log.readings, modes)
    chance = (f"Of {count} flows that take either cable by chance, the fuller one carries 50 to"
              f" {100 * fair_limit(count, _TOLD):.0f} % in {100 * _TOLD:.0f} of 100 cases.")
    run.notes["cells"] = [{"mode": cell.mode, "policy": cell.policy, "hashes": cell.hashes,
                           "verdict": cell.words, "expected": cell.wanted} for cell in cells]
    return document(
        run, experiment, title="Which of two equal cables do flows take?",
        findings=findings(cells), tables=(table(cells, chance),),
        figures=(verdicts(cells, modes), *bars(cells, modes)), caveats=caveats(run, cells))


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
    more = fmean(map(larger_share, values(chain(*cell.by_protocol.values()), PATH_SHARE)))
    return ("fuller cable", more), ("other cable", 1 - more)


def label(policy: str, between: str = ":") -> str:
    """``3: inner addresses, ports``."""
    return f"{policy.partition(' ')[0]}{between} {POLICIES[policy][1]}"


def caveats(run: Run, cells: Sequence[Cell]) -> Iterator[str]:
    readings = [*chain(*(each for cell in cells for each in cell.by_protocol.values()))]
    sent = sum(int(reading.text("flows")) for reading in readings)
    lost = sent - sum(map(int, values(readings, FLOWS_ARRIVED)))
    if lost:
        yield f"{lost} of {sent} flows did not arrive in time; their packets are counted."
    yield ("Which cable gets all of it depends on addresses and on a secret of the kernel that"
           " changes from boot to boot; so the fuller cable's share is printed.")
    yield (f"Counted is one direction, at {run.plan['router']}, for one pair of pods. With policy 2"
           " other pairs of pods may take the other cable.")


if __name__ == "__main__":
    experiment.main(measure, report)
