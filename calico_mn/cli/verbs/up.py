"""``up`` and ``whatif``: boot a cluster, to stay or to try a change on it.

``up`` has Mininet's prompt, or runs in the background; ``whatif`` says what the change does.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import FILES, completes
from calico_mn.cli.output import Progress, paint, say, warn, write_file
from calico_mn.cli.verb import (
    OK,
    Group,
    UsageError,
    Verb,
    add_files,
    add_json,
    add_mode,
    form,
    mode_and_encapsulation,
    named,
    whole,
)
from calico_mn.cli.verbs.policy import FLOW, parse_flow
from calico_mn.cli.verbs.runs import follow, removal
from calico_mn.command_line import (
    add_engine,
    add_iptables,
    add_neighbour_limit,
    add_no_policy,
    add_profile,
    add_tunnel,
    shell_quoted,
)
from calico_mn.errors import FAILED, CalicoMnError, ToolError
from calico_mn.streams import complain
from calico_mn.text import join, plural

if TYPE_CHECKING:
    from calico_mn.control.daemon import Daemon
    from calico_mn.model import Topology
    from calico_mn.net import CalicoNet


# --- up

#: seconds between two looks at how far a boot is
_LOOK_S = 0.2


def _add_up(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    parser.add_argument("--name", metavar="RUN", type=named,
                        help="what to call the run (default: the file's name)")
    add_mode(parser, "boot in this mode instead of the file's")
    parser.add_argument("-d", "--detach", action="store_true",
                        help="boot in the background, until 'calico-mn down'")
    parser.add_argument("--watch", action="store_true",
                        help="in place of the prompt, show the run's status at each change;"
                             " Ctrl-C ends the run")
    add_tunnel(parser)
    add_engine(parser)
    add_profile(parser)
    add_iptables(parser)
    parser.add_argument("--rp-filter", type=whole, choices=(0, 1, 2), default=2,
                        help="the nodes' reverse path filter: 0 off, 1 strict, 2 loose (default)")
    add_no_policy(parser)
    add_neighbour_limit(parser)


def _up(options: argparse.Namespace) -> int:
    from calico_mn.kernel import cleanup, registry
    from calico_mn.topology import read_topology

    if options.json and not options.detach:
        raise UsageError("calico-mn up: --json is for --detach")
    if options.watch and options.detach:
        raise UsageError("calico-mn up: --watch is not for --detach; afterwards there is"
                         " 'calico-mn status --watch'")
    topology, text = read_topology(options.file)
    warn(topology.warnings)
    warn(map(removal, cleanup.remove_all()))
    # A taken name is refused at once; the registry checks it again under its lock.
    registry.new_name(options.name or "", options.file[0], registry.runs())
    # Other processes, in other directories, read it.
    topology = dataclasses.replace(topology, source=os.path.abspath(options.file[0]))
    return (_detached if options.detach else _foreground)(options, topology, text)


@contextmanager
def _running(options: argparse.Namespace, topology: Topology, text: str) -> Iterator[Daemon]:
    """A booted run, after its warnings: some are known only once it has booted."""
    from calico_mn.control.daemon import Daemon
    from calico_mn.net import CalicoNet

    net = CalicoNet(topology, tunnel=options.tunnel, iptables=options.iptables,
                    rp_filter=options.rp_filter,
                    name=options.name or "", controlled=True, engine=options.engine,
                    timers=options.bird_timers,
                    raise_neighbour_limit=options.raise_neighbour_limit,
                    policies=not options.no_policy, profile=options.profile)
    net.set_mode(options.mode, encapsulation=options.encapsulation)
    warn(net.warnings)
    before = net.warnings
    with ExitStack() as stack:
        with _progress(net):
            daemon = stack.enter_context(Daemon(net, text.encode()))
        warn(warning for warning in net.warnings if warning not in before)
        yield daemon


@contextmanager
def _progress(net: CalicoNet) -> Iterator[None]:
    """Show how many namespaces are there, while a cluster boots at a terminal."""
    underlay, ended = net.topology.underlay, threading.Event()
    total = len([*underlay.subnets, *underlay.routers, *underlay.hosts, *net.cluster.nodes,
                 *net.cluster.endpoints])

    def look(progress: Progress) -> None:
        while not ended.wait(_LOOK_S):
            with suppress(CalicoMnError):  # the run has not begun
                progress({"done": len(net.runtime.writer.namespaces), "of": total})

    with Progress("booting, namespaces") as progress:
        looking = threading.Thread(target=look, args=(progress,), name="progress", daemon=True)
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join()


def _facts(daemon: Daemon) -> dict[str, Any]:
    """What is printed of a run that has just booted."""
    from calico_mn.calico.encapsulation import ENCAPSULATIONS

    net, directory = daemon.net, daemon.net.runtime.directory
    modes = [net.cluster.mode_of_pool(pool).fields for pool in net.cluster.topology.pools]
    return {"name": directory.name, "run": directory.identity, "pid": os.getpid(),
            "nodes": len(net.nodes), "pods": len(net.pods),
            **{f"{e.mode_field}s": sorted({str(pool[e.mode_field]) for pool in modes})
               for e in ENCAPSULATIONS},
            "routeEngine": net.distributor.name, "tunnel": net.tunnel, "iptables": net.iptables,
            "profile": net.cluster.routes.profile.name}


def _headline(facts: dict[str, Any]) -> str:
    """The run in a line: its size, and the modes of each encapsulation in use, else of DEFAULT."""
    from calico_mn.calico.encapsulation import DEFAULT, ENCAPSULATIONS
    from calico_mn.profile import DEFAULT as DEFAULT_PROFILE

    modes = {e: facts[f"{e.mode_field}s"] for e in ENCAPSULATIONS}
    in_use = [e for e in ENCAPSULATIONS if modes[e] not in ([], ["Never"])] or [DEFAULT]
    tunnel = (f"no {DEFAULT.device}" if facts["tunnel"] == "none" else
              f"{DEFAULT.device} by {facts['tunnel']}")
    parts = [f"{paint(facts['name'], 'title')} is up: {plural(facts['nodes'], 'node')}",
             plural(facts["pods"], "pod"), *(f"{e} {join(modes[e])}" for e in in_use),
             *([tunnel] if DEFAULT in in_use else []),
             *([f"profile {facts['profile']}"] if facts["profile"] != DEFAULT_PROFILE.name else []),
             *([f"routes by {facts['routeEngine']}"] if facts["routeEngine"].startswith("BIRD")
               else []),
             "no rules" if facts["iptables"] == "none" else
             f"rules by iptables-{facts['iptables']}"]
    return ", ".join(parts)


def _foreground(options: argparse.Namespace, topology: Topology, text: str) -> int:
    from calico_mn.cli.prompt import prompt
    from calico_mn.control.daemon import Ended
    from calico_mn.control.session import LocalSession

    try:
        with _running(options, topology, text) as daemon:
            facts = _facts(daemon)
            say(_headline(facts))
            if options.watch:
                say("Ctrl-C ends it; other terminals change it: 'calico-mn mode Never', say\n")
                with suppress(KeyboardInterrupt):
                    follow(LocalSession(daemon.dispatcher))
                return OK
            say("Ctrl-D ends it; 'help' lists commands; other terminals: calico-mn status")
            prompt(daemon.dispatcher)
    except Ended as end:
        if end.number != signal.SIGTERM:
            return 128 + end.number
        complain(f"\ncalico-mn: {facts['name']} was ended from another terminal")
    return OK


def _detached(options: argparse.Namespace, topology: Topology, text: str) -> int:
    from calico_mn.control import protocol
    from calico_mn.control.daemon import detached, wait_for_the_end

    def work(report: Callable[[bytes], None]) -> None:
        try:
            with _running(options, topology, text) as daemon:
                report(json.dumps(_facts(daemon)).encode())
                wait_for_the_end()
        except CalicoMnError as error:
            report(json.dumps(protocol.error(error)).encode())

    pid, message = detached(work)
    if not message:
        raise ToolError(f"the run's process (pid {pid}) ended while it was booting")
    facts = json.loads(message)
    if "error" in facts:
        raise protocol.problem(facts)
    if options.json:
        options.json(facts)
    else:
        say(_headline(facts))
        say(f"it runs in the background (pid {facts['pid']}):"
            f" 'calico-mn down {facts['name']}' ends it")
    return OK


# --- whatif

def _output(text: str) -> str | Callable[[Any], None] | None:
    return text if text.endswith(".html") else form(text)


def _add_whatif(parser: argparse.ArgumentParser) -> None:
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
    add_json(parser, dest="output")


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


VERBS = (
    Verb(
        "up", Group.RUNS, "boot a cluster: Mininet's prompt, or --detach",
        "Boots the cluster of a topology file; several files make one topology. Without --detach "
        "Mininet's prompt appears, with calico-mn's verbs as further commands; Ctrl-D or 'exit' "
        "ends the run, and so does closing the terminal. With --detach it lives on in the "
        "background. Either way other terminals find it: 'calico-mn list'. What killed runs left "
        "is removed first.",
        _add_up, run=_up, json=True, root=True,
        examples=(("calico-mn up topologies/article.yaml", "with Mininet's prompt"),
                  ("calico-mn up -d --name lab FILE", "in the background, called lab"),
                  ("calico-mn up --watch FILE", "with its status, at each change"),
                  ("calico-mn up nodes.yaml pods.yaml pools.yaml", "a dump in several files"),
                  ("kubectl get nodes,pods,ippools -A -o yaml | calico-mn up -d -",
                   "a cluster as it is"),
                  ("calico-mn up --mode Never FILE", "in another mode than the file says"),
                  ("calico-mn up --encapsulation vxlan FILE", "all pools with VXLAN"))),
    Verb(
        "whatif", Group.RUNS, "boot a cluster, change it, and say what the change breaks",
        "Boots the cluster of a topology file, changes its mode or applies resources to it, and "
        "says which pairs of pods lose each other, and which paths, path MTUs and routes differ. "
        "Nothing of it is left running.",
        _add_whatif, run=_whatif, root=True,
        examples=(("calico-mn whatif FILE --mode CrossSubnet", "another mode for all pools"),
                  ("calico-mn whatif FILE -f policy.yaml --flow tcp/80", "a policy more"),
                  ("calico-mn whatif FILE --mode Never -o whatif.html", "also as a page")),
        status="0 if nothing breaks, 1 if a pair, a flow or large packets get lost"),
)
