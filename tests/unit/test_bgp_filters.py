"""BGPFilters: what a file may say, and which routes pass. BIRD's text is in test_bird_config.py."""

import subprocess
from dataclasses import replace

import pytest
from support.engines import NEEDS_BIRD
from support.round_trip import again

from calico_mn.bgp.filters import EXPORT, IMPORT, SessionFilter, calls, functions, rules_of
from calico_mn.bgp_resources import BGPFilter, BGPFilterRule, BGPPeer, SessionOptions
from calico_mn.calico.cluster import Cluster
from calico_mn.emulation.speakers import underlay_announced
from calico_mn.topology import parse_topology

from .clusters import net, topology

BLOCK, POOL = net("10.22.138.0/26"), net("10.22.0.0/16")
ACCEPT, REJECT = True, False
LEARNED = {"is_learned": True}


def rule(accepts, cidr="", operator="", lengths=None, **more):
    return BGPFilterRule(accepts, net(cidr) if cidr else None, operator, lengths, **more)


@pytest.mark.parametrize(("rules", "route", "wanted"), [
    pytest.param([], {}, None, id="no-rule"),
    pytest.param([rule(REJECT)], {}, False, id="a-rule-without-conditions"),
    pytest.param([rule(ACCEPT, "10.22.0.0/16", "In")], {}, True, id="in"),
    pytest.param([rule(ACCEPT, "10.22.138.0/26", "In")], {}, True, id="in-itself"),
    pytest.param([rule(ACCEPT, "10.22.138.0/28", "In")], {}, None, id="in-smaller"),
    pytest.param([rule(ACCEPT, "10.23.0.0/16", "NotIn")], {}, True, id="not-in"),
    pytest.param([rule(ACCEPT, "10.22.0.0/16", "NotIn")], {}, None, id="not-not-in"),
    pytest.param([rule(ACCEPT, "10.22.0.0/16", "Equal")], {}, None, id="not-equal-to-the-pool"),
    pytest.param([rule(ACCEPT, "10.22.138.0/26", "Equal")], {}, True, id="equal"),
    pytest.param([rule(ACCEPT, "10.22.0.0/16", "NotEqual")], {}, True, id="not-equal"),
    pytest.param([rule(ACCEPT, "10.22.138.0/26", "NotEqual")], {}, None, id="not-not-equal"),
    pytest.param([rule(ACCEPT, "10.22.0.0/16", "In", (16, 26))], {}, True, id="length-inside"),
    pytest.param([rule(ACCEPT, "10.22.0.0/16", "In", (27, 32))], {}, None, id="length-outside"),
    pytest.param([rule(ACCEPT, "10.22.0.0/16", "NotIn", (27, 32))], {}, True, id="not-in-lengths"),
    pytest.param([rule(ACCEPT, "10.22.138.0/26", "Equal", (26, 32))], {}, None,
                 id="equal-with-lengths-never"),
    pytest.param([rule(ACCEPT, "10.22.138.0/26", "NotEqual", (26, 32))], {}, True,
                 id="not-equal-with-lengths-always"),
    pytest.param([rule(REJECT, is_remote=True)], {}, None, id="own-route-is-not-remote"),
    pytest.param([rule(REJECT, is_remote=True)], LEARNED, False, id="remote"),
    pytest.param([rule(REJECT, interface="eth0")], {}, None, id="a-blackhole-has-no-device"),
    pytest.param([rule(REJECT, interface="*")], {}, False, id="any-device-or-none"),
    pytest.param([rule(REJECT, interface="eth*")], LEARNED, False, id="device-pattern"),
    pytest.param([rule(REJECT, interface="tunl0")], LEARNED, None, id="another-device"),
    pytest.param([rule(REJECT, peer_type="iBGP")], {}, False, id="ibgp"),
    pytest.param([rule(REJECT, peer_type="eBGP")], {}, None, id="not-ebgp"),
    pytest.param([rule(REJECT, peer_type="eBGP")], {"is_external": True}, False, id="ebgp"),
    pytest.param([rule(REJECT, "10.22.0.0/16", "In", is_remote=True), rule(ACCEPT)], {}, True,
                 id="all-conditions-must-fit"),
    pytest.param([rule(ACCEPT, "10.22.0.0/16", "In"), rule(REJECT)], {}, True, id="first-wins"),
    pytest.param([rule(REJECT), rule(ACCEPT, "10.22.0.0/16", "In")], {}, False,
                 id="first-wins-the-other-way"),
])
def test_what_becomes_of_a_route(rules, route, wanted):
    session = SessionFilter(tuple(rules), route.get("is_external", False))
    asked = session.learned if route.get("is_learned") else session.local
    assert asked(BLOCK) is wanted


