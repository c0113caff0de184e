"""``calico-mn export script`` and ``containerlab``: the same kernel state as that of a CalicoNet.

     node31 .31    node32 .32               node33 .33
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----      topologies/two-subnets.yaml

     node31        node32       r1 --- outside
        |             |          |
   -----+-------------+----------+----                              topologies/policies.yaml

Commands run in network and mount namespaces of their own, with a /run of their own, where ``ip
netns`` keeps names.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from difflib import unified_diff
from pathlib import Path

import pytest
import yaml

from calico_mn import load_topology
from calico_mn.emulation.plan import boot_states, booted
from calico_mn.export import file_name
from calico_mn.export.containerlab import containerlab
from calico_mn.export.script import FILE, PREFIX, script
from calico_mn.kernel.tunnel import kernel_reason
from calico_mn.topology import parse_topology

pytestmark = pytest.mark.root

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
HAS_IPIP = kernel_reason() is None

LOOK = """
ip -d -o link; ip -o -4 address; ip -4 route show table all; ip neigh show nud permanent
bridge fdb show brport vxlan.calico 2>&1; tc qdisc; ipset save | LC_ALL=C sort; iptables-save
sysctl net.ipv4.ip_forward net.ipv4.conf net.ipv4.neigh | grep -v '_base_\\|dev_\\|stable_secret'
"""


def run_in_own_namespace(directory, commands):
    in_shell = f"mount -t tmpfs tmpfs /run || exit\n{commands}"
    return subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", in_shell], cwd=directory,
        capture_output=True, text=True, timeout=120, check=False)


def state(text):
    """What was read, sorted, without indexes, random MACs and seeds, numbers of queues, and the
    operational state, which the kernel sets late; and without what the eBPF tunnel adds.
    """
    lines = []
    for line in text.splitlines():
        if re.match(r"#|1: lo|qdisc clsact|net.ipv4.conf.lo.(accept_local|rp_filter)", line) or (
                "tunl0" in line and not HAS_IPIP):
            continue
        line = line.split("\\")[0] + "".join(
            re.findall(r" vxlan id .* udpcsum| link/ether ee:ee:ee:ee:ee:ee", line))
        lines.append(re.sub(r"^\d+: |@\w+|\[\d+:\d+\]|NO-CARRIER,|,LOWER_UP|"
                            "(refcnt|initval|state) \\w+", "", line))
    return sorted(" ".join(line.split()) for line in lines)


@pytest.mark.parametrize(("name", "old", "new"), [
    pytest.param("two-subnets", "ipipMode: Always", "ipipMode: Never", id="never"),
    pytest.param("two-subnets", "ipipMode: Always", "vxlanMode: Always", id="vxlan"),
    pytest.param("two-subnets", "mtu: 1500}", "mtu: 1500, link: {rate: 50Mbit}}", id="rate"),
    pytest.param("policies", "ipipMode: Always", "ipipMode: Never", id="policies"),
    pytest.param("article", "", "", id="ipip", marks=[pytest.mark.ipip, pytest.mark.skipif(
        not HAS_IPIP, reason="this kernel has no ipip")]),
])
def test_the_script_makes_what_a_boot_makes(boot, tmp_path, name, old, new):
    has_rules = name == "policies"
    topology = topology_of(name, old, new)
    cluster = booted(topology, policies=has_rules)
    (tmp_path / FILE).write_text(script(cluster).files[FILE])
    compare(tmp_path, cluster, boot(topology, policies=has_rules), f"sh {FILE} up || exit",
            f"sh {FILE} down")


@pytest.mark.parametrize(("name", "old", "new"), [
    pytest.param("two-subnets", "ipipMode: Always", "vxlanMode: Always", id="vxlan"),
    pytest.param("slow-links", "ipipMode: Always", "ipipMode: Never", id="rate"),
])
def test_a_lab_of_containerlab_is_what_a_boot_makes(boot, tmp_path, name, old, new):
    """Its links are made, and its exec lines run without a shell, as containerlab does it."""
    topology = topology_of(name, old, new)
    cluster = booted(topology, policies=False)
    lab = yaml.safe_load(containerlab(cluster).files["calico.clab.yml"])["topology"]
    commands = []
    for name, node in lab["nodes"].items():
        commands += [f"ip netns add {PREFIX}{name}; ip -n {PREFIX}{name} link set lo up",
                     *(f"ip netns exec {PREFIX}{name} sysctl -q -w {key}={value}"
                       for key, value in node["sysctls"].items())]
    for link in lab["links"]:
        (node, device), (peer_node, peer) = (end.split(":") for end in link["endpoints"])
        commands += [f"ip -n {PREFIX}{node} link add {device} mtu {link['mtu']} type veth"
                     f" peer name {peer} mtu {link['mtu']} netns {PREFIX}{peer_node}",
                     f"ip -n {PREFIX}{node} link set {device} up",
                     f"ip -n {PREFIX}{peer_node} link set {peer} up"]
    commands += [f"ip netns exec {PREFIX}{node} {shlex.join(shlex.split(line))} >/dev/null || exit"
                 for node, of_node in lab["nodes"].items() for line in of_node["exec"]
                 if HAS_IPIP or "tunl0" not in line]
    compare(tmp_path, cluster, boot(topology, policies=False), "\n".join(commands),
            "ip -all netns delete")


def topology_of(name, old, new):
    """A shipped topology with a change, in mode Never where it would need the kernel's ipip."""
    text = (TOPOLOGIES / f"{name}.yaml").read_text().replace(old, new)
    return parse_topology(text if HAS_IPIP or not old else
                          text.replace("ipipMode: Always", "ipipMode: Never"))


