"""What people break inside a running cluster: what is said, who goes on, what is left.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

With any fault in node31, the others follow every change, node31 can be deleted, and stopping
leaves nothing. The error names the place, what is broken there, and what to do.
"""

import os
import signal
import time

import pytest
from support import machine
from support.connectivity import expect_connectivity, full_mesh
from support.patience import SLOWNESS, eventually
from support.routes import routes
from support.topologies import one_subnet, two_subnets

from calico_mn import CalicoNet
from calico_mn.errors import KernelError, ToolError
from calico_mn.measure import reachability
from calico_mn.measure.paths import endpoints, ordered_pairs
from calico_mn.packetmatch import CaptureFilter, PacketMatch

pytestmark = pytest.mark.root


def do(net, name, *commands):
    """Run commands in a place as a person would by hand."""
    for command in commands:
        _out, err, status = net[name].pexec(command.format(cali=net["a"].device).split())
        assert status == 0, f"{command}: {err}"


#: fault -> (place, commands, what the error says of it; None: no change meets it)
FAULTS = {
    "uplink down": ("node31", ["ip link set eth0 down"], "eth0 is down"),
    "uplink deleted": ("node31", ["ip link del eth0"], "there is no device eth0 any more"),
    "uplink renamed": ("node31", ["ip link set eth0 down", "ip link set eth0 name eth9"],
                       "there is no device eth0 any more"),
    "address lost": ("node31", ["ip addr flush dev eth0"],
                     "eth0 has lost its address 192.168.57.31/24"),
    "tunl0 deleted": ("node31", ["ip link del tunl0"], "there is no device tunl0 any more"),
    "routes flushed": ("node31", ["ip route flush table main"], "Nexthop has invalid gateway"),
    "cali device down": ("node31", ["ip link set {cali} down"], None),
    "cali device deleted": ("node31", ["ip link del {cali}"], None),
    "cali device renamed": ("node31", ["ip link set {cali} down", "ip link set {cali} name x0"],
                            None),
    "loopback down": ("node31", ["ip link set lo down"], None),
    "bridge deleted": ("rack-a", ["ip link del {bridge}"], None),
}  # fmt: skip


def bridge(net):
    devices = net["rack-a"].pexec(["ls", "/sys/class/net"])[0].split()
    return next(name for name in devices
                if net["rack-a"].pexec(["ls", f"/sys/class/net/{name}/bridge"])[2] == 0)


@pytest.fixture(params=FAULTS.values(), ids=FAULTS)
def fault(request, tunnel):
    """A fault, less those that a back end does not know."""
    place, commands, said = request.param
    if "tunl0" in commands[0] and tunnel == "kernel":
        pytest.skip("the kernel refuses to delete the tunl0 of its ipip module")
    return place, commands, said


def attempt(net, method, *args, **options):
    """What an operation says, empty if nothing; only a KernelError may come out of it."""
    try:
        getattr(net, method)(*args, **options)
    except KernelError as error:
        return str(error)
    return ""


def test_an_error_names_the_damaged_place_and_the_others_follow_each_change(boot, fault):
    place, commands, expected = fault
    net = boot(two_subnets("Always"))
    do(net, place, *(command.replace("{bridge}", bridge(net)) if "{bridge}" in command else command
                     for command in commands))
    said = []
    for mode in ("Never", "Always", "CrossSubnet"):
        said.append(attempt(net, "set_ipip_mode", mode))
        # The others are in the new mode, also towards the damaged node.
        for other, tunnelled in (("node32", mode == "Always"), ("node33", mode != "Never")):
            route = next(r for r in routes(net, other) if r.startswith("10.22.31.0/26"))
            assert ("tunl0" in route) is tunnelled
    said += [attempt(net, "add_pod", name="d", node="node32"),
             attempt(net, "add_pod", name="e", node="node31"),
             attempt(net, "delete_pod", "default/b"),
             attempt(net, "delete_pod", "default/a")]
    assert "default/d" in net and "default/a" not in net and "default/b" not in net
    assert set(net.cluster.endpoints) == {pod.name for pod in net.pods}
    complaints = [text for text in said if text]
    if expected is None:
        assert not complaints
    else:
        assert complaints and any(expected in text for text in complaints)
        for text in complaints:
            assert text.startswith("node31: ") and "To mend node31: calico-mn verify" in text
    assert attempt(net, "delete_node", "node31") == ""
    assert "node31" not in net and set(net.cluster.nodes) == {"node32", "node33"}
    if place != "rack-a":
        expect_connectivity(net, full_mesh("c", "d"))
    net.stop()
    assert machine.leftovers() == []


