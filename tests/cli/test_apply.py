"""``apply``, ``delete``, ``scale`` and ``mode --pool`` as users of kubectl type them.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod shop/c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.root

MORE = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {replicas: 2}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: blue}
spec: {cidr: 10.99.0.0/24, assignmentMode: Manual}
"""
ALL_RIGHT = "all is as it should be, rules by iptables-nft\n"


def test_a_workload_comes_grows_and_goes(own):
    run = own("workload")
    told = run.ok("apply", "-f", "-", stdin=MORE)
    assert told.splitlines()[:4] == [
        "ippool.projectcalico.org/blue created", "deployment.apps/web created",
        "pod/web-0 created", "pod/web-1 created"]
    assert re.fullmatch(r"\d+ changes in the kernel: node31, node32, shop/web-0, shop/web-1 and 1"
                        " more\n", "\n".join(told.splitlines()[4:]) + "\n"), told
    assert run.ok("apply", "-f", "-", stdin=MORE) == (
        "ippool.projectcalico.org/blue unchanged\ndeployment.apps/web unchanged\n"
        "no changes in the kernel\n")
    assert "20 of 20 pairs" in run.ok("pingall")
    assert run.ok("scale", "deploy/web", "-n", "shop", "--replicas", "1").splitlines()[:2] == [
        "deployment.apps/web scaled", "pod/web-1 deleted"]
    assert run.ok("delete", "pod", "web-0", "-n", "shop").splitlines()[0] == "pod/web-0 deleted"
    assert run.ok("get", "deploy", "-n", "shop").splitlines()[1].split() == ["web", "0/0"]
    assert run.ok("delete", "-f", "-", stdin=MORE).splitlines() == [
        "ippool.projectcalico.org/blue deleted", "deployment.apps/web deleted",
        "3 changes in the kernel: node31, node32, node33"]
    assert run.ok("verify") == ALL_RIGHT


def test_a_dry_run_prints_what_it_would_take_and_changes_nothing(lab, tmp_path):
    before = lab.ok("get", "-o", "yaml")
    file = tmp_path / "pool.yaml"
    file.write_text(lab.ok("get", "ippool", "pool", "-o", "yaml").replace("Always", "Never"))
    told = lab.ok("apply", "-f", str(file), "--dry-run")
    rules = re.compile(r"iptables |ipset |ip route del blackhole \S+ table 4040")
    assert [line for line in told.splitlines()[:-1] if not rules.match(line)] == [
        "ippool.projectcalico.org/pool configured (dry run)",
        *(line for node, others in ((31, (32, 33)), (32, (31, 33)), (33, (31, 32)))
          for line in (f"# node{node}", *(direct(node, other) for other in others),
                       f"ip address del 10.22.{node}.0/32 dev tunl0"))]
    assert len(rules.findall(told)) > 0
    assert told.endswith(" changes in the kernel (dry run): node31, node32, node33\n")
    assert lab.ok("delete", "po", "shop/c", "--dry-run").startswith("pod/c deleted (dry run)\n")
    facts = lab.json("delete", "pod/a", "--dry-run")
    assert [item["change"] for item in facts["resources"]] == ["deleted"]
    assert [change["namespace"] for change in facts["changes"]] == ["node31"]
    assert lab.ok("get", "-o", "yaml") == before


def direct(node: int, other: int) -> str:
    """The route to another node's block over the fabric."""
    via = (f"192.168.57.{other}" if 33 not in (node, other) else
           "192.168.58.1" if node == 33 else "192.168.57.1")
    return f"ip route replace 10.22.{other}.0/26 via {via} dev eth0 proto bird"


def test_one_pool_alone_changes_its_mode(own):
    run = own("pools")
    run.ok("apply", "-f", "-", stdin=MORE)
    assert re.search(r"\npool blue: VXLAN Always, \d+ changes\n$", run.ok(
        "mode", "Always", "--pool", "blue", "--encapsulation", "vxlan"))
    assert [pool["mode"] for pool in run.json("status")["pools"]] == ["Always", "Always (VXLAN)"]
    assert run.ok("verify") == ALL_RIGHT


@pytest.mark.parametrize(("words", "status", "told"), [
    (["apply", "-f", "-"], 2, 'standard input:4:28: unknown field "ipipMod" in IPPool spec'),
    (["delete", "-f", "-"], 3, "there is no ippool.projectcalico.org/blue: nothing is deleted"),
    (["delete", "pod", "x"], 3, "there is no pod 'x' in namespace default"),
    (["delete", "pod", "c"], 3, "there is one in shop: -n shop"),
    (["delete", "pods"], 2, "calico-mn delete: say KIND and NAME"),
    (["delete"], 2, "calico-mn delete: say KIND"),
    (["delete", "pod", "a", "-f", "-"], 2, "calico-mn delete: say KIND"),
    (["delete", "underlay", "lab"], 2, "the Underlay cannot be deleted"),
    (["scale", "deploy", "--replicas", "1"], 2, "calico-mn scale: say one workload"),
    (["scale", "po/a", "--replicas", "2"], 2, "pod/a has no number of pods to change"),
    (["scale", "deploy/a", "--replicas", "two"], 2, "is not a whole number"),
    (["mode", "Never", "--pool", "blue"], 2, "there is no IPPool blue; pools: pool"),
    (["apply"], 2, "the following arguments are required: -f/--filename"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_mistake_changes_nothing_and_says_where_it_is(lab, words, status, told):
    before = lab.ok("get", "-o", "yaml")
    done = lab(*words, stdin="""\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: blue}
spec: {cidr: 10.99.0.0/24, ipipMod: Always}
""")
    assert (done.returncode, done.stdout) == (status, "") and told in done.stderr, done
    assert lab.ok("get", "-o", "yaml") == before


def test_what_has_no_effect_is_said_beside_a_mistake_too(lab):
    done = lab("apply", "-f", "-", stdin="""\
apiVersion: v1
kind: Pod
metadata: {name: x, annotations: {cni.projectcalico.org/hwAddr: "02:00:00:00:00:01"}}
spec: {nodeName: nosuch}
""")
    assert done.returncode == 2 and "unknown node" in done.stderr
    assert "hwAddr has no effect: the pod's MAC address is the kernel's choice" in done.stderr


def test_a_file_of_megabytes_goes_through_the_socket(lab):
    note = json.dumps("x" * 2_000_000)
    text = (f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: big}}, data: {{note: {note}}}}}")
    assert lab.ok("apply", "-f", "-", "--dry-run", stdin=text) == (
        "configmap/big created (dry run)\nno changes in the kernel\n")
