"""Dumps of a real cluster: Secrets, what is left out, several files, and a part of a large one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.dumps import NODES, POOL, crd, kubernetes_node, listed, owned, pod, workload

from calico_mn.calico.snapshot import sample
from calico_mn.errors import TopologyError
from calico_mn.model import Topology
from calico_mn.topology import dump, parse_topology
from calico_mn.topology.load import dumped_files
from calico_mn.topology.yaml_tree import NOT_KEPT

SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"},
          "data": {"password": "aHVudGVyMg=="}, "stringData": {"pin": "hunter2"}}


def in_json(*items: Any, kind: str = "List") -> str:
    return json.dumps({"apiVersion": "v1", "kind": kind, "items": items})


def again(topology: Topology) -> str:
    return yaml.safe_dump_all(dump.written(topology))


@pytest.mark.parametrize("text", [
    listed(*NODES, POOL, SECRET), in_json(*NODES, POOL, SECRET),
    f"{listed(*NODES, POOL)}---\n{yaml.safe_dump(SECRET)}",
    f"{listed(*NODES, POOL)}---\n{listed({**SECRET, 'kind': None}, kind='SecretList')}",
    f"{listed(*NODES, POOL)}---\n{in_json({'data': SECRET['data']}, kind='SecretList')}",
], ids=["yaml", "json", "document", "typed list", "typed list in json"])
def test_secrets_go_nowhere(text: str) -> None:
    text = text.replace("kind: null\n", "")
    topology, _ = dump.read_dump([("dump", text)])
    everything = repr(topology) + repr(topology.documents) + repr(topology.warnings)
    assert "aHVudGVyMg" not in everything and "hunter2" not in everything
    assert "Secret" not in everything


def test_secrets_are_counted() -> None:
    assert dump.read_dump([("dump", listed(*NODES, POOL, SECRET, SECRET))])[1] == 2
    assert dump.read_dump([("dump", in_json(*NODES, POOL, SECRET))])[1] == 1


def test_a_mistake_beside_a_secret_quotes_no_line() -> None:
    text = "kind: Secret\ndata: {password: aHVudGVyMg==, pin: 'hunter2\n"
    with pytest.raises(TopologyError) as caught:
        dump.read_dump([("dump", text)])
    assert "hunter2" not in str(caught.value) and "dump:" in str(caught.value)


def test_what_a_container_is_goes_nowhere() -> None:
    env = [{"name": "PASSWORD", "value": "hunter2"}]
    spec = {"containers": [{"name": "c", "args": ["--pin=hunter2"], "env": env}]}
    node = {"name": "calico-node", "env": [*env, {"name": "FELIX_IPINIPMTU", "value": "1400"}]}
    daemon_set = workload("DaemonSet", "calico-node", pod_spec={"containers": [node]})
    items = [*NODES, POOL, pod("a", "k1", spec=spec), workload("Deployment", "d", pod_spec=spec),
             workload("DaemonSet", "other", pod_spec=spec), daemon_set]
    topology, _ = dump.read_dump([("dump", listed(*items))])
    assert "hunter2" not in again(topology) + repr(topology.documents)
    assert parse_topology(again(topology)).felix.ipip_mtu == 1400


def test_fields_that_no_kind_reads_are_blank_lines() -> None:
    text = listed(*NODES, POOL, pod("a", "k1", "10.80.7.5", spec={"volumes": [
        {"name": "v"}, {"name": "w", "emptyDir": {}}]}))
    blanked = dump._blanked(text)
    assert blanked.count("\n") == text.count("\n")
    assert len(blanked) < len(text) and "emptyDir" not in blanked
    mine, theirs = (list(yaml.safe_load(part)["items"]) for part in (blanked, text))
    assert list(map(without, mine)) == list(map(without, theirs))


def without(value: Any) -> Any:
    """Without the values of fields that are not kept."""
    if isinstance(value, dict):
        return {name: without(item) for name, item in value.items()
                if name not in {*NOT_KEPT, "env", "args", "command", "podCIDRs"}}
    return [without(item) for item in value] if isinstance(value, list) else value


def test_files_and_directories_are_one_dump(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    (tmp_path / "nodes.json").write_text(in_json(*NODES, kind="NodeList"))
    (tmp_path / "default" / "pods.yaml").write_text(listed(pod("a", "k1", "10.80.7.5")))
    (tmp_path / "default" / "logs.txt").write_text("==== START logs")
    pools = tmp_path / "pools"
    pools.write_text(listed(POOL, pod("a", "k1", "10.80.7.5")))
    topology, _ = dump.read_dump(dumped_files([str(tmp_path), str(pools)]))
    assert [node.name for node in topology.nodes] == ["k1", "k2"]
    assert [item.key for item in topology.pods] == ["shop/a"], "a resource may be there twice"


def test_a_directory_without_dumps(tmp_path: Path) -> None:
    (tmp_path / "logs.txt").write_text("")
    with pytest.raises(TopologyError, match="no file is in it"):
        list(dumped_files([str(tmp_path)]))


def test_a_file_may_hold_the_outputs_of_several_commands() -> None:
    text = f"\n{in_json()}\n{in_json(*NODES)}{in_json(POOL, SECRET)}\n\n"
    topology, secrets = dump.read_dump([("dump", text)])
    assert ([node.name for node in topology.nodes], secrets) == (["k1", "k2"], 1)
    assert [pool.name for pool in topology.pools] == ["main"]


@pytest.mark.parametrize(("text", "why"), [
    (in_json(*NODES, POOL) + " " * 11_000_000, "larger than 10 MB"),
    (listed(*NODES, POOL) + "#\n" * 1_100_000, "more than 1000000 lines"),
], ids=["bytes", "lines"])
def test_limits_are_those_of_a_dump(text: str, why: str) -> None:
    with pytest.raises(TopologyError, match=why):
        parse_topology(text)
    assert len(dump.read_dump([("dump", text)])[0].nodes) == 2


# --- a part of a large cluster: three racks of ten, a reflector in each, one selected pod

def large() -> Topology:
    nodes = [kubernetes_node(f"n{rack}{number}", f"10.9.{rack}.{number + 10}/24")
             for rack in range(3) for number in range(10)]
    for node in nodes[5::10]:
        node["metadata"]["annotations"]["projectcalico.org/RouteReflectorClusterID"] = "244.0.0.1"
    pods = [pod(f"p{number}", f"n{number % 30 // 10}{number % 10}", f"10.80.{number % 30}.{number}",
                metadata=owned("ReplicaSet", "web-1")) for number in range(240)]
    pods[27]["metadata"]["labels"]["role"] = "db"
    policy = crd("GlobalNetworkPolicy", "db", selector="role == 'db'", ingress=[
        {"action": "Allow"}])
    blocks = [crd("BlockAffinity", f"b{number}", cidr=f"10.80.{number}.0/26", state="confirmed",
                  node=f"n{number // 10}{number % 10}") for number in range(30)]
    hosts = [crd("HostEndpoint", f"h-{name}", node=name, interfaceName="eth0")
             for name in ("n05", "n01")]
    text = listed(*nodes, POOL, *pods, policy, *blocks, *hosts)
    return dump.read_dump([("dump", text)])[0]


@pytest.mark.parametrize(("wanted", "per_rack"), [(1, [2, 2, 2]), (8, [3, 3, 2]), (99, [10] * 3)])
def test_a_sample_has_nodes_of_each_subnet_and_pods_that_policies_select(
        wanted: int, per_rack: list[int]) -> None:
    full = large()
    part = sample(full, wanted)
    assert [sum(node.name[1] == str(rack) for node in part.nodes) for rack in range(3)] == per_rack
    assert {"n05", "n15", "n25"} <= {node.name for node in part.nodes}, "the reflectors"
    assert "shop/p27" in {item.key for item in part.pods}, "the one that the policy selects"
    assert all(1 <= sum(item.node == node.name for item in part.pods) <= 4 for node in part.nodes)
    booted = parse_topology(again(part))
    assert {node.name: node.address for node in booted.nodes}.items() <= {
        node.name: node.address for node in full.nodes}.items()
    assert {item.key: (item.node, item.ip) for item in booted.pods}.items() <= {
        item.key: (item.node, item.ip) for item in full.pods}.items()
    assert {item.node for item in booted.affinities} == {node.name for node in booted.nodes}
    assert {host.node for host in booted.host_endpoints} == {"n05", "n01"} & {
        node.name for node in part.nodes}
    assert booted.underlay.subnets == full.underlay.subnets
