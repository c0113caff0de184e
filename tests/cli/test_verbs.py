"""What verbs about a running cluster print, as text and as JSON, and what they change.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod shop/c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json
import re

import pytest
from scapy.utils import PcapNgReader
from support.patience import eventually

from .conftest import LAB, OWN, PROGRAM, TUNNEL, calico_mn
from .terminal import Terminal

pytestmark = pytest.mark.root


@pytest.mark.parametrize("words", [
    ["routes"], ["routes", "r1", "a"], ["bgp"], ["bgp", "--status", "node33"],
    ["bgp", "--routes", "node31"], ["bgp", "--routes", "10.22.33.1"],
], ids=" ".join)
def test_a_table(lab, golden, words):
    golden(f"verb-{'-'.join(words)}", lab.ok(*words))


def test_the_same_as_json(lab):
    assert [r["meaning"] for r in lab.json("routes", "node31") if r["onlink"]] == [
        "block of node32, in IPIP", "block of node33, in IPIP"]
    (speaker,) = lab.json("bgp", "node31")
    assert [peer["prefixes"] for peer in speaker["peers"]] == [["10.22.32.0/26"],
                                                               ["10.22.33.0/26"]]


def test_sessions_and_routes_of_bgp_as_json(lab):
    (speaker,) = lab.json("bgp", "node31")
    assert [(peer["node"], peer["state"], peer["bgpState"], peer["imported"], peer["since"])
            for peer in speaker["peers"]] == [
        ("node32", "up", "Established", 1, None), ("node33", "up", "Established", 1, None)]
    assert [(route["prefix"], route["own"], route["nextHop"], route["from"], route["localPref"])
            for route in lab.json("bgp", "--routes", "node31", "10.22.32.0/19")] == [
        ("10.22.32.0/26", False, "192.168.57.32", "node32", 100),
        ("10.22.33.0/26", False, "192.168.58.33", "node33", 100)]


@pytest.mark.parametrize(("words", "status", "said"), [
    (["nosuch"], 3, "there is no node, pod, router or subnet 'nosuch'"),
    (["r1"], 3, "r1 is not a node or router with bgp"),
    (["node31", "10.22.0.0/16"], 2, "calico-mn bgp --routes node31 10.22.0.0/16"),
    (["--routes", "node31", "10.22.0.0/99"], 2, "'10.22.0.0/99' is no IPv4 address or prefix"),
], ids=str)
def test_mistakes_about_bgp(lab, words, status, said):
    done = lab("bgp", *words)
    assert done.returncode == status and said in done.stderr and done.stderr.count("\n") == 1


def test_a_route_added_by_hand_shows_without_a_meaning(lab):
    lab.ok("exec", "node32", "--", "ip", "route", "add", "198.51.100.0/24", "dev", "eth0")
    try:
        (mine,) = [r for r in lab.json("routes", "node32") if r["destination"].startswith("198")]
        assert (mine["meaning"], mine["device"]) == ("", "eth0")
    finally:
        lab.ok("exec", "node32", "--", "ip", "route", "del", "198.51.100.0/24")


def test_a_mode_change_prints_its_commands(own):
    run = own("mode")
    assert run.ok("mode", "CrossSubnet", "--node", "node31") == (
        "# node31\n"
        "ip route replace 10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird\n"
        "node31 alone: IPIP CrossSubnet, 1 change\n")
    assert "pool 10.22.0.0/16: Always; node31 alone: CrossSubnet" in run.ok("status")
    found = run.json("mode", "CrossSubnet")
    assert [c["namespace"] for c in found["changes"]] == ["node32"]
    assert run.ok("mode", "CrossSubnet") == "all pools: IPIP CrossSubnet, 0 changes\n"
    for words, status in ((["Sometimes"], 2), (["Never", "--node", "a"], 3),
                          (["Never", "--node", "node99"], 3)):
        done = run("mode", *words)
        assert done.returncode == status and done.stderr.count("\n") == 1


def test_up_may_boot_with_another_encapsulation(machine_can):
    name = f"{OWN}-up-vxlan"
    done = calico_mn("up", "-d", "--tunnel", TUNNEL, "--name", name, "--encapsulation", "vxlan",
                     str(LAB))
    try:
        assert f"{name} is up: 3 nodes, 3 pods, VXLAN Always, rules by " in done.stdout
        assert calico_mn("verify", "--run", name).returncode == 0
    finally:
        calico_mn("down", name)


def test_a_vxlan_cluster_says_so(tmp_path, machine_can):
    file = tmp_path / "vxlan.yaml"
    file.write_text(LAB.read_text().replace("ipipMode: Always", "vxlanMode: CrossSubnet"))
    name = f"{OWN}-of-vxlan"
    done = calico_mn("up", "-d", "--tunnel", TUNNEL, "--name", name, str(file))
    try:
        assert f"{name} is up: 3 nodes, 3 pods, VXLAN CrossSubnet, rules by " in done.stdout
        told = calico_mn("mode", "Never", "--run", name).stdout
        assert re.search(r"\nall pools: VXLAN Never, \d+ changes\n$", told), told
    finally:
        calico_mn("down", name)


def test_from_ipip_to_vxlan_and_back(own):
    run = own("vxlan")
    told = run.ok("mode", "Always", "--encapsulation", "vxlan")
    assert re.search(r"\nall pools: VXLAN Always, \d+ changes\n$", told), told
    assert "pool 10.22.0.0/16: Always (VXLAN)" in run.ok("status")
    assert run.json("get", "node/node31")["spec"] == {
        "bgp": {"ipv4Address": "192.168.57.31/24"}, "ipv4VXLANTunnelAddr": "10.22.31.2"}
    assert run.ok("get", "nodes", "-o", "wide").splitlines()[0].split()[3:5] == [
        "TUNL0", "VXLAN.CALICO"]
    assert "block of node32, in VXLAN" in run.ok("routes", "node31")
    assert run.ok("mode", "CrossSubnet").endswith("all pools: VXLAN CrossSubnet, 2 changes\n")
    assert run.ok("verify") == "all is as it should be, rules by iptables-nft\n"
    assert "all pools: IPIP Always" in run.ok("mode", "Always", "--encapsulation", "ipip")
    assert "vxlan" not in run.ok("routes")


def test_pods_come_and_go(own):
    run = own("pods")
    assert run.ok("pod", "add", "late", "--node", "node32").startswith(
        "pod default/late runs on node32: 10.22.32.2, cali")
    fixed = run.ok("pod", "add", "shop/db", "--node", "node33", "--ip", "10.22.33.9")
    assert "10.22.33.9" in fixed
    assert run("ping", "late", "db", "-c", "1").returncode == 0
    assert run.ok("pod", "delete", "late") == "pod default/late is gone, 10.22.32.2 is free\n"
    for words, status, said in (
            (["delete", "late"], 3, "there is no node, pod, router or subnet 'late'"),
            (["delete", "node31"], 3, "node31 is not a pod"),
            (["add", "a", "--node", "node31"], 2, "there is a pod default/a already"),
            (["add", "A_b", "--node", "node31"], 2, "not a valid name"),
            (["add", "x", "--node", "r1"], 3, "r1 is not a node"),
            (["add", "x", "--node", "node31", "--ip", "10.22.31.1"], 2, "is taken by default/a"),
            (["add", "x", "--node", "node31", "--ip", "10.22.31"], 2, "default/x: ")):
        done = run("pod", *words)
        assert done.returncode == status and said in done.stderr, done
        assert done.stderr.count("\n") == 1


def test_ping_passes_its_status_on(lab):
    assert "1 received" in lab.ok("ping", "a", "shop/c", "-c", "1")
    assert "1 received" in lab.ok("ping", "node31", "192.168.57.1", "-c", "1")
    assert lab("ping", "a", "10.22.31.60", "-c", "1").returncode == 1
    assert lab("ping", "a", "rack-a").stderr == "calico-mn: rack-a has no address\n"


def test_pingall_tells_who_reaches_whom_and_how(own, lab):
    assert lab.ok("pingall").splitlines()[1:] == [
        "                   node31  node32  node33",
        "node31 default/a           #       #",
        "node32 default/b   #               #",
        "node33 shop/c      #       #", "6 of 6 pairs"]
    run = own("pingall", "--mode", "Never")
    done = run("pingall")
    assert done.returncode == 1 and "2 of 6 pairs" in done.stdout
    assert done.stdout.splitlines()[2] == "node31 default/a           =       ."


def test_trace_is_text_json_a_picture_and_packets(lab, tmp_path):
    packets = tmp_path / "way.pcapng"
    text = lab.ok("trace", "a", "c", "--svg", str(tmp_path / "way.svg"), "-w", str(packets))
    assert text.endswith(f"\nwrote {packets}\n")
    with PcapNgReader(str(packets)) as reader:
        assert {"default/a:eth0", "node31:tunl0", "r1:eth0", "shop/c:eth0"} <= {
            packet.sniffed_on for packet in reader}
    assert lab("trace", "a", "c", "-w", "way.pcap").stderr == (
        "calico-mn trace: way.pcap: no .pcap file can be written, end the name in .pcapng\n")
    assert text.startswith("default/a 10.22.31.1 -> shop/c 10.22.33.1: ICMP echo request")
    assert "inside IPIP" in text.splitlines()[1]
    assert "<svg" in (tmp_path / "way.svg").read_text()
    assert lab.json("trace", "a", "b")["answered"] is True
    done = lab("trace", "a", "10.22.32.60")
    assert done.returncode == 1 and "dropped here" in done.stdout
    assert lab("trace", "a", "nosuch").returncode == 3
    assert lab("trace", "a", "b", "--ttl", "0").returncode == 2


def test_a_page_about_all_modes_leaves_the_run_as_it_was(own, tmp_path):
    run, path = own("modes"), tmp_path / "way.html"
    run.ok("mode", "CrossSubnet", "--node", "node31")
    before = run.json("status")["pools"], run.json("routes")
    said = run.ok("trace", "a", "c", "--html", str(path), "--modes", "all")
    assert said.endswith(f"\nwrote {path}\n")
    page = path.read_text()
    journeys = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert [(journey["title"], journey["answered"]) for journey in journeys] == [
        ("Always", True), ("CrossSubnet", True), ("Never", False)]
    assert (run.json("status")["pools"], run.json("routes")) == before
    assert run.json("verify") == []
    for words, said in (
            (["--modes", "all"], "--modes all is for the page: add --html FILE.html"),
            (["--html", "x.htm"], "x.htm: no .htm file can be written, end the name in .html")):
        assert run("trace", "a", "c", *words).stderr == f"calico-mn trace: {said}\n"


def test_graph_of_a_file_and_of_a_run(lab, tmp_path):
    dot = calico_mn("graph", str(LAB), "--format", "dot").stdout
    assert '"node31" -- "default/a"' in dot and '"rack-b" -- "r1"' in dot
    assert calico_mn("graph", lab.name, "--format", "dot").stdout == dot
    mermaid = calico_mn("graph", str(LAB), "--format", "mermaid").stdout
    assert mermaid.startswith("graph TD\n") and '{{"r1<br/>192.168.57.1' in mermaid
    done = calico_mn("graph", str(LAB), "--mode", "Never", "-o", str(tmp_path / "x.svg"))
    assert done.returncode == 0 and "10.22.31.1" in (tmp_path / "x.svg").read_text()
    assert calico_mn("graph", str(LAB), "--mode", "Never", "--format", "dot").returncode == 2
    for subject in (str(LAB), lab.name):
        drawn = calico_mn("graph", subject, "--encapsulation", "vxlan").stdout
        assert "cross-subnet: in a VXLAN tunnel" in drawn and "in an IPIP tunnel" not in drawn
    assert "Always" in lab.ok("status") and "VXLAN" not in lab.ok("status")
    done = calico_mn("graph", str(LAB), "--encapsulation", "vxlan", "--format", "dot")
    assert done.stderr == "calico-mn graph: --encapsulation draws into svg, not dot\n"
    assert calico_mn("graph", "nosuch").returncode == 3


def test_colours_only_on_a_terminal_and_not_with_no_color(lab):
    assert "\033[" not in lab.ok("get", "nodes")
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        with Terminal(*PROGRAM, "get", "nodes", CALICO_MN_RUN=lab.identity, **variables) as there:
            assert there.shows("\033[1mNAME" if coloured else "NAME")
            assert there.status() == 0


def test_check_says_that_this_machine_can(lab):
    done = calico_mn("check")
    assert done.returncode == 0 and done.stdout.endswith("this machine can run clusters\n")
    assert "\nok  tunl0 " in done.stdout and "iproute2" in done.stdout
    done = calico_mn("check", PATH="/nonexistent")
    assert "ok  ip " in done.stdout, "sbin is looked at, too"


def test_iperf_in_a_line_and_as_json(lab):
    line = lab.ok("iperf", "a", "b", "-t", "1")
    assert re.fullmatch(r"default/a -> default/b, TCP: [0-9.]+ [GM]bit/s, \d+ retransmits?,"
                        r" inside IPIP\n", line), line
    facts = lab.json("iperf", "a", "b", "-t", "1", "-u", "-b", "2M", "-P", "2", "-R")
    assert (facts["source"], facts["destination"]) == ("default/b", "default/a")
    assert (facts["protocol"], facts["seconds"], facts["streams"]) == ("UDP", 1, 2)
    assert facts["encapsulation"] == "IPIP" and 0.5 < facts["mbit_per_s"] < 5


@pytest.mark.parametrize(("words", "status", "says"), [
    (["a", "nobody"], 3, "there is no node"),
    (["a", "b", "-t", "0"], 2, "1 to 3600 seconds"),
    (["a", "b", "-u", "-b", "fast"], 2, "a rate is bits/s"),
    (["r1", "b"], 1, "'calico-mn trace r1 default/b --protocol tcp --port 5201' shows where"),
], ids=str)
def test_iperf_that_cannot_be(lab, words, status, says):
    done = lab("iperf", *words)
    assert done.returncode == status and says in done.stderr and done.stderr.count("\n") == 1


def test_ctrl_c_ends_iperf_in_the_run_too(lab):
    with Terminal(*PROGRAM, "iperf", "a", "b", "-t", "600", CALICO_MN_RUN=lab.identity) as terminal:
        assert terminal.shows("iperf, seconds: 1 of 600")
        terminal.type("\x03")
        assert terminal.status() == 130
    assert eventually(lambda: not lab("exec", "b", "--", "ss", "-Hltn").stdout)
