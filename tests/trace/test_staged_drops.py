"""Each cause that docs/trace.md names, made for real: the trace names it, where, and by what.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
        192.168.57.0/24                     192.168.58.0/24

One cluster for all causes: each is made by commands and undone by the repair of the cluster and by
commands where what was done is not the cluster's. ``forward`` is lost on the way there, ``reply``
on the way back.
"""

from __future__ import annotations

import os
import re
import struct
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from acceptance.conftest import tunnel  # noqa: F401
from support.drop_cases import CASES, nft
from support.patience import SLOWNESS, eventually
from support.topologies import one_subnet, two_subnets

from calico_mn import CalicoNet
from calico_mn.kernel import read
from calico_mn.kernel.ebpf import program
from calico_mn.kernel.netlink import NetlinkSocket, attribute, u32
from calico_mn.kernel.route_get import flush_learned_routes
from calico_mn.model import ExternalHost
from calico_mn.trace.probe import trace

pytestmark = [pytest.mark.root, pytest.mark.rules]

PATIENCE = 0.15 * SLOWNESS
# linux/if_link.h: generic XDP, before the kernel shows a packet to captures
_RTM_SETLINK = 19
_IFLA_XDP, _IFLA_XDP_FD, _IFLA_XDP_FLAGS, _SKB_MODE, _NESTED = 43, 1, 3, 2, 0x8000


@pytest.fixture(scope="module")
def cluster():
    """The cluster of the drawing."""
    with ExitStack() as stack:
        wanted = os.environ.get("CALICO_MN_TUNNEL", "auto")
        net = stack.enter_context(CalicoNet(two_subnets("Always"), tunnel=wanted, rp_filter=0))
        assert works(net)  # and so all neighbours are known
        yield net


def run(net, line):
    """A command after its namespace; nft's is one for its standard input."""
    name, _, command = line.partition(" ")
    command = with_devices(net, command)
    words = ["nft", command[4:]] if command.startswith("nft ") else command.split()
    out, err, status = net[name].pexec(words)
    assert status == 0, f"{line}: {out}{err}"


def with_devices(net, text):
    """``text`` with the names of the pods' devices."""
    return re.sub("CALI-([abc])", lambda match: cali(net, match[1]), text)


def cali(net, pod):
    return next(link.intf1.name if link.intf2.node is net[pod] else link.intf2.name
                for link in net.links if net[pod] in (link.intf1.node, link.intf2.node))


def forget_what_was_learned(net):
    """All namespaces lose their neighbours and the MTUs of paths."""
    for place in net.states:
        for forget in (read.forget_neighbours, flush_learned_routes):
            net.inside(place, forget)


def staged(net, case):
    """The trace with the cause in place.

    On a busy machine a packet may be under way for longer than the patience, and count as lost
    where it was: it is then sent once more, with as much patience as that takes.
    """
    for patience in (PATIENCE, 20 * PATIENCE):
        path = trace(net, case.source, case.destination, case.probe, patience=patience)
        drop = path.drop
        if drop and (drop.leg, drop.cause, drop.namespace) == (case.leg, case.cause, case.place):
            break
        forget_what_was_learned(net)
    return path


def works(net):
    """Whether a packet and its answer arrive in the end, after which neighbours are known."""
    return eventually(lambda: trace(net, "a", "c").answered)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.ipip) if case.ipip else name
    for name, case in CASES.items()])
def test_a_cause_made_for_real_is_named(cluster, name):
    net, case = cluster, CASES[name]
    for line in case.do:
        run(net, line)
    try:
        path = staged(net, case)
    finally:
        for line in case.undo:
            run(net, line)
        net.repair()
        forget_what_was_learned(net)
    drop = path.drop
    assert drop is not None, "nothing was dropped"
    said = f"{drop.by} | {drop.reason} | {drop.evidence} | {drop.deduced}"
    assert (drop.leg, drop.cause, drop.namespace) == (case.leg, case.cause, case.place), said
    by, reason = (with_devices(net, text) for text in (case.by, case.reason))
    assert by in drop.by and reason in drop.reason, said
    assert case.evidence in " ".join(drop.evidence), said
    assert case.deduced in drop.deduced and bool(drop.deduced) == bool(case.deduced)
    if path.tunnel == "ebpf":
        assert case.note in " ".join(path.notes) and bool(path.notes) == bool(case.note), path.notes
    assert path.forward.arrived == (case.leg == "reply")
    assert net.verify() == ()
    assert works(net), f"not undone: {trace(net, 'a', 'c').drop}"


