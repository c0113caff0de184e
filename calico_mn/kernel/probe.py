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
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from calico_mn.kernel import iptables, processes, runtime_dir
from calico_mn.kernel.tunnel import DEVICE, KernelTunnel, ebpf_reason, kernel_reason
from calico_mn.text import join

_TIMEOUT_S = 10
_THERE = "there"
_MODULE = KernelTunnel.kind


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
    "ipset": ("ipset", ("--version",), "Felix's rules", False),
    "bird": ("bird2", ("--version",), "engine bird", False),
    "mnexec": ("mininet", ("-v",), "Mininet's own tools", False),
}


def findings() -> tuple[Finding, ...]:
    """Everything, most important first."""
    kernel, ebpf = _kernel_tunnel(), _ebpf_tunnel()
    return (
        Finding("Linux", True, f"{platform.release()} on {platform.machine()}"),
        _root(), _tunnel(kernel, ebpf), kernel, ebpf,
        _option("netem", "NET_SCH_NETEM", "sch_netem", "delay and loss of links"),
        _option("tbf", "NET_SCH_TBF", "sch_tbf", "rate of links"),
        _option("nf_tables", "NF_TABLES", "nf_tables", "packet filters"),
        _option("vxlan", "VXLAN", "vxlan", "VXLAN modes"),
        *(_iptables(name) for name in (iptables.NFT, iptables.LEGACY)),
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
    detail = (f"by {KernelTunnel.description}" if kernel.ok else "by eBPF" if ebpf.ok
              else "cannot be made" if ebpf.ok is False else "perhaps by eBPF")
    if able is False and runtime_dir.is_user_namespace():
        return Finding(DEVICE, able, detail, f"all {_MODULE.upper()} modes but Never", False,
                       "run it with sudo, in no user namespace")
    return Finding(DEVICE, able, detail, _MODULE.upper(),
                   remedy="" if able is not False else f"use Linux 6.7 or later, or load {_MODULE}")


def _kernel_tunnel() -> Finding:
    purpose = f"{DEVICE} by the kernel itself"
    if kernel_reason() is None:
        return Finding(_MODULE, True, "loaded", purpose, False)
    known = _config()
    if (f"CONFIG_NET_{_MODULE.upper()}" not in known if known else not _has_module(_MODULE)):
        return Finding(_MODULE, False, "not in this kernel", purpose, False)
    return Finding(_MODULE, False, "not loaded", purpose, False,
                   f"'sudo modprobe {_MODULE}' loads it, and puts a {DEVICE}, down, into this"
                   " machine's own namespace")


def _ebpf_tunnel() -> Finding:
    purpose = f"{DEVICE} where {_MODULE} is not loaded"
    if os.geteuid() != 0:
        return Finding("eBPF", None, "only root can try it", purpose, False)
    reason = ebpf_reason()
    return Finding("eBPF", reason is None, reason or "its programs load", purpose, False)


#: what the modules of Felix's rules are called in a kernel's configuration
_OPTIONS = {
    "ipt_rpfilter": "IP_NF_MATCH_RPFILTER", "xt_conntrack": "NETFILTER_XT_MATCH_CONNTRACK",
    "xt_mark": "NETFILTER_XT_MARK", "xt_addrtype": "NETFILTER_XT_MATCH_ADDRTYPE",
    "xt_MASQUERADE": "NETFILTER_XT_TARGET_MASQUERADE", "xt_comment": "NETFILTER_XT_MATCH_COMMENT",
    "xt_set": "NETFILTER_XT_SET", "xt_multiport": "NETFILTER_XT_MATCH_MULTIPORT",
    "ip_set_hash_net": "IP_SET_HASH_NET"}
_OWN_OPTIONS = {
    iptables.NFT: {"nft_compat": "NFT_COMPAT"},
    iptables.LEGACY: {module: f"IP_NF_{table}" for module, table in (
        ("iptable_filter", "FILTER"), ("iptable_nat", "NAT"), ("iptable_mangle", "MANGLE"),
        ("iptable_raw", "RAW"))}}


def _iptables(name: str) -> Finding:
    """A back end of Felix's rules. It is tried only where that would load no module."""
    title, purpose = f"iptables-{name}", "Felix's rules"
    version = iptables.version(name)
    if version is None:
        return Finding(title, False, "not installed", purpose, False,
                       "./install.sh, or: apt-get install iptables")
    parts = [_option(module, option, module, "") for module, option in
             {**_OPTIONS, **_OWN_OPTIONS[name]}.items()]
    absent = [part.name for part in parts if part.ok is False]
    if absent:
        return Finding(title, False, f"{version}, but this kernel lacks {join(absent)}", purpose,
                       False, "use a kernel that has them, the other iptables, or --no-policy")
    if os.geteuid() != 0 or any(part.detail != _THERE for part in parts):
        loading = "its modules are loaded when needed" if os.geteuid() == 0 else (
            "only root can try it")
        return Finding(title, None, f"{version}; {loading}", purpose, False)
    reason = iptables.why_not(name)
    return Finding(title, reason is None, f"{version}, {reason or 'all that it takes is there'}",
                   purpose, False)


def _option(name: str, option: str, module: str, purpose: str) -> Finding:
    """A part of the kernel that may be built in, a module, or absent."""
    value = _config().get(f"CONFIG_{option}", "n") if _config() else ""
    if Path("/sys/module", module).exists() or value == "y":
        return Finding(name, True, _THERE, purpose, False)
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
    path = processes.program(name)
    if path is None:
        return Finding(name, False, "not installed", purpose, needed,
                       f"./install.sh, or: apt-get install {package}")
    return Finding(name, True, program_version(name) or path, purpose, needed)


def _package(name: str) -> Finding:
    version = package_version(name)
    if version is None:
        return Finding(name, False, "not installed", "a Python package", remedy="./install.sh")
    return Finding(name, True, version, "a Python package")


def program_version(name: str) -> str | None:
    """What one of the programs that calico_mn uses prints as its version; None if nothing."""
    path = processes.program(name)
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
