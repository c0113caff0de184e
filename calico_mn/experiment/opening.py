"""The beginning of an experiment: what is about to run, and how long it will take."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from calico_mn.experiment.options import Effort, Options
from calico_mn.measure.paths import Endpoint
from calico_mn.report import terminal

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

#: seconds that deciding one pair's reachability takes, and a trial besides its transfer
PAIR_S = 0.008
_TRIAL_S = 0.2


def trial_seconds(effort: Effort) -> float:
    """How long a trial is expected to take."""
    return effort.duration + _TRIAL_S


def expected_seconds(options: Options, pods: Sequence[Endpoint], paths: Collection[str]) -> float:
    """How long all is expected to take."""
    pairs = len(options.modes) * len(pods) * (len(pods) - 1)
    trials = len(options.modes) * len(paths) * options.effort.repeats
    return pairs * PAIR_S + trials * trial_seconds(options.effort)


def _from_here(path: str) -> str:
    """The path as one would type it where this was called."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return path


def _some(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" + ("s" if len(things) > 1 else "")


def show(out: Console, net: CalicoNet, options: Options, paths: Collection[str],
         environment: Mapping[str, Any]) -> None:
    """Say what runs; a topology's warnings go to standard error."""
    for warning in net.topology.warnings:
        terminal.complain(warning)
    machine, effort = environment["machine"], options.effort
    seconds = expected_seconds(options, net.pods, paths)
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
    ])
