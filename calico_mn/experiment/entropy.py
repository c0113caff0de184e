"""Flows over two equal cables: the levels of the factors, what is expected, and a trial."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass

from calico_mn.emulation.net import CalicoNet
from calico_mn.emulation.node import Pod
from calico_mn.errors import ClusterError
from calico_mn.experiment.common import facts, some
from calico_mn.experiment.options import modes, whole_number
from calico_mn.experiment.run import Run
from calico_mn.measure import paths
from calico_mn.measure.flows import TCP, UDP, Fork, flows, fork
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.paths import CROSS_SUBNET, Pair
from calico_mn.measure.statistics import ONE_PATH, SPREAD
from calico_mn.measure.trials import PLAIN, POD_ROUTES, Trial, conditions, factorial
from calico_mn.model import INNER_FLOW, OUTER_FIELDS, MultipathHash

INSTRUMENT = "flows"
KEPT, FORGOTTEN = "kept", "forgotten"
PROTOCOLS = (UDP, TCP)
NEVER = "Never"

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


def add_options(parser: argparse.ArgumentParser) -> None:
    """The experiment's own options."""
    parser.add_argument("--modes", type=modes, default=("Always", NEVER), metavar="MODE[,MODE...]",
                        help="IPIP modes to compare (default: Always,Never)")
    parser.add_argument("--flows", type=whole_number(20, 5000), default=200, metavar="N",
                        help="flows of a trial (default: 200)")


def expected(mode: str, policy: str, hashes: str) -> str:
    """What a flow's packets show to a router with this policy: whether flows can spread.

    Policy 1 believes a hash that the packet brings along (fib_multipath_hash in Linux'
    net/ipv4/route.c: ``if (skb->l4_hash)``), also inside a tunnel, whose header has no ports.
    """
    if mode == NEVER:
        return SPREAD if policy == "1" else ONE_PATH
    return SPREAD if policy == "3 inner" or (policy, hashes) == ("1", KEPT) else ONE_PATH


@dataclass(frozen=True)
class Plan:
    """The cluster, the two pods, the router with the choice, and the trials."""

    run: Run
    net: CalicoNet
    pair: Pair
    fork: Fork

    @property
    def settings(self) -> tuple[dict[str, Value], ...]:
        """Every combination of the factors."""
        return tuple({**setting, "path": self.pair.path, "source": self.pair.source.name,
                      "destination": self.pair.destination.name, "tunnel": self.net.tunnel,
                      "fabric": POD_ROUTES if setting["mode"] == NEVER else PLAIN,
                      "flows": self.run.options.own.flows}
                     for setting in factorial(
                         mode=self.run.options.own.modes, policy=tuple(POLICIES),
                         hashes=(KEPT, FORGOTTEN), protocol=PROTOCOLS))

    def send(self, trial: Trial) -> Measurement:
        """Set what the trial asks for, send its flows, count them where the cables begin."""
        net, own = self.net, self.run.options.own
        chosen, _ = POLICIES[trial.text("policy")]
        net.set_multipath_hash(chosen.policy, chosen.fields)
        with ExitStack() as stack:
            if trial["hashes"] == FORGOTTEN:
                stack.enter_context(net.forgetting_flow_hashes())
            wire = stack.enter_context(conditions(
                net, trial.text("mode"), self.pair, pod_routes=trial["fabric"] == POD_ROUTES))
            server = net[self.pair.destination.name]
            assert isinstance(server, Pod)
            found = flows(net[self.pair.source.name], server, net[self.fork.router],
                          self.fork.devices, trial.text("protocol"), own.flows,
                          patience=self.run.options.effort.duration)
        return Measurement({"path_share": round(found.share, 6), "packets_left": sum(found.packets),
                      "flows_arrived": found.arrived},
                     series={"packets": found.packets}, seen={"encapsulated": wire.encapsulated})

    @property
    def trial_seconds(self) -> float:
        """How long a trial is expected to take."""
        count: int = self.run.options.own.flows
        return _TRIAL_S + _FLOW_S * count

    def describe(self, trial: Trial) -> str:
        """A trial in a few words."""
        return f"{trial['mode']}, policy {trial['policy']}, {trial['protocol']}"


def plan(run: Run) -> Plan:
    """Boot the cluster, find two pods with two equal ways between them, say what will be done."""
    net = run.net()
    pair = paths.representative_pairs(paths.endpoints(net)).get(CROSS_SUBNET)
    if pair is None:
        raise ClusterError(f"{net.topology.source}: all pods are in one subnet, and no router has"
                           " a choice; see topologies/two-paths.yaml for a topology in which"
                           " one has")
    found = Plan(run, net, pair, fork(net, pair))
    if len(found.fork.devices) != 2:
        raise ClusterError(f"{net.topology.source}: {found.fork.router} has"
                           f" {len(found.fork.devices)} equal ways, and this experiment is about"
                           " two")
    own, effort = run.options.own, run.options.effort
    count = len(found.settings)
    run.plan = {"modes": list(own.modes), "policies": {
        name: {"policy": chosen.policy, "fields": chosen.fields}
        for name, (chosen, _) in POLICIES.items()},
        "flows": own.flows, "repeats": effort.repeats, "seed": run.options.seed,
        "pair": [pair.source.name, pair.destination.name],
        "router": found.fork.router, "devices": list(found.fork.devices)}
    run.heading("Which of two equal cables do flows take?", [
        *facts(run, net),
        ("flows", f"{own.flows} a trial, from {pair.source.name} on {pair.source.node} to"
         f" {pair.destination.name} on {pair.destination.node}, counted at {found.fork.router}'s"
         f" {' and '.join(found.fork.devices)}"),
        ("trials", f"{count} settings x {some(range(effort.repeats), 'repeat')}, in random order"
         f" (seed {run.options.seed}); about {count * effort.repeats * found.trial_seconds:.0f} s"),
    ], count * effort.repeats * found.trial_seconds)
    return found
