"""Observes a cluster, has it changed, and observes it again.

In go a running cluster and a function that changes it; out comes a :class:`.comparison.Comparison`.
Above :data:`MOST_PODS` pods one pair of pods is tried for each pair of nodes.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from calico_mn.calico.encapsulation import of_device
from calico_mn.calico.policy.explain import Explainer
from calico_mn.calico.policy.matrix import Flow, policy_matrix
from calico_mn.calico.policy.verdict import Verdict
from calico_mn.kernel.route_get import Query, route_get
from calico_mn.measure import path_mtu, reachability
from calico_mn.measure.paths import Endpoint, Pair, endpoints, ordered_pairs
from calico_mn.trace.probe import trace
from calico_mn.whatif.comparison import (
    DIRECT,
    LOST,
    NO_ANSWER,
    PING,
    Comparison,
    Ends,
    State,
    ends_of,
    where,
)

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

#: with more pods, pairs are sampled
MOST_PODS = 200
_MOST_PAIRS = MOST_PODS * (MOST_PODS - 1)
#: so many places are probed for their path MTU, and traced where pairs lose each other
_MOST_PROBED, _MOST_TRACED = 40, 12
_PATIENCE_S = 1.0

Progress = Callable[[dict[str, int]], None]


def compare(net: CalicoNet, change: Callable[[], object], flows: Sequence[Flow] = (),
            progress: Progress = lambda _: None) -> Comparison:
    """Observe the cluster, change it, observe it again. ``flows`` are asked of the policies, too.

    Raises ClusterError for fewer than two pods, before or after, and what ``change`` raises.
    """
    pods = endpoints(net)
    pairs = chosen(pods)
    before = _look(net, map(ends_of, pairs), flows, progress)
    change()
    after = _look(net, map(ends_of, pairs), flows, progress)
    untraced = Comparison(before, after, {}, len(pods) > MOST_PODS)
    causes: dict[str, str] = {}
    for pair in untraced.lost:
        if len(causes) < _MOST_TRACED and not untraced.why(pair) and where(pair) not in causes:
            drop = trace(net, *ends_of(pair)).drop
            reason, _, of_bgp = drop.reason.partition("; ") if drop else ("", "", "")
            # What follows the comma is about the addresses of this pair alone.
            causes[where(pair)] = "; ".join(filter(None, (reason.partition(",")[0], of_bgp)))
    return Comparison(before, after, causes, untraced.is_sample)


def chosen(pods: Sequence[Endpoint]) -> Sequence[Pair]:
    """All pairs, or a pair for each pair of nodes, with other pods for other nodes."""
    if len(pods) <= MOST_PODS:
        return ordered_pairs(pods)
    on_node: defaultdict[str, list[Endpoint]] = defaultdict(list)
    for pod in pods:
        on_node[pod.node].append(pod)
    groups = list(on_node.values())
    pairs = [Pair(near[column % len(near)], far[(row + (near is far)) % len(far)])
             for row, near in enumerate(groups) for column, far in enumerate(groups)]
    pairs = [pair for pair in pairs if pair.source != pair.destination]
    return pairs if len(pairs) <= _MOST_PAIRS else random.Random(0).sample(pairs, _MOST_PAIRS)


def _look(net: CalicoNet, wanted: Iterable[Ends], flows: Sequence[Flow], progress: Progress
          ) -> State:
    net.refresh_sessions()
    pods = {pod.name: pod for pod in endpoints(net)}
    pairs = [Pair(pods[source], pods[destination]) for source, destination in wanted
             if source in pods and destination in pods]
    answers: list[reachability.Reached] = []
    for reached in reachability.matrix(net, pairs):
        answers.append(reached)
        progress({"done": len(answers), "of": len(pairs)})
    ways = {ends_of(reached.pair): _way(net, reached) for reached in answers}
    examples: dict[str, Pair] = {}
    for pair in pairs:
        if ways[ends_of(pair)] != NO_ANSWER and len(examples) < _MOST_PROBED:
            examples.setdefault(where(pair), pair)
    return State(pods, {ends_of(pair): ways[ends_of(pair)] for pair in pairs},
                 {place: _path_mtu(net, pair) for place, pair in examples.items()},
                 {at.name: net.kernel_routes(at.name) for at in (*net.nodes, *net.routers)},
                 _verdicts(net, pairs, (PING, *flows)))


def _way(net: CalicoNet, reached: reachability.Reached) -> str:
    """The wire shows that there is a tunnel, the kernel's route which one."""
    if not reached.reached:
        return NO_ANSWER
    if not reached.encapsulated:
        return DIRECT
    answer = net.inside(reached.pair.source.node, route_get, Query(reached.pair.destination.ip))
    return str(of_device(answer.device) or "a tunnel")


def _path_mtu(net: CalicoNet, pair: Pair) -> str:
    pod_mtu = net.cluster.endpoint(pair.source.name).mtu
    seen = path_mtu.look(net, pair, path_mtu.PING_DF, pod_mtu=pod_mtu, patience=_PATIENCE_S)
    return LOST if seen.outcome == path_mtu.HANGS else str(seen.path_mtu or pod_mtu)


def _verdicts(net: CalicoNet, pairs: Sequence[Pair], flows: Sequence[Flow]
              ) -> dict[str, dict[Ends, Verdict]]:
    """One verdict for all pods that policies cannot tell apart."""
    answer = policy_matrix(Explainer(net.cluster), flows, 0)
    group_of = {pod: number for number, group in enumerate(answer.groups) for pod in group.pods}
    verdicts: dict[str, dict[Ends, Verdict]] = {}
    for flow in answer.flows:
        cells = {ends_of(pair): flow.cells[group_of[pair.source.name]][
            group_of[pair.destination.name]] for pair in pairs}
        verdicts[flow.flow] = {ends: cell.verdict for ends, cell in cells.items() if cell}
    return verdicts