FIRST = BGPFilter("first", exports=(rule(REJECT, "10.22.0.0/16", "In"),))
SECOND = BGPFilter("second", (rule(ACCEPT),), (rule(REJECT),))
KNOWN = {item.name: item for item in (FIRST, SECOND)}


def test_filters_are_asked_in_the_peers_order_and_missing_ones_are_not():
    assert rules_of(["second", "gone", "first"], KNOWN, EXPORT) == (
        *SECOND.exports, *FIRST.exports)
    assert rules_of(["first", "second"], KNOWN, IMPORT) == SECOND.imports
    assert calls(["second", "gone", "first"], KNOWN, EXPORT, is_external=False) == (
        "'bgp_second_exportFilterV4'();", "'bgp_first_exportFilterV4'();")
    assert calls(["first"], KNOWN, IMPORT, is_external=False) == ()


@NEEDS_BIRD
def test_bird_takes_a_name_of_any_length(tmp_path):
    items = [BGPFilter(f"{'long.' * 20}{end}", (rule(REJECT),)) for end in "ab"]
    names = [call.removesuffix("();") for item in items for call in calls(
        [item.name], {item.name: item}, EXPORT, is_external=False)]
    assert len(set(names)) == 2 and {len(name) for name in names} == {66}
    (tmp_path / "bird.conf").write_text("\n".join(("protocol device {}", *functions(items), "")))
    done = subprocess.run(["bird", "-p", "-c", str(tmp_path / "bird.conf")], check=False,
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("exports", "names"), [
    pytest.param([rule(ACCEPT)], "node31, node32, node33", id="everything"),
    pytest.param([rule(ACCEPT, interface="eth*")], "node31, node32, node33", id="the-uplink"),
    pytest.param([rule(ACCEPT, "0.0.0.0/0", "In")], "node31, node32, node33", id="any-prefix"),
    pytest.param([rule(ACCEPT, "192.168.58.0/24", "Equal")], "node33", id="its-subnet"),
    pytest.param([rule(ACCEPT, "10.22.0.0/16", "In")], "", id="a-pool"),
    pytest.param([rule(ACCEPT, is_remote=True)], "", id="what-peers-told"),
])
def test_nodes_that_announce_routes_of_the_underlay_are_named(exports, names):
    peer = BGPPeer("all", peer_selector="all()", options=SessionOptions(("f",)))
    cluster = Cluster(replace(topology(), mesh=False, bgp_peers=(peer,), bgp_filters=(
        BGPFilter("f", exports=tuple(exports)),)), 2)
    text = underlay_announced(cluster)
    assert text.startswith(f"BGPFilters let {names} announce") if names else not text


# --- what files may say: what is wrong in them is in tests/topology/mistakes/bgpfilter.txt

TEXT = """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node31}
spec: {bgp: {ipv4Address: 192.168.57.31/24}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.22.0.0/16, ipipMode: Always, disableBGPExport: true}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 192.168.57.1, filters: [f], maxRestartTime: 1m}
---
apiVersion: crd.projectcalico.org/v1
kind: BGPFilter
metadata: {name: f}
spec:
  exportV4:
  - {action: Reject, matchOperator: In, cidr: 10.22.0.0/16, prefixLength: {min: 8}}
  - {action: Accept, source: RemotePeers, interface: tunl*, peerType: eBGP}
  importV4: [{action: Accept}]
"""
READ = BGPFilter("f", (rule(REJECT, "10.22.0.0/16", "In", (16, 32)),
                       rule(ACCEPT, is_remote=True, interface="tunl*", peer_type="eBGP")),
                 (rule(ACCEPT),))


def test_a_filter_is_read_and_written_again():
    read = parse_topology(TEXT, environ={})
    assert read.bgp_filters == (READ,) and not read.pools[0].is_exported
    assert again(Cluster(read, 2)).topology.bgp_filters == (READ,)


def test_a_filter_without_a_document_is_written():
    with_documents = parse_topology(TEXT, environ={})
    bare = again(Cluster(
        type(with_documents)(**{**{name: getattr(with_documents, name) for name in (
            "underlay", "nodes", "pools", "bgp_peers", "bgp_filters")}}), 2)).topology
    assert (bare.bgp_filters, bare.bgp_peers, bare.pools) == (
        with_documents.bgp_filters, with_documents.bgp_peers, with_documents.pools)
