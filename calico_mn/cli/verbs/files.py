"""``validate`` and ``plan``: topology files, without root and without a run."""

from __future__ import annotations

import argparse

from calico_mn.cli.output import paint, print_json, say
from calico_mn.cli.verb import FILES, MODES, NODES, OK, WRONG_REQUEST, Verb, completes
from calico_mn.errors import NotFoundError, TopologyError
from calico_mn.streams import complain

GROUP = "without a cluster and without root"
MODE_NAMES = ("Always", "CrossSubnet", "Never")


def add_file(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """The topology file's place on the command line."""
    completes(parser.add_argument(
        "file", metavar="FILE", nargs=nargs, help="a topology file (docs/topology-files.md)"),
        FILES)


def add_mode(parser: argparse.ArgumentParser, what: str) -> None:
    """``--mode``."""
    completes(parser.add_argument("--mode", choices=MODE_NAMES, metavar="MODE",
                                  help=f"{what} (Always, CrossSubnet, Never)"), MODES)


# --- validate

def _add_validate(parser: argparse.ArgumentParser) -> None:
    add_file(parser, nargs="+")


def _validate(options: argparse.Namespace) -> int:
    from calico_mn.topology import load_topology

    found = []
    for file in options.file:
        try:
            topology = load_topology(file)
            # Booting gives out addresses; a file may ask for more than there are.
            from calico_mn.calico.cluster import Cluster
            Cluster(topology, 2)
        except TopologyError as error:
            found.append({"file": file, "valid": False, "warnings": [], "problems": [
                {"what": p.what, "line": p.line, "column": p.column, "hint": p.hint}
                for p in error.problems]})
            if not options.json:
                complain(str(error))
            continue
        found.append({"file": file, "valid": True, "warnings": list(topology.warnings),
                      "problems": [], "nodes": len(topology.nodes), "pods": len(topology.pods),
                      "subnets": len(topology.underlay.subnets)})
        if not options.json:
            say(f"{file}: {paint('good', 'good')}: {counted(len(topology.nodes), 'node')},"
                f" {counted(len(topology.pods), 'pod')},"
                f" {counted(len(topology.underlay.subnets), 'subnet')}")
            for warning in topology.warnings:
                say(f"    {warning}")
    if options.json:
        print_json(found)
    return OK if all(one["valid"] for one in found) else WRONG_REQUEST


def counted(number: int, what: str) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


# --- plan

def _add_plan(parser: argparse.ArgumentParser) -> None:
    add_file(parser)
    add_mode(parser, "boot in this IPIP mode")
    completes(parser.add_argument(
        "--node", metavar="NAME", action="append", default=[],
        help="only this node, pod, router or subnet; may be given again"), NODES)


def _plan(options: argparse.Namespace) -> int:
    from calico_mn.emulation.plan import plan
    from calico_mn.model import EncapsulationMode
    from calico_mn.topology import load_topology

    topology = load_topology(options.file)
    steps = plan(topology, EncapsulationMode(options.mode) if options.mode else None)
    names = {step.namespace for step in steps}
    for wanted in options.node:
        if wanted not in names:
            raise NotFoundError(f"{options.file} has no node, pod, router or subnet {wanted!r}; it"
                                f" has {', '.join(sorted(names))}")
    shown = [step for step in steps if not options.node or step.namespace in options.node]
    if options.json:
        print_json([{"namespace": step.namespace, "kind": step.kind,
                     "commands": list(step.commands)} for step in shown])
        return OK
    for number, step in enumerate(shown):
        if number:
            say()
        say(paint(f"# {step.kind} {step.namespace}", "place"))
        for command in step.commands:
            say(command)
    return OK


VERBS = {
    "validate": Verb(
        "validate", GROUP, "say what is wrong in topology files, with lines and hints",
        "Reads topology files and reports all mistakes at once, each with its line and a hint.",
        _add_validate, run=_validate, json=True,
        examples=(("calico-mn validate topologies/*.yaml", "all shipped ones"),),
        status="0 all are good, 2 one is not"),
    "plan": Verb(
        "plan", GROUP, "the ip and sysctl commands that a boot amounts to",
        "Prints what 'up' would do, as commands for each network namespace, in the order in which "
        "it does them. Nothing is done, and no root is needed. The real boot sends the same as "
        "netlink messages.",
        _add_plan, run=_plan, json=True,
        examples=(("calico-mn plan topologies/article.yaml", "everything"),
                  ("calico-mn plan FILE --mode Never --node node31", "one node, in another mode")),
    ),
}
