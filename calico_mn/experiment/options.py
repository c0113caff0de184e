"""The command line of an experiment: what it asks for, checked."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calico_mn.model import EncapsulationMode

MODES = tuple(mode.value for mode in EncapsulationMode)
_LONGEST_S = 3600


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: repeats of each combination, seconds a transfer."""

    repeats: int
    duration: float


FULL = Effort(repeats=5, duration=1)
QUICK = Effort(repeats=3, duration=0.3)


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for. ``output`` is None for a directory of its own."""

    topology: Path
    modes: tuple[str, ...]
    tunnel: str
    effort: Effort
    seed: int
    output: Path | None
    quick: bool


def parse(description: str, default_topology: Path, arguments: Sequence[str] | None = None
          ) -> Options:
    """Read the command line; with a mistake in it, argparse says so and exits with status 2."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--topology", type=Path, default=default_topology, metavar="FILE",
        help=f"the cluster (default: {default_topology.parent.name}/{default_topology.name})")
    add("--modes", type=_modes, default=MODES, metavar="MODE[,MODE...]",
        help=f"IPIP modes to compare (default: {','.join(MODES)})")
    add("--tunnel", choices=("auto", "kernel", "ebpf"), default="auto",
        help="what makes tunl0: the ipip module, or an eBPF device (default: auto)")
    add("--repeats", type=_positive, metavar="N",
        help=f"trials of each mode on each path (default: {FULL.repeats})")
    add("--duration", type=_seconds, metavar="S",
        help=f"seconds of a TCP transfer (default: {FULL.duration:g})")
    add("--seed", type=int, default=1, metavar="N",
        help="of the random order of trials (default: 1)")
    add("--output", type=Path, metavar="DIR",
        help="a new or empty directory (default: results/NAME-TIME)")
    add("--quick", action="store_true",
        help=f"a look in under 30 s: {QUICK.repeats} repeats of {QUICK.duration:g} s")
    found = parser.parse_args(arguments)
    usual = QUICK if found.quick else FULL
    effort = Effort(found.repeats or usual.repeats, found.duration or usual.duration)
    return Options(found.topology, found.modes, found.tunnel, effort, found.seed, found.output,
                   found.quick)


def _modes(text: str) -> tuple[str, ...]:
    modes = tuple(word.strip() for word in text.split(","))
    for mode in modes:
        if mode not in MODES:
            by_lower = {known.lower(): known for known in MODES}
            close = difflib.get_close_matches(mode.lower(), by_lower, 1)
            hint = f"; did you mean {by_lower[close[0]]}?" if close else ""
            raise argparse.ArgumentTypeError(
                f"there is no IPIP mode {mode!r} (modes: {', '.join(MODES)}){hint}")
    if len(set(modes)) < len(modes):
        raise argparse.ArgumentTypeError(f"a mode is named twice in {text!r}")
    return modes


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0.05 to {_LONGEST_S}")
    return seconds
