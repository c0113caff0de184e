"""What a running cluster is to become when resources are laid over its own."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.round_trip import assert_survives

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.evolution import evolved
from calico_mn.calico.snapshot import snapshot
from calico_mn.errors import CalicoMnError, TopologyError
from calico_mn.model import Pod
from calico_mn.topology import parse_topology
from calico_mn.topology.emit import documents
from calico_mn.topology.parse import parse_change

#    n1 .1   n2 .2   n3 .3
#    --+-------+-------+-- rack 192.168.57.0/24 -- r1 .254
CLUSTER = """
apiVersion: calico-mn/v1
kind: Underlay
metadata: {name: lab}
spec:
  subnets: [{name: rack, cidr: 192.168.57.0/24}, {name: other, cidr: 192.168.58.0/24}]
  routers: [{name: r1, interfaces: [{subnet: rack, address: 192.168.57.254},
                                    {subnet: other, address: 192.168.58.254}]}]
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.22.0.0/16, blockSize: 26, ipipMode: Always}
""" + "".join(f"""
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {{name: n{n}, labels: {{rack: r{n % 2}}}}}
spec: {{bgp: {{ipv4Address: 192.168.57.{n}/24}}}}
""" for n in (1, 2, 3))


def workload(kind, name="web", *, replicas=None, spec="", node_selector=""):
    count = "" if replicas is None else f"replicas: {replicas}, "
    api = "v1" if kind == "ReplicationController" else "apps/v1"
    return f"""---
apiVersion: {api}
kind: {kind}
metadata: {{name: {name}}}
spec: {{{count}template: {{spec: {{{spec}{node_selector}}}}}}}
"""


def pod(name, node="", spec="", owner=""):
    place = f"nodeName: {node}" if node else ""
    owners = f", ownerReferences: [{{kind: {owner[0]}, name: {owner[1]}}}]" if owner else ""
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}{owners}}}
spec: {{{place}{spec}}}
"""


def booted(text=""):
    return Cluster(parse_topology(CLUSTER + text), 0)


def changed(made, text, without=()):
    """The cluster after ``text`` was laid over it, without the documents of some names."""
    running = snapshot(made)
    kept = [item for item in documents(running) if item["metadata"]["name"] not in without]
    wanted, _ = parse_change(running, kept, {"change.yaml": text} if text else {})
    return evolved(made, wanted)


def pods(made):
    return {e.name: e.node for e in made.endpoints.values()}


# --- workloads

