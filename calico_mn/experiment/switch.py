"""Packets lost by a change of mode: the experiment's options, its plan, its instrument."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ClusterError
from calico_mn.experiment import options
from calico_mn.experiment.common import facts, some
from calico_mn.experiment.run import Run
from calico_mn.measure import paths, stream
from calico_mn.measure.cluster import reverse_path_drops
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.paths import CROSS_SUBNET, SAME_NODE, Pair
from calico_mn.measure.trials import PLAIN, POD_ROUTES, Trial, factorial
from calico_mn.model import EncapsulationMode

NEVER = EncapsulationMode.NEVER.value

#: who follows a change: every node, or one while the others stay as they are
ALL, ONE = "all", "one"

STREAM, COUNTER = "stream", "reverse path filter"

#: what becomes of a pair of pods for good: both directions go on, none does, or one of them, seen
#: from the node that follows alone; some packets are lost for good; repeats do not agree
LIVES, DIES, ONLY_FROM, ONLY_TO, PARTLY, VARIES = (
    "lives", "dies", "only from", "only to", "loses some", "varies")

#: seconds that the streams run before the change, at the most
_BEFORE_S = 0.1
#: seconds that a trial takes besides that and the time after the change
_TRIAL_S = 0.3
#: streams end by themselves after this many seconds more
_SPARE_S = 30.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The factors that can be asked for; each takes several levels by commas."""
    add = parser.add_argument
    add("--modes", type=options.modes, default=options.MODES, metavar="MODE[,MODE...]",
        help="change between these IPIP modes, in every order (default: all three)")
    add("--rp-filters", type=options.whole_numbers(0, 2), default=(0, 1, 2), metavar="N[,N...]",
        help="the nodes' reverse path filter: 0 off, 1 strict, 2 loose (default: 0,1,2)")
    add("--followers", type=options.words_of(ALL, ONE), default=(ALL, ONE), metavar="WHO[,WHO]",
        help="which nodes follow a change: all, or one (default: both, apart)")
    add("--packets", type=options.whole, default=1000, metavar="N",
        help="packets a second in each direction (default: 1000)")


@dataclass
class Plan:
    """The pairs of pods that streams run between, and the trials.

    Each of ``pairs`` has an end on ``node``, the one that follows alone.
    """

    run: Run
    node: str
    pairs: tuple[Pair, ...]

    def settings(self) -> tuple[dict[str, Value], ...]:
        """Every change of mode, with every filter, by all nodes and by one."""
        own = self.run.options.own
        return tuple(
            setting for setting in factorial(
                before=own.modes, after=own.modes, followers=own.followers,
                rp_filter=own.rp_filters)
            if setting["before"] != setting["after"])

    def net(self, trial: Trial) -> CalicoNet:
        """The running cluster with the trial's reverse path filter."""
        return self.run.net(rp_filter=int(trial.text("rp_filter")))

    def instruments(self, trial: Trial) -> tuple[tuple[str, dict[str, Value]], ...]:
        """Name and own factors of all that a trial reads at once."""
        directions = [one for pair in self.pairs for one in (pair, stream.reverse(pair))]
        return (*((STREAM, self.direction(trial, one)) for one in directions),
                *((COUNTER, {"node": node.name}) for node in self.net(trial).nodes))

    def direction(self, trial: Trial, pair: Pair) -> dict[str, Value]:
        """The further factors of a pair's direction in a trial."""
        return {"path": pair.path, "source": pair.source.name,
                "destination": pair.destination.name, "fabric": fabric(trial, pair.path)}

    def seconds(self) -> float:
        """How long a trial is expected to take."""
        return self.run.options.effort.duration + self.before_s + _TRIAL_S

    @property
    def before_s(self) -> float:
        """How long the streams run before the change, in seconds."""
        return min(_BEFORE_S, self.run.options.effort.duration / 2)


def fabric(trial: Trial, path: str) -> str:
    """Whether the routers know the pods: they must where Never is to have a way across them."""
    across = path == CROSS_SUBNET and NEVER in (trial["before"], trial["after"])
    return POD_ROUTES if across else PLAIN


def tunnelled(mode: str, path: str) -> bool:
    """Whether a node in this mode sends packets of this path class through tunl0."""
    return mode == EncapsulationMode.ALWAYS or (
        mode == EncapsulationMode.CROSS_SUBNET and path == CROSS_SUBNET)


