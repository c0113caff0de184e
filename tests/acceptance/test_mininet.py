"""What a person who knows Mininet does with a network: its command line, cmd, popen, pexec.

     node31 .31    node32 .32               node33 .33
     sit/web       default/web2             sit/db
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mininet.net import Mininet
from mininet.node import Node
from support import machine
from support.cli import typed
from support.patience import eventually
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.errors import ClusterError, ToolError, TopologyError
from calico_mn.kernel import processes

pytestmark = pytest.mark.root


@pytest.fixture
def net(boot):
    return boot(two_subnets("Always", "sit/web@node31", "web2@node32", "sit/db@node33"))


NAMES = ["node31", "node32", "node33", "sit/web", "default/web2", "sit/db", "r1", "rack-a",
         "rack-b"]


def bash_processes() -> list[int]:
    return [pid for pid, name in machine.processes_of_runs().items() if name == "bash"]


def test_it_is_a_mininet_with_nodes_in_file_order(net):
    assert isinstance(net, Mininet)
    assert [node.name for node in net.nodes] == ["node31", "node32", "node33"]
    assert [pod.name for pod in net.pods] == ["sit/web", "default/web2", "sit/db"]
    assert [router.name for router in net.routers] == ["r1"]
    assert list(net) == NAMES and len(net) == len(NAMES)
    assert set(net.keys()) == set(NAMES) and dict(net.items())["r1"] is net["r1"]
    assert all(isinstance(net[name], Node) for name in NAMES)


def test_nodes_and_pods_tell_what_they_are(net):
    assert (net["sit/web"].ip, net["sit/web"].node) == ("10.22.31.1", "node31")
    assert (net["node31"].address, net["node31"].blocks) == ("192.168.57.31", ("10.22.31.0/26",))
    assert net["sit/web"].IP() == "10.22.31.1" and net["node31"].IP() == "192.168.57.31"
    assert net["sit/web"].MAC() == net["sit/web"].cmd("cat /sys/class/net/eth0/address").strip()


def test_get_takes_a_pods_bare_name_where_it_is_unambiguous(net):
    assert net.get("web") is net.get("sit/web") is net["web"]
    assert net.get("web", "node31") == [net["sit/web"], net["node31"]]
    net.add_pod(namespace="other", name="web", node="node32")
    assert "web" not in net
    with pytest.raises(KeyError):
        net.get("web")


def test_the_command_line_nodes_net_links_dump(net, tmp_path):
    said = typed(net, tmp_path, "nodes", "net", "links", "dump", "intfs")
    for name in NAMES:
        assert name in said.splitlines()[1].split(), said
    device = net["web"].device
    assert f"sit/web eth0:{device}" in said
    assert f"sit/web:eth0<->node31:{device}" in said, said
    assert said.count("(OK OK)") == len(net.links) == 8, said
    assert "<K8sNode node31: eth0:192.168.57.31" in said
    assert "<Pod sit/web: eth0:10.22.31.1 pid=None>" in said
    assert bash_processes() == [], "none of these needs a shell"


def test_the_command_line_pingall_pings_the_pods(net, tmp_path):
    said = typed(net, tmp_path, "pingall")
    assert "sit/web -> default/web2 sit/db" in said
    assert "0% dropped (6/6 received)" in said


def test_the_command_line_takes_bare_and_full_pod_names_and_node_names(net, tmp_path):
    said = typed(net, tmp_path, "web ping -c1 web2", "sit/web ip route", "node31 ip route",
                 "web2 ping -c1 sit/db", "node31 ping -c1 node33", "r1 ip route")
    assert said.count(" 0% packet loss") == 3, said
    assert "PING 10.22.32.1" in said and "PING 10.22.33.1" in said
    assert "PING 192.168.58.33" in said
    assert "default via 169.254.1.1 dev eth0" in said
    assert "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink" in said
    assert "192.168.58.0/24 dev eth1 proto kernel" in said
    assert len(bash_processes()) == 4, "one for each that a command was typed into"


def test_the_command_line_py_sh_and_a_name_with_a_hyphen(net, tmp_path, capfd):
    said = typed(net, tmp_path, "py net.set_ipip_mode('Never') and 'changed'", "sh echo from sh",
                 "rack-a ip -br link show br0", "py net['web'].ip", "node31 ip route")
    assert "changed" in said and "10.22.31.1" in said
    assert "from sh" in capfd.readouterr().out
    assert "br0" in said and "UP" in said
    assert "dev eth0 proto bird" in said


def test_the_command_line_survives_an_unknown_name(net, tmp_path):
    said = typed(net, tmp_path, "nobody ip route", "node31 echo still here")
    assert "still here" in said


def test_iperf_prints_its_line_at_the_command_line(net, tmp_path):
    said = typed(net, tmp_path, "py net.iperf('web', 'web2', seconds=1) and 'done'")
    assert "sit/web -> default/web2, TCP: " in said and "inside IPIP" in said and "done" in said


@pytest.mark.parametrize(("add", "says"), [
    (lambda net: net.addSwitch("s1"), "write a subnet into the topology's Underlay"),
    (lambda net: net.addController("c0"), "Linux bridges, which need none"),
    (lambda net: net.addNAT(), "would change this machine's own network"),
    (lambda net: net.addHost("h1"), "write it into the Underlay"),
    (lambda net: net.addLink("web", "rack-a"), "cables follow from the Underlay"),
    (lambda net: net["web"].setIP("10.0.0.1/8"), "addresses follow from the topology"),
    (lambda net: net["web"].intf().config(bw=10, delay="5ms"),
     r"sit/web:eth0: bw, delay cannot be set by config\(\); net.impairments.set\('sit/web:eth0'"),
    (lambda net: CalicoNet(topo=object()), "CalicoNet has no topo: it takes the path"),
    (lambda net: CalicoNet(), "CalicoNet has no topology: it takes the path"),
], ids=range(9))
def test_what_does_not_fit_in_is_refused_in_a_sentence(net, add, says):
    names = list(net)
    with pytest.raises(ClusterError, match=says):
        add(net)
    assert list(net) == names


def test_a_cluster_is_made_of_a_file_or_of_several(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1}\n"
        "spec: {bgp: {ipv4Address: 10.1.1.1/24}}\n")
    (tmp_path / "b.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n")
    for given in (str(tmp_path / "a.yaml"), tmp_path / "a.yaml"):
        assert [node.name for node in CalicoNet(given).topology.nodes] == ["n1"]
    both = CalicoNet([tmp_path / "a.yaml", str(tmp_path / "b.yaml")], policies=False)
    assert [pod.node for pod in both.topology.pods] == ["n1"]
    with pytest.raises(TopologyError, match="cannot be read"):
        CalicoNet("nowhere.yaml")


def test_shells_start_on_first_use_only(net):
    assert bash_processes() == []
    net["web"].popen(["true"]).communicate()
    net["web"].pexec(["true"])
    assert "pid=None" in repr(net["web"]) and bash_processes() == []
    net["web"].cmd("true")
    assert len(bash_processes()) == 1
    net["web"].cmd("true")
    assert len(bash_processes()) == 1


@pytest.mark.parametrize("name", ["node31", "web", "r1", "rack-a"])
def test_cmd_popen_and_pexec_run_inside_the_namespace(net, name):
    node = net[name]
    inode = node.cmd("stat -L -c %i /proc/self/ns/net").strip()
    assert int(inode) != os.stat("/proc/self/ns/net").st_ino
    command = ["stat", "-L", "-c", "%i", "/proc/self/ns/net"]
    assert node.popen(command, text=True).communicate()[0].strip() == inode
    assert node.popen(*command, text=True).communicate()[0].strip() == inode
    assert node.popen(" ".join(command), text=True).communicate()[0].strip() == inode
    assert node.popen("echo a && echo b", shell=True, text=True).communicate()[0] == "a\nb\n"
    assert node.pexec(command) == (f"{inode}\n", "", 0)
    assert node.pexec("false")[2] == 1
    assert int(node.pexec("cat /proc/self/ns/net /proc/self/nonsense")[2]) == 1


def test_pid_is_that_of_a_process_inside_as_nsenter_wants_it(net):
    pid = net["web"].pid
    inside = net["web"].cmd("stat -L -c %i /proc/self/ns/net").strip()
    assert os.stat(f"/proc/{pid}/ns/net").st_ino == int(inside)


def test_cmd_gives_the_output_and_ctrl_c_ends_a_command(net):
    node = net["node31"]
    assert node.cmd("echo one; echo two").split() == ["one", "two"]
    assert node.cmd("printf '%s ' a b").strip() == "a b"
    node.sendCmd("sleep 100")
    # Before the shell's child is the command, the interrupt would not end it.
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children")
    assert eventually(lambda: [processes.name_of(int(pid)) for pid in children.read_text().split()]
                      == ["sleep"])
    node.sendInt()
    node.waitOutput()
    assert node.cmd("echo again").strip() == "again"
    assert node.cmd("cd /tmp; x=5; pwd").strip() == "/tmp"
    assert node.cmd("echo $x $PWD").strip() == "5 /tmp", "one shell, kept"


def test_what_cmd_gives_has_no_colours_though_a_shell_has_a_terminal(net):
    assert net["node31"].cmd("test -t 1 && echo terminal") == "terminal\r\n"
    assert "\x1b" not in net["node31"].cmd("ip route; ip link")
    assert net["node31"].cmd("echo $NO_COLOR") == "1\r\n"


def test_popen_of_a_missing_program_says_which(net):
    with pytest.raises(ToolError, match="sit/web: cannot run nosuchprogram"):
        net["web"].popen(["nosuchprogram"])
    # And the node is none the worse for it.
    assert net["web"].pexec(["echo", "fine"])[0] == "fine\n"


def test_each_namespace_sees_its_own_devices_in_sys(net):
    assert set(net["web"].cmd("ls /sys/class/net").split()) - {"tunl0"} == {"eth0", "lo"}
    assert "br0" in net["rack-a"].cmd("ls /sys/class/net").split()
    assert net["web"].device in net["node31"].cmd("ls /sys/class/net").split()


def test_ping_and_pingpair_of_the_net_use_the_pods(net):
    assert net.ping() == 0.0
    assert net.pingPair() == 0.0
    assert net.ping([net["node31"], net["node33"]]) == 0.0


def test_config_link_status_is_not_broken_by_names_with_a_slash(net):
    net.configLinkStatus("sit/web", "node31", "down")
    assert net.ping([net["web"], net["web2"]], timeout="0.3") == 100.0
    net.configLinkStatus("sit/web", "node31", "up")
    assert "UP" in net["web"].intfs[0].ifconfig()


def test_mininets_own_helpers_work_on_the_nodes(net):
    assert net["web"].connectionsTo(net["node31"])
    assert net["web"].intf("eth0").name == "eth0" and net["web"].intfIsUp("eth0")
    assert net["node31"].intfNames()[0] == "eth0"
    assert net["web"].cmdPrint("echo hi").strip() == "hi"
    assert all(lost == 0 for *_, lost in (
        (src, dst, sent - received) for src, dst, (sent, received, *_) in net.pingFull()))
    for name in NAMES:
        assert name in repr(net[name]) and str(net[name]) == name
