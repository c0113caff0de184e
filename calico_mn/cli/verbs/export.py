"""``graph``, ``completion``, ``export``, ``init`` and ``version``: pictures and files for others.

Drawings of a topology or of a run, files for other tools and for a shell, and a topology file to
begin with.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from io import TextIOWrapper
from pathlib import Path

from calico_mn.cli.complete import FILES, completes
from calico_mn.cli.output import say, write_file
from calico_mn.cli.verb import (
    OK,
    Group,
    UsageError,
    Verb,
    add_files,
    add_mode,
    add_run,
    check_ending,
    mode_and_encapsulation,
    named,
    nothing,
    whole,
)
from calico_mn.command_line import add_no_policy, add_profile
from calico_mn.errors import ClusterError
from calico_mn.text import one_line

# --- graph

_FORMS = ("svg", "dot", "mermaid")
#: what the ending of a file's name says
_ENDINGS = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}


def _add_graph(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("subject", metavar="FILE|RUN", type=named, nargs="*",
                                  help="topology files ('-' is standard input), or a run's name;"
                                       " not needed with just one run"), FILES)
    add_run(parser)
    parser.add_argument("--format", choices=_FORMS, dest="form",
                        help="default: by the name after -o, else svg")
    parser.add_argument("-o", dest="output", metavar="FILE",
                        help="write to FILE (default, and '-': standard output)")
    add_mode(parser, "draw packets' ways in this mode, too (svg)")


def _graph(options: argparse.Namespace) -> int:
    form = options.form or _ENDINGS.get(_ending(options.output), "svg")
    options.subject = options.subject or [options.run or ""]
    subject, *others = options.subject
    if others and not all(map(_is_file, options.subject)):
        raise UsageError("calico-mn graph: name one run, or one or several topology files")
    if options.output and any(_is_same(options.output, file) for file in options.subject):
        raise UsageError("calico-mn graph: -o would overwrite the topology file itself")
    if options.output not in (None, "-"):
        wanted = _ending(options.output)
        check_ending("graph", options.output, tuple(
            ending for ending, made in _ENDINGS.items() if made == (options.form or made)),
            f"; rsvg-convert makes one of an SVG: 'rsvg-convert -f {wanted[1:]} -o NAME{wanted}"
            " NAME.svg' (Debian: librsvg2-bin)" if wanted in (".png", ".pdf") else "")
    if (options.mode or options.encapsulation) and form != "svg":
        name = "--mode" if options.mode else "--encapsulation"
        raise UsageError(f"calico-mn graph: {name} draws into svg, not {form}")
    text = (_of_file(options, form) if _is_file(subject) else _of_run(options, form))
    if options.output not in (None, "-"):
        write_file(options.output, text)
        say(f"wrote {options.output}")
    else:
        _print(text)
    return OK


def _print(picture: str) -> None:
    """Print a picture in UTF-8, as in a file, also where the terminal has another encoding."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.flush()
        sys.stdout.buffer.write(picture.encode())
    else:
        sys.stdout.write(picture)


def _ending(name: str | None) -> str:
    return os.path.splitext(name or "")[1].lower()


def _is_same(output: str, subject: str) -> bool:
    try:
        return os.path.samefile(output, subject)
    except (OSError, ValueError):
        return False


def _is_file(subject: str) -> bool:
    return subject == "-" or "/" in subject or subject.endswith((".yaml", ".yml", ".json")) or (
        os.path.exists(subject))


def _needs_root(options: argparse.Namespace) -> bool:
    """Where there are no runs, a name that is no file is a mistake for every user."""
    from calico_mn.kernel import runtime_dir

    return not (options.subject and _is_file(options.subject[0])) and runtime_dir.MACHINE.exists()


def _of_file(options: argparse.Namespace, form: str) -> str:
    from calico_mn.calico.cluster import Cluster
    from calico_mn.report.drawing import graph
    from calico_mn.topology import load_topology

    cluster = Cluster(load_topology(options.subject), 2)
    mode, encapsulation = mode_and_encapsulation(options)
    cluster.set_mode(mode, encapsulation=encapsulation)
    return graph(cluster, form, mode, encapsulation)


def _of_run(options: argparse.Namespace, form: str) -> str:
    from calico_mn.control.session import remote

    picture: str = remote(options.subject[0]).ask("graph", form=form, mode=options.mode,
                                                  encapsulation=options.encapsulation)
    return picture


# --- completion

_SHELLS = ("bash", "zsh", "fish")


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish")


def _completion(options: argparse.Namespace) -> int:
    from calico_mn.cli.complete import script

    sys.stdout.write(script(options.shell))
    return OK


def _add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind")
    parser.add_argument("--run")


def _names(options: argparse.Namespace) -> int:
    from calico_mn.cli.complete import seen

    for name in seen(options.kind, options.run):
        say(name)
    return OK


# --- export

