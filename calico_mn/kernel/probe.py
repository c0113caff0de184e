"""What this kernel and machine can do, looked at without changing anything.

Out come :class:`Finding` values, the most important first, with what to do where something is
missing. No module is loaded by looking; what only an attempt would tell is left open, with the
reason.
"""

from __future__ import annotations

import functools
import gzip
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from calico_mn.kernel import runtime_dir
from calico_mn.kernel.tunnel import ebpf_reason, kernel_reason

_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``ok`` None: it cannot be told from here.

    ``needed`` False: only ``purpose`` suffers without it. ``remedy`` says what to do.
    """

    name: str
    ok: bool | None
    detail: str
    purpose: str = ""
    needed: bool = True
    remedy: str = ""


#: program -> (package, words that print its version, what it is for, whether all needs it)
_TOOLS = {
    "ip": ("iproute2", ("-V",), "reading routes", True),
    "ping": ("iputils-ping", ("-V",), "ping, pingall, experiments", True),
    "iperf3": ("iperf3", ("--version",), "throughput in experiments", False),
    "tcpdump": ("tcpdump", ("--version",), "capture", False),
    "ethtool": ("ethtool", ("--version",), "offloads in experiments", False),
    "nft": ("nftables", ("--version",), "packet filters", False),
    "iptables-nft-restore": ("iptables", ("--version",), "network policies", False),
    "ipset": ("ipset", ("--version",), "network policies", False),
    "mnexec": ("mininet", ("-v",), "Mininet's own tools", False),
}


def findings() -> tuple[Finding, ...]:
    """Everything, most important first."""
    kernel, ebpf = _kernel_tunnel(), _ebpf_tunnel()
    return (
        Finding("Linux", True, f"{platform.release()} on {platform.machine()}"),
        _root(), _tunnel(kernel, ebpf), kernel, ebpf,
        _option("netem", "NET_SCH_NETEM", "sch_netem", "delay and loss of links in topologies"),
        _option("tbf", "NET_SCH_TBF", "sch_tbf", "rate of links in topologies"),
        _option("nf_tables", "NF_TABLES", "nf_tables", "packet filters"),
        _option("vxlan", "VXLAN", "vxlan", "VXLAN modes"),
        *(_tool(name) for name in _TOOLS),
        *(_package(name) for name in ("mininet", "PyYAML", "rich", "matplotlib")),
        Finding("Python", sys.version_info >= (3, 10), platform.python_version()),
    )


def _root() -> Finding:
    if os.geteuid() != 0:
        return Finding("root", None, "not now: up and all about runs need it",
                       remedy="run with sudo to look at everything")
    inside = runtime_dir.is_user_namespace()
    return Finding("root", True, "of a user namespace" if inside else "yes")


def _tunnel(kernel: Finding, ebpf: Finding) -> Finding:
    able = kernel.ok or ebpf.ok
    detail = ("by the kernel's ipip module" if kernel.ok else "by eBPF" if ebpf.ok
              else "cannot be made" if ebpf.ok is False else "perhaps by eBPF")
    if able is False and runtime_dir.is_user_namespace():
        return Finding("tunl0", able, detail, "all IPIP modes but Never", False,
                       "run it with sudo, in no user namespace")
    return Finding("tunl0", able, detail, "IPIP",
                   remedy="" if able is not False else "use Linux 6.7 or later, or load ipip")


def _kernel_tunnel() -> Finding:
    purpose = "tunl0 by the kernel itself"
    if kernel_reason() is None:
        return Finding("ipip", True, "loaded", purpose, False)
    known = _config()
    if (known and "CONFIG_NET_IPIP" not in known) or (not known and not _has_module("ipip")):
        return Finding("ipip", False, "not in this kernel", purpose, False)
    return Finding("ipip", False, "not loaded", purpose, False,
                   "'sudo modprobe ipip' loads it, and puts a tunl0, down, into this machine's"
                   " own namespace")


def _ebpf_tunnel() -> Finding:
    purpose = "tunl0 where ipip is not loaded"
    if os.geteuid() != 0:
        return Finding("eBPF", None, "only root can try it", purpose, False)
    reason = ebpf_reason()
    return Finding("eBPF", reason is None, reason or "its programs load", purpose, False)


def _option(name: str, option: str, module: str, purpose: str) -> Finding:
    """A part of the kernel that may be built in, a module, or absent."""
    value = _config().get(f"CONFIG_{option}", "n") if _config() else ""
    if Path("/sys/module", module).exists() or value == "y":
        return Finding(name, True, "there", purpose, False)
    if value == "m" or _has_module(module):
        installed = _has_module(module)
        return Finding(name, installed, "a module, loaded when needed" if installed else
                       "a module that is not installed", purpose, False,
                       "" if installed else f"install the package with {module}.ko for this kernel")
    if value == "n":
        return Finding(name, False, "not in this kernel", purpose, False,
                       "use a kernel that has it")
    return Finding(name, None, "this kernel does not tell its configuration", purpose, False)


@functools.cache
def _config() -> dict[str, str]:
    """The kernel's configuration, empty where it does not tell."""
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")):
        try:
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        except (OSError, ValueError):
            continue
        return dict(re.findall(r"^(CONFIG_\w+)=(\S+)$", text, re.MULTILINE))
    return {}


def _has_module(name: str) -> bool:
    directory = Path("/lib/modules", platform.release())
    for listing in ("modules.builtin", "modules.dep"):
        try:
            if re.search(rf"/{name}\.ko\b", (directory / listing).read_text(encoding="utf-8")):
                return True
        except OSError:
            continue
    return False


def _tool(name: str) -> Finding:
    package, _words, purpose, needed = _TOOLS[name]
    path = _path_of(name)
    if path is None:
        return Finding(name, False, "not installed", purpose, needed,
                       f"./install.sh, or: apt-get install {package}")
    return Finding(name, True, program_version(name) or path, purpose, needed)


def _package(name: str) -> Finding:
    version = package_version(name)
    if version is None:
        return Finding(name, False, "not installed", "a Python package", remedy="./install.sh")
    return Finding(name, True, version, "a Python package")


def _path_of(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def program_version(name: str) -> str | None:
    """What one of the programs that calico_mn uses prints as its version; None if nothing."""
    path = _path_of(name)
    return first_line([path, *_TOOLS[name][1]]) if path else None


def package_version(name: str) -> str | None:
    """A Python package's version; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def first_line(command: list[str]) -> str | None:
    """The first line that a program prints, on standard error if not on its output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S,
                              stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines else None
