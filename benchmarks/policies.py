#!/usr/bin/env python3
"""What Felix's rules and policies take: at boot, for a pod, a set's member, a matrix.

    sudo .venv/bin/python benchmarks/policies.py [--sizes 20x50,100x2] [--rounds 5] [--quick]
        [--iptables auto|nft|legacy] [--json FILE]

Each round does all of this once, in an order that rotates, and ratios are formed within a round:

boot     clusters without Felix's rules, with them, and with ten policies besides, whose rules have
         sets of 100 members; from the Topology object to attached Mininet nodes;
pod      on two nodes with 50 pods each: one more pod on one of them, with and without ten policies;
member   in the latter: one more member of one set, given as data, until both nodes have it;
matrix   who may talk to whom among 1,000 pods of 20 applications, with a policy for each: no
         packet, no cluster.

--iptables auto is each back end of iptables that works on this machine. Figures are medians, with
the smallest and largest value behind them. A boot waits until the kernel has taken the last
cluster's namespaces apart.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

try:
    import figures
    import machine
    from clusters import Size, topology
    from rich.console import Console

    from calico_mn import CalicoNet
    from calico_mn.calico.cluster import Cluster
    from calico_mn.calico.policy.explain import Explainer
    from calico_mn.calico.policy.matrix import policy_matrix
    from calico_mn.errors import CalicoMnError, UnsupportedError
    from calico_mn.experiment.options import positive_int
    from calico_mn.kernel.iptables import AUTO, LEGACY, NFT, NONE, WISHES, choose
    from calico_mn.measure import cluster, resources
    from calico_mn.model import Topology
    from calico_mn.policy import EntityRule, Policy, Rule
    from calico_mn.topology.scaled import policies
except ImportError as error:
    sys.exit(f"{error}; run ./install.sh, then: sudo .venv/bin/python benchmarks/policies.py")

#: policies, members of each rule's set; nodes with pods for what changes; applications of a matrix
COUNT, MEMBERS, CROWD, APPLICATIONS = 10, 100, Size(2, 50), 20
#: seconds that the machine has to come to rest
_REST_S, _REST_QUICK_S = 30.0, 2.0


@dataclass(frozen=True)
class Sample:
    """``ms`` that something took; ``rules`` is what writes Felix's, or ``none``."""

    round: int
    what: str
    rules: str
    policies: int
    ms: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    if os.geteuid() != 0:
        sys.exit("policies.py: making network namespaces needs root: run this with sudo")
    machine.interrupt_by(signal.SIGTERM)
    out, about = figures.console(), figures.environment()
    out.print(figures.heading("policies", about))
    samples: list[Sample] = []
    status = 0
    try:
        backends = works(options.iptables)
        out.print(f"Felix's rules are written with iptables-{' and iptables-'.join(backends)}")
        measure(options, backends, samples)
    except KeyboardInterrupt:
        out.print("interrupted: what follows was measured until then")
        status = 130
    except CalicoMnError as error:
        out.print(f"policies.py: {error}", style="red", markup=False)
        return 1
    show(out, samples, options.sizes)
    if options.json:
        figures.write_json(options.json, {
            "environment": about, "samples": [asdict(sample) for sample in samples],
            "summary": [{"what": what, "rules": rules, "policies": count,
                         "ms": figures.summary(times(samples, what, rules, count)),
                         "ratio": figures.summary(ratios(samples, what, rules, count))}
                        for what, rules, count in kinds(samples)]})
    return status


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = figures.Parser(__doc__, epilog="See docs/benchmarks.md for what the figures mean.")
    parser.add_argument("--sizes", type=_sizes, default=_sizes("20x50,100x2"),
                        help="NODESxPODS of boots, separated by commas (20x50,100x2)")
    parser.add_argument("--rounds", type=positive_int, default=5, help="of all (5)")
    parser.add_argument("--iptables", choices=WISHES, default=AUTO,
                        help="what writes the rules (auto: all that work here)")
    parser.add_argument("--quick", action="store_true", help="one round, boots of 4x10")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.sizes = 1, _sizes("4x10")
    return options