def expected(before: str, after: str, rp_filter: int, path: str) -> str:
    """What stays of a pair's traffic when one end's node alone goes from ``before`` to ``after``.

    By fib_validate_source() in Linux' net/ipv4/fib_frontend.c: the strict filter wants the way
    back to leave by the device that the packet came by. The loose one is content with any way
    back, but where the device has no address it falls through to the strict answer; Felix takes
    tunl0's address away in Never (felix/dataplane/linux/ipip_mgr.go).
    """
    out, back = tunnelled(after, path), tunnelled(before, path)
    if rp_filter == 0 or out == back:
        return LIVES
    if rp_filter == 1:
        return DIES
    if out and before == NEVER:
        return ONLY_TO
    return ONLY_FROM if back and after == NEVER else LIVES


def plan(run: Run) -> Plan:
    """Boot the clusters, choose the pairs, say what will be done."""
    own = run.options.own
    nets = [run.net(rp_filter=number) for number in own.rp_filters]
    pairs = {path: pair for path, pair in
             paths.representative_pairs(paths.endpoints(nets[0])).items() if path != SAME_NODE}
    if len(own.modes) < 2 or not pairs:
        raise ClusterError("a change needs two modes, and pods on two nodes to see it")
    node = next(iter(pairs.values())).source.node
    found = Plan(run, node, tuple(p for p in pairs.values() if p.source.node == node))
    settings = found.settings()
    run.plan = {
        "node": node, "modes": list(own.modes), "rp_filters": list(own.rp_filters),
        "followers": list(own.followers), "packets_per_s": own.packets,
        "duration_s": run.options.effort.duration, "repeats": run.options.effort.repeats,
        "seed": run.options.seed, "quick": run.options.quick, "tunnel": nets[0].tunnel,
        "pairs": {p.path: [p.source.name, p.destination.name] for p in found.pairs}}
    count = len(settings) * run.options.effort.repeats
    run.heading("Packets lost by a change of IPIP mode", [
        *facts(run, nets[0]),
        ("streams", "; ".join(f"{p.path}: {p.source.name} and {p.destination.name}"
                              for p in found.pairs)
         + f"; {own.packets} packets/s each way"),
        ("follows alone", node),
        ("trials", f"{len(settings)} settings x {some(range(run.options.effort.repeats), 'repeat')}"
         f", in random order (seed {run.options.seed}); about {count * found.seconds():.0f} s"),
    ], count * found.seconds())
    return found


def watch(plan: Plan, trial: Trial) -> Iterator[tuple[str, dict[str, Value], Measurement]]:
    """Let streams run, change the mode, keep watching: each instrument's own factors and reading.

    Raises ToolError when a stream's program fails.
    """
    net, effort = plan.net(trial), plan.run.options.effort
    # After the first Always each node has a tunl0 that is up, whatever the topology begins with.
    net.set_ipip_mode(EncapsulationMode.ALWAYS)
    net.set_ipip_mode(trial.text("before"))
    net.set_pod_routes(NEVER in (trial["before"], trial["after"]))
    counts = {node.name: reverse_path_drops(net, node.name) for node in net.nodes}
    with stream.streams(net, plan.pairs, rate=plan.run.options.own.packets,
                        longest=effort.duration + _SPARE_S) as running:
        time.sleep(plan.before_s)
        begin = time.monotonic_ns()
        net.set_ipip_mode(trial.text("after"),
                          plan.node if trial["followers"] == ONE else None)
        changed = time.monotonic_ns()
        time.sleep(effort.duration)
        until = time.monotonic_ns()
        flows = running.finish()
    for pair, flow in flows.items():
        yield (STREAM, plan.direction(trial, pair),
               _taken(flow, running.began, begin, changed, until))
    for name, count in counts.items():
        yield (COUNTER, {"node": name},
               Measurement({"rp_dropped": reverse_path_drops(net, name) - count}))


def _taken(flow: stream.Flow, began: int, begin: int, changed: int, until: int) -> Measurement:
    calm = stream.tally(flow, began, begin)
    after = stream.tally(flow, begin, until)
    late = stream.tally(flow, (begin + until) // 2, until)
    return Measurement(
        {"sent": after.sent, "lost": after.lost, "gap": after.gap, "reordered": after.reordered,
         "duplicated": after.duplicated, "lost_before": calm.lost,
         "lasting_loss": round(late.lost / late.sent, 4) if late.sent else None,
         "change": round((changed - begin) / 1e6, 3)},
        {"lost_at": after.lost_at})
