"""What is said when a BIRD fails: it ends, its port is taken, its configuration is refused.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

One cluster with engine bird, which each test leaves as it was.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.engines import NEEDS_BIRD, resource
from support.patience import eventually
from support.topologies import two_subnets

from calico_mn import CalicoNet, Drop
from calico_mn.bgp.bird import configuration
from calico_mn.bgp.timers import read_timers
from calico_mn.control.dispatcher import Job
from calico_mn.control.verification import remarks
from calico_mn.errors import ClusterError, KernelError, UnsupportedError
from calico_mn.kernel import bird, processes
from calico_mn.trace.probe import trace

pytestmark = [pytest.mark.root, NEEDS_BIRD]

LISTEN = """
import socket, time
with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", 179))
    listener.listen()
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def net() -> Iterator[CalicoNet]:
    timers = read_timers("short,hold=3,graceful-restart=2")
    with CalicoNet(two_subnets("Never"), engine="bird", timers=timers, policies=False) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls do not wait for routes that do not come; the tests wait themselves."""
    for name in ("_PATIENCE_LATER_S", "_LATE_AGAIN_S"):
        monkeypatch.setattr(f"calico_mn.emulation.bird.{name}", 0.3)


def down(net: CalicoNet) -> dict[tuple[str, ...], str]:
    """The sessions that are down, with the reasons of the first end."""
    net.refresh_sessions()
    return {tuple(sorted((item.node, item.peer))): item.reason for item in net.bgp.sessions()
            if not item.is_up}


def all_up(net: CalicoNet) -> bool:
    """By what BIRD says, and by what was asked of it before."""
    return eventually(lambda: not down(net) and "no BGP session" not in str(net.bgp.remarks()),
                      pause=0.3)


def reason(net: CalicoNet, pod: str) -> str:
    """Why a trace to c loses its packet."""
    drop = trace(net, pod, "c").drop
    return drop.reason if drop else ""


def pid_of(net: CalicoNet, node: str) -> int:
    """The node's one BIRD."""
    inode = net.runtime.namespace(node).inode
    (pid,) = [pid for pid in processes.all_pids() if processes.name_of(pid) == "bird"
              and processes.namespace("net", pid) == inode]
    return pid


def test_sessions_and_routes_are_birds_own(net):
    sessions = net.bgp.sessions("node31")
    assert [(item.peer, item.state, item.bgp_state, item.imported, item.exported, item.reason)
            for item in sessions] == [("node32", "up", "Established", 1, 1, ""),
                                      ("node33", "up", "Established", 1, 1, "")]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", item.since) for item in sessions)
    addresses = [item.ip for item in net.nodes]
    routes = net.bgp.routes("node31")
    assert [str(route.prefix) for route in routes] == [node.blocks[0] for node in net.nodes]
    assert [(route.is_own, route.sender and str(route.sender), route.local_pref, route.is_best)
            for route in routes] == [(True, None, None, True), (False, addresses[1], 100, True),
                                     (False, addresses[2], 100, True)]
    assert net.bgp.routes("node31", net["c"].ip) == routes[2:]
    assert net.bgp.routes("node31", "10.99.0.0/16") == ()
    with pytest.raises(ClusterError, match="r1 speaks no BGP"):
        net.bgp.sessions("r1")


@pytest.mark.parametrize(("how", "said"), [
    (signal.SIGKILL, r"signal 9 \(SIGKILL\)"), (signal.SIGTERM, "exit status 0")], ids=str)
def test_a_bird_that_ended_is_named_with_how_and_runs_again(net, how, said):
    pid = pid_of(net, "node32")
    os.kill(pid, how)
    assert eventually(lambda: processes.has_ended(pid))
    ended = re.compile(rf"its BIRD ended: {said}, noticed at \d\d:\d\d:\d\d; its log ends: \S.*;"
                       r" it runs again, see /.*/logs/node32/bird\.log")
    assert eventually(lambda: not down(net) and bool(ended.fullmatch(
        net.bgp.remarks()["node32"])), pause=0.3), net.bgp.remarks()
    assert any(text.startswith("node32: its BIRD ended: ") for text in remarks(Job(net)))
    assert pid_of(net, "node32") != pid


