"""Each node's log of what was wired when, where a Calico host has the CNI plug-in's."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from support.topologies import one_subnet

pytestmark = pytest.mark.root

LOG = "/var/log/calico/cni/cni.log"
LINE = re.compile(r"(\S+) \[(\S+)\] (.+)")


def entries(net, name: str) -> list[tuple[datetime, str, str]]:
    """The log as (when, about whom, what), read inside the node."""
    found = []
    for line in net[name].cmd(f"cat {LOG}").splitlines():
        match = LINE.fullmatch(line.strip())
        assert match, line
        found.append((datetime.fromisoformat(match[1]), match[2], match[3]))
    return found


def test_the_log_says_what_was_wired_when(boot):
    begun = datetime.now(timezone.utc)
    net = boot(one_subnet("Always"))
    booted = datetime.now(timezone.utc)
    log = entries(net, "node31")
    assert [when for when, _, _ in log] == sorted(when for when, _, _ in log)
    assert all(begun <= when <= booted for when, _, _ in log)
    device = net["a"].device
    said = [f"[{subject}] {what}" for _, subject, what in log]
    assert f"[node31] ip route replace 10.22.31.1 dev {device} scope link" in said
    assert "[node31] ip address add 10.22.31.0/32 dev tunl0" in said
    assert "[node31] ip route replace blackhole 10.22.31.0/26 proto bird" in said
    assert "[default/a] ip address add 10.22.31.1/32 dev eth0" in said
    assert any(s.startswith(f"[node31] ip link add {device} ") for s in said)
    assert not [s for s in said if s.startswith("[default/b]")], "that one is on node32"


def test_the_log_goes_on_with_what_changes(boot):
    net = boot(one_subnet("Always"))
    before = entries(net, "node31")
    net.set_ipip_mode("CrossSubnet")
    new = [what for _, _, what in entries(net, "node31")[len(before):]]
    assert new == ["ip route replace 10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird"]
    late = net.add_pod(name="late", node="node31")
    new = [what for _, _, what in entries(net, "node31")[len(before) + 1:]]
    assert f"ip address add {late.ip}/32 dev eth0" in new
    device = late.device
    net.delete_pod("default/late")
    assert entries(net, "node31")[-1][2] == f"ip link del {device}"


def test_in_a_node_var_log_holds_nothing_but_its_own_log(boot):
    net = boot(one_subnet("Always"))
    assert net["node31"].cmd("ls -A /var/log").split() == ["calico"]
    assert net["node31"].cmd("ls -A /var/log/calico/cni").split() == ["cni.log"]


def test_the_machines_own_var_log_is_untouched(boot):
    before = sorted(os.listdir("/var/log"))
    net = boot(one_subnet("Always"))
    net["node31"].cmd("echo typed >> /var/log/calico/cni/note; echo x > /var/log/messages")
    assert sorted(os.listdir("/var/log")) == before
    assert not Path("/var/log/calico").exists() or "calico" in before
    # What a node writes there belongs to the run.
    assert net["node31"].cmd("cat /var/log/calico/cni/note").strip() == "typed"


def test_save_logs_keeps_them_beyond_the_run(boot, tmp_path):
    net = boot(one_subnet("Always"))
    maker = net.tunnel
    net.save_logs(tmp_path / "kept")
    net.stop()
    text = (tmp_path / "kept" / "node31" / "cni.log").read_text()
    assert "10.22.31.0/32 dev tunl0" in text
    made = "" if maker == "kernel" else "  # an eBPF device in place of the ipip module"
    assert f"ip link add tunl0 type ipip{made}\n" in text


def test_the_run_is_described_on_disk_for_other_terminals(boot):
    net = boot(one_subnet("Always"))
    directory = net.runtime.directory.path
    assert directory.stat().st_mode & 0o777 == 0o700
    assert f'"pid": {os.getpid()}' in (directory / "run.json").read_text()
    assert f'"tunnel": "{net.tunnel}"' in (directory / "run.json").read_text()
