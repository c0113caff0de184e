"""A fabric that drops IP protocol 4: the experiment's plan, and what it looks at."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ToolError
from calico_mn.experiment import options
from calico_mn.experiment.common import facts, some
from calico_mn.experiment.run import Run
from calico_mn.measure import paths, programs, reachability
from calico_mn.measure.connections import connections
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.paths import Endpoint, Pair
from calico_mn.packetmatch import Drop

BEFORE, EVERYWHERE, ROUTERS, AFTER = "before", "everywhere", "routers", "after"

#: what drops IP protocol 4, in order: nothing; switches and routers; routers; nothing again
PHASES = (BEFORE, EVERYWHERE, ROUTERS, AFTER)

PODS, NODES, TCP, SPEAKER, FILTER = "ping", "node ping", "node tcp", "speaker", "filter"

#: where BGP listens (RFC 4271, section 4)
BGP_PORT = 179

_PAIR_S, _TCP_S, _UNREACHABLE_S = 0.008, 0.15, 1.2
_IP_TIMEOUT_S = 10.0

#: an instrument's name, its own factors, what it said
Seen = tuple[str, dict[str, Value], Measurement]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The modes that can be asked for."""
    parser.add_argument(
        "--modes", type=options.modes, default=options.MODES, metavar="MODE[,MODE...]",
        help=f"IPIP modes to try (default: {','.join(options.MODES)})")


@dataclass
class Plan:
    """The cluster, and all ordered pairs of its pods and of its nodes."""

    run: Run
    net: CalicoNet
    modes: tuple[str, ...]
    pods: tuple[Pair, ...]
    nodes: tuple[Pair, ...]

    @contextmanager
    def filtered(self, phase: str) -> Iterator[None]:
        """Let a phase's devices drop IP protocol 4; the counters begin at 0."""
        net = self.net
        places = {EVERYWHERE: net.fabric, ROUTERS: net.routers}.get(phase, [])
        with net.dropping(places, Drop.IPIP):
            yield

    @property
    def tcp(self) -> tuple[Pair, ...]:
        """Each two nodes once: a connection has both directions."""
        return tuple(pair for pair in self.nodes if pair.source.name < pair.destination.name)

    def instruments(self) -> tuple[tuple[str, dict[str, Value]], ...]:
        """Name and own factors of all that a phase reads."""
        return (*((PODS, _between(pair)) for pair in self.pods),
                *((FILTER, {"place": place.name}) for place in self.net.fabric),
                *((NODES, _between(pair)) for pair in self.nodes),
                *((TCP, _between(pair)) for pair in self.tcp),
                *((SPEAKER, {"node": node.name}) for node in self.net.nodes))

    def phase_seconds(self, phase: str) -> float:
        """How long a phase is expected to take."""
        return ((len(self.pods) + len(self.nodes)) * _PAIR_S
                + len(self.tcp) * (self.run.options.effort.duration + _TCP_S)
                + (_UNREACHABLE_S if phase in (EVERYWHERE, ROUTERS) else 0))


def plan(run: Run) -> Plan:
    """Boot the cluster, say what will be done."""
    net = run.net()
    pods = paths.endpoints(net)
    subnet_of = {pod.node: pod.subnet for pod in pods}
    nodes = tuple(Endpoint(node.name, node.ip, node.name, subnet_of[node.name])
                  for node in net.nodes if node.name in subnet_of)
    found = Plan(run, net, run.options.own.modes, paths.ordered_pairs(pods),
                 paths.ordered_pairs(nodes))
    repeats = run.options.effort.repeats
    run.plan = {
        "modes": list(found.modes), "phases": list(PHASES), "repeats": repeats,
        "duration_s": run.options.effort.duration, "quick": run.options.quick,
        "tunnel": net.tunnel, "fabric": [place.name for place in net.fabric],
        "pods": [[pod.name, pod.ip, pod.node, pod.subnet] for pod in pods],
        "nodes": [[node.name, node.ip, node.node, node.subnet] for node in nodes]}
    seconds = repeats * len(found.modes) * sum(map(found.phase_seconds, PHASES))
    run.heading("A fabric that drops IP protocol 4 (IPIP)", [
        *facts(run, net),
        ("fabric", f"{', '.join(place.name for place in net.fabric)}; the routers know the pods"),
        ("phases", f"{some(found.modes, 'mode')} x {', '.join(PHASES)} x"
         f" {some(range(repeats), 'repeat')}; about {seconds:.0f} s"),
    ], seconds)
    return found


def look(plan: Plan) -> Iterator[Seen]:
    """All that a phase reads, the pods first: the counters are theirs alone.

    Raises ToolError when a program fails.
    """
    net = plan.net
    yield from _pings(plan, PODS, plan.pods)
    for place in net.fabric:
        counted = net.dropped(place)
        yield (FILTER, {"place": place.name}, Measurement(
            {"dropped": counted.get(Drop.IPIP, 0)}, seen={"filters": Drop.IPIP in counted}))
    yield from _pings(plan, NODES, plan.nodes)
    for pair in plan.tcp:
        yield TCP, _between(pair), _connects(plan, pair)
    for node in net.nodes:
        yield SPEAKER, {"node": node.name}, Measurement({
            "sessions": len(net.distributor.sessions(node.name)),
            "routes": _routes_between_nodes(node)})


def _pings(plan: Plan, name: str, pairs: tuple[Pair, ...]) -> Iterator[Seen]:
    for found in reachability.matrix(plan.net, pairs):
        yield name, _between(found.pair), Measurement({"reachable": int(found.reached)},
                                                seen={"encapsulated": found.encapsulated})


def _connects(plan: Plan, pair: Pair) -> Measurement:
    """Whether TCP connections to BGP's port carry a byte each way, and how many did a second."""
    client, server = plan.net.nameToNode[pair.source.name], plan.net.nameToNode[
        pair.destination.name]
    try:
        found = connections(client, server, duration=plan.run.options.effort.duration,
                            port=BGP_PORT)
    except ToolError as error:
        return Measurement({"reachable": 0}, seen={"reason": str(error)})
    return Measurement({"reachable": int(found.count > 0), "connections": found.per_s})


def _routes_between_nodes(node: programs.Host) -> int:
    """Routes that BIRD would have written (proto bird), without the node's own black holes."""
    finished = programs.run(node, ["ip", "-j", "route", "show", "proto", "bird"], _IP_TIMEOUT_S)
    try:
        return sum(route.get("type") != "blackhole" for route in json.loads(finished.out or "[]"))
    except ValueError:
        raise ToolError(f"{node.name}: ip route: {finished.err.strip()}") from None


def _between(pair: Pair) -> dict[str, Value]:
    return {"path": pair.path, "source": pair.source.name, "destination": pair.destination.name}
