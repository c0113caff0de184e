"""The command line that all experiments have in common, and the types of their own options."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from calico_mn.command_line import Parser
from calico_mn.model import EncapsulationMode

MODES = tuple(mode.value for mode in EncapsulationMode)
_LONGEST_S = 3600
_DECIMAL = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_MOST_REPEATS = 100_000
_MOST_SEED = 999_999_999


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: repeats of each setting, and seconds a transfer."""

    repeats: int
    duration: float


@dataclass(frozen=True, slots=True)
class Usual:
    """What an experiment does unless asked otherwise: its topology, and how much it measures."""

    topology: Path
    full: Effort
    quick: Effort


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for.

    ``output`` is None for a directory of its own; ``resume`` the directory of a run to go on
    with. ``own`` has the experiment's own options. ``arguments`` is the command line without
    ``--resume`` and ``--output``: with it, the same is asked for again. ``raise_neighbour_limit``
    lets clusters raise the machine's limit while they run.
    """

    topology: Path
    tunnel: str
    effort: Effort
    seed: int
    quick: bool
    output: Path | None
    resume: Path | None
    own: argparse.Namespace
    arguments: tuple[str, ...]
    raise_neighbour_limit: bool = False


Add = Callable[[argparse.ArgumentParser], None]


def no_more(_parser: argparse.ArgumentParser) -> None:
    """For an experiment without options of its own."""


def parse(description: str, usual: Usual, own: Add = no_more,
          arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; with a mistake in it, argparse says so and exits with status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(description, usual)
    own(parser)
    found = parser.parse_args(words)
    if found.resume is not None and _without(words, "--resume"):
        parser.error("--resume goes on with the options that the run began with: give no others")
    effort = usual.quick if found.quick else usual.full
    return Options(
        found.topology, found.tunnel,
        Effort(found.repeats or effort.repeats, found.duration or effort.duration),
        found.seed, found.quick, found.output, found.resume, found,
        tuple(_without(words, "--output")), found.raise_neighbour_limit)


def _parser(description: str, usual: Usual) -> argparse.ArgumentParser:
    parser = Parser(description=description, allow_abbrev=False)
    add = parser.add_argument
    add("--topology", type=place, default=usual.topology, metavar="FILE",
        help=f"the cluster (default: {usual.topology.parent.name}/{usual.topology.name})")
    add("--tunnel", choices=("auto", "kernel", "ebpf"), default="auto",
        help="what makes tunl0: the ipip module, or an eBPF device (default: auto)")
    add("--repeats", type=whole, metavar="N",
        help=f"trials of each setting (default: {usual.full.repeats})")
    add("--duration", type=seconds, metavar="S",
        help=f"seconds of a measurement (default: {usual.full.duration:g})")
    add("--seed", type=whole_number(0, _MOST_SEED), default=1, metavar="N",
        help="of the random order of trials (default: 1)")
    add("--output", type=place, metavar="DIR",
        help="a new or empty directory (default: results/NAME-TIME)")
    add("--resume", type=place, metavar="DIR",
        help="go on with a run that was cut short, whose results are in DIR")
    add("--raise-neighbour-limit", action="store_true",
        help="raise the machine's neighbour-table limit (net.ipv4.neigh.default.gc_thresh3) to"
             " what the clusters may need, until they end")
    add("--quick", action="store_true",
        help=f"a look in under 30 s: {usual.quick.repeats} repeats of"
             f" {usual.quick.duration:g} s")
    return parser


def _without(words: Sequence[str], option: str) -> list[str]:
    """The words of a command line less an option and its argument."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith(f"{option}="):
            skip = False
        elif word == option:
            skip = True
        else:
            kept.append(word)
    return kept


def modes(text: str) -> tuple[str, ...]:
    """The type of an option that takes IPIP modes, by commas."""
    found = tuple(word.strip() for word in text.split(","))
    for mode in found:
        if mode not in MODES:
            by_lower = {known.lower(): known for known in MODES}
            close = difflib.get_close_matches(mode.lower(), by_lower, 1)
            hint = f"; did you mean {by_lower[close[0]]}?" if close else ""
            raise argparse.ArgumentTypeError(
                f"there is no IPIP mode {mode!r} (modes: {', '.join(MODES)}){hint}")
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"a mode is named twice in {text!r}")
    return found


def words_of(*known: str) -> Callable[[str], tuple[str, ...]]:
    """The type of an option that takes some of the ``known`` words, by commas."""

    def read(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
        for word in found:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return found

    return read


def whole_numbers(least: int, most: int, zero: str = "") -> Callable[[str], tuple[int, ...]]:
    """The type of an option that takes numbers by commas; the word ``zero`` stands for 0."""

    def one(word: str) -> int:
        if zero and word == zero:
            return 0
        number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else -1
        if not least <= number <= most:
            also = f", or {zero}" if zero else ""
            raise argparse.ArgumentTypeError(
                f"{word!r} is not a whole number from {least} to {most}{also}")
        return number

    return lambda text: tuple(dict.fromkeys(one(word.strip()) for word in text.split(",")))


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """The type of an option that takes one number."""

    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least} to {most}")
        return number

    return read


def whole(text: str) -> int:
    """The type of an option that takes a number of repeats."""
    return whole_number(1, _MOST_REPEATS)(text)


def place(text: str) -> Path:
    """The type of an option that takes a file or directory."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or directory is empty")
    return Path(text)


def seconds(text: str) -> float:
    """The type of an option that takes a time in seconds."""
    found = float(text) if _DECIMAL.fullmatch(text) else 0.0
    if not 0.05 <= found <= _LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0.05 to {_LONGEST_S}")
    return found