SCALED = {
    # What is there before, what is laid over it, the pods after.
    "new-pods-go-where-fewest-are": (
        pod("a", "n1") + pod("b", "n2"), workload("Deployment", replicas=4),
        {"a": "n1", "b": "n2", "web-0": "n3", "web-1": "n1", "web-2": "n2", "web-3": "n3"}),
    "up": (workload("Deployment", replicas=2), workload("Deployment", replicas=4),
           {"web-0": "n1", "web-1": "n2", "web-2": "n3", "web-3": "n1"}),
    "down-from-the-fullest-node": (
        workload("Deployment", replicas=4), workload("Deployment", replicas=2),
        {"web-1": "n2", "web-2": "n3"}),
    "down-to-none": (workload("ReplicaSet", replicas=2), workload("ReplicaSet", replicas=0), {}),
    "a-statefulset-ends-its-last": (
        workload("StatefulSet", replicas=4), workload("StatefulSet", replicas=2),
        {"web-0": "n1", "web-1": "n2"}),
    "no-replicas-keeps-the-number": (
        workload("ReplicationController", replicas=2), workload("ReplicationController"),
        {"web-0": "n1", "web-1": "n2"}),
    "a-new-one-without-replicas-has-one": ("", workload("Deployment"), {"web-0": "n1"}),
    "names-that-are-free": (
        pod("web-1", "n3") + workload("Deployment", replicas=1),
        workload("Deployment", replicas=3),
        {"web-0": "n1", "web-1": "n3", "web-2": "n2", "web-3": "n3"}),
    "a-selector": ("", workload("Deployment", replicas=2, node_selector="nodeSelector: {rack: r0}"),
                   {"web-0": "n2", "web-1": "n2"}),
    "a-fixed-node": ("", workload("Deployment", replicas=2, spec="nodeName: n3"),
                     {"web-0": "n3", "web-1": "n3"}),
    "pods-of-a-replica-set-that-is-not-there": (
        workload("Deployment", replicas=2)
        + "".join(pod(f"web-5d4f-{name}", node, owner=("ReplicaSet", "web-5d4f"))
                  for name, node in (("x", "n1"), ("y", "n2"))),
        workload("Deployment", replicas=3),
        {"web-5d4f-x": "n1", "web-5d4f-y": "n2", "web-0": "n3"}),
    "pods-of-another-are-not-touched": (
        workload("Deployment", "api", replicas=2), workload("Deployment", replicas=0),
        {"api-0": "n1", "api-1": "n2"}),
    "hostnetwork": ("", workload("Deployment", replicas=2, spec="hostNetwork: true"), {}),
    "a-pod-goes-where-fewest-are": (pod("a", "n1") + pod("b", "n2"), pod("c"),
                                    {"a": "n1", "b": "n2", "c": "n3"}),
    "a-daemonset": ("", workload("DaemonSet", "agent"),
                    {"agent-n1": "n1", "agent-n2": "n2", "agent-n3": "n3"}),
    "a-daemonset-that-selects": (
        workload("DaemonSet", "agent"),
        workload("DaemonSet", "agent", node_selector="nodeSelector: {rack: r1}"),
        {"agent-n1": "n1", "agent-n3": "n3"}),
    "a-daemonset-follows-labels": (
        workload("DaemonSet", "agent", node_selector="nodeSelector: {rack: r0}"), """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1, labels: {rack: r0}}
spec: {bgp: {ipv4Address: 192.168.57.1/24}}
""", {"agent-n2": "n2", "agent-n1": "n1"}),
    "a-daemonset-follows-nodes": (workload("DaemonSet", "agent"), """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n4}
spec: {bgp: {ipv4Address: 192.168.58.4/24}}
""", {"agent-n1": "n1", "agent-n2": "n2", "agent-n3": "n3", "agent-n4": "n4"}),
}


@pytest.mark.parametrize(("before", "change", "after"), SCALED.values(), ids=SCALED)
def test_workloads_make_and_end_pods(before, change, after):
    made = booted(before)
    result = changed(made, change)
    assert pods(result) == after
    for key in made.endpoints.keys() & result.endpoints.keys():
        assert result.endpoints[key] == made.endpoints[key], "what runs keeps its address"
    # What is written down then is the same again.
    again = changed(result, "")
    assert again.endpoints == result.endpoints
    assert pods(changed(result, change)) == after


def test_a_pod_that_was_ended_by_hand_stays_away_until_its_workload_is_applied():
    made = booted(workload("Deployment", replicas=2))
    made.delete_pod("default/web-0")
    assert pods(changed(made, pod("a", "n1"))) == {"web-1": "n2", "a": "n1"}
    assert pods(changed(made, workload("Deployment", replicas=2))) == {"web-0": "n1", "web-1": "n2"}


def test_a_pod_of_a_workloads_old_name_is_not_its_own():
    made = changed(booted(workload("Deployment", replicas=2)), workload("Deployment", replicas=1))
    made.add_pod(Pod("default", "web-1", "n3"))
    assert pods(changed(made, workload("Deployment", replicas=0))) == {"web-1": "n3"}


def test_a_namespace_says_which_pool_new_pods_use():
    made = booted("""---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: second}
spec: {cidr: 10.44.0.0/16, ipipMode: Always}
---
apiVersion: v1
kind: Namespace
metadata: {name: default, annotations: {cni.projectcalico.org/ipv4pools: '["second"]'}}
""")
    result = changed(made, workload("Deployment", replicas=1))
    assert str(result.endpoint("default/web-0").address).startswith("10.44.")


# --- what takes whose place

def test_a_resource_takes_the_place_of_its_namesake_and_others_stay():
    made = booted(pod("a", "n1"))
    result = changed(made, """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.22.0.0/16, vxlanMode: CrossSubnet}
---
apiVersion: v1
kind: Node
metadata: {name: n2, annotations: {projectcalico.org/IPv4Address: 192.168.57.22/24}}
""")
    assert str(result.mode_of_pool(result.topology.pools[0])) == "CrossSubnet (VXLAN)"
    assert [str(n.address) for n in result.nodes.values()] == [
        "192.168.57.1/24", "192.168.57.22/24", "192.168.57.3/24"]