#    a@node31 ---- rack-a ---- node32: the pod's packet comes by eth0, node32's route back is tunl0
def test_what_the_destination_refuses_has_not_arrived(boot):
    net = boot(one_subnet("Always"), rp_filter=1)
    path = trace(net, "a", "node32", patience=PATIENCE)
    assert not path.forward.arrived
    assert (path.drop.leg, path.drop.cause, path.drop.namespace, path.drop.by) == (
        "forward", "rp-filter", "node32", "rp_filter=1 on eth0")
    assert path.reply is None


#    a@node31 ---- rack-a ---- b@node32
def test_an_answer_that_only_the_ebpf_tunnel_lets_through_is_noted(boot):
    net = boot(one_subnet("Always"))
    if net.tunnel != "ebpf":
        pytest.skip("it is about the eBPF tunnel")
    for line in nft("node31", "ip", "output", "ip protocol 4 drop")[0]:
        run(net, line)
    path = trace(net, "a", "b", patience=PATIENCE)
    assert path.answered
    assert [note for note in path.notes if note.startswith("node31: Outer packets that a node")]
    run(net, nft("node31", "ip", "output")[1][0])
    assert trace(net, "a", "b", patience=PATIENCE).notes == ()


#    a@node31 ---- rack-a (.1) r1 ---- b@node32, and no BGP session
def test_a_route_that_was_never_learned_is_told_with_its_session(boot):
    net = boot(replace(one_subnet("Always"), mesh=False))
    drop = trace(net, "a", "b", patience=PATIENCE).drop
    assert (drop.cause, drop.namespace) == ("no-route", "r1")
    assert drop.reason.endswith("; node31 did not learn 10.22.32.0/26 from node32: there"
                                " is no node-to-node mesh, and no BGPPeer makes a session")


#    a@node31 ---- rack-a ---- node31's port is blocked by the bridge itself
def test_what_leaves_no_other_trace_is_unknown_and_says_so(cluster):
    run(cluster, "rack-a bridge link set dev node31 state 0")
    try:
        drop = trace(cluster, "a", "c", patience=PATIENCE).drop
    finally:
        run(cluster, "rack-a bridge link set dev node31 state 3")
    assert (drop.leg, drop.cause, drop.namespace) == ("forward", "unknown", "rack-a")
    assert drop.deduced
    assert works(cluster)


#    rack-b ---- eth0 of node33, where an XDP program drops all before any capture sees it
def test_what_leaves_one_device_and_never_reaches_the_next_is_lost_on_the_cable(cluster):
    drops_all = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    program_fd = program._load(6, drops_all, "drop_all")  # BPF_PROG_TYPE_XDP: r0 = XDP_DROP; exit

    def attach(descriptor):
        with NetlinkSocket() as netlink:
            netlink.request([(_RTM_SETLINK, 0, struct.pack(
                "=BxHiII", 0, 0, cluster.runtime.namespace("node33").index("eth0"), 0, 0)
                + attribute(_IFLA_XDP | _NESTED, struct.pack("=HHi", 8, _IFLA_XDP_FD, descriptor)
                            + u32(_IFLA_XDP_FLAGS, _SKB_MODE)))])

    cluster.inside("node33", attach, program_fd)
    try:
        drop = trace(cluster, "a", "c", patience=PATIENCE).drop
    finally:
        cluster.inside("node33", attach, -1)
        os.close(program_fd)
    assert (drop.leg, drop.cause, drop.namespace) == ("forward", "lost-on-cable", "rack-b")
    assert "node33" in drop.by
    assert works(cluster)


#    a@node31 ---- rack-a ---- outside, a machine that is no node
def test_what_nat_outgoing_would_do_is_noted_where_it_decides(boot):
    wanted = one_subnet("Always")
    wanted = replace(
        wanted, pools=tuple(replace(pool, nat_outgoing=True) for pool in wanted.pools),
        underlay=replace(wanted.underlay, hosts=(
            ExternalHost("outside", IPv4Address("192.168.57.99")),)))
    path = trace(boot(wanted, policies=False), "a", "outside", patience=PATIENCE)
    assert (path.drop.leg, path.drop.cause) == ("reply", "no-route")
    assert [note for note in path.notes if note.startswith("natOutgoing of IPPool ")]


#    a@node31, which sends tunnel packets from an address of its own that no Node resource has
def test_a_tunnel_packet_of_no_node_is_noted(boot):
    net = boot(one_subnet("Always"), policies=False)
    run(net, "node31 ip addr add 192.168.57.41/24 dev eth0")
    run(net, "node31 ip route add 192.168.57.32/32 dev eth0 src 192.168.57.41")
    path = trace(net, "a", "b", patience=PATIENCE)
    assert path.answered
    assert [note for note in path.notes
            if note.startswith("node32 takes IPIP from 192.168.57.41, which is no Node's address")]
