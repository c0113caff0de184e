"""Run the tests of the kernel's own ipip in User-Mode Linux, where this machine's kernel lacks it.

One guest is booted for all of them (a boot takes two seconds, and everything in it is slow); see
``umlrun`` in this directory for what a guest is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
UMLRUN = HERE / "umlrun"
LINUX_UML = Path("/usr/bin/linux.uml")

GUEST_SECONDS = 900
# Fewer would mean that the marked tests were not found, or that all of them were skipped.
LEAST_PASSED = 5


def reason_to_skip() -> str:
    if Path("/sys/module/ipip").exists():
        return "this kernel has ipip itself: the tests marked ipip ran directly"
    if os.geteuid() != 0:
        return "needs root"
    if not LINUX_UML.exists():
        return (
            f"no {LINUX_UML}: './install.sh test' installs Debian's user-mode-linux, which Ubuntu"
            " lacks; 'modprobe ipip' lets these tests run directly, if this kernel has the module"
        )
    if not shutil.which("modprobe"):
        return "no modprobe (Debian package kmod; ./install.sh installs it)"
    return ""


pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]


def marked() -> list[str]:
    """Where tests marked ipip are: to look through all tests takes the guest half a minute."""
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        if path != Path(__file__) and "mark.ipip" in path.read_text(encoding="utf-8"):
            found.add(path.parent if path.name == "conftest.py" else path)
    return sorted(str(path.relative_to(ROOT)) for path in found)


def umlrun(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [str(UMLRUN), "-t", str(timeout), *arguments]
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=timeout + 30,
    )  # fmt: skip


def test_guest_has_tunl0_in_a_new_namespace_and_passes_the_exit_status_on():
    done = umlrun("--", "unshare", "-n", "sh", "-c", "ip link show tunl0; exit 7")
    assert "tunl0@NONE: <NOARP> mtu 1480" in done.stdout, done.stdout
    assert done.returncode == 7, done.stdout


def test_guest_writes_only_to_shared_directories(tmp_path: Path):
    shared, private = tmp_path / "shared", tmp_path / "private"
    shared.mkdir()
    private.mkdir()
    script = 'echo "$X" > "$1/file"; echo "$X" > "$2/file"'
    done = umlrun(
        "-w", str(shared), "-e", "X=a 'b' $c", "--",
        "sh", "-c", script, "sh", str(shared), str(private),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (shared / "file").read_text() == "a 'b' $c\n"
    assert list(private.iterdir()) == []


def test_guest_that_overruns_its_time_is_killed_with_status_124():
    done = umlrun("--", "sleep", "1000", timeout=4)
    assert done.returncode == 124, done.stdout


def test_guest_that_dies_before_its_command_ends_with_status_125():
    done = umlrun("--", "sh", "-c", "echo o > /proc/sysrq-trigger; sleep 1000", timeout=30)
    assert done.returncode == 125, done.stdout


def test_matches_that_the_kernel_lacks_are_named_and_a_cluster_boots_without_rules():
    """Its kernel has no tables of nftables for IPv4; modules that modprobe refuses it has not."""
    script = """
printf 'install xt_set /bin/false\\ninstall ipt_rpfilter /bin/false\\n' > /etc/modprobe.d/none.conf
"$0" -m calico_mn up --detach topologies/policies.yaml
"$0" -m calico_mn up --detach --no-policy topologies/policies.yaml
"$0" -m calico_mn pingall
"""
    done = umlrun("--", "sh", "-c", script, sys.executable, timeout=120)
    said = done.stdout
    assert ("By iptables-legacy: this kernel lacks the match rpfilter (module ipt_rpfilter) and the"
            " match set (module xt_set), which Felix's rules use; or boot without Felix's rules:"
            " --no-policy") in said, said
    assert "By iptables-nft: line 2: TABLE_ADD failed" in said, said
    assert "tunl0 by kernel, no rules" in said and "12 of 12 pairs" in said, said


def test_tests_marked_ipip_pass_on_a_kernel_with_ipip():
    done = umlrun(
        "-e", "CALICO_MN_TUNNEL=kernel", "-e", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", "-m", "3G", "--",
        sys.executable, "-m", "pytest", "-m", "ipip", *marked(), "-p", "no:cacheprovider",
        "--color=no", "--durations=5",
        timeout=GUEST_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, f"in the guest, exit status {done.returncode}:\n{done.stdout}"
    passed = re.findall(r"(\d+) passed", done.stdout)
    assert passed and int(passed[-1]) >= LEAST_PASSED, done.stdout
    print(done.stdout)  # seen with -s or -rP: which tests they were, and how long they took