def test_what_is_not_laid_over_again_is_gone():
    made = booted(pod("a", "n1"))
    assert not changed(made, "", without=["a"]).endpoints
    with pytest.raises(TopologyError, match="Pod default/a is on unknown node"):
        changed(made, "", without=["n1"])


UNDERLAY = CLUSTER.split("---")[0]
REFUSED = {
    "cidr": ("""apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.23.0.0/16}
""", "change.yaml:4:14: IPPool pool has cidr 10.22.0.0/16, which cannot be modified",
             "add another IPPool"),
    "block-size": ("""apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.22.0.0/16, blockSize: 28}
""", "change.yaml:4:39: IPPool pool has blockSize 26, which cannot be modified",
                   "Calico refuses it, too"),
    "pod-on-another-node": (pod("a", "n2"), "change.yaml:5:18: pod default/a has node n1, which "
                                            "cannot be modified", "delete it first"),
    "pod-with-another-address": (
        """apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations: {cni.projectcalico.org/ipAddrs: '["10.22.0.9"]'}
spec: {}
""", "pod default/a has ip 10.22.", "delete it first"),
    "node-in-another-subnet": ("""apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1}
spec: {bgp: {ipv4Address: 192.168.58.1/24}}
""", "change.yaml:4:27: node n1 is plugged into rack, and 192.168.58.1 is in another subnet",
                               "delete the node first"),
    "tunnel-address": ("""apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1}
spec: {bgp: {ipv4Address: 192.168.57.1/24, ipv4IPIPTunnelAddr: 10.22.9.9}}
""", "change.yaml:4:64: node n1 has the IPIP tunnel address 10.22.", "leave it out"),
    **{f"underlay-{name}": (
        UNDERLAY.replace(*change), "change.yaml:2:1: the Underlay of a running cluster keeps its "
        "subnets, routers, hosts and links as they are", "some can be added") for name, change in {
            "mtu": ("192.168.58.0/24}", "192.168.58.0/24, mtu: 9000}"),
            "subnet-renamed": ("other", "another"),
            "router-renamed": ("r1", "r2"),
            "router-readdressed": ("57.254", "57.253"),
            "interface-gone": (""",
                                    {subnet: other, address: 192.168.58.254}""", ""),
        }.items()},
    "unknown-node": (pod("b", "n9"), 'Pod default/b is on unknown node "n9"',
                     "the file has n1, n2, n3"),
    "same-address": ("""apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n4}
spec: {bgp: {ipv4Address: 192.168.57.2/24}}
""", 'change.yaml:4:27: node "n4" has address 192.168.57.2, which node "n2" has, too',
                     "the other one is in the running cluster"),
    "a-mistake": ("apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {nodename: n1}\n",
                  'change.yaml:4:8: unknown field "nodename"', "did you mean"),
    "yaml": ("kind: [", "change.yaml:2:1: not valid YAML", ""),
    "nothing": ("# no more", "change.yaml: there is nothing in it", ""),
    "too-many": (workload("Deployment", replicas=20_001), "20002 pods are more than", ""),
    "a-long-name": (workload("Deployment", ".".join(["w" * 63] * 3 + ["w" * 60])),
                    "makes a pod name of 254 characters", ""),
}