def test_a_bird_that_hangs_is_named_and_the_others_answer(net, monkeypatch):
    monkeypatch.setattr("calico_mn.kernel.bird._SHOW_S", 0.5)
    pid = pid_of(net, "node32")
    os.kill(pid, signal.SIGSTOP)
    try:
        why = "BIRD on node32 does not answer: timed out"
        assert eventually(lambda: down(net) == {  # once the hold time of its peers is over
            ("node31", "node32"): why, ("node32", "node33"): why})
        assert why in net.bgp.remarks()["node32"]
        with pytest.raises(KernelError, match="node32: BIRD does not answer"):
            net.bgp.routes("node32")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert all_up(net)


def test_a_killed_speaker_is_named_until_it_is_restarted(net):
    net.kill_speaker("node32")
    try:
        assert "runs again" not in net.bgp.remarks()["node32"]
        assert down(net)[("node31", "node32")] == "no speaker on node32"
    finally:
        net.restart_speaker("node32")
    assert all_up(net) and "node32" not in net.bgp.remarks()


def test_who_has_taken_the_port_is_named_and_what_to_do(net):
    net.kill_speaker("node32")
    other = net["node32"].popen(["python3", "-c", LISTEN])
    try:
        assert other.stdout.readline() == b"ready\n"
        net.restart_speaker("node32")
        reasons = down(net)
        assert reasons.keys() == {("node31", "node32"), ("node32", "node33")}
        assert reasons["node31", "node32"] == (
            f"BIRD on node32: Error: No listening socket: python3 (pid {other.pid}) listens on TCP"
            " port 179: end it, then 'calico-mn exec node32 -- birdc enable all'")
    finally:
        other.kill()
        other.wait(60)
    assert down(net)["node31", "node32"].endswith(
        "No listening socket: try again with 'calico-mn exec node32 -- birdc enable all'")
    net["node32"].birdc("enable all")
    assert all_up(net)


def test_another_as_is_named_with_its_number_and_since_when(net):
    # A file of BIRD's own, as a stray hand would change it: the cluster knows nothing of it.
    text = Path(f"{net.runtime.directory.path}/bird/node33.conf").read_text()
    stray = net.runtime.directory.path / "stray.conf"
    stray.write_text(text.replace(" as 64512;", " as 65044;"))
    try:
        net["node33"].birdc(f'configure "{stray}"')
        assert eventually(lambda: "Bad peer AS: 64512" in down(net).get(("node31", "node33"), ""))
        assert re.fullmatch(r"BIRD on node33: \w+, Error: Bad peer AS: 64512,"
                            r" down since \d\d:\d\d:\d\d", down(net)["node31", "node33"])
    finally:
        net["node33"].birdc("configure")
    assert all_up(net)


def test_a_session_with_a_wrong_as_is_not_waited_for(net, monkeypatch):
    peers = [resource("BGPPeer", "clients", nodeSelector="all()", peerIP=net["node33"].IP(),
                      asNumber=65044), resource("BGPPeer", "rest", node="node31",
                                                peerIP=net["node32"].IP(), asNumber=64512)]
    net.apply([resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=False), *peers])
    try:
        net.birds.kill("node31")
        with monkeypatch.context() as patient:
            patient.setattr("calico_mn.emulation.bird._PATIENCE_LATER_S", 3600)
            net.birds.restart("node31")  # returns
        assert {item.peer: item.is_up for item in net.bgp.sessions("node31")} == {
            "node32": True, "node33": False}
    finally:
        net.apply([resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=True)])
        net.delete_resources(net.resources("bgppeer"))
    assert all_up(net)


