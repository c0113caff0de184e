"""``calico-mn check-node``: what a node's tools print, against the topology, as on a real node.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod shop/c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.api_server import ApiServer, Ran
from support.dumps import pod

from .conftest import LAB, calico_mn

pytestmark = pytest.mark.root

COMMANDS = {"route": ["ip", "-j", "route"], "addr": ["ip", "-j", "addr"],
            "rules": ["iptables-save"], "sets": ["ipset", "save"],
            "settings": ["sysctl", "-a", "--pattern", "net.ipv4"]}
CALI = "cali[0-9a-f]{11}"


def collect(run, node, directory):
    directory.mkdir()
    for name, command in COMMANDS.items():
        (directory / name).write_text(run("exec", node, "--", *command).stdout)
    return directory


@pytest.fixture(scope="session")
def outputs(lab, tmp_path_factory):
    """The directory of a node of a run that nothing was changed in."""
    return collect(lab, "node31", tmp_path_factory.mktemp("check") / "node31")


def check(directory, *words):
    return calico_mn("check-node", "node31", str(directory), "-f", str(LAB), *words)


def test_a_node_that_nothing_was_changed_on_is_as_predicted(outputs):
    done = check(outputs)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"compared as profile v3\.25 \(<= v3\.25\): 3 devices, 2 addresses, 5 routes, "
        r"\d+ sysctls, \d+ chains, 3 IP sets\nnode31 is as predicted\n", done.stdout), done.stdout


@pytest.mark.parametrize("profile", ["v3.29", "v3.32", "v3.33"])
def test_the_version_profile_is_found(own, tmp_path, profile):
    run = own(f"check-{profile.replace('.', '')}", "--profile", profile)
    done = check(collect(run, "node31", tmp_path / "node31"))
    assert done.stdout.startswith(f"compared as profile {profile} "), done.stdout
    assert done.stdout.endswith("node31 is as predicted\n")
    assert check(tmp_path / "node31", "--profile", "v3.25").returncode == 1


# What is changed in an output, and the lines that say so.
CHANGES = {
    "a route to another node": ("route", '"gateway":"192.168.57.32","dev":"tunl0"',
                                '"gateway":"192.168.57.99","dev":"tunl0"', [
        "- 10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink",
        r"\+ 10.22.32.0/26 via 192.168.57.99 dev tunl0 proto bird onlink"]),
    "a route of BIRD's that the model has not": ("route", r"^\[", (
        '[{"dst":"10.22.99.0/26","gateway":"192.168.57.32","dev":"eth0","protocol":"bird",'
        '"flags":[]},'), [r"\+ 10.22.99.0/26 via 192.168.57.32 dev eth0 proto bird"]),
    "a blackhole as a pod's address": ("route", '"type":"blackhole",', "", [
        "- blackhole 10.22.31.0/26 proto bird", r"\+ 10.22.31.0/26 proto bird"]),
    "tunl0's MTU": ("addr", '"mtu":1480,(?=[^{]*"txqlen":1000)', '"mtu":1440,', [
        "- link tunl0 type ipip mtu 1480 txqueuelen 1000 up",
        r"\+ link tunl0 type ipip mtu 1440 txqueuelen 1000 up"]),
    "the NIC's MTU": ("addr", '"mtu":1500', '"mtu":9001', [
        "- link eth0 type veth mtu 1500 up", r"\+ link eth0 type veth mtu 9001 up"]),
    "tunl0's address": ("addr", '"local":"10.22.31.[0-9]+"', '"local":"10.22.31.63"', [
        "- inet 10.22.31.[0-9]+/32 dev tunl0", r"\+ inet 10.22.31.63/32 dev tunl0"]),
    "a workload's device": ("addr", f'"ifname":"{CALI}"', '"ifname":"cali00000000000"', [
        f"- link {CALI} type veth .* up", r"\+ link cali00000000000 type other .* up"]),
    "a sysctl": ("settings", rf"(net\.ipv4\.conf\.{CALI}\.proxy_arp) = 1", r"\1 = 0", [
        f"- net/ipv4/conf/{CALI}/proxy_arp = 1", rf"\+ net/ipv4/conf/{CALI}/proxy_arp = 0"]),
    "a rule": ("rules", r"^-A cali-INPUT .*\n", "", [
        r"- chain cali-INPUT of table \w+ with 7 rules, .*",
        r"\+ chain cali-INPUT of table \w+ with 6 rules, .*"]),
    "a member of an IP set": ("sets", r"^add cali40all-hosts-net 192.168.58.33\n", "", [
        "- IP set cali40all-hosts-net of 192.168.57.31, 192.168.57.32, 192.168.58.33",
        r"\+ IP set cali40all-hosts-net of 192.168.57.31, 192.168.57.32"]),
}


@pytest.mark.parametrize(("file", "old", "new", "lines"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_named(outputs, tmp_path, file, old, new, lines):
    for name in COMMANDS:
        text = (outputs / name).read_text()
        if name == file:
            text, count = re.subn(old, new, text, count=1, flags=re.MULTILINE)
            assert count == 1
        (tmp_path / name).write_text(text)
    done = check(tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    shown = done.stdout.splitlines()[1:]
    assert shown[0] == "node31:"
    assert len(shown) == len(lines) + 1, done.stdout
    assert all(re.fullmatch(f"  {line}", text)
               for line, text in zip(lines, shown[1:], strict=True)), done.stdout


def test_a_real_nodes_nic_has_its_own_name_and_its_host_its_own_default_route(outputs, tmp_path):
    for name in COMMANDS:
        (tmp_path / name).write_text((outputs / name).read_text().replace("eth0", "ens5").replace(
            '"dst":"default",', '"dst":"default","protocol":"dhcp","metric":100,'
            '"prefsrc":"192.168.57.31",'))
    done = check(tmp_path)
    assert done.stdout.endswith("node31 is as predicted\n"), done.stdout


def test_what_is_not_given_is_said_and_not_compared(outputs):
    done = check(outputs / "route")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == (
        "not given, so not compared: ip -j addr, iptables-save, ipset save, sysctl -a")


def test_json(outputs, tmp_path):
    (tmp_path / "route").write_text("[]")
    answer = json.loads(check(tmp_path, "--json").stdout)
    assert answer["profile"] == "v3.25"
    assert answer["notGiven"] == ["ip -j addr", "iptables-save", "ipset save", "sysctl -a"]
    assert {"subject": "route", "kind": "missing", "present": None,
            "wanted": "blackhole 10.22.31.0/26 proto bird"}.items() <= next(
        item for item in answer["differences"] if "blackhole" in item["wanted"]).items()


@pytest.mark.parametrize("text", ["", "hello", "[", "[1]",
                                  '[{"gateway": 1}]', "*filter\n-A ", "create ",
                                  '[{"ifname": 2}]',
                                  "{}", '[{"dst":"default","metrics":7}]', "[" * 100_000],
                         ids=lambda text: text[:12] or "empty")
def test_what_is_no_output_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    done = check(file)
    assert (done.returncode, done.stdout) in ((1, ""), (2, ""))
    assert "is no output of ip -j route" in done.stderr and done.stderr.count("\n") == 1


def test_a_node_of_a_live_cluster_is_asked_by_exec(lab, tmp_path):
    """The API server's calico-node is the run's node31."""
    def program(_pod, _container, command):
        if command[0] == "sysctl":
            return Ran(failure='exec: "sysctl": executable file not found in $PATH')
        done = lab("exec", "node31", "--", *command)
        return Ran(done.stdout, done.stderr, done.returncode)

    node = pod("calico-node-x", "node31", metadata={
        "namespace": "calico-system", "labels": {"k8s-app": "calico-node"}})
    with ApiServer([node], program=program) as server:
        done = calico_mn("check-node", "node31", "--context", "test", "-f", str(LAB),
                         KUBECONFIG=str(server.kubeconfig(tmp_path)), NO_PROXY="127.0.0.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"compared as profile v3\.25 \(<= v3\.25\): 3 devices, 2 addresses, 5 routes, "
        r"\d+ sysctls, \d+ chains, 3 IP sets\nnode31 is as predicted\n", done.stdout), done.stdout


def test_no_such_node(outputs):
    done = calico_mn("check-node", "node99", str(outputs), "-f", str(LAB))
    assert done.returncode == 3
    assert "no node 'node99'; it has node31, node32, node33" in done.stderr
