import pytest

from calico_mn.errors import ToolError
from calico_mn.measure import environment, iperf, offloads
from calico_mn.measure.environment import parse_cpu_model

ETHTOOL = """Features for eth0:
rx-checksumming: on
tx-checksumming: on
\ttx-checksum-ipv4: off [fixed]
tcp-segmentation-offload: off
\ttx-tcp-segmentation: on
generic-segmentation-offload: on
generic-receive-offload: off [fixed]
"""


@pytest.mark.parametrize(("output", "known"), [
    (ETHTOOL, {"tx-checksumming": True, "tso": False, "gso": True, "gro": False}), ("", None)],
    ids=["those that matter", "no answer"])
def test_offloads(monkeypatch, output, known):
    monkeypatch.setattr(environment.offloads, "features",
                        lambda _host, _device: offloads.parse(output))
    assert environment._offloads(None, "eth0") == known


def test_offloads_without_ethtool(monkeypatch):
    def refuse(_host, _device):
        raise ToolError("no ethtool")

    monkeypatch.setattr(environment.offloads, "features", refuse)
    assert environment._offloads(None, "eth0") is None


def test_cpu_model():
    assert parse_cpu_model("processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n") == "Fast CPU @ 3 GHz"
    assert parse_cpu_model("processor\t: 0\nBogoMIPS\t: 50.00\n") is None


@pytest.mark.parametrize(("version", "threads"), [
    ("iperf 3.9 (cJSON 1.7.13)", False), ("iperf 3.12 (cJSON 1.7.15)", False),
    ("iperf 3.16 (cJSON 1.7.15)", True), ("iperf 3.17.1 (cJSON 1.7.15)", True),
    ("iperf 4.0", True), ("", None), (None, None)])
def test_whether_iperf3_has_threads(version, threads):
    assert iperf.threads(version) is threads
