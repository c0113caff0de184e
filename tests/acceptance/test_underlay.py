"""The physical network: link rate and delay, routers, MTU."""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest
from support import machine
from support.connectivity import expect_connectivity, full_mesh
from support.packets import ping
from support.patience import SLOWNESS, eventually
from support.topologies import one_subnet, two_subnets

from calico_mn import CalicoNet
from calico_mn.errors import UnsupportedError
from calico_mn.model import Link

pytestmark = pytest.mark.root

RATE = 40


def kernel_has_netem() -> bool:
    """Asked of the kernel itself, in a namespace that ends with the question."""
    done = subprocess.run(
        ["unshare", "-n", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"],
        capture_output=True, timeout=60, check=False)
    return done.returncode == 0


def mbit_per_second(net, client, server, seconds=1) -> float:
    """Goodput of one TCP connection, as the receiver counts it."""
    serving = net[server].popen(["iperf3", "-s", "-1", "--forceflush"], text=True)
    assert "listening" in serving.stdout.readline() + serving.stdout.readline()
    out, err, status = net[client].pexec(
        ["iperf3", "-c", net[server].ip, "-t", str(seconds), "-J"])
    serving.wait(60 * SLOWNESS)
    assert status == 0, out + err
    return float(json.loads(out)["end"]["sum_received"]["bits_per_second"]) / 1e6


#    a@node31 --40 Mbit/s-- rack-a --40 Mbit/s-- node32@b
@pytest.mark.parametrize("mode", ["Always", "Never"])
def test_a_links_rate_limits_what_gets_through(boot, mode):
    net = boot(one_subnet(mode, link=Link(rate=RATE)))
    measured = mbit_per_second(net, "a", "b")
    # Headers cost a few percent, so it can never be the rate itself.
    assert RATE / 2 < measured < RATE, f"{measured} Mbit/s over a link of {RATE}"


def test_a_links_rate_sits_at_both_of_its_ends(boot):
    net = boot(two_subnets("Always", link=Link(rate=RATE)))
    ends = [("node31", "eth0"), ("rack-a", "node31"), ("r1", "eth0"), ("r1", "eth1"),
            ("rack-b", "r1")]
    for owner, device in ends:
        shown = net[owner].pexec(["tc", "qdisc", "show", "dev", device])[0]
        assert re.search(rf"qdisc tbf .*root .*rate {RATE}Mbit", shown), (owner, device, shown)
    # Not on what isn't a cable.
    assert "tbf" not in net["node31"].pexec(["tc", "qdisc", "show", "dev", "tunl0"])[0]
    assert "tbf" not in net["node31"].pexec(
        ["tc", "qdisc", "show", "dev", net["a"].device])[0]


def test_pods_of_one_node_are_not_slowed_down_by_the_link(boot):
    net = boot(one_subnet("Always", "a@node31", "a2@node31", link=Link(rate=1)))
    assert mbit_per_second(net, "a", "a2") > 10


def test_without_a_rate_there_is_no_qdisc_of_ours(boot):
    net = boot(one_subnet("Always"))
    for owner, device in (("node31", "eth0"), ("rack-a", "node31")):
        shown = net[owner].pexec(["tc", "qdisc", "show", "dev", device])[0]
        assert "tbf" not in shown and "netem" not in shown


def test_a_node_that_joins_gets_a_shaped_link_too(boot):
    net = boot(one_subnet("Always", link=Link(rate=RATE)))
    net.add_node("node33", "192.168.57.33/24")
    for owner, device in (("node33", "eth0"), ("rack-a", "node33")):
        assert "tbf" in net[owner].pexec(["tc", "qdisc", "show", "dev", device])[0]


def round_trip_ms(net, source, destination) -> float:
    """The shortest of five round trips."""
    out, err, status = net[source].pexec(
        ["ping", "-n", "-c5", "-i0.2", "-W5", net[destination].ip])
    assert status == 0, out + err
    return float(re.search(r"min/avg/max/mdev = ([\d.]+)/", out).group(1))


# Where the kernel has netem: each packet crosses two cables there and two back.
#    a@node31 --10 ms-- rack-a --10 ms-- node32@b
@pytest.mark.ipip
def test_a_links_delay_is_added_per_cable_or_refused_where_netem_is_missing(tunnel):
    topology = one_subnet("Always", link=Link(rate=500, delay=10))
    if kernel_has_netem():
        with CalicoNet(one_subnet("Always"), tunnel=tunnel) as plain:
            base = round_trip_ms(plain, "a", "b")
        with CalicoNet(topology, tunnel=tunnel) as net:
            assert ping(net, "a", net["b"].ip, "-W5")[1] == 0  # ARP is delayed as well
            added = round_trip_ms(net, "a", "b") - base
        assert 39 <= added <= 40 + 10 * SLOWNESS, f"4 x 10 ms, and it was {added} more"
        return
    before = machine.descriptors()
    net = CalicoNet(topology, tunnel=tunnel)
    with pytest.raises(UnsupportedError, match="netem, which delay and loss of links need"):
        net.start()
    assert machine.leftovers() == []
    assert eventually(lambda: machine.descriptors() <= before)


@pytest.mark.ipip
def test_the_refusal_of_a_delay_comes_before_anything_is_wired(tunnel, monkeypatch):
    if kernel_has_netem():
        with CalicoNet(one_subnet("Always", link=Link(delay=1)), tunnel=tunnel) as net:
            expect_connectivity(net, full_mesh("a", "b"))
            shown = net["node31"].pexec(["tc", "qdisc", "show", "dev", "eth0"])[0]
            assert re.search(r"netem .*delay 1ms", shown)
        return
    begun = time.monotonic()
    with pytest.raises(UnsupportedError, match="delay"):
        CalicoNet(one_subnet("Always", link=Link(delay=1)), tunnel=tunnel).start()
    assert time.monotonic() - begun < 60 * SLOWNESS


# Where the kernel has netem.
#    a@node31 --100 % loss-- rack-a -- node32@b
@pytest.mark.ipip
def test_what_a_link_loses_does_not_arrive(tunnel):
    if not kernel_has_netem():
        pytest.skip("this kernel has no netem")
    with CalicoNet(one_subnet("Always", link=Link(loss=100)), tunnel=tunnel) as net:
        assert ping(net, "a", net["b"].ip, "-W1")[1] != 0
        assert net.verify() == ()
