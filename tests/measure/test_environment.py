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


@pytest.mark.parametrize(("layers", "recorded"), [
    pytest.param({"--vm": "kvm", "--container": "docker"}, "kvm, docker", id="both"),
    pytest.param({"--vm": "kvm", "--container": "none"}, "kvm", id="virtual machine"),
    pytest.param({"--vm": "none", "--container": "none"}, "none", id="bare metal"),
    pytest.param({"--vm": None, "--container": None}, None, id="no systemd")])
def test_virtualisation_names_hypervisor_and_container(monkeypatch, layers, recorded):
    monkeypatch.setattr(environment.probe, "first_line", lambda argv: layers[argv[1]])
    assert environment._machine()["virtualisation"] == recorded


@pytest.mark.parametrize(("files", "recorded"), [
    pytest.param({"cpu0/cpufreq/scaling_governor": "performance", "intel_pstate/no_turbo": "1",
                  "vulnerabilities/retbleed": "Vulnerable"},
                 {"governor": "performance", "turbo": False,
                  "mitigations": {"retbleed": "Vulnerable"}}, id="intel_pstate"),
    pytest.param({"cpufreq/boost": "1"}, {"governor": None, "turbo": True, "mitigations": {}},
                 id="acpi-cpufreq"),
    pytest.param({}, {"governor": None, "turbo": None, "mitigations": {}}, id="not shown")])
def test_what_makes_a_cpu_fast_or_slow_is_recorded(monkeypatch, tmp_path, files, recorded):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(environment, "_CPU", tmp_path)
    machine = environment._machine()
    assert {name: machine[name] for name in recorded} == recorded


@pytest.mark.parametrize(("version", "threads"), [
    ("iperf 3.9 (cJSON 1.7.13)", False), ("iperf 3.12 (cJSON 1.7.15)", False),
    ("iperf 3.16 (cJSON 1.7.15)", True), ("iperf 3.17.1 (cJSON 1.7.15)", True),
    ("iperf 4.0", True), ("", None), (None, None)])
def test_whether_iperf3_has_threads(version, threads):
    assert iperf.threads(version) is threads
