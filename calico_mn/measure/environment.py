"""What a result depends on besides its factors: machine, programs, cluster, offloads, MTUs.

In goes a running cluster; out comes a record for ``run.json``, in which unknown values are
None.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico_mn import version
from calico_mn.calico.encapsulation import ENCAPSULATIONS, UPLINK
from calico_mn.errors import ToolError
from calico_mn.kernel import probe, read
from calico_mn.measure import iperf, offloads
from calico_mn.measure.programs import Host, run

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

#: ethtool's name -> ours; the offloads that change what a TCP stream costs
OFFLOADS = {**{name: short for short, name in offloads.SWITCHES.items()},
            "tx-checksumming": "tx-checksumming"}
_CPU = Path("/sys/devices/system/cpu")
_TIMEOUT_S = 20.0


def collect(net: CalicoNet) -> dict[str, Any]:
    """Everything, ready for JSON."""
    pod = net.pods[0]
    node = net[pod.node]
    mtus = {device.name: device.mtu for device in net.inside(node.name, read.facts).devices}
    tunnels = [e.device for e in ENCAPSULATIONS if e.device in mtus]
    in_pod = net.inside(pod.name, read.facts).device("eth0")
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": {**_versions(), "iptables": net.runtime.iptables.version},
        "cluster": {
            "topology": net.topology.source,
            "topology_sha256": _digest(net.topology.source),
            "nodes": len(net.nodes),
            "pods": len(net.pods),
            "tunnel": net.tunnel,
            "iptables": net.iptables,
            "route_engine": net.distributor.name,
            "profile": net.profile,
            "rp_filter": net.cluster.rp_filter,
        },
        "network": {
            "seen_at": {"node": node.name, "pod": pod.name},
            "tcp_congestion_control": net.inside(
                pod.name, _line, Path("/proc/sys/net/ipv4/tcp_congestion_control")),
            "default_qdisc": _line(Path("/proc/sys/net/core/default_qdisc")),
            "mtu": {"pod eth0": in_pod.mtu if in_pod else None,
                    **{f"node {name}": mtus.get(name) for name in (UPLINK, *tunnels)}},
            "offloads": {
                "pod eth0": _offloads(pod, "eth0"),
                **{f"node {name}": _offloads(node, name) for name in (UPLINK, *tunnels)},
                # The full name of a pod's veth differs from pod to pod.
                "node cali": _offloads(node, pod.device)},
        },
    }


def mtu(host: Host, device: str = "eth0") -> int | None:
    """That of a device, in bytes. Raises ToolError."""
    line = line_of(host, f"/sys/class/net/{device}/mtu")
    return int(line) if line and line.isdigit() else None


def line_of(host: Host, file: str) -> str | None:
    """The only line of a file as a host sees it, None where it cannot be read. Raises ToolError."""
    return run(host, ["cat", file], _TIMEOUT_S).out.strip() or None


def parse_cpu_model(cpuinfo: str) -> str | None:
    """The model from /proc/cpuinfo, None where the architecture does not report one."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return None


def _machine() -> dict[str, Any]:
    """The machine; how fast a CPU runs depends on its governor, turbo and mitigations."""
    no_turbo, boost = _line(_CPU / "intel_pstate/no_turbo"), _line(_CPU / "cpufreq/boost")
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": parse_cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        "cpus": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "virtualisation": _virtualisation(),
        "governor": _line(_CPU / "cpu0/cpufreq/scaling_governor"),
        "turbo": no_turbo == "0" if no_turbo else boost == "1" if boost else None,
        "mitigations": {path.name: _line(path)
                        for path in sorted(_CPU.glob("vulnerabilities/*"))},
    }


def _virtualisation() -> str | None:
    """Hypervisor and container, as systemd-detect-virt names them: ``kvm, docker``."""
    layers = [probe.first_line(["systemd-detect-virt", f"--{layer}"])
              for layer in ("vm", "container")]
    return ", ".join(layer for layer in layers if layer and layer != "none") or layers[0]


def _versions() -> dict[str, str | bool | None]:
    iperf3, bird = map(probe.program_version, ("iperf3", "bird"))
    return {
        **own_version(),
        "python": platform.python_version(),
        "mininet": probe.package_version("mininet"),
        "iperf3": iperf3,
        "iperf3_threads": iperf.threads(iperf3),
        "iproute2": probe.program_version("ip"),
        "ping": probe.program_version("ping"),
        **({"bird": bird} if bird else {}),
    }


def own_version() -> dict[str, str]:
    """Which code of ours measures."""
    return {"calico_mn": version.VERSION, "calico_mn_source": version.digest(),
            **({"calico_mn_commit": commit} if (commit := _commit()) else {})}


def _commit() -> str | None:
    """That of the checkout; None where the package is not in one, or git does not say."""
    root = Path(version.__file__).parents[1]
    line = probe.first_line(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
                            ) if (root / ".git").exists() else None
    return line if re.fullmatch("[0-9a-f]{7,64}", line or "") else None


def _line(path: Path) -> str | None:
    """A file's first line; None where it cannot be read or is empty."""
    try:
        return next(iter(path.read_text(encoding="utf-8").splitlines()), None)
    except OSError:
        return None


def _offloads(host: Host, device: str) -> dict[str, bool] | None:
    try:
        features = offloads.features(host, device)
    except ToolError:
        return None
    return {short: features[name].on for name, short in OFFLOADS.items()
            if name in features} or None


def _digest(path: str) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None
