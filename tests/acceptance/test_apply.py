"""Resources change on a running cluster; after each change all reach all, and nothing is amiss.

     node31 .31    node32 .32               node33 .33    node34 (joins)
        |             |                        |             |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ---+-----
"""

from __future__ import annotations

import random
import re
import threading
from typing import Any

import pytest
import yaml
from support.connectivity import expect_connectivity, full_mesh
from support.routes import route_to, routes
from support.streams import established
from support.topologies import TWO_SUBNETS, two_subnets

from calico_mn import CalicoNet
from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.errors import (
    CalicoMnError,
    ClusterError,
    IPAMError,
    KernelError,
    NotFoundError,
    TopologyError,
    UnsupportedError,
)
from calico_mn.topology import parse_topology

pytestmark = pytest.mark.root

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 3, template: {spec: {}}}
"""
NODE34 = """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node34}
spec: {bgp: {ipv4Address: 192.168.58.34/24}}
"""


def pool(name: str, cidr: str, **modes: object) -> dict[str, Any]:
    return {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name},
            "spec": {"cidr": cidr, **modes}}


def node(name: str, address: str) -> dict[str, Any]:
    return {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": name},
            "spec": {"bgp": {"ipv4Address": address}}}


def facts(net: CalicoNet) -> tuple[Any, ...]:
    """All that a change may touch: resources, free addresses, the kernel, Mininet's tables."""
    return (net.resources(), {cidr: (block.affinity, tuple(block.free), dict(block.used))
                              for cidr, block in net.cluster.ipam._blocks.items()},
            dict(net.states), {name: routes(net, name) for name in net}, list(net), len(net.links),
            {name: net.distributor.originated(name) for name in net.cluster.nodes})


def changed(net: CalicoNet, method: str, *arguments: Any) -> list[str]:
    """What became of the resources. A dry run tells the same, and changes nothing."""
    before = facts(net)
    told = getattr(net, method)(*arguments, dry_run=True)
    assert facts(net) == before
    done = getattr(net, method)(*arguments)
    assert done == told
    assert net.verify() == ()
    expect_connectivity(net, full_mesh(*(place.name for place in (*net.nodes, *net.pods))))
    return [str(change) for change in done.resources]


def test_workloads_pools_nodes_and_modes_change_while_connections_live_on(boot):
    net = boot(two_subnets("Always"))
    with established(net, "b", "c") as stream:
        assert changed(net, "apply", WEB) == [
            "deployment.apps/web created", "pod/web-0 created", "pod/web-1 created",
            "pod/web-2 created"]
        assert changed(net, "apply", WEB) == ["deployment.apps/web unchanged"]
        assert changed(net, "scale", "deploy", "web", 1) == [
            "deployment.apps/web configured", "pod/web-1 deleted", "pod/web-2 deleted"]
        assert changed(net, "apply", NODE34) == ["node/node34 created"]
        assert changed(net, "apply", [pool("pool", "10.22.0.0/16", vxlanMode="CrossSubnet"),
                                      pool("more", "10.44.0.0/16", vxlanMode="Always")]) == [
            "ippool.projectcalico.org/pool configured", "ippool.projectcalico.org/more created"]
        assert route_to(net, "node31", "10.22.33.0/26").endswith("dev vxlan.calico onlink")
        assert changed(net, "apply", pool("pool", "10.22.0.0/16", vxlanMode="CrossSubnet",
                                          disabled=True)) == [
            "ippool.projectcalico.org/pool configured"]
        changed(net, "scale", "deployments", "web", 4)
        assert {net[f"web-{n}"].ip.rpartition(".")[0][:5] for n in (1, 2, 3)} == {"10.44"}
        assert stream.goes_on()
    assert changed(net, "delete", "no", "node34") == [
        "node/node34 deleted", "pod/web-1 deleted"]
    assert changed(net, "delete", "deploy", "web") == [
        "deployment.apps/web deleted", "pod/web-0 deleted", "pod/web-2 deleted",
        "pod/web-3 deleted"]
    changed(net, "apply", pool("pool", "10.22.0.0/16", vxlanMode="CrossSubnet"))
    assert changed(net, "delete", "ippool", "more") == ["ippool.projectcalico.org/more deleted"]
    assert changed(net, "delete", "po", "a") == ["pod/a deleted"]


@pytest.mark.parametrize("mode", [
    pytest.param({"ipipMode": "Always"}, marks=pytest.mark.ipip), {"vxlanMode": "Always"},
    {"ipipMode": "Never"}], ids=str)
