"""``graph``: a topology file or a running cluster, drawn."""

from __future__ import annotations

import argparse
import os
import sys
from io import TextIOWrapper

from calico_mn.cli.output import say
from calico_mn.cli.verb import FILES, OK, UsageError, Verb, completes, named
from calico_mn.cli.verbs.files import GROUP, add_mode
from calico_mn.cli.verbs.inside import write_file

_FORMS = ("svg", "dot", "mermaid")


def _add(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("subject", metavar="FILE|RUN", type=named,
                                  help="a topology file, or a run's name"), FILES)
    parser.add_argument("--format", choices=_FORMS, dest="form",
                        help="default: by the name after -o, else svg")
    parser.add_argument("-o", dest="output", metavar="FILE",
                        help="write to FILE (default, and '-': standard output)")
    add_mode(parser, "draw packets' ways in this mode, too (svg)")


def _graph(options: argparse.Namespace) -> int:
    form = options.form or _by_name(options.output or "")
    if options.output and _is_same(options.output, options.subject):
        raise UsageError("calico-mn graph: -o would overwrite the topology file itself")
    if options.mode and form != "svg":
        raise UsageError(f"calico-mn graph: --mode draws into svg, not {form}")
    text = (_of_file(options, form) if _is_file(options.subject) else _of_run(options, form))
    if options.output not in (None, "-"):
        write_file(options.output, text)
        say(f"wrote {options.output}")
    else:
        _print(text)
    return OK


def _print(picture: str) -> None:
    """To standard output as to a file: in UTF-8, whatever the terminal's encoding is."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.flush()
        sys.stdout.buffer.write(picture.encode())
    else:
        sys.stdout.write(picture)


def _by_name(name: str) -> str:
    return {".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}.get(
        os.path.splitext(name)[1], "svg")


def _is_same(output: str, subject: str) -> bool:
    try:
        return os.path.samefile(output, subject)
    except (OSError, ValueError):
        return False


def _is_file(subject: str) -> bool:
    return "/" in subject or subject.endswith((".yaml", ".yml", ".json")) or (
        os.path.exists(subject))


def _needs_root(options: argparse.Namespace) -> bool:
    """Where there are no runs, a name that is no file is a mistake for anybody."""
    from calico_mn.kernel import place

    return not _is_file(options.subject) and place.MACHINE.exists()


def _of_file(options: argparse.Namespace, form: str) -> str:
    from calico_mn.calico.cluster import Cluster
    from calico_mn.model import EncapsulationMode
    from calico_mn.report.graph import graph
    from calico_mn.topology import load_topology

    cluster = Cluster(load_topology(options.subject), 2)
    if options.mode:
        cluster.set_mode(EncapsulationMode(options.mode))
    return graph(cluster, form, options.mode)


def _of_run(options: argparse.Namespace, form: str) -> str:
    from calico_mn.control.session import RemoteSession
    from calico_mn.kernel import registry

    run = registry.find(options.subject)
    found: str = RemoteSession(run).ask("graph", form=form, mode=options.mode)
    return found


VERBS = {
    "graph": Verb(
        "graph", GROUP, "draw a topology file or a run: SVG, dot or Mermaid",
        "Draws subnets, routers, nodes and pods with their addresses; of a run those that it has "
        "now (that needs root). --mode adds the ways that packets take between pods.",
        _add, run=_graph, root=_needs_root,
        examples=(("calico-mn graph topologies/two-subnets.yaml -o cluster.svg", "for a browser"),
                  ("calico-mn graph --mode Never FILE -o never.svg", "with ways of packets"),
                  ("calico-mn graph FILE --format dot | dot -Tpdf -o cluster.pdf", "by Graphviz"),
                  ("calico-mn graph lab --format mermaid", "a run, for Markdown"))),
}
