"""What every command line of ours shares: a parser, and the command that asks for root again.

The parser's messages escape control characters; :func:`sudo_command` gives a command
ready to paste into a shell. Imports nothing that Pythons which are too old for the rest cannot
read.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from calico_mn.profile import NAMES
from calico_mn.text import message, one_line

if TYPE_CHECKING:
    from calico_mn.bgp.timers import Timers

_RUN, _POOL = "CALICO_MN_RUN", "CALICO_IPV4POOL_"
#: the encapsulations' names, lower case; calico_mn.calico.encapsulation is loaded late
ENCAPSULATIONS = ("ipip", "vxlan")


def sudo_command(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """``sudo WORDS``, quoted; with the variables that mean something to us, which sudo drops."""
    variables = [f"{name}={value}" for name, value in sorted(environment.items())
                 if (name == _RUN or name.startswith(_POOL)) and value]
    env = ["env", *variables] if variables else []
    return " ".join(map(shell_quoted, ["sudo", *env, *words]))


def shell_quoted(word: str) -> str:
    """A word for the shell, on one line: control characters as bash, zsh and ksh spell them."""
    if word.isprintable():
        return shlex.quote(word)
    shown = "".join(
        "\\" + letter if letter in "\\'" else letter if letter.isprintable() else
        "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))
        for letter in word)
    return f"$'{shown}'"


def add_no_policy(parser: argparse.ArgumentParser) -> None:
    """The option ``--no-policy``."""
    parser.add_argument("--no-policy", action="store_true",
                        help="nodes without Felix's iptables rules: no network policies, no guards,"
                             " no natOutgoing")


def add_tunnel(parser: argparse.ArgumentParser) -> None:
    """``--tunnel``."""
    parser.add_argument("--tunnel", choices=("auto", "kernel", "ebpf"), default="auto",
                        help="what makes tunl0: the ipip module, or an eBPF device (default: auto)")


def add_iptables(parser: argparse.ArgumentParser) -> None:
    """``--iptables``."""
    parser.add_argument("--iptables", choices=("auto", "legacy", "nft"), default="auto",
                        help="what writes Felix's rules: iptables-legacy or iptables-nft (default:"
                             " auto, FelixConfiguration's iptablesBackend, else as this machine"
                             " has it)")


def add_neighbour_limit(parser: argparse.ArgumentParser) -> None:
    """``--raise-neighbour-limit``."""
    parser.add_argument("--raise-neighbour-limit", action="store_true",
                        help="raise the machine's neighbour-table limit (net.ipv4.neigh.default."
                             "gc_thresh3) to what the cluster may need, until the run ends")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """``--engine`` and ``--bird-timers``."""
    parser.add_argument("--engine", choices=("builtin", "bird"), default="builtin",
                        help="what hands routes on between nodes: the built-in engine (default), "
                             "or a BIRD in each node")
    parser.add_argument("--bird-timers", type=_timers, metavar="TIMERS",
                        help="with --engine bird: calico (default), short, or some by name, in "
                             "seconds, such as short,hold=30; bfd=300 has BFD, in milliseconds")


def _timers(text: str) -> Timers:
    from calico_mn.bgp.timers import read_timers
    from calico_mn.errors import ClusterError

    try:
        return read_timers(text)
    except ClusterError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_profile(parser: argparse.ArgumentParser) -> None:
    """``--profile``."""
    parser.add_argument("--profile", choices=NAMES, default="",
                        help="routes and devices as this release of Calico and those like it have"
                             " them (default: ClusterInformation's calicoVersion, else v3.25)")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose messages are safe to print, and that knows ``--option=--``."""

    def parse_known_args(self, args: Sequence[str] | None = None,  # type: ignore[override]
                         namespace: Any = None) -> tuple[Any, list[str]]:
        """Before Python 3.13, ``--option=--`` is taken for the option without its argument."""
        words = list(sys.argv[1:] if args is None else args)
        for word in words:
            option, _, value = word.partition("=")
            if value == "--" and option in self._option_string_actions:
                self.error(f"argument {option}: expected one argument")
        return super().parse_known_args(words, namespace)

    def error(self, text: str) -> NoReturn:
        """Argparse's message repeats what was typed: control characters are escaped."""
        super().error(message(one_line(text)))
