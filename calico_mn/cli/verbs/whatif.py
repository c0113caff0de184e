"""``whatif``: boot a cluster, change it, and say what the change does to it."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from typing import Any

from calico_mn.cli.complete import FILES, completes
from calico_mn.cli.output import Progress, print_json, say, write_file
from calico_mn.cli.verb import (
    OK,
    UsageError,
    Verb,
    add_files,
    add_mode,
    form,
    mode_and_encapsulation,
    named,
)
from calico_mn.cli.verbs.policy import FLOW, parse_flow
from calico_mn.cli.verbs.up import GROUP, removal, warn
from calico_mn.command_line import add_neighbour_limit, add_tunnel, shell_quoted
from calico_mn.errors import FAILED


def _output(text: str) -> str | Callable[[Any], None] | None:
    return text if text.endswith(".html") else form(text)


def _add(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    add_mode(parser, "change all pools to this mode")
    completes(parser.add_argument("-f", "--filename", metavar="FILE", action="append", default=[],
                                  type=named, help="apply these resources"), FILES)
    parser.add_argument("--flow", metavar="FLOW", type=parse_flow, action="append", default=[],
                        help=f"also ask the policies about it: {FLOW}")
    add_tunnel(parser)
    add_neighbour_limit(parser)
    parser.add_argument("-o", dest="output", metavar="OUT", type=_output,
                        help="FILE.html: write a page; json, yaml: print that")
    parser.add_argument("--json", dest="output", action="store_const", const=print_json,
                        help="print JSON (docs/cli.md)")


def _whatif(options: argparse.Namespace) -> int:
    words = [*(f"-f {shell_quoted(file)}" for file in options.filename),
             *(f"--{name} {getattr(options, name)}" for name in ("mode", "encapsulation")
               if getattr(options, name))]
    if not words:
        raise UsageError("calico-mn whatif: say what changes: --mode, --encapsulation or -f FILE")

    from calico_mn.emulation.apply import apply_texts
    from calico_mn.kernel import cleanup
    from calico_mn.net import CalicoNet
    from calico_mn.report import page, terminal
    from calico_mn.topology import load_topology
    from calico_mn.topology.load import read_files
    from calico_mn.whatif.comparison import document, facts
    from calico_mn.whatif.observation import compare

    topology, texts = load_topology(options.file), read_files(options.filename)
    warn(topology.warnings)
    warn(map(removal, cleanup.remove_all()))
    mode, encapsulation = mode_and_encapsulation(options)

    def change() -> None:
        if texts:
            apply_texts(net, texts)
        if mode or encapsulation:
            net.set_mode(mode, encapsulation=encapsulation)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)  # nothing is left running
    with CalicoNet(topology, tunnel=options.tunnel, raise_neighbour_limit=(
            options.raise_neighbour_limit)) as net, Progress("pings") as progress:
        warn(before := net.warnings)
        compared = compare(net, change, options.flow, progress)
        warn(warning for warning in net.warnings if warning not in before)
    if callable(options.output):
        options.output(facts(compared))
        return FAILED if compared.breaks else OK
    files = " ".join(map(shell_quoted, options.file))
    report = document(compared, " ".join(words), f"calico-mn whatif {files} {' '.join(words)}")
    terminal.show_document(terminal.console(), report)
    if options.output:
        write_file(options.output, page.page(report))
        say(f"wrote {options.output}")
    return FAILED if compared.breaks else OK


VERBS = {
    "whatif": Verb(
        "whatif", GROUP, "boot a cluster, change it, and say what the change breaks",
        "Boots the cluster of a topology file, changes its mode or applies resources to it, and "
        "says which pairs of pods lose each other, and which paths, path MTUs and routes differ. "
        "Nothing of it is left running.",
        _add, run=_whatif, root=True,
        examples=(("calico-mn whatif FILE --mode CrossSubnet", "another mode for all pools"),
                  ("calico-mn whatif FILE -f policy.yaml --flow tcp/80", "a policy more"),
                  ("calico-mn whatif FILE --mode Never -o whatif.html", "also as a page")),
        status="0 if nothing breaks, 1 if a pair, a flow or large packets get lost"),
}
