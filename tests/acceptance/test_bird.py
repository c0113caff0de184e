"""Engine ``bird``: stock BIRDs write the same routes as the built-in engine, step by step.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

Two clusters take the same steps, one with each engine. BIRD connects after two seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.engines import NEEDS_BIRD, attributes, routes_of_bird, with_each_engine
from support.patience import eventually
from support.topologies import one_subnet, two_subnets

from calico_mn import CalicoNet
from calico_mn.bgp.timers import SHORT, read_timers
from calico_mn.emulation.speakers import peerings_of
from calico_mn.errors import ClusterError, KernelError, ToolError, UnsupportedError
from calico_mn.kernel import bird, processes

pytestmark = [pytest.mark.root, NEEDS_BIRD]


@pytest.fixture(scope="module")
def both(tunnel: str) -> Iterator[dict[str, CalicoNet]]:
    """A cluster with each engine."""
    with with_each_engine(two_subnets("Always"), tunnel) as nets:
        yield nets


@pytest.fixture
def birds(both: dict[str, CalicoNet]) -> CalicoNet:
    return both["bird"]


def pids(net: CalicoNet, *nodes: str) -> list[int]:
    """The BIRDs in these nodes."""
    inodes = {net.runtime.namespace(node).inode for node in nodes}
    return [pid for pid in processes.all_pids() if processes.name_of(pid) == "bird"
            and processes.namespace("net", pid) in inodes]


def resource(kind: str, name: str, spec: dict[str, object], **metadata: object
             ) -> dict[str, object]:
    return {"apiVersion": "projectcalico.org/v3", "kind": kind,
            "metadata": {"name": name, **metadata}, "spec": spec}


REFLECTOR = [
    resource("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": False}),
    resource("Node", "node31", {"bgp": {"ipv4Address": "192.168.57.31/24",
                                        "routeReflectorClusterID": "244.0.0.1"}},
             labels={"rr": "true"}),
    resource("BGPPeer", "clients", {"nodeSelector": "!has(rr)", "peerSelector": "has(rr)"})]
STEPS = {
    "boot": lambda net: None,
    "CrossSubnet": lambda net: net.set_ipip_mode("CrossSubnet"),
    "Never": lambda net: net.set_ipip_mode("Never"),
    "VXLAN": lambda net: net.set_vxlan_mode("Always"),
    "CrossSubnet-from-VXLAN": lambda net: net.set_ipip_mode("CrossSubnet"),
    "one-node-Always": lambda net: net.set_ipip_mode("Always", "node32"),
    "Always": lambda net: net.set_ipip_mode("Always"),
    "borrowed-address": lambda net: net.add_pod(
        name="borrower", node="node33", ip=str(net.cluster.ipam.blocks("node31")[0][9])),
    "address-given-back": lambda net: net.delete_pod("default/borrower"),
    "VXLAN-with-new-pods": lambda net: net.apply([
        {**(pool := net.resources("ippool")[0]),
         "spec": {**pool["spec"], "ipipMode": "Never", "vxlanMode": "Always"}},
        *({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"on-{node}"},
           "spec": {"nodeName": node}} for node in ("node31", "node33"))]),
    "Always-from-VXLAN": lambda net: net.set_ipip_mode("Always"),
    "node-joins": lambda net: net.add_node("node34", "192.168.58.34/24"),
    "block-of-the-new-node": lambda net: net.add_pod(name="d", node="node34"),
    "node-goes": lambda net: net.delete_node("node34"),
    "reflector": lambda net: net.apply(REFLECTOR),
    "mode-behind-the-reflector": lambda net: net.set_ipip_mode("CrossSubnet"),
}


def test_both_engines_bring_the_same_routes(both):
    for step, change in STEPS.items():
        for net in both.values():
            change(net)
        assert both["bird"].birds.late == (), step
        wanted = routes_of_bird(both["builtin"])
        assert routes_of_bird(both["bird"]) == wanted, step
        # BIRD also announces Felix's blackhole of a block, which has the same attributes.
        assert step.startswith("VXLAN") or attributes(both["bird"]) == attributes(
            both["builtin"]), step
        assert step.startswith("VXLAN") is not any(wanted.values()), step
        assert [net.verify() for net in both.values()] == [(), ()], step


def test_pods_reach_each_other_over_what_bird_wrote(birds):
    expect_connectivity(birds, full_mesh("a", "b", "c"))


def test_sessions_states_are_birds(birds):
    birds.refresh_sessions()
    assert set(birds.cluster.probed.values()) == {""} and birds.cluster.probed.keys() >= {
        frozenset(("node31", "node32")), frozenset(("node31", "node33"))}
    assert birds.distributor.name == f"{bird.version(bird.program())}, one in each node"


@pytest.mark.parametrize("ask", [
    lambda node: node.birdc("show protocols"), lambda node: node.cmd("birdc show protocols"),
    lambda node: node.pexec(["birdcl", "show", "protocols"])[0],
    lambda node: node.cmd("birdc -s /var/run/calico/bird.ctl show protocols"),
], ids=["birdc()", "cmd", "pexec", "calico-nodes-path"])
def test_birdc_in_a_node_asks_its_own_bird(birds, ask):
    for node in birds.nodes:
        names = {line.split()[0] for line in ask(node).splitlines() if " BGP " in line}
        assert names == {end.name for end in peerings_of(birds.cluster)[node.name]} != set()


def test_calico_nodes_path_is_in_nodes_only_and_hides_nothing(birds):
    for node in birds.nodes:
        assert set(node.cmd("ls /var/run").split()) >= {"calico", *os.listdir("/var/run")}
    assert "No such file" in birds["a"].cmd("ls /var/run/calico")
    assert not os.path.exists("/var/run/calico/bird.ctl")


def test_birdc_where_no_bird_is_says_where_there_is_one(both):
    with pytest.raises(ToolError, match="a: birdcl: no BIRD here, but in nodes: calico-mn"):
        both["bird"]["a"].birdc("show status")
    with pytest.raises(ToolError, match=r"node31: birdcl: .*built in; .*mn up --engine bird"):
        both["builtin"]["node31"].birdc("show status")


def test_what_is_done_to_birds_routes_by_hand_bird_mends(birds):
    for route in routes_of_bird(birds)["node32"]:
        birds["node32"].pexec(["ip", "route", "del", *route.split()])
    repair = birds.repair()
    assert repair.remaining == () and birds.verify() == ()
    assert not any("proto bird" in line for done in repair.done for line in done.commands)


def test_a_killed_bird_leaves_its_routes_and_comes_back(birds):
    before = routes_of_bird(birds)
    birds.kill_speaker("node33")
    birds.refresh_sessions()
    assert routes_of_bird(birds) == before
    assert birds.add_pod(name="late", node="node33") and routes_of_bird(birds) == before
    birds.restart_speaker("node33")
    assert routes_of_bird(birds) == before and birds.verify() == ()
    birds.refresh_sessions()
    assert set(birds.cluster.probed.values()) == {""} and birds.verify() == ()


def test_a_bird_that_ended_by_itself_is_started_again(birds):
    before = routes_of_bird(birds)
    (pid,) = pids(birds, "node32")
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: processes.has_ended(pid))
    birds.refresh_sessions()
    assert set(birds.cluster.probed.values()) == {""} and pids(birds, "node32") != [pid]
    assert routes_of_bird(birds) == before and birds.verify() == ()


def test_a_damaged_node_does_not_keep_the_others_birds_from_following(birds, monkeypatch):
    birds.set_ipip_mode("Never")
    monkeypatch.setattr("calico_mn.emulation.bird._PATIENCE_LATER_S", 1.0)
    birds["node33"].pexec(["ip", "link", "set", "eth0", "down"])
    birds.set_ipip_mode("Always")
    assert birds.birds.late == ("node33",)
    assert any("BIRD has not yet written all routes on node33" in text for text in birds.warnings)
    assert {difference.namespace for difference in birds.verify()} == {"node33"}
    assert birds.repair().remaining == () and birds.verify() == () and birds.warnings == ()


def test_a_refused_configuration_is_named_the_old_one_stays_and_a_stop_leaves_nothing(
        tunnel, monkeypatch):
    with CalicoNet(one_subnet("Always"), tunnel=tunnel, engine="bird",
                   timers=read_timers("short,bfd=300")) as net:
        assert net.distributor.name.endswith("one in each node (timers short,bfd=300)")
        socket = net.runtime.directory.path / "bird/node31.ctl"
        assert eventually(lambda: re.search(r"192\.168\.57\.32 .* Up ", net["node31"].cmd(
            f"birdc -s {socket} show bfd sessions")))
        before, running = routes_of_bird(net), pids(net, *net.cluster.nodes)
        monkeypatch.setattr("calico_mn.emulation.bird.configuration", lambda speaker: "nonsense;")
        with pytest.raises(KernelError, match=r"node31: BIRD refuses its .*: .*syntax error"):
            net.apply([resource("BGPConfiguration", "default", {"asNumber": 65000})])
        assert routes_of_bird(net) == before and any(before.values())
    assert len(running) == 2 and all(map(processes.has_ended, running))


def test_a_boot_that_fails_leaves_no_bird(tunnel, monkeypatch):
    net = CalicoNet(one_subnet("Always"), tunnel=tunnel, engine="bird")
    running = {}

    def fail(_seconds):
        running.update(net.birds.pids())
        raise KernelError("no more")

    monkeypatch.setattr(net.birds, "converge", fail)
    with pytest.raises(KernelError, match="no more"):
        net.start()
    assert running.keys() == {"node31", "node32"}
    assert all(map(processes.has_ended, running.values()))


def test_a_boot_whose_sessions_do_not_fit_into_the_neighbour_table_is_refused(
        tunnel, monkeypatch):
    monkeypatch.setattr("calico_mn.kernel.neighbour_quota.limit", lambda: 1)
    net = CalicoNet(one_subnet("Always"), tunnel=tunnel, engine="bird")
    with pytest.raises(UnsupportedError, match=(
            r"BIRD's sessions need 2 neighbour entries, and the machine allows 1 in .*"
            r"route reflectors .* or boot with --raise-neighbour-limit")):
        net.start()
    assert net.birds.pids() == {}


def test_a_node_whose_sessions_do_not_fit_into_the_neighbour_table_does_not_join(
        tunnel, monkeypatch):
    with CalicoNet(one_subnet("Always"), tunnel=tunnel, engine="bird", policies=False) as net:
        monkeypatch.setattr("calico_mn.kernel.neighbour_quota.limit", lambda: 1)
        with pytest.raises(UnsupportedError, match="BIRD's sessions need 6 neighbour entries"):
            net.add_node("node33", "192.168.57.33/24")
        assert list(net.cluster.nodes) == ["node31", "node32"] and net.verify() == ()
        # What needs no more is not refused.
        net.add_pod(name="d", node="node31")
        assert net.verify() == ()


def test_an_unknown_engine_and_a_missing_program(monkeypatch):
    topology = replace(two_subnets("Always"))
    with pytest.raises(ClusterError, match="no route engine 'frr'; engines: builtin, bird"):
        CalicoNet(topology, engine="frr")
    with pytest.raises(ClusterError, match="the built-in engine has none: choose engine bird"):
        CalicoNet(topology, timers=SHORT)
    monkeypatch.setattr(shutil, "which", lambda *args, **options: None)
    with pytest.raises(UnsupportedError, match="apt-get install --no-install-recommends bird2"):
        CalicoNet(topology, engine="bird")