def test_a_nodes_address_changes_with_its_pods_running(boot, mode):
    """projectcalico/calico #8700."""
    net = boot(two_subnets("Always", pod_routes=True))
    net.apply(pool("pool", "10.22.0.0/16", **mode))
    with established(net, "a", "c") as stream:
        changed(net, "apply", node("node31", "192.168.57.131/24"))
        assert stream.goes_on()
    assert (net["node31"].address, net["a"].ip) == ("192.168.57.131", "10.22.31.1")
    assert "192.168.57.31" not in "".join(line for name in TWO_SUBNETS
                                          for line in routes(net, name))


def deep() -> dict[str, Any]:
    """Resources that hold themselves."""
    resource: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod"}
    resource["spec"] = resource
    return resource


def test_policies_and_labels_of_running_pods_change(boot):
    net = boot(two_subnets("Always"))
    deny = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "deny"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]}}
    web = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b", "labels": {"app": "web"}},
           "spec": {}}
    net.apply(deny)
    expect_connectivity(net, full_mesh("a", "b", "c"))
    assert [str(item) for item in net.apply(web).resources] == ["pod/b configured"]
    expect_connectivity(net, {"a": {"c"}, "b": {"a", "c"}, "c": {"a"}})
    assert net.verify() == ()
    net.delete_resources(deny)
    expect_connectivity(net, full_mesh("a", "b", "c"))
    assert net.verify() == ()


#    node31, node32 -- rack-a -- r1 -- rack-b -- node33
#                                 |
#                      outside -- rack-c (new) -- node35 -- r2 (new) -- rack-d (new) -- node36
def test_the_fabric_grows_under_a_running_cluster(boot):
    net = boot(two_subnets("Always", pod_routes=True))
    (underlay,) = net.resources("underlay")
    underlay["spec"]["subnets"] += [{"name": "rack-c", "cidr": "192.168.59.0/24"},
                                    {"name": "rack-d", "cidr": "192.168.60.0/24"}]
    underlay["spec"]["routers"][0]["interfaces"].append(
        {"subnet": "rack-c", "address": "192.168.59.1"})
    underlay["spec"]["routers"].append({"name": "r2", "podRoutes": True, "interfaces": [
        {"subnet": "rack-c", "address": "192.168.59.2"},
        {"subnet": "rack-d", "address": "192.168.60.1"}]})
    underlay["spec"]["hosts"] = [{"name": "outside", "address": "192.168.59.200"}]
    with established(net, "a", "c") as stream:
        changed(net, "apply", [underlay, node("node35", "192.168.59.35/24"),
                               node("node36", "192.168.60.36/24")])
        changed(net, "apply", WEB.replace("3,", "5,"))
        assert stream.goes_on()
    assert {net[f"web-{n}"].node for n in range(5)} == {
        "node31", "node32", "node33", "node35", "node36"}
    expect_connectivity(net, full_mesh("outside", "node36", "a", *(f"web-{n}" for n in range(5))))
    assert [str(item) for item in net.links if "r2:" in str(item)] == [
        "r2:eth0<->rack-c:r2", "r2:eth1<->rack-d:r2"]
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": net.resources()})
    assert kernel(boot(parse_topology(text))) == kernel(net)


REFUSED = {
    "mistake": ("apply", [WEB.replace("replicas", "replica")], TopologyError),
    "no-file": ("apply", ["/nowhere.yaml"], TopologyError),
    "pool-cidr": ("apply", [pool("pool", "10.22.0.0/17")], TopologyError),
    "pool-in-use": ("delete", ["ippool", "pool"], ClusterError),
    "pod-moves": ("apply", [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
                             "spec": {"nodeName": "node32"}}], TopologyError),
    "subnet": ("apply", [node("node31", "192.168.58.31/24")], TopologyError),
    "same-address": ("apply", [node("node31", "192.168.57.32/24")], TopologyError),
    "block-in-use": ("delete", ["blockaffinity", "node31-10-22-31-0-26"], IPAMError),
    "underlay": ("delete", ["underlay", "underlay"], ClusterError),
    "unknown": ("delete", ["pod", "z"], NotFoundError),
    "other-namespace": ("delete", ["pod", "a", "kube-system"], NotFoundError),
    "control-characters": ("delete", ["pod", "a\x1b[31m\n"], NotFoundError),
    "no-resource": ("apply", [[5]], ClusterError),
    "too-deep": ("apply", [deep()], TopologyError),
    "not-scalable": ("scale", ["pod", "a", 2], ClusterError),
    "one-good-one-bad": ("apply", [[node("node34", "192.168.58.34/24"),
                                    pool("pool", "10.22.0.0/17")]], TopologyError),
}