def test_a_filter_that_cuts_a_session_off_is_named_once_the_hold_time_is_over(net):
    net.set_filter("r1", [Drop(protocol=6, port=179)])
    try:
        assert eventually(lambda: "TCP port 179 is dropped at r1" in down(net).get(
            ("node31", "node33"), ""), seconds=60, pause=0.5), down(net)
        assert ("node31", "node32") not in down(net)
        assert eventually(lambda: all(words in reason(net, "a") for words in (
            "node31 did not learn",
            "the BGP session of node31 and node33 is down: BIRD on node3"))), reason(net, "a")
    finally:
        net.set_filter("r1")
    assert all_up(net)


REFLECTOR = """
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node31, labels: {rr: "true"}}
spec: {bgp: {ipv4Address: 192.168.57.31/24, routeReflectorClusterID: 244.0.0.1}}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: clients}
spec: {nodeSelector: "!has(rr)", peerSelector: has(rr)}
"""


MESH = REFLECTOR[:REFLECTOR.rindex("---")].replace("Enabled: false", "Enabled: true").replace(
    ", routeReflectorClusterID: 244.0.0.1", "")


def test_a_trace_names_the_reflector_that_is_gone(net):
    net.set_ipip_mode("Always")
    net.apply(REFLECTOR)
    assert all_up(net) and eventually(lambda: net.bgp.routes("node32", net["c"].ip), seconds=60)
    (reflected,) = net.bgp.routes("node32", net["c"].ip)
    assert (reflected.originator, [str(cluster) for cluster in reflected.cluster_list]) == (
        net.cluster.nodes["node33"].address.ip, ["244.0.0.1"])
    net.kill_speaker("node31")
    try:
        # Graceful restart keeps the route for 2 s.
        assert eventually(lambda: not net.bgp.routes("node32", net["c"].ip), seconds=60, pause=0.5)
        assert eventually(lambda: reason(net, "b").endswith(
            f"node32 did not learn {net['node33'].blocks[0]} from node33: the BGP session of node32"
            " and node31 is down: no speaker on node31")), reason(net, "b")
    finally:
        net.restart_speaker("node31")
        net.apply(MESH)
        net.delete("BGPPeer", "clients")
    assert all_up(net)


def test_a_refused_configuration_is_kept_with_its_line_and_the_others_follow(net, monkeypatch):
    def is_cross_subnet(node: str) -> bool:
        return "!( bgp_next_hop ~" in (
            net.runtime.directory.path / f"bird/{node}.conf").read_text()

    monkeypatch.setattr(
        "calico_mn.emulation.bird.configuration", lambda speaker: (
            "router id 1.2.3.4;\nnonsense;\n" if speaker.node == "node31"
            else configuration(speaker)))
    with pytest.raises(KernelError) as refused:
        net.set_ipip_mode("CrossSubnet")
    match = re.fullmatch(r"node31: (BIRD refuses its configuration: (\S+):2:\d+ syntax error.*)",
                         str(refused.value))
    assert match and Path(match[2]).read_text().endswith("nonsense;\n")
    assert [is_cross_subnet(item.name) for item in net.nodes] == [False, True, True]
    assert f"{match[1]}; it goes on as it was configured before" in net.bgp.remarks()["node31"]
    monkeypatch.undo()
    net.set_ipip_mode("Always")
    assert all_up(net) and "refuses" not in str(net.bgp.remarks())


FAKES: dict[str, tuple[str, Callable[[str], str]]] = {
    "too-old": ("echo BIRD version 2.0.7", lambda path: (
        f"engine bird needs BIRD 2.0.12 or later, and {path} is 2.0.7")),
    "not-bird": ("echo tweet", lambda path: (
        f"engine bird needs BIRD 2.0.12 or later, and {path} says of its version only 'tweet'")),
}


@pytest.mark.parametrize("case", FAKES)
def test_a_bird_that_cannot_be_used_is_named_with_its_path(case, tmp_path, monkeypatch):
    script, wanted = FAKES[case]
    path = tmp_path / "bird"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UnsupportedError) as refused:
        bird.program()
    assert str(refused.value) == wanted(str(path)) + ": " + bird.REMEDY
