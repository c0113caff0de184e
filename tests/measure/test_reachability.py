"""The matrix and the wire on a running cluster.

     a, d @ node31   b @ node32                c @ node33
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

import pytest
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.measure import reachability
from calico_mn.measure.paths import Pair, endpoints, ordered_pairs
from calico_mn.measure.trials import conditions

pytestmark = pytest.mark.root

PODS = ("a@node31", "b@node32", "c@node33", "d@node31")

#: mode -> path -> (reached, encapsulated)
TRUTH = {
    "Always": {"same-node": (True, False), "same-subnet": (True, True),
               "cross-subnet": (True, True)},
    "CrossSubnet": {"same-node": (True, False), "same-subnet": (True, False),
                    "cross-subnet": (True, True)},
    "Never": {"same-node": (True, False), "same-subnet": (True, False),
              "cross-subnet": (False, False)},
}


@pytest.fixture(scope="module")
def net():
    with CalicoNet(two_subnets("Always", *PODS)) as running:
        yield running


def every_pair(net):
    return ordered_pairs(endpoints(net))


@pytest.mark.parametrize("mode", TRUTH)
def test_matrix_says_who_is_reached_and_what_the_wire_showed(net, mode):
    net.set_ipip_mode(mode)
    found = list(reachability.matrix(net, every_pair(net)))
    assert len({result.pair for result in found}) == len(found) == 12
    assert {(r.pair.source.name, r.pair.destination.name, r.pair.path): (
        r.reached, r.encapsulated) for r in found} == {
        (r.pair.source.name, r.pair.destination.name, r.pair.path): TRUTH[mode][r.pair.path]
        for r in found}


def test_only_the_pairs_asked_for_are_tried(net):
    net.set_ipip_mode("Always")
    wanted = every_pair(net)[1:8:3]
    found = list(reachability.matrix(net, wanted))
    assert {result.pair for result in found} == set(wanted)
    assert all((r.reached, r.encapsulated) == TRUTH["Always"][r.pair.path] for r in found)


def test_what_one_node_does_alone_is_seen_in_its_direction_only(net):
    net.set_ipip_mode("Never")
    net.set_ipip_mode("Always", node="node31")
    seen = {(r.pair.source.name, r.pair.destination.name): r.encapsulated
            for r in reachability.matrix(net, every_pair(net))}
    assert seen["default/a", "default/b"] is True
    assert seen["default/b", "default/a"] is False


def test_without_a_gateway_nothing_is_seen_on_the_wire():
    # Nodes without a default route leave their pods' ARP requests for the gateway unanswered.
    with CalicoNet(two_subnets("Never", gateway=False)) as net:
        found = list(reachability.matrix(net, every_pair(net)))
    assert [(result.reached, result.encapsulated) for result in found] == [(False, None)] * 6


def test_conditions_add_pod_routes_for_one_trial_only(net):
    a, _b, c, _d = endpoints(net)
    pair = Pair(a, c)
    before = net["r1"].pexec("ip", "route")[0]
    with conditions(net, "Never", pair, pod_routes=True) as seen:
        assert (seen.fabric, seen.reachable, seen.encapsulated) == ("pod-routes", True, False)
    assert net["r1"].pexec("ip", "route")[0] == before
    with conditions(net, "Never", pair, pod_routes=False) as seen:
        assert (seen.fabric, seen.reachable, seen.encapsulated) == ("plain", False, False)
