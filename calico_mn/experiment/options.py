"""The command line of an experiment: options that all have, and the types of their own factors.

In go the words that were typed; out come :class:`Options`, or a message and exit status 2. Imports
little, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from calico_mn.bgp.timers import Timers
from calico_mn.calico.encapsulation import DEFAULT, ENCAPSULATIONS, Encapsulation, named
from calico_mn.command_line import (
    Parser,
    add_engine,
    add_iptables,
    add_no_policy,
    add_profile,
    add_tunnel,
)
from calico_mn.errors import ClusterError
from calico_mn.experiment import real_options
from calico_mn.experiment.real_options import KUBERNETES
from calico_mn.kubernetes.settings import Settings
from calico_mn.model import EncapsulationMode
from calico_mn.text import suggest

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MODES = tuple(mode.value for mode in EncapsulationMode)
_LONGEST_S = 3600
_DECIMAL = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_MOST_REPEATS = 100_000
_MOST_SEED = 999_999_999


@dataclass(frozen=True, slots=True)
class Repetitions:
    """How much is measured: repeats of each setting, and seconds a transfer."""

    repeats: int
    duration: float


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an experiment does unless asked otherwise: its topology, and how much it measures."""

    topology: Path
    full: Repetitions
    quick: Repetitions


@dataclass(frozen=True, slots=True)
class Factor(Generic[T_co]):
    """An option of one experiment, such as ``--modes``; ``read`` is its argparse type.

    ``quick`` is the default with --quick, if that is another one. A real cluster cannot be asked
    for an ``emulated`` one.
    """

    flag: str
    read: Callable[[str], T_co]
    default: T_co
    metavar: str
    help: str
    quick: T_co | None = None
    emulated: bool = False

    @property
    def name(self) -> str:
        """As Python and JSON spell the flag: ``packet_sizes``."""
        return self.flag.strip("-").replace("-", "_")


ENCAPSULATION = "--encapsulation"


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for.

    ``output`` is None for a directory of its own; ``resume`` the directory of a run to go on
    with. ``levels`` has the experiment's own factors, by flag. ``arguments`` is the command line
    without ``--resume`` and ``--output``: with it, the same is asked for again.
    ``raise_neighbour_limit`` lets clusters raise the machine's limit while they run; ``iptables``
    is what Felix's rules are to be written with, ``policies`` False leaves them out, ``engine`` is
    what hands routes on, ``bird_timers`` are those of engine ``bird``, None for Calico's, and
    ``profile`` is the release whose routes nodes have. ``on`` is the address of a Dask scheduler
    whose workers measure, ``kubernetes``, or empty for this machine; ``real`` is what was
    asked for of a real cluster, None without one. ``with_report`` False leaves out
    the report, for a block of a run on several machines, which is reported on as a whole.
    """

    topology: Path
    tunnel: str
    repetitions: Repetitions
    seed: int
    quick: bool
    output: Path | None
    resume: Path | None
    levels: Mapping[str, Any]
    arguments: tuple[str, ...]
    raise_neighbour_limit: bool = False
    iptables: str = "auto"
    engine: str = "builtin"
    bird_timers: Timers | None = None
    policies: bool = True
    profile: str = ""
    on: str = ""
    with_report: bool = True
    real: Settings | None = None

    def __getitem__(self, factor: Factor[T]) -> T:
        return cast(T, self.levels[factor.flag])

    @property
    def encapsulation(self) -> Encapsulation:
        """What the experiment's tunnels are; of an experiment without that factor DEFAULT."""
        return cast(Encapsulation, self.levels.get(ENCAPSULATION, DEFAULT))