def compare(directory, cluster, net, up, down):
    """Run ``up``, read every namespace, run ``down``; then read the same in a booted cluster."""
    names = [state.name for _, state in boot_states(cluster)]
    (directory / "look.sh").write_text(LOOK)
    looks = "\n".join(f"echo == {name}; ip netns exec {PREFIX}{file_name(name)} sh look.sh"
                      for name in names)
    done = run_in_own_namespace(
        directory, f"{up}\n{looks}\n{down}\necho == left; ip netns; echo")
    assert done.returncode == 0, done.stderr
    made = dict(part.split("\n", 1) for part in done.stdout.split("== ")[1:])
    assert made.pop("left").strip() == "" and list(made) == names
    for place in names:
        ours, theirs = state(made[place]), state(net[place].cmd(f"sh {directory}/look.sh"))
        differing = "\n".join(unified_diff(theirs, ours, "booted", "made", n=0, lineterm=""))
        assert not differing, f"{place}: {differing}"


@pytest.mark.skipif(HAS_IPIP, reason="this kernel has ipip")
def test_without_ipip_a_tunnel_that_is_needed_is_a_reason_to_stop(tmp_path):
    export = script(booted(load_topology(TOPOLOGIES / "two-subnets.yaml")))
    (tmp_path / FILE).write_text(export.files[FILE])
    done = run_in_own_namespace(tmp_path, f"sh {FILE} up; echo status $?; ls /run/netns")
    assert done.stdout == "status 1\n"
    assert done.stderr.startswith(f"{FILE}: this kernel has no ipip (module ipip), so ip cannot")


def test_namespaces_that_are_there_already_stay(tmp_path):
    export = script(booted(load_topology(TOPOLOGIES / "two-subnets.yaml")))
    (tmp_path / FILE).write_text(export.files[FILE])
    done = run_in_own_namespace(tmp_path, f"""
        ip netns add {PREFIX}node32; sh {FILE} up; echo status $?; ls /run/netns""")
    assert done.stdout == f"status 1\n{PREFIX}node32\n" and "File exists" in done.stderr