@pytest.mark.parametrize(("change", "says", "hint"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_change_is_refused_where_the_file_says_it(change, says, hint):
    made = booted(pod("a", "n1"))
    before = documents(snapshot(made))
    with pytest.raises(TopologyError) as refused:
        changed(made, change)
    assert says in str(refused.value) and hint in str(refused.value)
    assert documents(snapshot(made)) == before


def test_a_pod_that_no_node_can_have_is_pending_until_one_can():
    made = changed(booted(), workload("Deployment", replicas=2,
                                      node_selector="nodeSelector: {rack: r9}"))
    assert pods(made) == {}
    assert {key: item.status for key, item in made.admission.waiting.items()} == {
        "default/web-0": "Pending", "default/web-1": "Pending"}
    made = changed(made, pod("other", "n1"))
    assert pods(made) == {"other": "n1"} and len(made.admission.waiting) == 2
    made = changed(made, """apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n2, labels: {rack: r9}}
spec: {bgp: {ipv4Address: 192.168.57.2/24}}
""")
    assert pods(made) == {"other": "n1", "web-0": "n2", "web-1": "n2"}
    assert not made.admission.waiting


def test_pods_that_are_pending_keep_their_names_beside_those_of_a_workload_of_the_same_name():
    nowhere = "nodeSelector: {rack: r9}"
    made = changed(booted(), workload("Deployment", "x", replicas=2, node_selector=nowhere)
                   + workload("StatefulSet", "x", replicas=3, node_selector=nowhere))
    owners = {"default/x-0": "Deployment/x", "default/x-1": "Deployment/x",
              "default/x-2": "StatefulSet/x", "default/x-3": "StatefulSet/x",
              "default/x-4": "StatefulSet/x"}
    for change in ("", workload("DaemonSet", "agent"), ""):
        assert {key: item.pod.owner for key, item in made.admission.waiting.items()} == owners
        made = changed(made, change)


def test_a_pod_that_waits_for_an_address_goes_on_waiting():
    waiting = pod("a", "n1").replace(
        "{name: a", """{name: a, annotations: {cni.projectcalico.org/ipAddrs: '["10.99.0.1"]'}""")
    made = changed(changed(booted(), waiting), pod("other", "n1"))
    assert pods(made) == {"other": "n1"}
    assert made.admission.waiting["default/a"].reason == "10.99.0.1 lies in no enabled IPPool"


def test_a_router_learns_the_pods_routes_and_another_hash():
    made = booted()
    result = changed(made, UNDERLAY.replace("{name: r1,", "{name: r1, podRoutes: true, "
                                            "multipathHash: 1,"))
    assert result.pod_routers == {"r1"} and made.pod_routers == set()
    assert snapshot(result).underlay.routers[0].multipath_hash.policy == 1


# --- at random

def _node(number, address, label):
    return f"""---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {{name: n{number}, labels: {{rack: r{label}}}}}
spec: {{bgp: {{ipv4Address: 192.168.57.{address}/24}}}}
"""


def _pool(name, cidr, size, mode, value, is_disabled):
    return f"""---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {{name: {name}}}
spec: {{cidr: {cidr}, blockSize: {size}, {mode}: {value}, disabled: {str(is_disabled).lower()}}}
"""


MODES = st.sampled_from(["Always", "CrossSubnet", "Never"])
NUMBERS = st.integers(1, 4)
CHANGES = st.one_of(
    st.builds(_node, NUMBERS, st.integers(1, 9), st.integers(0, 1)),
    st.builds(_pool, st.just("pool"), st.just("10.22.0.0/16"), st.just(26),
              st.sampled_from(["ipipMode", "vxlanMode"]), MODES, st.booleans()),
    st.builds(_pool, st.just("small"), st.just("10.44.0.0/28"), st.just(30),
              st.sampled_from(["ipipMode", "vxlanMode"]), MODES, st.booleans()),
    st.builds(lambda kind, name, count, label: workload(
        kind, name, replicas=count, node_selector=f"nodeSelector: {{rack: r{label}}}"),
        st.sampled_from(["Deployment", "StatefulSet", "ReplicaSet"]), st.sampled_from(["x", "y"]),
        st.integers(0, 7), st.integers(0, 1)),
    st.builds(lambda name: workload("DaemonSet", name), st.sampled_from(["agent", "other"])),
    st.builds(lambda name, number: pod(name, f"n{number}"), st.sampled_from("abc"), NUMBERS),
)


# Not made smaller: each try reads and builds several clusters.
@settings(max_examples=25, deadline=None,
          phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(st.tuples(st.lists(CHANGES, max_size=3), st.sets(st.sampled_from(
    ["a", "x-0", "x-1", "agent-n1", "y", "agent", "small"]), max_size=1)),
    min_size=1, max_size=8))
def test_after_any_changes_it_boots_from_its_resources_as_it_is(steps):
    made = booted()
    for changes, without in steps:
        before = documents(snapshot(made))
        try:
            after = changed(made, "".join(changes), without)
        except CalicoMnError:
            assert documents(snapshot(made)) == before
            continue
        for key in made.endpoints.keys() & after.endpoints.keys():
            assert made.endpoints[key] == after.endpoints[key]
        made = after
        # A pod of a workload that no node can have is left out of a file, as Pending.
        if all(item.pod.node for item in made.admission.waiting.values()):
            assert_survives(made)
        again = changed(made, "")
        assert sorted(map(str, documents(snapshot(again)))) == sorted(
            map(str, documents(snapshot(made))))
