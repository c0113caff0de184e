"""The machine that the tests run on: what its own network namespace holds, and what ran on it.

Nothing of an emulated cluster may show there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from calico_mn.kernel import runtime_dir

# Counters and clocks below /proc/sys/net, which change by themselves.
_RESTLESS = ("nf_conntrack_count", "stable_secret", "nf_conntrack_buckets")

_IP_COMMANDS = {
    "links": "ip -d -o link show",
    "addresses": "ip -j address show",
    "routes": "ip route show table all",
    "IPv6 routes": "ip -6 route show table all",
    "rules": "ip rule show",
    "IPv6 rules": "ip -6 rule show",
    "qdiscs": "tc qdisc show",
    "named namespaces": "ip netns list",
    "nftables": "nft --stateless list ruleset",
    "iptables": "iptables-save",
    "iptables-legacy": "iptables-legacy-save",
}


def snapshot() -> dict[str, str]:
    """Links, addresses, routes, rules, qdiscs, packet filters and sysctls, by what they are."""
    found = {}
    for what, command in _IP_COMMANDS.items():
        with suppress(FileNotFoundError):
            done = subprocess.run(command.split(), capture_output=True, text=True, timeout=60,
                                  check=False)
            found[what] = done.stdout
    found["addresses"] = _without_lifetimes(found["addresses"])
    found["IPv6 routes"] = _without_expiry(found["IPv6 routes"])
    for name in found.keys() & {"iptables", "iptables-legacy"}:
        found[name] = _without_counters(found[name])
    found.update(sysctls())
    return found


def sysctls() -> dict[str, str]:
    """Everything below /proc/sys/net that can be read and does not count anything."""
    found = {}
    for directory, _, files in os.walk("/proc/sys/net"):
        for name in files:
            if name in _RESTLESS:
                continue
            path = Path(directory, name)
            with suppress(OSError, UnicodeDecodeError):
                found[str(path)] = path.read_text(encoding="ascii")
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What changed, each with its old and its new value.

    What only one of them tells is no change: a program was installed meanwhile, or a kernel module
    brought its sysctls. A new device brings some, too, and is itself seen among the links.
    """
    return [f"{what}:\n- {before[what]}\n+ {after[what]}"
            for what in sorted(before.keys() & after.keys()) if before[what] != after[what]]


def _without_lifetimes(text: str) -> str:
    interfaces: list[dict[str, Any]] = json.loads(text or "[]")
    for interface in interfaces:
        for address in interface.get("addr_info", ()):
            for key in ("valid_life_time", "preferred_life_time"):
                address.pop(key, None)
    return json.dumps(interfaces, indent=1)


def _without_counters(text: str) -> str:
    """Chains count what passes, and comments tell the time."""
    return "\n".join(re.sub(r"\[\d+:\d+\]", "", line) for line in text.splitlines()
                     if not line.startswith("#"))


def _without_expiry(text: str) -> str:
    """Routes learned from router advertisements count their seconds down."""
    lines = []
    for line in text.splitlines():
        words = line.split()
        if "expires" in words:
            position = words.index("expires")
            del words[position:position + 2]
        lines.append(" ".join(words))
    return "\n".join(lines)


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def processes_of_runs(daemon: int = 0) -> dict[int, str]:
    """Processes that were started in a run of this process, or of ``daemon``: pid -> command name.

    The mark in their environment tells them apart from those of other people's runs.
    """
    mark = f"CALICO_MN_RUN={daemon or os.getpid()}-".encode()
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError):
            if any(v.startswith(mark)
                   for v in Path("/proc", entry, "environ").read_bytes().split(b"\0")):
                found[int(entry)] = Path("/proc", entry, "comm").read_text().strip()
    return found


def run_directories(daemon: int = 0) -> list[str]:
    """What the runs of this process, or of ``daemon``, have below /run."""
    with suppress(FileNotFoundError):
        return [name for name in os.listdir(runtime_dir.MACHINE)
                if name.startswith(f"{daemon or os.getpid()}-")]
    return []


def network_namespaces() -> set[int]:
    """The network namespaces that any process is in or this process holds open, by inode."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                found.add(os.stat(f"/proc/{entry}/ns/net").st_ino)
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith("net:"):
                found.add(os.stat(f"/proc/self/fd/{descriptor}").st_ino)
    return found


def leftovers(daemon: int = 0) -> list[str]:
    """What is left of the runs of this process, or of ``daemon``; nothing, when all have stopped.
    """
    return [*(f"process {pid} ({name})" for pid, name in processes_of_runs(daemon).items()),
            *(f"{runtime_dir.MACHINE}/{name}" for name in run_directories(daemon))]


def with_logs_of(daemon: int) -> dict[int, str]:
    """Processes that see the logs of a run of ``daemon`` among their mounts: pid -> command name.

    No environment can hide them.
    """
    mark = f"/calico-mn/{daemon}-"
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with suppress(OSError):
                if mark in Path("/proc", entry, "mountinfo").read_text():
                    found[int(entry)] = Path("/proc", entry, "comm").read_text().strip()
    return found
