"""``exec``, ``shell`` and ``capture``: programs inside a node, in the caller's own terminal.

The run passes descriptors of the node's namespaces; this very process then enters them and
becomes the program, so that terminal, signals and exit status are the program's own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from calico_mn.cli.complete import NAMESPACES, PLACES, completes
from calico_mn.cli.output import open_file
from calico_mn.cli.verb import Group, UsageError, Verb, check_ending, named, whole
from calico_mn.errors import NotFoundError
from calico_mn.streams import complain

if TYPE_CHECKING:
    from calico_mn.control.session import Session

_KINDS = ("pod", "pods", "po", "node", "nodes", "no")
#: env(1)'s statuses for a program that cannot be run, and one that is not there
_CANNOT_RUN, _NO_SUCH_PROGRAM = 126, 127


def add_place(parser: argparse.ArgumentParser, text: str) -> None:
    """The node's place on the command line."""
    completes(parser.add_argument("place", metavar="NODE", help=text), PLACES)


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """``-n``, as kubectl has it."""
    completes(parser.add_argument(
        "-n", "--namespace", metavar="NAMESPACE", type=named,
        help="of pods, as in kubectl; or write NAMESPACE/NAME"), NAMESPACES)


def in_namespace(options: argparse.Namespace, session: Session, place: str, *,
                 is_strict: bool = False) -> str:
    """A place by its name, also as ``pod/NAME``; ``-n`` may say in which namespace a pod is.

    ``-n`` says nothing of nodes, routers, subnets and addresses, and of pods with a namespace. Of
    two pods one may be in another namespace, unless ``is_strict``. Raises NotFoundError for a
    namespace without pods.
    """
    kind, _, name = place.partition("/")
    if not options.namespace and (not name or kind not in _KINDS):
        return place
    known = session.ask("names")
    pods = known["pods"]
    if name and kind in _KINDS and place not in pods:
        place = name
    pod = f"{options.namespace}/{place}"
    if pod in pods or not options.namespace:
        return pod if pod in pods else place
    if not any(name.startswith(f"{options.namespace}/") for name in pods):
        raise NotFoundError(f"there is no pod in namespace {options.namespace!r}")
    is_pod = any(name.partition("/")[2] == place for name in pods)
    return pod if is_strict and is_pod and "/" not in place else place


def become(session: Session, place: str, command: Sequence[str],
           extra: Mapping[str, str] | None = None) -> NoReturn:
    """Go into a place and become a program there; exit with 126 or 127 where that cannot be."""
    from calico_mn.kernel import netns

    assert not session.is_local
    facts, network, mounts = session.enter(place)  # type: ignore[attr-defined]
    try:
        netns.become(facts["name"], network, mounts, command, netns.environment(
            Path(facts["run"]), facts["name"], extra))
    except OSError as error:
        complain(f"calico-mn: {facts['name']}: cannot run {command[0]}: {error.strerror}")
        sys.exit(_NO_SUCH_PROGRAM if isinstance(error, FileNotFoundError) else _CANNOT_RUN)
    raise AssertionError("unreachable: the process is another program")


# --- exec

def _add_shell(parser: argparse.ArgumentParser) -> None:
    add_place(parser, "node, pod, router or subnet")
    add_namespace(parser)