def test_when_a_link_is_up_again_the_same_request_brings_its_node_up_to_date(boot):
    net = boot(two_subnets("Always"))
    do(net, "node31", "ip link set eth0 down")
    with pytest.raises(KernelError, match="eth0 is down"):
        net.set_ipip_mode("CrossSubnet")
    do(net, "node31", "ip link set eth0 up")
    net.set_ipip_mode("CrossSubnet")
    expect_connectivity(net, full_mesh("a", "b", "c"))
    expected = [route for route in net.states["node31"].routes if route.table == "main"]
    assert len(routes(net, "node31")) >= len(expected)
    # Nothing is owed any more.
    assert net.set_ipip_mode("CrossSubnet") == ()


def test_a_repair_brings_a_node_to_what_was_asked_for_while_it_was_damaged(boot):
    net = boot(two_subnets("Always"))
    do(net, "node31", "ip link set eth0 down")
    assert "eth0 is down" in attempt(net, "set_ipip_mode", "CrossSubnet")
    assert not net.repair().remaining and net.verify() == ()
    assert net.set_ipip_mode("CrossSubnet") == ()
    assert any(r.startswith("10.22.32.0/26 via 192.168.57.32 dev eth0")
               for r in routes(net, "node31"))
    expect_connectivity(net, full_mesh("a", "b", "c"))


def test_a_node_joins_although_another_is_damaged(boot):
    net = boot(one_subnet("Never"))
    do(net, "node31", "ip link set eth0 down")
    assert attempt(net, "add_node", "node34", "192.168.57.34/24") == ""
    said = attempt(net, "add_pod", name="d", node="node34")
    assert said.startswith("node31: ") and "eth0 is down" in said
    expect_connectivity(net, full_mesh("b", "d"))


def test_a_damaged_router_is_named_and_deletions_go_through(boot):
    net = boot(two_subnets("Always"))
    do(net, "r1", "ip link del eth0")
    said = attempt(net, "set_pod_routes", True)
    assert said.startswith("r1: ") and "there is no device eth0 any more" in said
    assert "r1: " in attempt(net, "delete_node", "node33")
    assert "node33" not in net and "default/c" not in net
    expect_connectivity(net, full_mesh("a", "b"))


def test_reachability_of_a_damaged_cluster_takes_bounded_time(boot):
    net = boot(two_subnets("Always"))
    do(net, "node31", "ip link set eth0 down")
    began = time.monotonic()
    found = {(r.pair.source.name, r.pair.destination.name): r.reached
             for r in reachability.matrix(net, ordered_pairs(endpoints(net)))}
    assert time.monotonic() - began < 60 * SLOWNESS
    assert found == {pair: "default/a" not in pair for pair in found} and len(found) == 6


def test_all_processes_of_a_pod_killed_and_the_pod_goes_on(boot):
    net = boot(one_subnet("Always"))
    pod = net["a"]
    pod.cmd("sleep 300 &")
    sleeper = pod.popen(["sleep", "300"])
    for pid in (sleeper.pid, pod.shell.pid):
        os.killpg(pid, signal.SIGKILL)
    assert eventually(lambda: pod.shell.poll() is not None)
    assert pod.cmd("echo alive").strip() == "alive"
    expect_connectivity(net, full_mesh("a", "b"))
    net.delete_pod("default/a")
    net.stop()
    assert machine.leftovers() == []


@pytest.mark.parametrize("command", ["kill -9 $$", "exit"])
def test_a_shell_that_ends_in_its_command_is_reported_and_replaced(boot, command):
    pod = boot(one_subnet("Always"))["a"]
    began = time.monotonic()
    with pytest.raises(ToolError, match="default/a: the shell was ended while it ran"):
        pod.cmd(command)
    assert time.monotonic() - began < 60 * SLOWNESS
    assert pod.cmd("echo alive").strip() == "alive"


def test_a_damaged_cluster_stops(tunnel):
    with CalicoNet(two_subnets("Always"), tunnel=tunnel) as net:
        for name in ("node31", "rack-a", "r1", "default/a"):
            for device in net[name].pexec(["ls", "/sys/class/net"])[0].split():
                net[name].pexec(["ip", "link", "del", device])
            net[name].pexec(["ip", "link", "set", "lo", "down"])
            net[name].popen(["sh", "-c", "trap '' TERM HUP INT; sleep 300 & sleep 300"])
    assert machine.leftovers() == []


def test_a_capture_on_a_device_that_is_gone_says_where(boot):
    net = boot(two_subnets("Always"))
    do(net, "node31", "ip link del eth0")
    with pytest.raises(KernelError, match="node31: eth0: capture: No such device"):
        net.capture("node31", "eth0", CaptureFilter((PacketMatch.IPIP,)))
