"""BGPFilters and disableBGPExport: both engines bring the same routes, step by step.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

All nodes peer by one BGPPeer, which names the filters; the mesh is off. Pod ``lent`` on node32 has
an address of node31's block.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.engines import NEEDS_BIRD, learned, resource, routes_of_bird, with_each_engine
from support.topologies import two_subnets

from calico_mn import CalicoNet

pytestmark = [pytest.mark.root, NEEDS_BIRD]


def peer(*filters: str) -> dict[str, object]:
    return resource("BGPPeer", "all", peerSelector="all()", filters=list(filters))


MESH_OFF = resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=False)


@pytest.fixture(scope="module")
def both(tunnel: str) -> Iterator[dict[str, CalicoNet]]:
    topology = two_subnets("Always", "a@node31", "b@node32", "c@node33", "lent@node32=10.22.31.9")
    with with_each_engine(topology, tunnel) as nets:
        for net in nets.values():
            net.apply([MESH_OFF, peer("f", "g")])
        yield nets


ALL = {"node31": {"node32", "node33"}, "node32": {"node31", "node33"},
       "node33": {"node31", "node32"}}
NOT_32 = {"node31": {"node33"}, "node32": {"node31", "node33"}, "node33": {"node31"}}
NONE: dict[str, set[str]] = {node: set() for node in ALL}
# A rule about node32's block, by its fields beside the action.
BLOCK_32 = {"matchOperator": "In", "cidr": "10.22.32.0/26"}
REJECT, ACCEPT = {"action": "Reject"}, {"action": "Accept"}
#: filter f -> which blocks are learned; each step is applied to what runs
STEPS = {
    "no-filter-of-that-name": ({}, ALL),
    "export-reject": ({"exportV4": [{**REJECT, **BLOCK_32}]}, NOT_32),
    "import-reject": ({"importV4": [{**REJECT, **BLOCK_32}]}, NOT_32),
    "not-in": ({"importV4": [{**REJECT, **BLOCK_32, "matchOperator": "NotIn"}]}, {
        "node31": {"node32"}, "node32": set(), "node33": {"node32"}}),
    "the-first-rule-decides": ({"importV4": [{**ACCEPT, **BLOCK_32}, REJECT]}, {
        "node31": {"node32"}, "node32": set(), "node33": {"node32"}}),
    "the-other-order": ({"importV4": [REJECT, {**ACCEPT, **BLOCK_32}]}, NONE),
    "longer-prefixes-only": ({"exportV4": [{**REJECT, **BLOCK_32, "prefixLength": {"min": 27}}]},
                             ALL),
    "what-peers-told": ({"exportV4": [{**REJECT, "source": "RemotePeers"}]}, ALL),
    "external-peers": ({"exportV4": [{**REJECT, "peerType": "eBGP"}]}, ALL),
}


def test_bgp_filters(both: dict[str, CalicoNet]) -> None:
    for step, (spec, wanted) in STEPS.items():
        for engine, net in both.items():
            net.apply([resource("BGPFilter", "f" if spec else "unnamed", **spec)])
            assert (step, engine, learned(net)) == (step, engine, wanted)
            assert net.verify() == (), (step, engine)


LENT, PODS, TUNNELS = {"10.22.31.9"}, {"10.22.32.1"}, {"10.22.32.0"}
IN_POOL = {"matchOperator": "In", "cidr": "10.22.0.0/16"}
#: rules of filter f's exports -> the single addresses of node32 that the others learn
ACCEPTING = {
    "no-rule-that-fits": ([{**ACCEPT, "peerType": "eBGP"}], LENT),
    "all-of-the-pool": ([{**ACCEPT, **IN_POOL}], LENT | PODS | TUNNELS),
    "one-address": ([{**ACCEPT, "matchOperator": "Equal", "cidr": "10.22.32.1/32"}], LENT | PODS),
    "pods-by-device": ([{**ACCEPT, "interface": "cali*"}], LENT | PODS),
    "tunnels-by-device": ([{**ACCEPT, "interface": "tunl0"}], LENT | TUNNELS),
    "no-pods-by-device": ([{**REJECT, "interface": "cali*"}], set()),
    "what-peers-told": ([{**ACCEPT, "source": "RemotePeers"}], LENT),
}


def test_an_export_rule_that_accepts_comes_before_calicos_own(both: dict[str, CalicoNet]) -> None:
    for step, (rules, wanted) in ACCEPTING.items():
        for engine, net in both.items():
            net.apply([resource("BGPFilter", "f", exportV4=rules)])
            single = {route.destination for route in net.kernel_routes("node33")
                      if route.protocol == "bird" and "192.168.57.32" in str(route)}
            assert (step, engine, single - {BLOCK_32["cidr"]}) == (step, engine, wanted)
            assert learned(net) == ALL and net.verify() == (), (step, engine)
        assert routes_of_bird(both["bird"]) == routes_of_bird(both["builtin"]), step


def test_a_filter_may_accept_what_disable_bgp_export_holds_back(both: dict[str, CalicoNet]) -> None:
    for net in both.values():
        (pool,) = net.topology.pools
        for exports, disabled, wanted in (([{**ACCEPT, **IN_POOL}], True, ALL), ([], False, ALL)):
            net.apply([resource("IPPool", pool.name, cidr=str(pool.cidr), ipipMode="Always",
                                blockSize=pool.block_size, disableBGPExport=disabled),
                       resource("BGPFilter", "f", exportV4=exports)])
            assert learned(net) == wanted and net.verify() == ()
    assert routes_of_bird(both["bird"]) == routes_of_bird(both["builtin"])


def test_a_filter_that_goes_lets_routes_pass_again(both: dict[str, CalicoNet]) -> None:
    for net in both.values():
        net.apply([resource("BGPFilter", "f", importV4=[REJECT])])
        assert learned(net) == NONE
        net.delete("BGPFilter", "f")
        assert learned(net) == ALL and net.verify() == ()


def test_disable_bgp_export(both: dict[str, CalicoNet]) -> None:
    """As node/tests/st/bgp/test_bgp.py: no peer learns a pool with disableBGPExport."""
    for net in both.values():
        (pool,) = net.topology.pools
        for disabled, wanted in ((True, NONE), (False, ALL)):
            net.apply([resource("IPPool", pool.name, cidr=str(pool.cidr), ipipMode="Always",
                                blockSize=pool.block_size, disableBGPExport=disabled)])
            assert learned(net) == wanted and net.verify() == ()