_TARGETS = ("script", "kubernetes", "kind", "containerlab")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", choices=_TARGETS, metavar="TARGET", help=", ".join(_TARGETS))
    add_files(parser)
    parser.add_argument("-o", dest="output", metavar="DIR", required=True,
                        help="where to write; made if it is not there")
    parser.add_argument("--image", type=named,
                        help="of pods and containers (default: nicolaka/netshoot)")
    add_mode(parser, "export in this mode")
    add_profile(parser)
    add_no_policy(parser)


def _export(options: argparse.Namespace) -> int:
    from calico_mn.calico.snapshot import snapshot
    from calico_mn.emulation.plan import booted
    from calico_mn.export import IMAGE
    from calico_mn.export.containerlab import containerlab
    from calico_mn.export.kubernetes import kind, kubernetes
    from calico_mn.export.script import script
    from calico_mn.privileges import as_invoking_user
    from calico_mn.topology import load_topology

    is_script = options.target == "script"
    if options.image if is_script else options.no_policy:
        raise UsageError(f"calico-mn export {options.target}: "
                         f"{'--image' if is_script else '--no-policy'} has no effect there")
    topology = load_topology(options.file)
    mode, encapsulation = mode_and_encapsulation(options)
    cluster = booted(topology, mode, encapsulation=encapsulation, profile=options.profile,
                     policies=not options.no_policy)
    if is_script:
        export = script(cluster)
    elif options.target == "containerlab":
        export = containerlab(cluster, options.image or IMAGE)
    else:
        in_mode = dataclasses.replace(cluster.topology, pools=snapshot(cluster).pools)
        target = kind if options.target == "kind" else kubernetes
        export = target(in_mode, options.image or IMAGE)
    directory = Path(options.output)
    try:
        with as_invoking_user(directory):
            directory.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ClusterError(f"cannot make the directory {one_line(options.output)}:"
                           f" {getattr(error, 'strerror', None) or error}") from None
    for name, text in export.files.items():
        write_file(str(directory / name), text)
    say(f"wrote {one_line(options.output)}: {', '.join(export.files)}")
    for note in export.notes:
        say(f"    not in it: {note}")
    say(f"next, in that directory: {export.command}")
    return OK


# --- init, version

def _add_init(parser: argparse.ArgumentParser) -> None:
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


VERBS = (
    Verb(
        "graph", Group.OFFLINE, "draw a topology file or a run: SVG, dot or Mermaid",
        "Draws subnets, routers, nodes and pods with their addresses; of a run those that it has "
        "now (that needs root). --mode and --encapsulation add the ways that packets then take "
        "between pods.",
        _add_graph, run=_graph, root=_needs_root,
        examples=(("calico-mn graph topologies/two-subnets.yaml -o cluster.svg", "for a browser"),
                  ("calico-mn graph --mode Never FILE -o never.svg", "with ways of packets"),
                  ("calico-mn graph FILE --format dot | dot -Tpdf -o cluster.pdf", "by Graphviz"),
                  ("calico-mn graph lab --format mermaid", "a run, for Markdown"))),
    Verb(
        "completion", Group.OFFLINE, "make the shell's Tab complete verbs, files, nodes and pods",
        "Prints a script for bash, zsh or fish. Tab then completes verbs, options, topology "
        "files, and the names of running nodes and pods. Those only root can see: without root "
        "they come from 'sudo -n', where sudo needs no password at the moment.",
        _add_completion, run=_completion,
        examples=(('eval "$(calico-mn completion bash)"', "in ~/.bashrc"),
                  ('eval "$(calico-mn completion zsh)"', "in ~/.zshrc, after compinit"),
                  ("calico-mn completion fish | source", "in ~/.config/fish/config.fish"))),
    Verb(
        "_names", Group.OFFLINE, "", "What completion asks as root.", _add_names, run=_names,
        root=True),
    Verb(
        "export", Group.OFFLINE,
        "write a topology for other tools: script, manifests, kind, containerlab",
        "Writes a topology file for another tool into a directory, and says what that tool cannot "
        "express. 'script' is a shell script that makes the same network namespaces and kernel "
        "state without calico_mn; 'kubernetes' are manifests for a cluster with Calico; 'kind' "
        "makes such a cluster in Docker; 'containerlab' is a lab of containers with the same "
        "links and routes.",
        _add_export, run=_export,
        examples=(("calico-mn export script topologies/two-subnets.yaml -o lab", "then sudo sh"
                   " lab/cluster.sh up"),
                  ("calico-mn export kubernetes FILE -o manifests", "see manifests/README.md"),
                  ("calico-mn export kind FILE -o cluster", "then sh cluster/create.sh"))),
    Verb(
        "init", Group.OFFLINE, "print a topology file to begin with",
        "Prints a topology file: a router with a subnet for each rack, nodes, a pool and a "
        "Deployment, with comments on what to change.",
        _add_init, run=_init,
        examples=(("calico-mn init > lab.yaml", "three nodes in two racks"),
                  ("calico-mn init --nodes 20 --racks 4 --pods 100 --mode CrossSubnet > lab.yaml",
                   "larger"))),
    Verb(
        "version", Group.OFFLINE, "the program's version, and a digest of its code",
        "Prints the version, and a digest of the package's code: equal digests are equal code.",
        nothing, run=_version, json=True),
)