def parse(description: str, defaults: Defaults, factors: Sequence[Factor[Any]] = (),
          arguments: Sequence[str] | None = None, why_emulated: str = "") -> Options:
    """Read the command line; with a mistake in it, argparse says so and exits with status 2.

    ``why_emulated`` is why the experiment takes no real cluster, empty for one that does.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(description, defaults)
    if not why_emulated:
        real_options.add(parser)
    for factor in factors:
        parser.add_argument(factor.flag, type=factor.read, metavar=factor.metavar,
                            help=factor.help)
    asked = parser.parse_args(argv)
    if asked.resume is not None and without(argv, "--resume", "--on", "--on-plain-tcp"):
        parser.error("--resume goes on with the options that the run began with: give no others"
                     " but --on")
    real = real_options.read(parser, argv, asked, [
        factor.flag for factor in factors if factor.emulated], why_emulated)
    usual = defaults.quick if asked.quick else defaults.full
    levels = {}
    for factor in factors:
        level = getattr(asked, factor.name)
        if level is None:
            level = (factor.quick if asked.quick and factor.quick is not None
                     else factor.default)
        levels[factor.flag] = level
    return Options(
        asked.topology, asked.tunnel,
        Repetitions(asked.repeats or usual.repeats, asked.duration or usual.duration),
        asked.seed, asked.quick, asked.output, asked.resume, levels,
        tuple(without(argv, "--output")), asked.raise_neighbour_limit, asked.iptables,
        asked.engine, asked.bird_timers, not asked.no_policy, asked.profile, asked.on or "",
        not asked.no_report, real)


def _parser(description: str, defaults: Defaults) -> argparse.ArgumentParser:
    parser = Parser(description=description, allow_abbrev=False)
    add = parser.add_argument
    add("--topology", type=path, default=defaults.topology, metavar="FILE",
        help=f"the cluster (default: {defaults.topology.parent.name}/{defaults.topology.name})")
    add_tunnel(parser)
    add_iptables(parser)
    add_engine(parser)
    add_profile(parser)
    add_no_policy(parser)
    add("--repeats", type=positive_int, metavar="N",
        help=f"trials of each setting (default: {defaults.full.repeats})")
    add("--duration", type=seconds, metavar="S",
        help=f"seconds of a measurement (default: {defaults.full.duration:g})")
    add("--seed", type=int_between(0, _MOST_SEED), default=1, metavar="N",
        help="of the random order of trials (default: 1)")
    add("--output", type=path, metavar="DIR",
        help="a new or empty directory (default: results/NAME-TIME)")
    add("--resume", type=path, metavar="DIR",
        help="go on with a run that was cut short, whose results are in DIR")
    add("--on", type=place, metavar="PLACE",
        help="measure on the machines of a Dask scheduler, tls://HOST:PORT (docs/machines.md), or"
             f" on a real cluster: {KUBERNETES} (docs/kubernetes.md)")
    add("--on-plain-tcp", dest="on", metavar="ADDRESS",
        help="the same over tcp://, without encryption or certificates: each process that reaches"
             " the scheduler's or a worker's port is root on every worker")
    add("--no-report", action="store_true", help=argparse.SUPPRESS)
    add("--raise-neighbour-limit", action="store_true",
        help="raise the machine's neighbour-table limit (net.ipv4.neigh.default.gc_thresh3) to"
             " what the clusters may need, until they end")
    add("--quick", action="store_true",
        help=f"a look in under 30 s: {defaults.quick.repeats} repeats of"
             f" {defaults.quick.duration:g} s")
    return parser


def without(words: Sequence[str], *options: str) -> list[str]:
    """The words of a command line less these options and their arguments."""
    others: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith(tuple(f"{option}=" for option in options)):
            skip = False
        elif word in options:
            skip = True
        else:
            others.append(word)
    return others


# --- types of options

def mode_list(text: str) -> tuple[str, ...]:
    """Encapsulation modes, by commas."""
    modes = tuple(word.strip() for word in text.split(","))
    for mode in modes:
        if mode not in MODES:
            by_lower = {known.lower(): known for known in MODES}
            close = by_lower.get(suggest(mode.lower(), by_lower))
            hint = f"; did you mean {close}?" if close else ""
            raise argparse.ArgumentTypeError(
                f"there is no mode {mode!r} (modes: {', '.join(MODES)}){hint}")
    if len(set(modes)) < len(modes):
        raise argparse.ArgumentTypeError(f"a mode is named twice in {text!r}")
    return modes


def mode(text: str) -> str:
    """One encapsulation mode."""
    modes = mode_list(text)
    if len(modes) > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is more than one mode")
    return modes[0]


def pair_list(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of pods, ``A:B,C:D``."""
    pairs = tuple(tuple(name.strip() for name in word.split(":")) for word in text.split(","))
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of pairs: write POD:POD,POD:POD")
    return cast("tuple[tuple[str, str], ...]", pairs)


def word_list(text: str) -> tuple[str, ...]:
    """Names by commas, of lower-case letters, digits, - and _."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if not re.fullmatch("[a-z0-9_-]+", word):
            raise argparse.ArgumentTypeError(f"{word!r} is not a name")
    return words


def encapsulation(text: str) -> Encapsulation:
    """IPIP or VXLAN, in upper or lower case."""
    try:
        return named(text)
    except ClusterError:
        known = ", ".join(str(known).lower() for known in ENCAPSULATIONS)
        raise argparse.ArgumentTypeError(f"{text!r} is none of {known}") from None


def choice_list(*choices: str) -> Callable[[str], tuple[str, ...]]:
    """Some of the ``choices``, by commas."""

    def read(text: str) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
        for word in chosen:
            if word not in choices:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(choices)}")
        return chosen

    return read


def int_list(least: int, most: int, zero: str = "") -> Callable[[str], tuple[int, ...]]:
    """Numbers by commas; the word ``zero`` stands for 0."""

    def number(word: str) -> int:
        return 0 if zero and word == zero else _int(word, least, most, zero)

    return lambda text: tuple(dict.fromkeys(number(word.strip()) for word in text.split(",")))


def int_between(least: int, most: int) -> Callable[[str], int]:
    """One number."""
    return lambda text: _int(text, least, most)


def _int(text: str, least: int, most: int, zero: str = "") -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}"
                                         + (f", or {zero}" if zero else ""))
    return number


def positive_int(text: str) -> int:
    """A number of repeats."""
    return _int(text, 1, _MOST_REPEATS)


def place(text: str) -> str:
    """Where to measure: a Dask scheduler, or a real cluster."""
    return text if text == KUBERNETES else scheduler(text)


def scheduler(text: str) -> str:
    """A Dask scheduler's address: over TLS, or on this machine."""
    match = re.fullmatch(r"(tls|tcp)://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no address of a Dask scheduler: write"
                                         " tls://HOST:PORT")
    if match[1] == "tcp" and not _is_loopback(match[2].strip("[]")):
        raise argparse.ArgumentTypeError(
            f"{text}: over plain TCP, every machine that reaches a worker's port is root on it."
            " Use tls://, or --on-plain-tcp in a network that you trust")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False  # a name, which may be that of another machine


def path(text: str) -> Path:
    """A file or directory."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or directory is empty")
    return Path(text)


def seconds(text: str) -> float:
    """A time in seconds."""
    number = float(text) if _DECIMAL.fullmatch(text) else 0.0
    if not 0.05 <= number <= _LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0.05 to {_LONGEST_S}")
    return number
