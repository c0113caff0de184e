"""A running cluster becomes another one: the kernel, the route engine and Mininet's tables follow.

     node31 .31    node32 .32               node33 .33    node34 (joins)
        |             |                        |             |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ---+-----
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.routes import addresses, link, route_to, routes
from support.streams import established
from support.topologies import TWO_SUBNETS, pod, two_subnets

from calico_mn import CalicoNet
from calico_mn.calico.evolution import evolved
from calico_mn.calico.snapshot import snapshot
from calico_mn.errors import KernelError
from calico_mn.kernel.write import KernelWriter
from calico_mn.model import EncapsulationMode, IPPool, Node, Topology

pytestmark = pytest.mark.root
ALWAYS, CROSS, NEVER = (EncapsulationMode.ALWAYS, EncapsulationMode.CROSS_SUBNET,
                        EncapsulationMode.NEVER)


def become(net: CalicoNet, wanted: Topology) -> None:
    """What a dry run tells is what is done, and then all reach all."""
    after = evolved(net.cluster, wanted)
    told = net.become(after, dry_run=True)
    assert net.verify() == ()
    assert net.become(after) == told
    assert net.verify() == ()
    expect_connectivity(net, full_mesh(*(place.name for place in (*net.nodes, *net.pods))))


@pytest.mark.ipip
def test_pods_nodes_pools_and_addresses_change_at_once_and_the_rest_goes_on(boot):
    net = boot(two_subnets("Always"))
    now = snapshot(net.cluster)
    first, second, third = now.nodes
    with established(net, "b", "c") as stream:
        become(net, replace(
            now, pods=(*now.pods[1:], pod("d@node34"), pod("e@node31")),
            nodes=(replace(first, address=IPv4Interface("192.168.57.41/24")), second, third,
                   Node("node34", IPv4Interface("192.168.58.34/24"))),
            pools=(*now.pools,
                   IPPool("v", IPv4Network("10.44.0.0/16"), vxlan_mode=ALWAYS))))
        assert addresses(net, "node31", "eth0") == ["192.168.57.41/24"]
        assert net["node31"].address == "192.168.57.41" and "default/a" not in net
        assert route_to(net, "node33", "10.22.31.0/26") == (
            "10.22.31.0/26 via 192.168.57.41 dev tunl0 proto bird onlink")
        pool, vxlan = net.topology.pools
        now = snapshot(net.cluster)
        become(net, replace(
            now, nodes=now.nodes[1:], pools=(
                replace(pool, ipip_mode=NEVER, vxlan_mode=CROSS), replace(vxlan, vxlan_mode=NEVER)),
            pods=tuple(item for item in now.pods if item.node != "node31"),
            affinities=tuple(item for item in now.affinities if item.node != "node31")))
        assert "node31" not in net and link(net, "rack-a", "node31") == ""
        assert stream.goes_on()


@pytest.mark.parametrize("step", ["create", "fill", "change"])
def test_where_the_kernel_refuses_a_newcomer_all_is_as_before(boot, monkeypatch, step):
    net = boot(two_subnets("Always"))
    before = {name: routes(net, name) for name in TWO_SUBNETS}
    states, places = dict(net.states), list(net)
    now = snapshot(net.cluster)
    after = evolved(net.cluster, replace(
        now, pods=(*now.pods[1:], pod("d@node34"), pod("e@node32")), nodes=(
            *now.nodes, Node("node34", IPv4Interface("192.168.58.34/24")))))
    method = getattr(KernelWriter, step)
    calls = []

    def fail(self, *arguments):
        calls.append(arguments)
        # The last of the calls: what was done before must be undone.
        if len(calls) == (1 if step == "create" else 2):
            raise KernelError("made to fail")
        return method(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(KernelWriter, step, fail)
        with pytest.raises(KernelError, match="made to fail"):
            net.become(after)
    assert {name: routes(net, name) for name in TWO_SUBNETS} == before
    assert (dict(net.states), list(net)) == (states, places)
    assert net.verify() == () and link(net, "rack-b", "node34") == ""
    assert not net.become(evolved(net.cluster, snapshot(net.cluster)))
    become(net, after.topology)