def _sizes(text: str) -> list[Size]:
    try:
        return [Size.parse(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def works(wish: str) -> list[str]:
    """The back ends to measure. Raises UnsupportedError where there is none."""
    found, reason = [], ""
    for name in (NFT, LEGACY) if wish == AUTO else (wish,):
        try:
            found.append(choose(name, "Auto").name)
        except UnsupportedError as error:
            reason = str(error)
    if not found:
        raise UnsupportedError(reason)
    return found


# ---------------------------------------------------------------- measuring


def measure(options: argparse.Namespace, backends: Sequence[str], samples: list[Sample]) -> None:
    """All rounds; each sample is in ``samples`` at once."""
    rest = resources.Rest(_REST_QUICK_S if options.quick else _REST_S)
    with CalicoNet(topology(Size(1, 1))):
        pass  # what a process does once, such as trying the eBPF tunnel
    subjects = [(NONE, 0), *((name, count) for name in backends for count in (0, COUNT))]
    for number in range(options.rounds):
        turn = number % len(subjects)
        for rules, count in (*subjects[turn:], *subjects[:turn]):
            def note(what: str, ms: float, rules: str = rules, count: int = count) -> None:
                samples.append(Sample(number, what, rules, count, ms))  # noqa: B023
            for size in options.sizes:
                rest.wait()
                net = cluster_of(topology(size), rules, count)
                try:
                    note(f"boot {size}", timed(net.start))
                finally:
                    net.stop()
            rest.wait()
            with cluster_of(topology(CROWD), rules, count) as net:
                for what, ms in changes(net, count):
                    note(what, ms)
        applications = applied()
        samples.append(Sample(number, "matrix", NONE, APPLICATIONS, timed(
            lambda: policy_matrix(Explainer(applications), [("tcp/80", 6, 80)]))))  # noqa: B023


def cluster_of(base: Topology, rules: str, count: int) -> CalicoNet:
    """A cluster that has not booted yet."""
    made, sets = policies(count, members=MEMBERS)
    return CalicoNet(replace(base, policies=tuple(made), network_sets=tuple(sets)),
                     policies=rules != NONE, iptables=AUTO if rules == NONE else rules)


def changes(net: CalicoNet, count: int) -> Iterator[tuple[str, float]]:
    """One more pod, and one more member."""
    yield "pod", timed(lambda: net.add_pod(name="one-more", node=net.nodes[0].name))
    if count:
        made, sets = policies(count, members=MEMBERS)
        more = policies(1, members=MEMBERS + 1)[1]
        cluster.enforce(net, made, sets)
        yield "member", timed(lambda: cluster.enforce(net, made, [*more, *sets[1:]]))


def applied() -> Cluster:
    """1,000 pods of some applications; a policy lets each be reached by the next one alone."""
    base = topology(Size(20, 50))
    pods = tuple(replace(pod, labels=(("app", f"app-{number % APPLICATIONS}"),))
                 for number, pod in enumerate(base.pods))
    made = tuple(Policy(
        "NetworkPolicy", f"app-{number}", f"default.app-{number}", namespace="default",
        selector=f"app == 'app-{number}'", ingress=(Rule(protocol="tcp", source=EntityRule(
            selector=f"app == 'app-{(number + 1) % APPLICATIONS}'")),))
        for number in range(APPLICATIONS))
    return Cluster(replace(base, pods=pods, policies=made), 2)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    gc.collect()
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


# ---------------------------------------------------------------- results


def kinds(samples: Sequence[Sample]) -> list[tuple[str, str, int]]:
    """What was measured."""
    return sorted(dict.fromkeys((s.what, s.rules, s.policies) for s in samples))


def times(samples: Sequence[Sample], what: str, rules: str, count: int) -> list[float]:
    """The samples' milliseconds."""
    return [s.ms for s in samples if (s.what, s.rules, s.policies) == (what, rules, count)]


def ratios(samples: Sequence[Sample], what: str, rules: str, count: int) -> list[float]:
    """By the time without rules, round by round."""
    without = {s.round: s.ms for s in samples if (s.what, s.rules) == (what, NONE)}
    return [s.ms / without[s.round] for s in samples if s.round in without and rules != NONE
            and (s.what, s.rules, s.policies) == (what, rules, count)]


def a_node_more(samples: Sequence[Sample], what: str, rules: str, nodes: int) -> list[float]:
    """Milliseconds a node that a boot with the policies takes longer than one without them."""
    without = {s.round: s.ms for s in samples
               if (s.what, s.rules, s.policies) == (what, rules, 0)}
    return [(s.ms - without[s.round]) / nodes for s in samples if s.round in without
            and (s.what, s.rules, s.policies) == (what, rules, COUNT)]


def show(out: Console, samples: Sequence[Sample], sizes: Sequence[Size]) -> None:
    """The tables."""
    nodes = {f"boot {size}": size.nodes for size in sizes}
    rows = []
    for what, rules, count in kinds(samples):
        more = a_node_more(samples, what, rules, nodes[what]) if count and what in nodes else []
        rows.append((what, rules, str(count), figures.spread(
            times(samples, what, rules, count), 1), figures.spread(
                ratios(samples, what, rules, count)), figures.spread(more, 1)))
    out.print(figures.table("Median (smallest-largest)", (
        "what", "rules", "policies", "ms", "by none", "policies: ms a node more"), rows))


if __name__ == "__main__":
    sys.exit(main())