def test_what_is_refused_changes_nothing(boot):
    net = boot(two_subnets("Always"))
    before = facts(net)
    for name, (method, arguments, error) in REFUSED.items():
        with pytest.raises(CalicoMnError) as refused:
            getattr(net, method)(*arguments)
        assert type(refused.value) is error, name
        assert str(refused.value).replace("\n", "").isprintable(), name
        assert facts(net) == before, name
    expect_connectivity(net, full_mesh("a", "b", "c"))


def kernel(net: CalicoNet) -> dict[str, Any]:
    """Routes, addresses, neighbours and forwarding entries of every namespace, as the kernel lists.
    """
    commands = ("ip -4 route", "ip -4 -o address", "ip neigh show nud permanent",
                "bridge fdb show dev vxlan.calico")
    return {name: [sorted(
        re.sub(r"^[0-9]+: | valid_lft .*|linkdown |dead ", "", line)
        for line in net[name].pexec(*command.split())[0].splitlines()) for command in commands]
        for name in net}


def change_at_random(net: CalicoNet, rng: random.Random) -> None:
    """One of the changes that are worth a try; not all are possible at any time."""
    mode = rng.choice(["ipipMode", "vxlanMode"]), rng.choice(["Always", "CrossSubnet", "Never"])
    number = rng.randrange(1, 5)
    host = rng.choice(["57", "58"])
    rng.choice([
        lambda: net.apply(pool("pool", "10.22.0.0/16", **dict([mode]))),
        lambda: net.apply(pool("more", "10.44.0.0/24", blockSize=28, **dict([mode]))),
        lambda: net.apply(node(f"node3{number}", f"192.168.{host}.{100 + rng.randrange(50)}/24")),
        lambda: net.apply(WEB.replace("3,", f"{rng.randrange(6)},")),
        lambda: net.apply(WEB.replace("Deployment", "DaemonSet").replace("replicas: 3, ", "")
                          .replace("web", "agent")),
        lambda: net.apply({"apiVersion": "v1", "kind": "Pod", "spec": {},
                           "metadata": {"name": f"p{number}"}}),
        lambda: net.scale("deploy", "web", rng.randrange(6)),
        lambda: net.delete("pod", f"p{number}"),
        lambda: net.delete("node", f"node3{number}"),
        lambda: net.delete("ds", "agent"),
        lambda: net.delete("ippool", "more"),
    ])()


@pytest.mark.parametrize("seed", [4, 8])
def test_after_any_changes_the_kernel_is_as_after_a_boot(boot, seed):
    net = boot(two_subnets("Always", pod_routes=True))
    rng = random.Random(seed)
    made = 0
    while made < 12:
        before = facts(net) if made % 4 == 0 else None
        try:
            change_at_random(net, rng)
            made += 1
        except CalicoMnError:
            assert before is None or facts(net) == before
        assert net.verify() == ()
    expect_connectivity(net, full_mesh(*(place.name for place in (*net.nodes, *net.pods))))
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": net.resources()})
    assert kernel(boot(parse_topology(text))) == kernel(net)


def test_a_damaged_node_does_not_stop_a_change_of_others(boot):
    net = boot(two_subnets("Always", pod_routes=True))
    net["node32"].pexec("ip", "link", "set", "dev", "eth0", "down")
    with pytest.raises(KernelError, match=r"node32: .*eth0 is down"):
        net.apply(pool("pool", "10.22.0.0/16", ipipMode="Never"))
    assert route_to(net, "node31", "10.22.33.0/26").endswith("dev eth0 proto bird")
    net.repair()
    changed(net, "apply", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "new"},
                           "spec": {"nodeName": "node32"}})


def test_a_route_engine_that_cannot_be_copied_has_no_dry_run(boot):
    engine = BuiltInEngine()
    engine.lock = threading.Lock()
    net = boot(two_subnets("Always"), route_engine=engine)
    before = facts(net)
    with pytest.raises(UnsupportedError, match="no dry run"):
        net.apply(WEB, dry_run=True)
    assert facts(net) == before
    net.apply(WEB)
    assert net.verify() == ()
