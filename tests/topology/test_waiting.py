"""Files that Calico runs in part: each of waiting/*.yaml boots, with the sentences beside it.

An address that cannot be given fails one pod or one node, not the cluster. `--record` rewrites the
sentences: read them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.calico.cluster import Cluster
from calico_mn.emulation import plan
from calico_mn.state import PROTO_BIRD, Tunnel
from calico_mn.topology import load_topology

FILES = sorted((Path(__file__).parent / "waiting").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_waits_is_named_with_its_line(path: Path, request: pytest.FixtureRequest) -> None:
    topology = load_topology(path, {})
    sentences = (*topology.warnings, *Cluster(topology, 2).admission.warnings())
    text = "".join(f"{sentence}\n" for sentence in sentences)
    golden = path.with_suffix(".txt")
    if request.config.getoption("--record"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
    assert "tunnel-addr" not in text, "an internal handle"


def test_a_node_without_tunnel_address_has_no_routes_until_there_is_one() -> None:
    """A pool of two addresses::

        node31 (tunl0 .0), node32 (tunl0 .1), node33 (no tunl0); web waits on node31
    """
    cluster = Cluster(load_topology(Path(__file__).parent / "waiting" / "too-small.yaml", {}), 2)
    engine = BuiltInEngine()
    states = {state.name: state for state in plan.host_states(cluster, engine)}
    assert cluster.admission.unstarted == {"node33"} and not engine.is_alive("node33")
    assert {name: [device.up for device in state.devices if isinstance(device, Tunnel)]
            for name, state in states.items() if name in cluster.nodes} == {
                "node31": [True], "node32": [True], "node33": [False]}
    assert not [route for route in states["node33"].routes if route.protocol == PROTO_BIRD]
    assert cluster.retry() == ([], [], [])
    cluster.delete_node("node32")
    assert cluster.retry() == (["node33"], ["node33"], [])
    assert [item.status for item in cluster.admission.waiting.values()] == ["ContainerCreating"]
    assert str(cluster.tunnel_address("node33")) == "10.22.0.1"
    cluster.delete_node("node33")
    _, _, [web] = cluster.retry()
    assert (web.key, str(web.address)) == ("default/web", "10.22.0.1")
