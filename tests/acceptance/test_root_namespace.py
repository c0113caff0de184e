"""The machine's own network namespace: the same before, during and after a run.

The whole session is compared as well, in tests/conftest.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import machine
from support.connectivity import expect_connectivity, full_mesh
from support.topologies import two_subnets

from calico_mn import CalicoNet

pytestmark = [pytest.mark.root, pytest.mark.ipip]


def test_a_run_changes_no_link_address_route_rule_or_sysctl_of_the_machine(tunnel):
    before = machine.snapshot()
    own = os.stat("/proc/self/ns/net").st_ino
    assert before["links"] and "/proc/sys/net/ipv4/conf/all/rp_filter" in before
    with CalicoNet(two_subnets("Always"), tunnel=tunnel, rp_filter=1) as net:
        net["a"].cmd("true")
        expect_connectivity(net, full_mesh("a", "b", "c"))
        assert machine.differences(before, machine.snapshot()) == []
        net.set_ipip_mode("Never")
        net.set_ipip_mode("CrossSubnet", node="node33")
        net.add_pod(name="late", node="node31")
        net.add_node("node34", "192.168.58.34/24")
        net.delete_node("node32")
        assert machine.differences(before, machine.snapshot()) == []
    assert machine.differences(before, machine.snapshot()) == []
    assert os.stat("/proc/self/ns/net").st_ino == own


def test_nothing_is_named_in_run_netns_and_no_mount_reaches_the_machine(tunnel):
    names = sorted(os.listdir("/run/netns")) if Path("/run/netns").is_dir() else None
    mounts = Path("/proc/self/mounts").read_text()
    with CalicoNet(two_subnets("Always"), tunnel=tunnel) as net:
        net["a"].cmd("true")
        assert Path("/proc/self/mounts").read_text() == mounts
        assert (sorted(os.listdir("/run/netns")) if Path("/run/netns").is_dir() else None) == names
