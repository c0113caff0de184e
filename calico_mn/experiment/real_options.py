"""Options of an experiment on a real cluster (``--on kubernetes``), and what does not go with it.

In go the words that were typed and what argparse made of them; out come
:class:`~calico_mn.kubernetes.placement.Settings`, or a message and exit status 2.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from calico_mn.export import IMAGE
from calico_mn.kubernetes.placement import SETTLE_S, Settings

#: the level of ``--on`` for a real cluster
KUBERNETES = "kubernetes"
_REAL = ("--context", "--namespace", "--image", "--allow-mode-change", "--allow-host-capture",
         "--settle")
#: those of every experiment that say what is emulated, and how
_EMULATED = ("--topology", "--tunnel", "--iptables", "--engine", "--bird-timers", "--profile",
             "--no-policy", "--raise-neighbour-limit")
_LONGEST_SETTLE_S = 600


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument_group(f"with --on {KUBERNETES} (docs/kubernetes.md)").add_argument
    add("--context", metavar="NAME", help="of the kubeconfig (default: the current one)")
    add("--namespace", type=namespace, metavar="NAME",
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
    add("--settle", type=settle, default=SETTLE_S, metavar="S",
        help=f"seconds to wait after a mode change where no capture shows its effect (default:"
             f" {SETTLE_S:g})")


def read(parser: argparse.ArgumentParser, argv: Sequence[str], asked: argparse.Namespace,
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


def namespace(text: str) -> str:
    """A name that Kubernetes takes for a namespace (RFC 1123, a label)."""
    if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a namespace: lower-case letters,"
                                         " digits and - in between, 63 at most")
    return text


def settle(text: str) -> float:
    """A time in seconds."""
    number = float(text) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]+)?", text) else -1.0
    if not 0 <= number <= _LONGEST_SETTLE_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0 to {_LONGEST_SETTLE_S}")
    return number
