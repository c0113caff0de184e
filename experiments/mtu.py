"""MTUs that do not fit: which packets get through, which are cut, and which make a pod hang.

Question  What happens to packets of each kind when the MTUs of pods, tunnel devices and links do
          not fit together, and ICMP "fragmentation needed" arrives or is filtered?
Method    For each combination of pod, tunnel and link MTU a cluster of its own boots, in mode
          Always. Two pods on different nodes of one subnet are probed, once with ICMP as it
          is, once with "fragmentation needed" (type 3, code 4) lost on both nodes:
          small and full-sized pings with DF, as UDP sends by default, and without DF; a few bytes
          by TCP, and 256 kB with DF and without. The pods' segmentation offloads are off, so that
          a TCP segment is a packet; the last probe has them on.
          Before each probe, what was learned of paths is forgotten. A probe hangs when --duration
          seconds pass without progress.
          The outcome is what was seen: what arrived, the route exception in the source pod, ICMP
          that reached it, fragments and the largest packet on its node's uplink.
Expected  All works where pod MTU <= tunnel MTU <= link MTU - overhead (IPIP 20, VXLAN 50). A pod
          MTU above the tunnel's is learned by ICMP; filtered, large packets with DF hang while
          small ones pass. With IPIP, a larger tunnel MTU promises what the link cannot carry: that
          is learned by ICMP, too; a VXLAN device gets no larger one from the kernel. See
          docs/experiments/mtu.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment.frame import Experiment, Repetitions
    from calico_mn.experiment.options import int_list
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml",
                        why_emulated="it sets the MTUs of pods, tunnels and links",
                        full=Repetitions(1, duration=1), quick=Repetitions(1, duration=0.4))
experiment.encapsulation()
_BYTES = int_list(576, 9216)
POD_MTUS = experiment.factor(
    "--pod-mtus", _BYTES, (), "BYTES[,BYTES...]",
    "MTUs of the pods (default: 1400,1480,1500; vxlan: 1400,1450,1500; --quick: without 1400)")
TUNNEL_MTUS = experiment.factor(
    "--tunnel-mtus", _BYTES, (), "BYTES[,BYTES...]",
    "MTUs of the tunnel devices (ipipMTU, vxlanMTU; default: as of the pods)")
LINK_MTUS = experiment.factor(
    "--link-mtus", _BYTES, (1500, 1460), "BYTES[,BYTES...]",
    "MTUs of all links (default: 1500,1460; --quick: 1500)", quick=(1500,))

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from calico_mn.calico.encapsulation import IPIP, Encapsulation, named
from calico_mn.experiment.report import begin, document
from calico_mn.experiment.run import Run, changed
from calico_mn.measure import cluster, offloads, path_mtu, paths
from calico_mn.measure.path_mtu import LARGEST_PACKET, LEARNS, LEGEND, PATH_MTU, PROBES, WORKS
from calico_mn.measure.readings import Reading, by_factors, values
from calico_mn.measure.trials import Trial, factorial
from calico_mn.model import EncapsulationMode
from calico_mn.packetmatch import Drop
from calico_mn.report.document import BAD, GOOD, MIXED, Document, Figure, Table
from calico_mn.report.plots.grid import grid
from calico_mn.text import join, plural

ALWAYS = EncapsulationMode.ALWAYS
#: ICMP "fragmentation needed", as it is or lost on both nodes: what the nodes drop of it
PASSES = "passes"
ICMP = {PASSES: (), "filtered": (Drop.FRAGMENTATION_NEEDED,)}
#: seconds of a boot, and of a probe that gets through; of a trial's probes, so many hang
_BOOT_S, _PROBE_S, _HANGING = 0.3, 0.2, 1.5

MTUS = ("pod_mtu", "tunnel_mtu", "link_mtu")
TONES = dict(zip(path_mtu.OUTCOMES, (GOOD, MIXED, MIXED, MIXED, BAD), strict=True))
SMALL = ("ping 84", "TCP 64")
BULK, UNCUT = "TCP", "TCP GSO"
PICTURED = ("ping DF", "ping no DF", "TCP", "TCP no DF")
#: large packets as the findings name them
LARGE = {BULK: "TCP (DF)", "TCP no DF": "TCP without DF", "ping DF": "a ping that insists on DF",
         "ping as UDP": "datagrams as UDP sends them", "ping no DF": "datagrams without DF"}


# --- method

def measure(run: Run) -> None:
    """The first cluster is as the topology says: the environment describes it."""
    net, encapsulation = run.net(), run.encapsulation
    pair = paths.one_pair(net, paths.SAME_SUBNET, paths.CROSS_SUBNET, needed=(
        f"all pods are on one node, and {encapsulation.device} is between two"))
    usual = (*(() if run.options.quick else (1400,)), 1500 - encapsulation.overhead, 1500)
    levels = {"pod_mtu": run[POD_MTUS] or usual, "tunnel_mtu": run[TUNNEL_MTUS] or usual,
              "link_mtu": run[LINK_MTUS]}
    settings = [{**setting, "mode": ALWAYS.value, **pair.factors, "tunnel": run.tunnel(net),
                 **run.encapsulation_factor}
                for setting in factorial(**levels, icmp=tuple(ICMP))]
    each = _BOOT_S + len(PROBES) * _PROBE_S + _HANGING * run.duration
    begin(run, net, "MTUs that do not fit", settings, lambda _: each, noun="combination", facts={
        "pods": f"{pair}, in mode Always",
        "probes": f"{len(PROBES)} for each combination; one hangs after {run.duration:g} s without"
                  " progress"},
        pair=pair.names, **{f"{name}s": list(mtus) for name, mtus in levels.items()},
        probes=[probe.name for probe in PROBES], patience_s=run.duration)

    def send_all(trial: Trial) -> None:
        """One combination of MTUs, with ICMP as it is or filtered: a cluster, and all probes."""
        mtus = {name: trial.number(name) for name in MTUS}
        with run.temporary_cluster(changed(
                run.topology, **mtus, encapsulation=encapsulation, mode=ALWAYS)) as net:
            net.set_filter((pair.source.node, pair.destination.node), ICMP[trial.text("icmp")])
            for uncut in (False, True):
                with offloads.pair_offloads(net, pair, off=not uncut, nodes=False) as switched:
                    for probe in (probe for probe in PROBES if probe.uncut is uncut):
                        run.measure("probe", trial, lambda: path_mtu.look(
                            net, pair, probe, pod_mtu=mtus["pod_mtu"],  # noqa: B023
                            patience=run.duration).measurement,
                            factors={"probe": probe.name}, observed=offloads.noted(switched))

    run.trials(settings, send_all,
               readings=lambda _: [("probe", {"probe": probe.name}) for probe in PROBES],
               doing=lambda trial: f"MTUs {'/'.join(map(trial.text, MTUS))}, ICMP {trial['icmp']}")


# --- cases

@dataclass(frozen=True)
class Case:
    """One combination: its three MTUs, and ICMP."""

    readings: tuple[Reading, ...]
    pod: int
    tunnel: int
    link: int
    icmp: str

    @cached_property
    def outcomes(self) -> dict[str, str]:
        """Probe -> what became of it; with a question mark what most repeats say, not all."""
        by_probe = by_factors(self.readings, "probe")
        words = {probe.name: [str(reading.values[path_mtu.OUTCOME]) for reading in by_probe[key]]
                 for probe in PROBES for key in [(probe.name,)] if key in by_probe}
        return {name: max(some, key=some.count) + ("?" if len(set(some)) > 1 else "")
                for name, some in words.items()}

    @property
    def room(self) -> int:
        """The largest packet that the link carries inside the outer headers, in bytes."""
        return self.link - named(str(self.readings[0].setting.get("encapsulation", IPIP))).overhead

    @property
    def tone(self) -> str:
        """That of its worst outcome."""
        tones = {TONES.get(outcome, BAD) for outcome in self.outcomes.values()}
        return next(tone for tone in (BAD, MIXED, GOOD) if tone in tones)

    @property
    def mtus(self) -> str:
        """The combination's MTUs, as a picture's row is called."""
        return f"{self.pod}/{self.tunnel}/{self.link}"

    def of(self, probe: str, metric: str) -> list[int]:
        """The values that the repeats gave."""
        return [*map(int, values(self.readings, metric, probe=probe))]


def cases(readings: Sequence[Reading]) -> tuple[Case, ...]:
    """Every combination that was probed, smallest MTUs first."""
    # Larger links first: the usual before the special. "passes" before "filtered".
    return tuple(sorted(
        (Case(some, *levels) for levels, some in by_factors(readings, *MTUS, "icmp").items()),
        key=lambda case: (-case.link, case.pod, case.tunnel, case.icmp != PASSES)))


# --- report

def report(run: Run) -> Document:
    """What people read."""
    probed, encapsulation = cases(run.log.readings), run.encapsulation
    return document(
        run, experiment, title="MTUs that do not fit", findings=findings(probed, encapsulation),
        tables=[outcomes(probed, encapsulation.device)], data=[evidence(run.log.readings)],
        figures=pictures(probed, encapsulation.device), caveats=caveats(run, probed))


def outcomes(probed: Sequence[Case], device: str) -> Table:
    names = [probe.name for probe in PROBES]
    return Table(
        "outcomes", "What became of each probe", ("pods", device, "links", "ICMP", *names),
        tuple((case.pod, case.tunnel, case.link, case.icmp, *map(case.outcomes.get, names))
              for case in probed),
        note=f"pods, {device}, links: MTUs in bytes. {LEGEND}",
        tones=tuple(case.tone for case in probed))


def evidence(readings: Sequence[Reading]) -> Table:
    factors = (*MTUS, "icmp", "probe")
    return Table(
        "evidence", "What was seen of each probe", (*factors, "repeat", *path_mtu.METRICS),
        tuple((*map(reading.setting.get, factors), reading.repeat,
               *map(reading.values.get, path_mtu.METRICS)) for reading in readings),
        note="delivered: bytes acknowledged; answered: of 3 pings. path_mtu: the route exception in"
             " the source pod. dropped: ICMP messages that the filter lost. fragments and"
             " largest_packet (bytes, outer header included): on the source node's uplink.")


def pictures(probed: Sequence[Case], device: str) -> Iterator[Figure]:
    """The outcomes of large packets."""
    for icmp in dict.fromkeys(case.icmp for case in probed):
        some = [case for case in probed if case.icmp == icmp]
        yield grid(
            f"outcomes-{icmp}", f'What became of each probe: ICMP "fragmentation needed" {icmp}',
            [case.mtus for case in some], PICTURED,
            {(case.mtus, probe): (outcome, TONES.get(outcome, MIXED)) for case in some
             for probe, outcome in case.outcomes.items() if probe in PICTURED},
            row_heading=f"pods/{device}/links", column_heading="what was sent",
            note=f"Rows: the MTUs of pods, {device} and links, in bytes.", caption=LEGEND)


# --- findings

def findings(probed: Sequence[Case], encapsulation: Encapsulation) -> Iterator[str]:
    device, room = encapsulation.device, f"link MTU - {encapsulation.overhead}"
    fitting = [case for case in probed if case.pod <= case.tunnel <= case.room]
    odd = [case for case in fitting if case.tone != GOOD]
    if fitting:
        yield (f"Where pod MTU <= {device} MTU <= {room}, {len(fitting) - len(odd)} of"
               f" {len(fitting)} combinations carry every probe as it was sent, whether ICMP is"
               " filtered or not."
               + "".join(f" Not so: {case.mtus}, ICMP {case.icmp}." for case in odd))
    others = [case for case in probed if case not in fitting]
    small = [case for case in others if all(case.outcomes.get(probe) == WORKS for probe in SMALL)]
    if others:
        yield (f"In {'all' if small == others else len(small)} of the other {len(others)}, a ping"
               f" of {path_mtu.SMALL_PING} bytes and a short TCP exchange work all the same: they"
               " prove nothing about an MTU.")
    for icmp in ICMP:
        # A tunnel that itself is right: the case of many a report.
        above = [case for case in probed if case.pod > case.tunnel <= case.room
                 and case.icmp == icmp]
        learned = sorted({mtu for case in above for mtu in case.of(BULK, PATH_MTU)})
        lost = sum(sum(case.of(probe.name, cluster.DROPPED)) for case in above for probe in PROBES)
        if above:
            yield (f"Pods above {device}, ICMP {icmp} ({plural(len(above), 'combination')}):"
                   f" {each_probe(above)}."
                   + (f" TCP learned the path MTU, {join(list(map(str, learned)))} (ip route get in"
                      " the pod shows it, and when it expires)." if learned else "")
                   + (f" The filter dropped {lost} messages that name the MTU." if lost else ""))
    over = [case for case in probed if case.tunnel > case.room]
    large = [case for case in over if case.pod > case.room]
    if large:
        yield (f"{device} above {room}, and pods that use it ({plural(len(large), 'combination')}):"
               f" {each_probe(large)}. {what_icmp_taught(large, device)}")
    uncut = [case for case in large if case.outcomes.get(UNCUT) != case.outcomes.get(BULK)]
    if uncut:
        yield (f"Not to be trusted: in {len(uncut)} of these {len(large)}, TCP with segmentation"
               f" offloads {outcome_words(uncut, UNCUT)} where it {outcome_words(uncut, BULK)}"
               f" without. A veth passes on packets of up to {largest(uncut, UNCUT):,} bytes uncut,"
               " and checks no segment's size; a network card would cut them to segments that the"
               " link refuses.")
    hidden = [case for case in over if case not in large]
    if hidden:
        whole = sum(set(case.outcomes.values()) <= {WORKS, LEARNS} for case in hidden)
        yield (f"{device} above {room}, but pods below it: {whole} of"
               f" {plural(len(hidden), 'combination')} carry everything. The pods' smaller MTU"
               " hides the mistake.")


def what_icmp_taught(large: Sequence[Case], device: str) -> str:
    """Of pods that use a tunnel which promises more than its link carries."""
    taught = [case for case in large if any(case.of(BULK, PATH_MTU))]
    if taught and all(mtu <= case.room for case in taught
                      for mtu in case.of(BULK, PATH_MTU)):
        return (f"In {len(taught)} of them the pods learned from ICMP the MTU that the link allows"
                + ("." if device == IPIP.device else
                   f": the kernel gave {device} no larger one."))
    most = largest(large, "ping DF")
    return (f"{device} takes what its link cannot carry"
            + (f" (packets of up to {most} bytes were handed to the uplink)" if most else "")
            + (f", and in {len(taught)} of them ICMP taught {device}'s MTU, which is too large."
               if taught else ", and no message reaches the pod."))


def largest(mine: Sequence[Case], probe: str) -> int:
    """The largest packet that was seen, in bytes; 0 for none."""
    return max((size for case in mine for size in case.of(probe, LARGEST_PACKET)), default=0)


def each_probe(mine: Sequence[Case]) -> str:
    """What each kind of large packet does, in words."""
    return "; ".join(f"{name}: {outcome_words(mine, probe)}" for probe, name in LARGE.items())


def outcome_words(mine: Sequence[Case], probe: str) -> str:
    """``hangs``, or ``works (4) or hangs (2)``."""
    counts = Counter(case.outcomes[probe] for case in mine if probe in case.outcomes)
    return next(iter(counts)) if len(counts) == 1 else " or ".join(
        f"{outcome} ({count})" for outcome, count in counts.items())


def caveats(run: Run, probed: Sequence[Case]) -> Iterator[str]:
    for switched in offloads.switched_off(run.log.readings):
        yield (f"Segmentation offloads (tso, gso, gro) were switched off on {switched}, except"
               f" for {UNCUT}: with them, TCP sends packets of up to 64 kB, and no packet that is"
               " seen shows what a wire would carry.")
    if any(outcome.endswith("?") for case in probed for outcome in case.outcomes.values()):
        yield "?: repeats disagreed, and this is what most of them said."


if __name__ == "__main__":
    experiment.main(measure, report)
