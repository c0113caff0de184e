"""The deltas that lead from differences back to the wanted state, one kind of step at a time."""

from dataclasses import replace

from calico_mn.difference import Difference
from calico_mn.kernel import iptext
from calico_mn.repair import lost_devices, next_deltas, veth_ends

from .test_difference import NODE, STATES, SWITCH, as_wanted, differences


def without(state, *names):
    """A namespace in which devices are gone, and all that was on them."""
    present = as_wanted(state)
    return replace(present, links=tuple(x for x in present.links if x.name not in names),
                   addresses=tuple(a for a in present.addresses if a.device not in names),
                   routes=tuple(r for r in present.routes if not r.devices & set(names)))


def test_a_lost_veth_is_made_by_its_maker_first_and_filled_last():
    read = (*differences(without(NODE, "eth0")), *differences(without(SWITCH, "node"), SWITCH))
    assert lost_devices(read) == {("node", "eth0"), ("rack", "node")}
    steps = next_deltas(STATES, read, veth_ends(STATES))
    assert [step.namespace for step in steps] == ["rack", "node"]
    assert iptext.commands(steps[0])[0] == (
        "ip link add node mtu 1500 txqueuelen 1000 type veth peer name eth0 mtu 1500"
        " txqueuelen 1000 netns node")
    links_are_back = tuple(x for x in read if x.subject != "device")
    (step,) = next_deltas(STATES, links_are_back, veth_ends(STATES))
    assert iptext.commands(step) == ["ip address add 192.168.57.31/24 dev eth0"]


def test_the_other_end_of_a_lost_veth_goes_first():
    read = differences(without(NODE, "cali1"))
    (step,) = next_deltas(STATES, read, veth_ends(STATES))
    assert (step.namespace, iptext.commands(step)) == ("pod", ["ip link del eth0"])


def test_a_device_of_another_kind_makes_way():
    present = as_wanted(NODE)
    links = tuple(replace(link, kind="bridge") if link.name == "tunl0" else link
                  for link in present.links)
    (step,) = next_deltas(STATES, differences(replace(present, links=links)), veth_ends(STATES))
    assert iptext.commands(step) == ["ip link del tunl0"]


def test_a_lost_veth_whose_other_namespace_is_gone_is_left():
    gone = Difference("pod", failure="the namespace is gone")
    read = (*differences(without(NODE, "cali1")), gone)
    assert next_deltas(STATES, read, veth_ends(STATES)) == []


def test_what_was_given_up_is_not_tried_again():
    read = differences(without(NODE, "tunl0"))
    assert next_deltas(STATES, read, veth_ends(STATES), {"node"}) == []
