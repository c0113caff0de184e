"""``get`` as users of kubectl and calicoctl type it, and what they then read.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod shop/c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json

import pytest
import yaml

from calico_mn.cli.tables import tables

from .conftest import TUNNEL, calico_mn, end

pytestmark = pytest.mark.root


@pytest.mark.parametrize("words", [
    ["nodes"], ["no", "-o", "wide"], ["po", "-A"], ["pods", "-n", "shop", "-o", "wide"],
    ["ippools"], ["ipp", "-o", "wide"], ["blocks"], ["nodes,pods"], ["underlay"],
    ["pod", "a", "-o", "yaml"], ["pod/a", "node/node31", "-o", "name"], ["-o", "yaml"],
], ids=" ".join)
def test_what_it_prints(lab, golden, words):
    text = lab.ok("get", *words)
    golden(f"verb-get-{'-'.join(words).replace('/', '+')}".replace("---", "--"), text)
    assert "wide" in words or max(map(len, text.splitlines())) <= 80


def test_every_name_of_a_kind_is_the_same_kind(lab):
    tables = {lab.ok("get", word, "-A") for word in ("po", "pod", "pods", "Pod")}
    assert len(tables) == 1


@pytest.mark.parametrize(("words", "status", "told"), [
    (["pods", "c"], 3, "there is no pod 'c' in namespace default; there is one in shop: -n shop"),
    (["pods", "cc", "-A"], 3, "there is no pod 'cc'"),
    (["nodes", "node3"], 3, "there is no node 'node3'; did you mean node3"),
    (["no,po", "x", "-A"], 3, "there is no node or pod 'x'"),
    (["pods", "-n", "shpo"], 0, "no pods in namespace shpo; there are in default and shop: "
                                "-n default, or -A"),
    (["wep"], 0, "no workloadendpoints; see 'get pods -o wide'"),
    (["deploy"], 0, "no deployments"), (["gnp"], 0, "no globalnetworkpolicies"),
    (["pdos"], 2, "there is no kind 'pdos'; did you mean pods?"), ([], 2, "get: say what: pods"),
    (["pod/a", "b"], 2, "after KIND/NAME every further word is KIND/NAME, too"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_is_not_there_is_said_and_where_it_is(lab, words, status, told):
    done = lab("get", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert told in done.stderr and done.stderr.count("\n") == 1


def test_a_kind_is_no_verb_and_the_verb_is_named(lab):
    assert "did you mean 'get pods'?" in calico_mn("pods").stderr


def test_lists_and_single_resources_are_json_as_kubectls(lab):
    assert lab.json("get", "pod", "a")["metadata"]["name"] == "a"
    pods = json.loads(lab.ok("get", "pods", "-A", "-o", "json"))
    assert (pods["kind"], len(pods["items"])) == ("List", 3)
    assert lab.json("get", "deploy")["items"] == []


def test_the_whole_cluster_boots_again_as_it_is_now(own, tmp_path):
    """Pods come and go and the mode changes; the second run has the same routes in the kernel."""
    first = own("first")
    first.ok("mode", "CrossSubnet")
    first.ok("pod", "add", "late", "--node", "node33")
    first.ok("pod", "delete", "b")
    file = tmp_path / "now.yaml"
    file.write_text(first.ok("get", "-o", "yaml"), encoding="utf-8")
    done = calico_mn("up", "--detach", "--json", "--tunnel", TUNNEL, "--name", f"{first.name}-2",
                     str(file))
    assert done.returncode == 0, done
    second = type(first)(*(json.loads(done.stdout)[key] for key in ("name", "pid", "run")))
    try:
        for question in (["routes"], ["routes", "r1"], ["get", "pods", "-A"], ["get", "blocks"],
                         ["get", "nodes", "-o", "wide"]):
            assert second.ok(*question) == first.ok(*question)
        assert yaml.safe_load(second.ok("get", "-o", "yaml")) == yaml.safe_load(file.read_text())
        assert second.ok("verify") == "all is as it should be, rules by iptables-nft\n"
        assert "6 of 6 pairs" in second.ok("pingall")
    finally:
        end(second)


def test_what_no_resource_says_is_said_beside_them(own):
    run = own("unsaid")
    run.ok("mode", "Never", "--node", "node32")
    done = run("get", "-o", "yaml")
    assert done.stderr == ("calico-mn: no resource says another mode of node32: a boot from these"
                           " is without\n")
    assert yaml.safe_load(done.stdout)["items"][4]["spec"]["ipipMode"] == "Always"


def test_pods_that_are_not_emulated_say_why():
    pods = [{"document": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                          "spec": spec, "status": status}, "facts": {}}
            for name, spec, status in [
                ("proxy", {"hostNetwork": True, "nodeName": "k1"}, {"phase": "Running",
                                                                    "podIP": "10.9.1.11"}),
                ("waits", {}, {"phase": "Pending"}),
                ("done", {"nodeName": "k1"}, {"phase": "Succeeded", "podIP": "10.80.0.1"})]]
    assert tables(pods, wide=False, has_namespaces=False) == [[
        "NAME    STATUS        IP       NODE",
        "proxy   hostNetwork   <none>   k1",
        "waits   Pending       <none>   <none>",
        "done    Succeeded     <none>   k1"]]
