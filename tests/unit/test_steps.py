"""A delta as messages: what is shared between namespaces, and what the kernel may refuse."""

import errno

import pytest

from calico_mn.delta import Delta, creation
from calico_mn.errors import KernelError
from calico_mn.kernel import devices
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import NetlinkError
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.kernel.steps import Planner
from calico_mn.kernel.tunnel import NoTunnel
from calico_mn.present import Program
from calico_mn.state import Address, Bridge, Namespace, NextHop, Route, Tunnel, Veth, VethPeer

ROUTE = Route("10.22.5.0/26", "192.168.57.2", "eth0", "bird")
INDEXES = {"lo": 1, "tunl0": 2, "eth0": 3}


def namespaces(*names, **indexes):
    return {name: NetworkNamespace(name, 9, 0, indexes={**INDEXES, **indexes.get(name, {})})
            for name in names}


def planner(*names, **indexes):
    return Planner(namespaces(*names, **indexes), NoTunnel("none here"))


class Refusing:
    """A socket that answers one message with an error."""

    def __init__(self, number, index=0):
        self.error = NetlinkError(number, index, "")
        self.sent = []

    def carry_out(self, steps):
        self.sent += steps
        return [self.error]


def test_a_route_of_many_nodes_is_encoded_once():
    plans = planner("a", "b")
    (first,) = plans.plan(Delta("a", routes_replaced=(ROUTE,))).steps
    (second,) = plans.plan(Delta("b", routes_replaced=(ROUTE,))).steps
    assert first is second


def test_but_not_where_its_device_has_another_index():
    plans = planner("a", "b", b={"eth0": 7})
    (first,) = plans.plan(Delta("a", routes_replaced=(ROUTE,))).steps
    (second,) = plans.plan(Delta("b", routes_replaced=(ROUTE,))).steps
    assert first.message != second.message
    assert first.command() == second.command() == f"ip route replace {ROUTE}"


def test_routes_with_several_next_hops_are_encoded_for_each_namespace():
    route = Route("10.9.0.0/16", next_hops=(NextHop("10.0.0.1", "eth0"),
                                            NextHop("10.0.0.2", "eth1")))
    plans = planner("a", "b", a={"eth1": 4}, b={"eth1": 9})
    (first,) = plans.plan(Delta("a", routes_replaced=(route,))).steps
    (second,) = plans.plan(Delta("b", routes_replaced=(route,))).steps
    assert first.message != second.message


def test_a_route_over_a_device_that_is_gone_is_refused_with_the_namespace():
    with pytest.raises(KernelError, match="a: there is no device cali1"):
        planner("a").plan(Delta("a", routes_replaced=(Route("10.1.1.1", device="cali1"),)))


@pytest.mark.parametrize(("change", "number"), [
    pytest.param(Delta("a", addresses_added=(Address("eth0", "10.1.1.1/32"),)), errno.EEXIST,
                 id="address-there-already"),
    pytest.param(Delta("a", addresses_removed=(Address("eth0", "10.1.1.1/32"),)),
                 errno.EADDRNOTAVAIL, id="address-gone"),
    pytest.param(Delta("a", routes_removed=(ROUTE,)), errno.ESRCH, id="route-gone"),
    pytest.param(Delta("a", devices_outdated=(Bridge("eth0", 1500),)), errno.ENODEV,
                 id="device-gone"),
])
def test_what_is_so_already_is_no_error(change, number):
    planner("a").plan(change).send(Refusing(number))
    with pytest.raises(KernelError, match=r"^a: ip .*: Operation not permitted"):
        planner("a").plan(change).send(Refusing(errno.EPERM))


def test_both_ends_of_a_new_veth_get_indexes_of_their_own():
    spaces = namespaces("a", "pod")
    state = Namespace("a", (Veth("cali1", 1480, VethPeer("pod", "eth0", 1480, index=4)),))
    del spaces["pod"].indexes["eth0"]
    Planner(spaces, NoTunnel("")).plan(creation(state), fresh=True)
    assert spaces["a"].index("cali1") == 10
    assert spaces["pod"].index("eth0") == 4


def test_a_removed_device_is_forgotten_only_when_the_kernel_removed_it():
    spaces = namespaces("a")
    plan = Planner(spaces, NoTunnel("")).plan(Delta("a", devices_removed=(Bridge("eth0", 1500),)))
    assert "eth0" in spaces["a"].indexes
    plan.send(Refusing(errno.ENODEV))
    assert "eth0" not in spaces["a"].indexes


class Hooked(NoTunnel):
    """A tunnel with a program on lo and on the uplink."""

    def programs(self, device):
        return Program("lo", "egress", "out"), Program(device.uplink, "ingress", "in")

    def attach(self, namespace, item):
        return [devices.program(namespace.index(item.device), item.direction, 5, item.name)]


@pytest.mark.parametrize(("fresh", "planned"), [
    pytest.param(True, [rt.RTM_NEWQDISC, rt.RTM_NEWQDISC, rt.RTM_NEWLINK, rt.RTM_NEWLINK,
                        rt.RTM_NEWROUTE], id="fresh-attached-at-the-end-of-the-boot"),
    pytest.param(False, [rt.RTM_NEWLINK, rt.RTM_NEWTFILTER, rt.RTM_NEWTFILTER, rt.RTM_NEWROUTE],
                 id="running-attached-before-its-routes"),
])
def test_the_programs_of_a_new_tunnel(fresh, planned):
    plans = Planner(namespaces("a"), Hooked(""))
    change = Delta("a", devices_added=(Tunnel("tunl0", 1480, uplink="eth0"),),
                   routes_replaced=(ROUTE,))
    steps = plans.plan(change, fresh=fresh).steps
    assert [step.message[0] for step in steps] == planned
    (later,) = plans.attachments([change, Delta("a", routes_replaced=(ROUTE,))])
    assert [step.message[0] for step in later.steps] == [rt.RTM_NEWTFILTER, rt.RTM_NEWTFILTER]
    assert not later.change, "the log has nothing to tell"
