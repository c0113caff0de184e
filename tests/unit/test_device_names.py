"""Of any accepted topology: devices have names that fit and are told apart, logs lie in the run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.cni import host_device
from calico_mn.calico.underlay import port_name
from calico_mn.emulation.plan import plan
from calico_mn.errors import ClusterError, TopologyError
from calico_mn.model import Pod
from calico_mn.state import Bridge, Tunnel, Veth, VethEnd
from calico_mn.topology import parse_topology

#: two names whose digests begin alike; 44 bits are kept, so a few million tries find a pair
ALIKE = ("p1803518", "p8024346")

LONG = ".".join(["n" * 63] * 4)[:253].rstrip(".")
NAMES = st.sampled_from([
    "lo", "all", "default", "any", "br0", "tunl0", "sit0", "gre0", "ip6tnl0", "eth0", "eth1", "1",
    "0x1", "4.5", "dev", "via", "port0123456789a", "port" + "f" * 11, "cali0123456789a",
    "a" * 15, "a" * 16, "a" * 63, LONG, LONG[:-1] + "m", "-".join(["n"] * 30), "node31", *ALIKE,
]) | st.from_regex(r"[a-z0-9]([a-z0-9]|[-.][a-z0-9]){0,14}", fullmatch=True)


@st.composite
def topologies(draw: st.DrawFn) -> str:
    """A cluster of up to five nodes on two subnets, with a router, all named oddly."""
    names = draw(st.lists(NAMES, min_size=4, max_size=8, unique=True))
    racks, router, nodes = names[:2], names[2], names[3:]
    documents: list[dict[str, object]] = [{
        "apiVersion": "calico-mn/v1", "kind": "Underlay", "spec": {
            "subnets": [{"name": rack, "cidr": f"192.168.{i}.0/24"}
                        for i, rack in enumerate(racks)],
            "routers": [{"name": router, "interfaces": [
                {"subnet": rack, "address": f"192.168.{i}.1"} for i, rack in enumerate(racks)]}]}},
        {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "p"},
         "spec": {"cidr": "10.22.0.0/16", "ipipMode": "Always"}}]
    documents += [{"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": name},
                   "spec": {"bgp": {"ipv4Address": f"192.168.{i % 2}.{i + 10}/24"}}}
                  for i, name in enumerate(nodes)]
    for name in draw(st.lists(NAMES, max_size=6, unique=True)):
        documents.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                          "spec": {"nodeName": draw(st.sampled_from(nodes))}})
    return yaml.safe_dump_all(documents)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(topologies())
def test_devices_have_unique_names_and_logs_lie_in_the_run(text: str) -> None:
    try:
        topology = parse_topology(text)
        cluster = Cluster(topology, 2)
    except TopologyError:
        return
    for state in [cluster.fabric.switch(subnet, cluster.nodes.values())
                  for subnet in topology.underlay.subnets] + [
            cluster.node_state(name, {}) for name in cluster.nodes]:
        names = [device.name for device in state.devices
                 if isinstance(device, (Bridge, Tunnel, Veth, VethEnd))]
        assert len(names) == len(state.devices)
        assert max(Counter(names).values(), default=1) == 1, names
        assert all(0 < len(name.encode()) <= 15 and name.isascii() and name.isprintable()
                   and not name.startswith("-") and "/" not in name and " " not in name
                   and name not in (".", "..", "all", "default", "lo") for name in names)
    logs = Path("/run/calico-mn/1-1/logs")
    for step in plan(topology, None):
        log = logs / step.namespace
        assert logs in log.parents and ".." not in log.parts and len(log.parts) <= 7
        assert all(len(part.encode()) <= 255 for part in log.parts)


@pytest.mark.parametrize("name", [
    "lo", "all", "default", "any", "br0", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0",
    "ip6tnl0", "1", "12", "4.5", "port0123456789a", "a" * 16, LONG, "-", "--help", "..", "a/b",
    "a b", "\n", "%s", "$(id)", ""])
def test_what_is_no_good_name_for_a_device_gets_a_digest(name: str) -> None:
    assert port_name(name) != name and len(port_name(name)) == 15


def test_names_alike_to_the_16th_letter_have_different_devices() -> None:
    names = [f"{'a' * 250}{number}" for number in range(500)]
    assert len({port_name(name) for name in names}) == 500
    assert len({host_device("default", name) for name in names}) == 500


ALIKE_PODS = """
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n1}, spec: {bgp: {ipv4Address: 172.16.0.1/24}}}
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n2}, spec: {bgp: {ipv4Address: 172.16.0.2/24}}}
---
{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, spec: {cidr: 10.22.0.0/16, ipipMode: Always}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p1803518}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p8024346}, spec: {nodeName: %s}}
"""  # noqa: E501


def test_two_pods_that_would_have_one_device_are_refused() -> None:
    with pytest.raises(TopologyError, match=r"default/p8024346 and default/p1803518 would both"
                                            r" have the device cali[0-9a-f]{11} in n1: give one"):
        Cluster(parse_topology(ALIKE_PODS % "n1"), 2)


def test_on_two_nodes_they_live() -> None:
    cluster = Cluster(parse_topology(ALIKE_PODS % "n2"), 2)
    assert len({endpoint.device for endpoint in cluster.endpoints.values()}) == 1
    # A pod that comes later is refused, too, and leaves no address taken.
    cluster.delete_pod("default/p8024346")
    with pytest.raises(ClusterError, match="would both have the device"):
        cluster.add_pod(Pod("default", "p8024346", "n1"))
    assert cluster.ipam.allocation("default/p8024346") is None
    cluster.delete_pod("default/p1803518")
    assert cluster.add_pod(Pod("default", "p8024346", "n1")).node == "n1"
