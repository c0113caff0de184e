"""The command line of an experiment: options that all have, and the factors of one.

In go the words that were typed; out come :class:`Options`, or a message and exit status 2. Options
of a real cluster (``--on kubernetes``) do not go with those that say what is emulated. Imports
little, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from calico_mn.bgp.timers import Timers
from calico_mn.calico.encapsulation import DEFAULT, Encapsulation
from calico_mn.command_line import (
    Parser,
    add_engine,
    add_iptables,
    add_no_policy,
    add_profile,
    add_tunnel,
)
from calico_mn.experiment import options
from calico_mn.experiment.options import KUBERNETES
from calico_mn.export import IMAGE
from calico_mn.kubernetes.placement import SETTLE_S, Settings

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_MOST_SEED = 999_999_999
#: options that are for a real cluster alone
_REAL = ("--context", "--namespace", "--image", "--allow-mode-change", "--allow-host-capture",
         "--settle")
#: those of every experiment that say what is emulated, and how
_EMULATED = ("--topology", "--tunnel", "--iptables", "--engine", "--bird-timers", "--profile",
             "--no-policy", "--raise-neighbour-limit")


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
        _add_real(parser)
    for factor in factors:
        parser.add_argument(factor.flag, type=factor.read, metavar=factor.metavar,
                            help=factor.help)
    asked = parser.parse_args(argv)
    if asked.resume is not None and without(argv, "--resume", "--on", "--on-plain-tcp"):
        parser.error("--resume goes on with the options that the run began with: give no others"
                     " but --on")
    real = _read_real(parser, argv, asked, [
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
    add("--topology", type=options.path, default=defaults.topology, metavar="FILE",
        help=f"the cluster (default: {defaults.topology.parent.name}/{defaults.topology.name})")
    add_tunnel(parser)
    add_iptables(parser)
    add_engine(parser)
    add_profile(parser)
    add_no_policy(parser)
    add("--repeats", type=options.positive_int, metavar="N",
        help=f"trials of each setting (default: {defaults.full.repeats})")
    add("--duration", type=options.seconds, metavar="S",
        help=f"seconds of a measurement (default: {defaults.full.duration:g})")
    add("--seed", type=options.int_between(0, _MOST_SEED), default=1, metavar="N",
        help="of the random order of trials (default: 1)")
    add("--output", type=options.path, metavar="DIR",
        help="a new or empty directory (default: results/NAME-TIME)")
    add("--resume", type=options.path, metavar="DIR",
        help="go on with a run that was cut short, whose results are in DIR")
    add("--on", type=options.place, metavar="PLACE",
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


def _add_real(parser: argparse.ArgumentParser) -> None:
    """Add the options of a real cluster."""
    add = parser.add_argument_group(f"with --on {KUBERNETES} (docs/kubernetes.md)").add_argument
    add("--context", metavar="NAME", help="of the kubeconfig (default: the current one)")
    add("--namespace", type=options.namespace, metavar="NAME",
        help="a new one for the pods (default: calico-mn- and six digits); it is removed at the"
             " end")
    add("--image", default=IMAGE, metavar="NAME",
        help=f"of the pods, with iperf3, ping and python3 (default: {IMAGE})")
    add("--allow-mode-change", action="store_true",
        help="change the mode of the pods' IPPool, for all pods of the cluster in that pool, and"
             " set it again at the end; without it only the mode that it has is measured")
    add("--allow-host-capture", action="store_true",
        help="run tcpdump in pods on the nodes' own network, to see which packets are"
             " encapsulated")
    add("--settle", type=options.settle, default=SETTLE_S, metavar="S",
        help=f"seconds to wait after a mode change where no capture shows its effect (default:"
             f" {SETTLE_S:g})")


def _read_real(parser: argparse.ArgumentParser, argv: Sequence[str], asked: argparse.Namespace,
               emulated: Sequence[str], why_emulated: str) -> Settings | None:
    """What was asked for, None without ``--on kubernetes``; a mistake ends the process.

    ``emulated`` are the experiment's own options that a real cluster cannot have, ``why_emulated``
    is why the experiment takes none.
    """
    given = {word.partition("=")[0] for word in argv}
    if asked.on != KUBERNETES:
        if wrong := [flag for flag in _REAL if flag in given]:
            parser.error(f"{wrong[0]} is for a real cluster: add --on {KUBERNETES}")
        return None
    if why_emulated:
        parser.error(f"--on {KUBERNETES}: this experiment takes an emulated cluster, since"
                     f" {why_emulated}; docs/kubernetes.md says which one measures a real cluster")
    if wrong := [flag for flag in (*_EMULATED, *emulated) if flag in given]:
        parser.error(f"{wrong[0]} is for an emulated cluster: leave it out with --on {KUBERNETES}")
    if len(getattr(asked, "modes", None) or ()) > 1 and not asked.allow_mode_change:
        parser.error("several --modes change the mode of the cluster's pool, for all pods in it:"
                     " --allow-mode-change permits that")
    return Settings(asked.context, asked.namespace or "", asked.image, asked.allow_mode_change,
                    asked.allow_host_capture, asked.settle)


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
