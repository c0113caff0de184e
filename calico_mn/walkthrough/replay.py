"""Plays chapters on running clusters, one result after the other.

Commands are those of story.yaml, a part of this package; nothing that a topology file says gets
into them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, suppress

from calico_mn.bgp.engine import BUILTIN
from calico_mn.bgp.timers import Timers
from calico_mn.delta import Delta
from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ToolError
from calico_mn.kernel import iptext
from calico_mn.measure.programs import end, start
from calico_mn.model import Topology
from calico_mn.text import aligned
from calico_mn.topology import parse_topology
from calico_mn.walkthrough.article import clusters, compare, roles
from calico_mn.walkthrough.step import LIBRARY, Chapter, Result, Typed

#: what a command may take, in seconds; also on a machine that is many times slower
TIMEOUT_S = 30.0
#: what tcpdump may still take once the packets were sent: it hands lines on every second
_QUIET_S = 5.0
_LISTENING = "listening on"


def replay(topology: Topology, chapters: Sequence[tuple[int, Chapter]], *, tunnel: str = "auto",
           engine: str = BUILTIN, timers: Timers | None = None,
           booted: Callable[[CalicoNet], None] | None = None) -> Generator[Result, None, None]:
    """Boot the clusters that the numbered chapters need, one at a time, and play them.

    ``booted`` gets each cluster before its first step. Closing the iterator ends the cluster.
    Raises ClusterError when the topology is not the article's, UnsupportedError when the machine
    cannot run it.
    """
    variants = clusters(topology)
    number = 0
    with ExitStack() as stack:
        net, playing = None, ""
        for position, chapter in chapters:
            if net is None or chapter.cluster != playing:
                stack.close()
                net = stack.enter_context(CalicoNet(variants[chapter.cluster], tunnel=tunnel,
                                                    engine=engine, timers=timers))
                playing = chapter.cluster
                if booted:
                    booted(net)
            for result in play(net, chapter, position, number):
                number = result.number
                yield result
            if chapter.spoils:
                playing = ""


def play(net: CalicoNet, chapter: Chapter, position: int = 1, done: int = 0
         ) -> Generator[Result, None, None]:
    """Play a chapter on a cluster that runs; ``done`` steps came before."""
    names = roles(net.cluster)
    outputs: dict[str, str] = {}
    for number, step in enumerate(chapter.steps, done + 1):
        meanwhile = ""
        if step.typed.host == LIBRARY:
            output = ACTIONS[step.action](net, step.argument)
        elif step.meanwhile:
            output, meanwhile = _listen(net, names, step.typed, step.meanwhile)
        else:
            output = _type(net, names, step.typed)
        outputs[step.name] = output
        yield Result(
            position, number, step, names.get(step.typed.host, ""),
            names[step.meanwhile.host] if step.meanwhile else "", output, meanwhile,
            compare(step.quotes, output, tunnel=net.tunnel, more=step.rules),
            tuple((expect, expect.holds(output, outputs)) for expect in step.expects
                  if expect.backend in ("", net.tunnel)))


def _start(net: CalicoNet, names: Mapping[str, str], typed: Typed, *, apart: bool = False
           ) -> subprocess.Popen[str]:
    return start(net[names[typed.host]], ["/bin/sh", "-c", typed.command],
                 stderr=subprocess.PIPE if apart else subprocess.STDOUT)


def _type(net: CalicoNet, names: Mapping[str, str], typed: Typed) -> str:
    process = _start(net, names, typed)
    try:
        return process.communicate(timeout=TIMEOUT_S)[0]
    except subprocess.TimeoutExpired:
        raise ToolError(f"{names[typed.host]}: {typed.command!r} did not end within"
                        f" {TIMEOUT_S:g} s") from None
    finally:
        end(process)


def _listen(net: CalicoNet, names: Mapping[str, str], listener: Typed, sender: Typed
            ) -> tuple[str, str]:
    """tcpdump's banner and lines, and what the command printed that it listened to."""
    process = _start(net, names, listener, apart=True)
    watch = threading.Timer(TIMEOUT_S, _kill, [process])
    watch.start()
    try:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said = line
            if _LISTENING in line:
                break
        else:
            raise ToolError(f"{names[listener.host]}: {listener.command!r} does not listen:"
                            f" {said.strip() or 'it ended'}")
        sent = _type(net, names, sender)
        try:
            out, _ = process.communicate(timeout=_QUIET_S)
        except subprocess.TimeoutExpired:
            _kill(process)
            out, _ = process.communicate(timeout=_QUIET_S)
        return said + out, sent
    finally:
        watch.cancel()
        end(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a shell and what it runs: each has a session, and so a process group, of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


# --- steps of the library: changes of the cluster, and questions about it

_NO_POOL = """
apiVersion: calico-mn/v1
kind: Underlay
metadata: {name: one}
spec: {subnets: [{name: hosts, cidr: 192.168.57.0/24}]}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node31}
spec: {bgp: {ipv4Address: 192.168.57.31/24}}
"""


def _pods(net: CalicoNet, namespace: str) -> str:
    """Name, address and node's address of a namespace's pods."""
    rows = [("NAME", "IP", "NODE")]
    for endpoint in net.cluster.endpoints.values():
        space, _, name = endpoint.key.partition("/")
        if space == namespace:
            rows.append((name, str(endpoint.address),
                         str(net.cluster.nodes[endpoint.node].address.ip)))
    return "\n".join(aligned(rows)) + "\n"


def _mode(net: CalicoNet, mode: str) -> str:
    """The commands that the change amounted to, node by node."""
    return _commands(net.set_ipip_mode(mode))


def _pod_routes(net: CalicoNet, _argument: str) -> str:
    return _commands(net.set_pod_routes(True))


def _commands(changes: tuple[Delta, ...]) -> str:
    return "".join(f"{change.namespace}: {command}\n" for change in changes
                   for command in iptext.commands(change))


def _default(_net: CalicoNet, value: str) -> str:
    """The mode of the pool that Calico makes where there is none."""
    environ = {"CALICO_IPV4POOL_CIDR": "10.22.0.0/16"}
    if value:
        environ["CALICO_IPV4POOL_IPIP"] = value
    pool, = parse_topology(_NO_POOL, environ=environ).pools
    return f"ipipMode: {pool.ipip_mode}\n"


#: name -> the function that makes the call; it gets the cluster and the step's argument
ACTIONS = {"pods": _pods, "mode": _mode, "pod-routes": _pod_routes, "default": _default}
