"""``export``: a topology file for other tools, written into a directory."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from calico_mn.cli.output import say, write_file
from calico_mn.cli.verb import (
    OK,
    UsageError,
    Verb,
    add_files,
    add_mode,
    mode_and_encapsulation,
    named,
)
from calico_mn.cli.verbs.offline import GROUP
from calico_mn.command_line import add_no_policy, add_profile
from calico_mn.errors import ClusterError
from calico_mn.text import one_line

_TARGETS = ("script", "kubernetes", "kind", "containerlab")


def _add(parser: argparse.ArgumentParser) -> None:
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


VERBS = {
    "export": Verb(
        "export", GROUP, "write a topology for other tools: script, manifests, kind, containerlab",
        "Writes a topology file for another tool into a directory, and says what that tool cannot "
        "express. 'script' is a shell script that makes the same network namespaces and kernel "
        "state without calico_mn; 'kubernetes' are manifests for a cluster with Calico; 'kind' "
        "makes such a cluster in Docker; 'containerlab' is a lab of containers with the same "
        "links and routes.",
        _add, run=_export,
        examples=(("calico-mn export script topologies/two-subnets.yaml -o lab", "then sudo sh"
                   " lab/cluster.sh up"),
                  ("calico-mn export kubernetes FILE -o manifests", "see manifests/README.md"),
                  ("calico-mn export kind FILE -o cluster", "then sh cluster/create.sh"))),
}
