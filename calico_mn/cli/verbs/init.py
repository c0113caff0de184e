"""``init`` and ``version``: a topology file to begin with, and which program this is."""

from __future__ import annotations

import argparse
import sys

from calico_mn.cli.output import say
from calico_mn.cli.verb import OK, Verb, add_mode, mode_and_encapsulation, nothing, whole
from calico_mn.cli.verbs.offline import GROUP


def _add(parser: argparse.ArgumentParser) -> None:
    for name, default, what in (("nodes", 3, "how many nodes (default: 3)"),
                                ("racks", None, "subnets that they are in, in turn (default: 2)"),
                                ("pods", 6, "pods of a Deployment (default: 6)")):
        parser.add_argument(f"--{name}", metavar="N", type=whole, default=default, help=what)
    add_mode(parser, "of the pool")


def _init(options: argparse.Namespace) -> int:
    from calico_mn.calico.encapsulation import DEFAULT
    from calico_mn.topology.scaled import starter

    mode, encapsulation = mode_and_encapsulation(options)
    racks = min(2, options.nodes) if options.racks is None else options.racks
    sys.stdout.write(starter(options.nodes, racks, options.pods, mode or "Always",
                             (encapsulation or DEFAULT).mode_field))
    return OK


def _version(options: argparse.Namespace) -> int:
    from calico_mn.version import VERSION, digest

    if options.json:
        options.json({"version": VERSION, "code": digest()})
    else:
        say(f"calico-mn {VERSION} (code {digest()})")
    return OK


VERBS = {
    "init": Verb(
        "init", GROUP, "print a topology file to begin with",
        "Prints a topology file: a router with a subnet for each rack, nodes, a pool and a "
        "Deployment, with comments on what to change.",
        _add, run=_init,
        examples=(("calico-mn init > lab.yaml", "three nodes in two racks"),
                  ("calico-mn init --nodes 20 --racks 4 --pods 100 --mode CrossSubnet > lab.yaml",
                   "larger"))),
    "version": Verb(
        "version", GROUP, "the program's version, and a digest of its code",
        "Prints the version, and a digest of the package's code: equal digests are equal code.",
        nothing, run=_version, json=True),
}
