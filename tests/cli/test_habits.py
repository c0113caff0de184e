"""What hands that know kubectl, calicoctl and containerlab type.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod shop/c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json

import pytest
import yaml

from calico_mn.topology import load_topology

from .conftest import LAB, OWN, PROGRAM, TUNNEL, calico_mn
from .terminal import Terminal

root = pytest.mark.root


@root
@pytest.mark.parametrize(("words", "says"), [
    (["-it", "a", "--", "hostname"], "a\n"),
    (["c", "-n", "shop", "--", "hostname"], "c\n"),
    (["-n", "shop", "c", "-c", "main", "-i", "-t", "--", "echo", "-n", "x"], "x"),
    (["node31", "-n", "shop", "--", "hostname"], "node31\n"),
    (["a", "echo", "-n", "y"], "y"),
    (["pod/a", "--", "hostname"], "a\n"), (["node/node31", "hostname"], "node31\n"),
    (["po/c", "-n", "shop", "--", "hostname"], "c\n"),
    (["r1", "-n", "shop", "--", "hostname"], "r1\n"),
], ids=" ".join)
def test_exec_as_kubectl_has_it(lab, words, says):
    assert lab.ok("exec", *words) == says


@root
def test_options_of_exec_without_a_program_are_no_program(lab):
    done = lab("exec", "a", "-n", "default")
    assert (done.returncode, done.stderr) == (
        125, "calico-mn exec: say what to run after --: calico-mn exec a -n default -- ip route\n")


@root
def test_a_namespace_may_be_said_apart(lab):
    assert "1 received" in lab.ok("ping", "-n", "shop", "a", "c", "-c", "1")
    assert lab.ok("trace", "a", "c", "-n", "shop").startswith("default/a 10.22.31.1 -> shop/c ")
    assert lab.json("iperf", "c", "a", "-n", "shop", "-t", "1")["source"] == "shop/c"


@root
@pytest.mark.parametrize(("words", "says"), [
    (["exec", "a", "-n", "shop", "--", "hostname"], "'shop/a'; did you mean default/a?"),
    (["exec", "-n", "shop", "pod/a", "hostname"], "'shop/a'; did you mean default/a?"),
    (["exec", "-n", "kube", "node31", "hostname"], "there is no pod in namespace 'kube'"),
    (["ping", "a", "b", "-n", "kube"], "there is no pod in namespace 'kube'"),
    (["trace", "a", "b", "-n", "kube"], "there is no pod in namespace 'kube'"),
], ids=str)
def test_a_pod_of_another_namespace_is_not_taken(lab, words, says):
    done = lab(*words)
    assert says in done.stderr and done.returncode == (125 if words[0] == "exec" else 3)


@root
def test_a_run_is_named_by_an_option_everywhere(lab):
    assert lab.name in calico_mn("status", "--run", lab.name).stdout.splitlines()[0]
    assert "<svg" in calico_mn("graph", "--run", lab.name).stdout
    assert "<svg" in lab.ok("graph")
    assert lab("down", "--run", "nosuch").returncode == 3
    assert lab("web", "--run", "nosuch").returncode == 3


@root
def test_iperf_without_names_is_between_the_first_and_the_last_pod(lab):
    answer = lab.json("iperf", "-t", "1")
    assert (answer["source"], answer["destination"]) == ("default/a", "shop/c")
    done = lab("iperf", "a")
    assert (done.returncode, done.stderr) == (
        2, "calico-mn iperf: say who is the other end: calico-mn iperf a SERVER\n")


@root
@pytest.mark.parametrize(("words", "says"), [
    (["get", "routes"], "calico-mn get: 'calico-mn routes' lists them\n"),
    (["get", "links"], "calico-mn get: 'calico-mn link show' lists them\n"),
    (["describe", "a"], "calico-mn describe: say KIND and NAME, such as pod a\n"),
    (["mode", "nver"], "calico-mn mode: argument MODE: 'nver' is no mode: did you mean Never? (see"
                       " 'calico-mn mode --help')\n"),
    (["mode", "gre"], "calico-mn mode: argument MODE: 'gre' is no mode: say Always, CrossSubnet or"
                      " Never (see 'calico-mn mode --help')\n"),
    (["link", "nod31", "down"], "calico-mn: no node, pod, router, host or subnet is called 'nod31';"
                                " did you mean node31?\n"),
    (["link", "node31", "sideways"],
     "calico-mn link: there is no link between node31 and sideways: 'calico-mn link show' lists"
     " links; the last word is show, up, down or reset\n"),
], ids=str)
def test_a_request_that_is_nearly_right(lab, words, says):
    done = lab(*words)
    assert (done.returncode, done.stderr) == (2, says)


@root
def test_a_kind_without_effect_is_said_to_have_none(lab):
    assert lab("get", "ingresses").stderr == "calico-mn: no ingresses: they have no effect here\n"


@root
@pytest.mark.parametrize(("words", "says"), [
    (["ping", "nod31", "a"], "did you mean node31?"),
    (["trace", "nod31", "a"], "did you mean node31?"),
    (["trace", "a", "shop/d"], "did you mean shop/c?"),
    (["describe", "pod", "shop/d"], "did you mean shop/c?"),
    (["describe", "node", "node13"], "did you mean node31?"),
    (["describe", "node", "a"], "a is not a node"),
    (["describe", "pod", "node31"], "node31 is not a pod"),
], ids=str)
def test_a_name_that_is_nearly_right(lab, words, says):
    done = lab(*words)
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert done.returncode == (125 if words[0] == "exec" else 3)


@root
def test_modes_are_shown_and_understood_in_any_case(own):
    run = own("modes")
    assert "\nnode31 alone: IPIP Never, " in run.ok("mode", "NEVER", "--node", "node31")
    assert [line.split() for line in run.ok("mode").splitlines()] == [
        ["POOL", "CIDR", "MODE", "OTHERWISE"],
        ["pool", "10.22.0.0/16", "Always", "node31:", "Never"]]
    (pool,) = run.json("mode")
    assert pool["nodes"] == {"node31": "Never"}
    assert "all pools: IPIP CrossSubnet" in run.ok("mode", "crosssubnet", "--encapsulation", "IPIP")
    assert run.ok("mode", "cross-subnet") == "all pools: IPIP CrossSubnet, 0 changes\n"
    done = run("mode", "--node", "node31")
    assert (done.returncode, done.stderr) == (
        2, "calico-mn mode: say which: Always, CrossSubnet or Never\n")


@root
@pytest.mark.parametrize("words", [["bgp", "node31"], ["status"], ["routes", "node31"], ["verify"],
                                   ["describe", "pod", "a"], ["break", "--list"]], ids=" ".join)
def test_forms_of_kubectl(lab, words):
    words = [*words, *([lab.name] if words == ["status"] else [])]
    assert yaml.safe_load(lab.ok(*words, "-o", "yaml")) == json.loads(
        lab.ok(*words, "-o", "json")) == json.loads(lab.ok(*words, "--json"))
    assert lab.ok(*words, "-o", "wide").split()[:3] == lab.ok(*words).split()[:3]


@root
@pytest.mark.parametrize("words", [["routes"], ["get", "po", "-A", "-o", "wide"], ["link", "show"],
                                   ["get", "nodes,ippools", "-o", "wide"], ["bgp", "--routes"]],
                         ids=" ".join)
def test_tables_fit_80_columns(lab, words):
    whole = lab.ok(*words)
    lines = lab.ok(*words, COLUMNS="80").splitlines()
    assert max(map(len, lines)) <= 80
    assert sorted(set("\n".join(lines).split())) == sorted(set(whole.split())), "nothing is lost"
    if words == ["routes"]:
        heads = [line.split() for line in lines if line.startswith("NODE")]
        assert heads == [["NODE", "DESTINATION", "GATEWAY", "IFACE", "PROTO", "FLAGS"],
                         ["NODE", "DESTINATION", "WHAT"]]


@root
def test_a_trace_fits_80_columns(lab):
    whole = lab.ok("trace", "a", "b").splitlines()
    lines = lab.ok("trace", "a", "b", COLUMNS="80").splitlines()
    assert max(map(len, whole)) > 80 >= max(map(len, lines))
    assert [line for line in lines if line.startswith(" " * 14 + "ee:ee:")]


@root
def test_a_trace_from_a_place_to_itself(lab):
    text = lab.ok("trace", "a", "a")
    assert "in        lo" in text and "without encapsulation, both ways" in text
    assert text.count("route ") == 1 and "REFUSED" not in text, "lo looks up no route"


@root
def test_describe(lab, golden):
    golden("describe", lab.ok("describe", "pod/a", "node/node31"))
    assert lab.ok("describe", "pod", "c", "-n", "shop").startswith("Name:              shop/c\n")
    done = lab("describe", "ippool", "pool")
    assert done.returncode == 2 and "'get ippool pool -o yaml'" in done.stderr


@pytest.mark.parametrize(("words", "nodes", "racks", "pods", "mode"), [
    ([], 3, 2, 6, "ipipMode: Always"),
    (["--nodes", "1", "--pods", "0"], 1, 1, 0, "ipipMode: Always"),
    (["--nodes", "60", "--racks", "7", "--mode", "crosssubnet"], 60, 7, 6, "ipipMode: CrossSubnet"),
    (["--encapsulation", "VXLAN", "--mode", "Never"], 3, 2, 6, "vxlanMode: Never"),
], ids=str)
def test_init_prints_a_topology(tmp_path, words, nodes, racks, pods, mode):
    file = tmp_path / "lab.yaml"
    file.write_text(calico_mn("init", *words).stdout)
    topology = load_topology(file)
    assert (len(topology.nodes), len(topology.underlay.subnets), len(topology.pods)) == (
        nodes, racks, pods)
    assert mode in file.read_text() and not topology.warnings


@pytest.mark.parametrize("words", [["--nodes", "0"], ["--racks", "4"], ["--pods", "-1"],
                                   ["--racks", "0"], ["--nodes", "900"]], ids=" ".join)
def test_init_of_what_does_not_fit(words):
    done = calico_mn("init", *words)
    assert (done.returncode, done.stdout) == (2, "") and "do not fit" in done.stderr


def test_version_is_a_verb():
    assert calico_mn("version").stdout == calico_mn("--version").stdout
    assert json.loads(calico_mn("version", "-o", "json").stdout)["version"]


@pytest.mark.parametrize(("words", "says"), [
    (["graph", str(LAB), "-o", "x.png"], "rsvg-convert -f png -o NAME.png NAME.svg"),
    (["graph", str(LAB), "-o", "x.html"], "end the name in .svg, .dot, .gv, .mmd or .mermaid"),
    (["graph", str(LAB), "--format", "dot", "-o", "x.svg"], "end the name in .dot or .gv"),
    (["trace", "a", "b", "--svg", "x.png"], "no .png file can be written, end the name in .svg"),
    pytest.param(["capture", "a", "-w", "x.pcapng"], "end the name in .pcap or .cap", marks=root),
], ids=str)
def test_a_files_ending_decides_or_is_refused(request, tmp_path, words, says):
    lab = request.getfixturevalue("lab") if words[0] != "graph" else calico_mn
    done = lab(*words, cwd=tmp_path)
    assert done.returncode in (2, 125) and says in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@root
def test_what_writes_a_file_says_so(lab, tmp_path):
    assert lab.ok("trace", "a", "b", "--svg", "x.svg", cwd=tmp_path).endswith("\nwrote x.svg\n")
    with Terminal(*PROGRAM, "capture", "node31:eth0", "-c", "1", "-w", str(tmp_path / "x.pcap"),
                  CALICO_MN_RUN=lab.identity) as terminal:
        assert terminal.shows(f"writing {tmp_path / 'x.pcap'}") and terminal.shows("listening on")
        lab.ok("ping", "a", "b", "-c", "1")
        assert terminal.status() == 0
    assert (tmp_path / "x.pcap").read_bytes()[:4] == b"\xd4\xc3\xb2\xa1"


@root
def test_a_status_that_is_watched_follows_changes(own):
    run = own("watched")
    with Terminal(*PROGRAM, "status", "--watch", NO_COLOR="1",
                  CALICO_MN_RUN=run.identity) as terminal:
        assert terminal.shows("10.22.0.0/16: Always")
        run.ok("mode", "Never")
        assert terminal.shows("10.22.0.0/16: Never")
        calico_mn("down", run.identity)
        assert terminal.status() == 3


@root
def test_a_run_that_is_watched_from_its_boot_ends_with_ctrl_c(machine_can):
    name = f"{OWN}-followed"
    with Terminal(*PROGRAM, "up", "--watch", "--tunnel", TUNNEL, "--name", name,
                  "topologies/article.yaml", NO_COLOR="1") as terminal:
        assert terminal.shows("Ctrl-C ends it") and terminal.shows("10.22.0.0/16: Always")
        assert calico_mn("mode", "Never", "--run", name).returncode == 0
        assert terminal.shows("10.22.0.0/16: Never")
        terminal.type("\x03")
        assert terminal.status() == 0
    assert calico_mn("status", name).returncode == 3


@root
def test_a_boot_at_a_terminal_shows_how_far_it_is(machine_can, tmp_path):
    name, file = f"{OWN}-large", tmp_path / "large.yaml"
    file.write_text(calico_mn("init", "--nodes", "12", "--pods", "120").stdout)
    with Terminal(*PROGRAM, "up", "-d", "--tunnel", TUNNEL, "--name", name, str(file)) as terminal:
        assert terminal.shows("booting, namespaces: ") and terminal.shows(" of 135")
        assert terminal.status() == 0
    assert calico_mn("down", name).returncode == 0
