"""What a result depends on besides the modes: machine, programs, offloads, MTUs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico_mn import __version__
from calico_mn.errors import ToolError
from calico_mn.measure import iperf, source
from calico_mn.measure.programs import Host, run

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

_TIMEOUT_S = 10.0

#: ethtool's name -> ours; the offloads that change what a TCP stream costs
OFFLOADS = {
    "tcp-segmentation-offload": "tso",
    "generic-segmentation-offload": "gso",
    "generic-receive-offload": "gro",
    "tx-checksumming": "tx-checksumming",
}


def collect(net: CalicoNet) -> dict[str, Any]:
    """Everything, ready for JSON. What cannot be found out is None."""
    pod = net.pods[0]
    node = net[pod.node]
    in_node = ("eth0", "tunl0", pod.device)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": _versions(pod),
        "cluster": {
            "topology": net.topology.source,
            "topology_sha256": _digest(net.topology.source),
            "nodes": len(net.nodes),
            "pods": len(net.pods),
            "tunnel": net.tunnel,
            "route_engine": net.distributor.name,
            "profile": net.profile,
            "rp_filter": net.cluster.rp_filter,
        },
        "network": {
            "seen_at": {"node": node.name, "pod": pod.name},
            "tcp_congestion_control": _sysctl(pod, "net.ipv4.tcp_congestion_control"),
            "mtu": {"pod eth0": _mtus(pod).get("eth0"),
                    **{f"node {name}": _mtus(node).get(name) for name in ("eth0", "tunl0")}},
            "offloads": {
                "pod eth0": _offloads(pod, "eth0"),
                **{f"node {_kind(name)}": _offloads(node, name) for name in in_node}},
        },
    }


def parse_offloads(output: str) -> dict[str, bool]:
    """The offloads that matter, from what ``ethtool -k`` prints."""
    found = {}
    for line in output.splitlines():
        name, _, value = line.partition(":")
        if name in OFFLOADS:
            found[OFFLOADS[name]] = value.split()[:1] == ["on"]
    return found


def parse_cpu_model(cpuinfo: str) -> str | None:
    """The model from /proc/cpuinfo, None where the architecture does not tell."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return None


def _machine() -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": parse_cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        "cpus": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _versions(host: Host) -> dict[str, str | bool | None]:
    iperf3 = _first_line(host, ["iperf3", "--version"])
    return {
        "calico_mn": __version__,
        "calico_mn_source": source.digest(),
        "python": platform.python_version(),
        "mininet": _distribution("mininet"),
        "iperf3": iperf3,
        "iperf3_threads": iperf.threads(iperf3),
        "iproute2": _first_line(host, ["ip", "-V"]),
        "ping": _first_line(host, ["ping", "-V"]),
    }


def _distribution(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _answer(host: Host, argv: Sequence[str]) -> str:
    """What a program prints, empty when it is not there or fails: the record then lacks it."""
    try:
        finished = run(host, argv, _TIMEOUT_S)
    except ToolError:
        return ""
    return finished.out if finished.status == 0 else ""


def _first_line(host: Host, argv: Sequence[str]) -> str | None:
    lines = _answer(host, argv).splitlines()
    return lines[0].strip() if lines else None


def _sysctl(host: Host, name: str) -> str | None:
    return _first_line(host, ["sysctl", "-n", name])


def _mtus(host: Host) -> Mapping[str, int]:
    try:
        links = json.loads(_answer(host, ["ip", "-j", "link", "show"]))
    except ValueError:
        return {}
    return {link["ifname"]: link["mtu"] for link in links if "mtu" in link}


def _offloads(host: Host, device: str) -> dict[str, bool] | None:
    return parse_offloads(_answer(host, ["ethtool", "-k", device])) or None


def _kind(device: str) -> str:
    """``cali`` for the pod's veth, whose full name differs from pod to pod."""
    return "cali" if device.startswith("cali") else device


def _digest(path: str) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None
