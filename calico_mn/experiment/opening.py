"""The beginning of an experiment: what is about to run, and how long it will take."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from calico_mn.experiment.options import Effort, Options
from calico_mn.measure import iperf
from calico_mn.measure.paths import Endpoint
from calico_mn.measure.physics import PathLimit
from calico_mn.report import terminal

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

#: seconds that deciding one pair's reachability takes, and a trial besides its transfer
PAIR_S = 0.008
_TRIAL_S = 0.2


def trial_seconds(effort: Effort, limited: bool = False) -> float:
    """How long a trial is expected to take; ``limited``: over a rate-limited link."""
    unsteady = iperf.UNSTEADY_S if limited else 0
    return iperf.counted_seconds(effort.duration, limited) + unsteady + _TRIAL_S


def expected_seconds(options: Options, pods: Sequence[Endpoint], paths: Collection[str],
                     limited: Collection[str] = ()) -> float:
    """How long all is expected to take; ``limited`` are the paths over rate-limited links."""
    pairs = len(options.modes) * len(pods) * (len(pods) - 1)
    trials = len(options.modes) * options.effort.repeats
    return pairs * PAIR_S + trials * sum(
        trial_seconds(options.effort, path in limited) for path in paths)


def _from_here(path: str) -> str:
    """The path as one would type it where this was called."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return path


def _some(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" + ("s" if len(things) > 1 else "")


def show(out: Console, net: CalicoNet, options: Options, paths: Collection[str],
         environment: Mapping[str, Any], limits: Mapping[str, PathLimit]) -> None:
    """Say what runs; a topology's warnings go to standard error."""
    for warning in net.topology.warnings:
        terminal.complain(warning)
    machine, effort = environment["machine"], options.effort
    seconds = expected_seconds(options, net.pods, paths, limits)
    subnets = {net.topology.subnet_of(node.address.ip) for node in net.topology.nodes}
    terminal.heading(out, f"IPIP modes compared: {', '.join(options.modes)}", [
        ("topology", f"{_from_here(net.topology.source)}: {_some(net.nodes, 'node')} in"
         f" {_some(subnets, 'subnet')}, {_some(net.pods, 'pod')}"),
        ("tunl0", f"{net.tunnel}: {terminal.TUNNELS[net.tunnel]}"),
        ("routes by", net.distributor.name),
        ("profile", net.profile),
        ("machine", f"Linux {machine['kernel']}, {machine['cpus']} CPUs,"
         f" load {machine['load_average'][0]:g}"),
        ("trials", f"{_some(options.modes, 'mode')} x {_some(paths, 'path')} x"
         f" {_some(range(effort.repeats), 'repeat')} of {effort.duration:g} s, in random order"
         f" (seed {options.seed}); about {seconds:.0f} s"),
        *([("slow links", _slow(effort, limits))] if limits else []),
    ])


def _slow(effort: Effort, limits: Mapping[str, PathLimit]) -> str:
    rates = ", ".join(f"{path} {limit.rate:g} Mbit/s" for path, limit in limits.items())
    return (f"{rates}; there {iperf.counted_seconds(effort.duration, True):g} s are counted, after"
            f" a start of {iperf.UNSTEADY_S} s")