def _add_exec(parser: argparse.ArgumentParser) -> None:
    _add_shell(parser)
    for letter in "it":
        parser.add_argument(f"-{letter}", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-c", "--container", help=argparse.SUPPRESS)


def _exec(options: argparse.Namespace, session: Session) -> int:
    if not options.command or options.command[0].startswith("-"):
        given = " ".join([options.place, *options.command])
        raise UsageError(f"calico-mn exec: say what to run after --: calico-mn exec {given}"
                         " -- ip route")
    become(session, in_namespace(options, session, options.place, is_strict=True),
           options.command)


# --- shell

def _shell(options: argparse.Namespace, session: Session) -> int:
    prompt = f"\\[\\e[1m\\]{options.place}\\[\\e[0m\\]:\\w\\$ "
    if os.environ.get("NO_COLOR"):
        prompt = f"{options.place}:\\w\\$ "
    become(session, in_namespace(options, session, options.place, is_strict=True),
           ["bash", "--norc"], {"PS1": prompt})


# --- capture

def _add_capture(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("place", metavar="NODE[:IFACE]",
                                  help="where; without a device on all of them"), PLACES)
    parser.add_argument("-w", dest="file", metavar="FILE",
                        help="write pcap to FILE ('-': standard output) instead of text")
    parser.add_argument("-c", dest="count", metavar="N", type=whole,
                        help="end after N packets (default: at Ctrl-C)")


def _capture(options: argparse.Namespace, session: Session) -> int:
    place, _, device = options.place.partition(":")
    known = session.ask("devices", place=place)
    if device and device not in [*known, "any", "lo"]:
        raise NotFoundError(f"{place} has no device {device!r}; it has {', '.join(known)}")
    command = ["tcpdump", "-nn", "-i", device or "any"]
    if options.count is not None:
        if options.count < 1:
            raise UsageError("calico-mn capture: -c takes a number of 1 or more")
        command += ["-c", str(options.count)]
    if options.file is None:
        command.append("-l")
    else:
        if options.file != "-":
            check_ending("capture", options.file, (".pcap", ".cap"))
            _write_standard_output_to(options.file)
            complain(f"writing {options.file}")
        elif sys.stdout.isatty():
            raise UsageError("calico-mn capture: pcap is not for a terminal: -w - needs a pipe")
        command += ["-U", "-w", "-"]
    become(session, place, [*command, "--", *options.command])


def _write_standard_output_to(path: str) -> None:
    """Open the file here and not in the node, where /var/log and /sys are others."""
    descriptor = open_file(path)
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)


VERBS = (
    Verb(
        "exec", Group.INSIDE, "run a program in a node or pod, from any terminal",
        "Runs a program in a node, pod, router or subnet, in this terminal: its input, output, "
        "signals and exit status are passed through. Files are this machine's own, except /sys "
        "and /var/log/calico/cni, which are the node's, and /etc/hosts, which has the names of "
        "all nodes, pods and routers. kubectl's -i, -t and -c CONTAINER change nothing.",
        _add_exec, ask=_exec, command=True,
        program="a program and its arguments; not a shell's line",
        usage="[-h] [--run RUN] [-n NAMESPACE] NODE -- CMD [ARG]...",
        examples=(("calico-mn exec node31 -- ip route", "a node, by its name"),
                  ("calico-mn exec default/web-0 -- ping -c3 10.22.151.1", "a pod"),
                  ("calico-mn exec web-0 -- sh -c 'ip a | grep eth0'", "by a shell"),
                  ("calico-mn exec --run lab node31 -- ip a", "of one of several runs")),
        status="the program's; 125 if it was not started, 126 cannot be run, 127 not found"),
    Verb(
        "shell", Group.INSIDE, "a shell in a node or pod",
        "Starts bash in a node, pod, router or subnet, in this terminal.",
        _add_shell, ask=_shell,
        examples=(("calico-mn shell node31", "in a node"),),
        status="the shell's; 125 if it was not started"),
    Verb(
        "capture", Group.INSIDE, "watch packets by tcpdump: text, or pcap with -w",
        "Runs tcpdump in a node, pod, router or subnet until Ctrl-C. What follows -- is a filter "
        "as tcpdump takes it. Under sudo, the file that -w writes "
        "belongs to the user who called sudo.",
        _add_capture, ask=_capture, command=True,
        usage="[-h] [--run RUN] [-w FILE] [-c N] NODE[:IFACE] [-- FILTER]",
        examples=(("calico-mn capture node31:eth0 -- ip proto 4", "outer packets on the wire"),
                  ("calico-mn capture node31 -c 10", "ten packets, on all its devices"),
                  ("calico-mn capture r1 -w r1.pcap", "everything at the router, for Wireshark"),
                  ("calico-mn capture node31 -w - | wireshark -k -i -", "live")),
        status="tcpdump's"),
)
