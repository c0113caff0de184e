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
from dataclasses import dataclass, replace
from functools import cached_property

from calico_mn.calico.encapsulation import IPIP, Encapsulation, named
from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ClusterError
from calico_mn.experiment.report import document, heading
from calico_mn.experiment.run import Run, changed
from calico_mn.measure import cluster, path_mtu, paths
from calico_mn.measure.metrics import Measurement
from calico_mn.measure.offloads import Switched, pair_offloads
from calico_mn.measure.path_mtu import OUTCOME, PROBES, SMALL_PING, Probe
from calico_mn.measure.readings import Reading, by_factors, values
from calico_mn.measure.tcp import RETRANSMITS
from calico_mn.measure.trials import Trial, factorial
from calico_mn.packetmatch import Drop
from calico_mn.report.document import BAD, GOOD, MIXED, Document, Figure, Table
from calico_mn.report.plots.grid import grid
from calico_mn.text import join, plural

#: ICMP "fragmentation needed": as it is, or lost on both nodes
PASSES, FILTERED = "passes", "filtered"
FILTERS = {PASSES: (), FILTERED: (Drop.FRAGMENTATION_NEEDED,)}
#: seconds that booting and switching take, and a probe that gets through; of a trial's probes, so
#: many hang on average
_BOOT_S, _PROBE_S, _HANGING = 0.3, 0.2, 1.5

MTUS = ("pod_mtu", "tunnel_mtu", "link_mtu")
FACTORS = (*MTUS, "icmp", "probe")
EVIDENCE = (OUTCOME, path_mtu.ANSWERED, path_mtu.DELIVERED, path_mtu.PATH_MTU,
            path_mtu.FRAG_NEEDED, cluster.DROPPED, path_mtu.SENT_FRAGMENTS,
            path_mtu.LARGEST_PACKET, RETRANSMITS)
WORKS, LEARNS = path_mtu.WORKS, path_mtu.LEARNS
TONES = {WORKS: GOOD, LEARNS: MIXED, path_mtu.FRAGMENTS: MIXED, path_mtu.REFUSED: MIXED,
         path_mtu.HANGS: BAD}
SMALL = ("ping 84", "TCP 64")
BULK, UNCUT = "TCP", "TCP GSO"
PICTURED = ("ping DF", "ping no DF", "TCP", "TCP no DF")
#: large packets as the findings name them
LARGE = {BULK: "TCP (DF)", "TCP no DF": "TCP without DF", "ping DF": "a ping that insists on DF",
         "ping as UDP": "datagrams as UDP sends them", "ping no DF": "datagrams without DF"}
LEGEND = (f"{WORKS}: as it was sent. {LEARNS}: after ICMP taught the source pod the path MTU."
          f" {path_mtu.FRAGMENTS}: seen on the uplink in fragments. {path_mtu.REFUSED}: the"
          " sender's kernel says \"message too long\", which it knows from ICMP."
          f" {path_mtu.HANGS}: nothing or not all gets through, and no message says so.")


# --- method

def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken.

    The first cluster is as the topology says: the environment describes it.
    """
    net, encapsulation = run.net(), run.encapsulation
    pairs = paths.representative_pairs(paths.endpoints(net))
    pair = pairs.get(paths.SAME_SUBNET) or pairs.get(paths.CROSS_SUBNET)
    if pair is None:
        raise ClusterError(f"{run.source}: all pods are on one node, and {encapsulation.device} is"
                           " between two")
    source, destination = pair.source, pair.destination
    usual = (*(() if run.options.quick else (1400,)), 1500 - encapsulation.overhead, 1500)
    levels = {"pod_mtu": run[POD_MTUS] or usual, "tunnel_mtu": run[TUNNEL_MTUS] or usual,
              "link_mtu": run[LINK_MTUS]}
    settings = [{**setting, "mode": "Always", **pair.factors, "tunnel": run.tunnel(net),
                 **run.encapsulation_factor}
                for setting in factorial(**levels, icmp=(PASSES, FILTERED))]
    run.plan = {
        "pair": [source.name, destination.name],
        **{f"{name}s": list(mtus) for name, mtus in levels.items()},
        "probes": [probe.name for probe in PROBES], "repeats": run.repeats,
        "patience_s": run.duration, "seed": run.options.seed, "quick": run.options.quick,
        **run.encapsulation_factor}
    each = _BOOT_S + len(PROBES) * _PROBE_S + _HANGING * run.duration
    seconds = len(settings) * run.repeats * each
    run.heading("MTUs that do not fit", [
        *heading(run, net),
        ("pods", f"{source.name} on {source.node} to {destination.name} on {destination.node}, in"
         " mode Always"),
        ("trials", f"{len(settings)} combinations, {len(PROBES)} probes each"
         + (f", {run.repeats} times" if run.repeats > 1 else "")
         + f"; a probe hangs after {run.duration:g} s without progress; about {seconds:.0f} s")],
        seconds)

    def send_all(trial: Trial) -> None:
        """One combination of MTUs, with ICMP as it is or filtered: a cluster, and all probes."""
        mtus = {name: int(trial.text(name)) for name in MTUS}
        with run.temporary_cluster(changed(
                run.topology, **mtus, encapsulation=encapsulation)) as net:
            net.set_mode("Always", encapsulation=encapsulation)
            net.set_filter((source.node, destination.node), FILTERS[trial.text("icmp")])
            for uncut in (False, True):
                with pair_offloads(net, pair, off=not uncut, nodes=False) as switched:
                    for probe in (probe for probe in PROBES if probe.uncut is uncut):
                        run.measure("probe", trial, lambda: send(net, probe, trial, switched),  # noqa: B023
                                    factors={"probe": probe.name})

    def send(net: CalicoNet, probe: Probe, trial: Trial,
             switched: tuple[Switched, ...]) -> Measurement:
        seen = path_mtu.look(net, pair, probe, pod_mtu=int(trial.text("pod_mtu")),
                             patience=run.duration)
        return replace(seen.measurement, seen={
            "offloads_off": ", ".join(map(str, switched))})

    run.trials(settings, send_all,
               readings=lambda _: [("probe", {"probe": probe.name}) for probe in PROBES],
               seconds=lambda _: each,
               doing=lambda trial: f"pods {trial['pod_mtu']}, {encapsulation.device}"
                                   f" {trial['tunnel_mtu']}, links {trial['link_mtu']}, ICMP"
                                   f" {trial['icmp']}")


# --- cases

@dataclass(frozen=True)
class Case:
    """One combination: its three MTUs, and ICMP."""

    pod: int
    tunnel: int
    link: int
    icmp: str
    readings: tuple[Reading, ...]

    @cached_property
    def outcomes(self) -> dict[str, str]:
        """Probe -> what became of it; with a question mark what most repeats say, not all."""
        by_probe = {probe.name: [str(reading.values[OUTCOME]) for reading in self.readings
                                 if reading.setting["probe"] == probe.name] for probe in PROBES}
        return {name: max(outcomes, key=outcomes.count) + ("?" if len(set(outcomes)) > 1 else "")
                for name, outcomes in by_probe.items() if outcomes}

    @property
    def room(self) -> int:
        """The largest packet that the link carries inside the outer headers, in bytes."""
        return self.link - named(str(self.readings[0].setting.get("encapsulation", IPIP))).overhead

    @property
    def fits(self) -> bool:
        """Whether header sizes say that every packet of the pods fits all the way."""
        return self.pod <= self.tunnel <= self.room

    @property
    def mtus(self) -> str:
        """The combination's MTUs, as a picture's row is called."""
        return f"{self.pod}/{self.tunnel}/{self.link}"

    def all_of(self, *outcomes: str) -> bool:
        """Whether every probe had one of these outcomes."""
        return set(self.outcomes.values()) <= set(outcomes)

    def of(self, probe: str, metric: str) -> list[int]:
        """The values that the repeats gave."""
        return [*map(int, values(self.readings, metric, probe=probe))]


def cases(readings: Sequence[Reading]) -> tuple[Case, ...]:
    """Every combination that was probed, smallest MTUs first."""
    # Larger links first: the usual before the special. "passes" before "filtered".
    return tuple(sorted(
        (Case(int(pod), int(tunnel), int(link), icmp, some) for (pod, tunnel, link, icmp), some
         in by_factors(readings, *MTUS, "icmp").items()),
        key=lambda case: (-case.link, case.pod, case.tunnel, case.icmp != PASSES)))


# --- report

def report(run: Run) -> Document:
    """What people read."""
    probed, device = cases(run.log.readings), run.encapsulation.device
    probes = tuple(probe.name for probe in PROBES)
    return document(
        run, experiment, title="MTUs that do not fit", findings=findings(probed, run.encapsulation),
        tables=(Table(
            "outcomes", "What became of each probe", ("pods", device, "links", "ICMP", *probes),
            tuple((case.pod, case.tunnel, case.link, case.icmp, *map(case.outcomes.get, probes))
                  for case in probed),
            note=f"pods, {device}, links: MTUs in bytes. {LEGEND}",
            tones=tuple(BAD if BAD in tones else MIXED if MIXED in tones else GOOD
                        for tones in ([TONES.get(outcome, BAD) for outcome in
                                       case.outcomes.values()] for case in probed))),),
        data=(Table(
            "evidence", "What was seen of each probe", (*FACTORS, "repeat", *EVIDENCE),
            tuple((*(reading.setting[name] for name in FACTORS), reading.repeat,
                   *map(reading.values.get, EVIDENCE)) for reading in run.log.readings),
            note="delivered: bytes acknowledged; answered: of 3 pings. path_mtu: the route"
                 " exception in the source pod. dropped: ICMP messages that the filter lost."
                 " fragments and largest_packet (bytes, outer header included): on the source"
                 " node's uplink."),),
        figures=[picture(some, icmp, device) for icmp in (PASSES, FILTERED)
                 for some in [[case for case in probed if case.icmp == icmp]] if some],
        caveats=caveats(run, probed))


def picture(probed: Sequence[Case], icmp: str, device: str) -> Figure:
    """The outcomes of large packets."""
    return grid(
        f"outcomes-{icmp}", f'What became of each probe: ICMP "fragmentation needed" {icmp}',
        [case.mtus for case in probed], PICTURED,
        {(case.mtus, probe): (outcome, TONES.get(outcome, MIXED)) for case in probed
         for probe, outcome in case.outcomes.items() if probe in PICTURED},
        row_heading=f"pods/{device}/links", column_heading="what was sent",
        note=f"Rows: the MTUs of pods, {device} and links, in bytes.", caption=LEGEND)


def findings(probed: Sequence[Case], encapsulation: Encapsulation) -> Iterator[str]:
    device, room = encapsulation.device, f"link MTU - {encapsulation.overhead}"
    fitting = [case for case in probed if case.fits]
    odd = [case for case in fitting if not case.all_of(WORKS)]
    if fitting:
        yield (f"Where pod MTU <= {device} MTU <= {room}, {len(fitting) - len(odd)} of"
               f" {len(fitting)} combinations carry every probe as it was sent, whether ICMP is"
               " filtered or not."
               + "".join(f" Not so: {case.mtus}, ICMP {case.icmp}." for case in odd))
    others = [case for case in probed if not case.fits]
    small = [case for case in others if all(case.outcomes.get(probe) == WORKS for probe in SMALL)]
    if others:
        yield (f"In {'all' if small == others else len(small)} of the other {len(others)}, a ping"
               f" of {SMALL_PING} bytes and a short TCP exchange work all the same: they prove"
               " nothing about an MTU.")
    # Pods above a tunnel that itself is right: the case of many a report.
    for icmp in (PASSES, FILTERED):
        above = [case for case in probed
                 if case.pod > case.tunnel and case.tunnel <= case.room and case.icmp == icmp]
        learned = sorted({mtu for case in above for mtu in case.of(BULK, path_mtu.PATH_MTU)})
        lost = sum(sum(case.of(probe.name, cluster.DROPPED)) for case in above for probe in PROBES)
        if above:
            yield (f"Pods above {device}, ICMP {icmp} ({plural(len(above), 'combination')}):"
                   f" {each_probe(above)}."
                   + (f" TCP learned the path MTU, {join(list(map(str, learned)))} (ip route get in"
                      " the pod shows it, and when it expires)." if learned else "")
                   + (f" The filter lost {lost} messages that name the MTU." if lost else ""))
    over = [case for case in probed if case.tunnel > case.room]
    large = [case for case in over if case.pod > case.room]
    hidden = [case for case in over if case not in large]
    if large:
        sizes = [size for case in large for size in case.of("ping DF", path_mtu.LARGEST_PACKET)]
        taught = [case for case in large if any(case.of(BULK, path_mtu.PATH_MTU))]
        limited = taught and all(mtu <= case.room for case in taught
                                 for mtu in case.of(BULK, path_mtu.PATH_MTU))
        yield (f"{device} above {room}, and pods that use it ({plural(len(large), 'combination')}):"
               f" {each_probe(large)}. "
               + ((f"{device} tells the pods what its link leaves" if device == IPIP.device else
                   f"The kernel gave {device} no larger MTU than its link allows")
                  + ": that is what ICMP"
                  f" taught in {len(taught)} of them." if limited else
                  f"{device} takes what its link cannot carry"
                  + (f" (packets of up to {max(sizes)} bytes were handed to the uplink)"
                     if any(sizes) else "")
                  + (f", and in {len(taught)} of them ICMP taught {device}'s MTU, which is too"
                     " large." if taught else ", and no message reaches the pod.")))
    uncut = [case for case in large if case.outcomes.get(UNCUT) != case.outcomes.get(BULK)]
    if uncut:
        most = max(size for case in uncut for size in case.of(UNCUT, path_mtu.LARGEST_PACKET))
        yield (f"Not to be trusted: in {len(uncut)} of these {len(large)}, TCP with segmentation"
               f" offloads {outcome_words(uncut, UNCUT)} where it {outcome_words(uncut, BULK)}"
               f" without. A veth passes on packets of up to {most:,} bytes uncut, and checks no"
               " segment's size; a network card would cut them to segments that the link refuses.")
    if hidden:
        yield (f"{device} above {room}, but pods below it:"
               f" {sum(case.all_of(WORKS, LEARNS) for case in hidden)} of"
               f" {plural(len(hidden), 'combination')} carry everything. The pods' MTU hides the"
               " wrong one.")


def each_probe(mine: Sequence[Case]) -> str:
    """What each kind of large packet does, in words."""
    return "; ".join(f"{name}: {outcome_words(mine, probe)}" for probe, name in LARGE.items())


def outcome_words(mine: Sequence[Case], probe: str) -> str:
    """``hangs``, or ``works (4) or hangs (2)``."""
    counts = Counter(case.outcomes[probe] for case in mine if probe in case.outcomes)
    return next(iter(counts)) if len(counts) == 1 else " or ".join(
        f"{outcome} ({count})" for outcome, count in counts.items())


def caveats(run: Run, probed: Sequence[Case]) -> Iterator[str]:
    devices = {str(r.seen.get("offloads_off") or "") for r in run.log.readings} - {""}
    for switched in sorted(devices):
        yield (f"Segmentation offloads (tso, gso, gro) were switched off on {switched}, except"
               f" for {UNCUT}: with them, TCP sends packets of up to 64 kB, and no packet that is"
               " seen shows what a wire would carry.")
    if any(outcome.endswith("?") for case in probed for outcome in case.outcomes.values()):
        yield "?: repeats disagreed, and this is what most of them said."


if __name__ == "__main__":
    experiment.main(measure, report)
