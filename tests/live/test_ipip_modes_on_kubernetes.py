"""ipip_modes.py --on kubernetes from end to end: an API over HTTP, and true packets.

The pods that the experiment makes are pods of an emulated cluster, whose mode is that of the pool:

     node31  client, same-node   node32  same-subnet       node33  cross-subnet
        |                           |                         |
   -----+-- rack-a -----------------+-- (.1) r1 (.1) ---------+-- rack-b ----
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from experiment.conftest import SCRIPT
from support.measuring import CHANGE, FEW, TO_SUBNETS, granted, known

from calico_mn import results
from calico_mn.topology import parse_topology

pytestmark = pytest.mark.root

#: results of an emulated run
EMULATED = SCRIPT.parents[1] / "tests" / "unit" / "results-format-2"
#: in a user namespace of its own the experiment is no root, whoever owns its files
WITHOUT_ROOT = ["unshare", "-U"] if subprocess.run(
    ["unshare", "-U", "true"], capture_output=True, timeout=60, check=False).returncode == 0 else []


def seen(output):
    """(mode, path) -> what the trials saw on the wire, and instruments that were read."""
    found = {}
    for reading in results.load(output).readings:
        key = reading.setting["mode"], reading.setting["path"]
        found.setdefault(key, set()).add(reading.seen["encapsulated"])
    return found


def test_the_same_experiment_with_true_packets(cluster, measure, tmp_path):
    begun = measure(*FEW, "--allow-mode-change", "--allow-host-capture",
                    "--instruments", "rtt,tcp,connections,wire")
    status, _, err = begun.end()
    assert status == 0, err
    assert seen(begun.output) == {
        ("Always", "same-node"): {False}, ("CrossSubnet", "same-node"): {False},
        ("Never", "same-node"): {False}, ("Always", "same-subnet"): {True},
        ("CrossSubnet", "same-subnet"): {False}, ("Never", "same-subnet"): {False},
        ("Always", "cross-subnet"): {True}, ("CrossSubnet", "cross-subnet"): {True},
        ("Never", "cross-subnet"): {False}}
    run = results.load(begun.output)
    instruments = {reading.instrument for reading in run.readings}
    assert instruments == {"ping", "round trips", "tcp", "connections"}
    metrics = {row["metric"] for row in run.rows}
    assert {"throughput", "programs_packet"} <= metrics and "cpu" not in metrics
    # What the fabric does not connect is not measured: a real cluster's routers are left alone.
    assert not [row for row in run.rows if (row["mode"], row["path"], row["metric"]) == (
        "Never", "cross-subnet", "throughput")]
    # The mode is restored, and nothing is left.
    assert cluster.modes[-1] == "Always" and set(cluster.modes) == {
        "Always", "CrossSubnet", "Never"}
    assert not list(cluster.namespaces) and known(begun.output)["former_mode"] is None
    assert not [pod for pod in cluster.net.pods if pod.name.startswith("calico-mn-")]
    assert all(process.poll() is not None for process in cluster.running)
    assert "for all pods in it, not only for those of this run" in err
    assert ("kubectl --context test patch ippools.crd.projectcalico.org pool --type merge -p"
            ' \'{"spec": {"ipipMode": "Always"}}\'') in err
    # Each right that docs/kubernetes.md names is used, and no other; exec is a GET to some servers.
    used = {(request.verb, request.resource) for request in cluster.requests}
    served = {right for right in granted() if not right[1].endswith(".projectcalico.org")
              or right[1].endswith(".crd.projectcalico.org")}
    assert used <= granted() and served - used <= {
        ("get", "pods/exec"), ("list", "events"), *((verb, "installations.operator.tigera.io")
                                for verb in ("list", "patch"))}
    about = run.environment
    assert about["versions"]["kubernetes"] == "v1.34.2"
    assert about["versions"]["calico"] == "v3.30.1"
    assert about["machine"] == {"kernel": "6.1.0-test", "cpus": 4}
    assert about["network"]["mtu"] == {"pod eth0": 1480, "node eth0": 1500}
    assert (about["cluster"]["pool"], about["cluster"]["mode"]) == ("pool", "Always")
    assert any("Bytes on the wire" in note for note in about["notes"])
    assert "sudo" not in (begun.output / "report.html").read_text()
    # The report once more, without the cluster.
    page = (begun.output / "report.html").read_bytes()
    again = subprocess.run([Path(sys.executable).with_name("calico-mn"), "report", begun.output],
                           capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    assert (begun.output / "report.html").read_bytes() == page
    # Compared with an emulated run, and the nodes as a topology.
    compared = subprocess.run(
        [Path(sys.executable).with_name("calico-mn"), "compare", EMULATED, begun.output,
         "--absolute"],
        capture_output=True, text=True, timeout=120, check=False)
    assert compared.returncode == 0, compared.stderr
    assert "against Linux 6.1.0-test, kernel tunl0, kubernetes test" in compared.stdout
    emulated = parse_topology((begun.output / "topology.yaml").read_text())
    assert {pod.node for pod in emulated.pods} == {"node31", "node32", "node33"}


def test_without_root_and_permissions_the_pools_mode_is_measured(cluster, measure):
    # The namespace's label counts, and its service account comes late.
    cluster.level, cluster.late_accounts = "restricted", 1
    begun = measure(*FEW, "--paths", "same-node,same-subnet", "--image", "no-python",
                    "--instruments", "rtt,connections", by=WITHOUT_ROOT)
    status, _, err = begun.end()
    assert status == 0, err
    assert seen(begun.output) == {("Always", path): {None} for path in ("same-node", "same-subnet")}
    assert cluster.modes == []
    notes = results.load(begun.output).environment["notes"]
    assert notes == [
        "Whether packets were encapsulated was not looked at: --allow-host-capture watches the"
        " nodes' uplinks.",
        "Connections were not measured: the image no-python has no python3."]
    made = [request.body for request in cluster.requests if request.verb == "create"
            and request.resource == "pods"]
    assert [pod["metadata"]["name"] for pod in made] == [
        "client", "client", "same-node", "same-subnet"]
    assert not list(cluster.namespaces)


UNSCHEDULABLE = {"phase": "Pending", "conditions": [
    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
     "message": "0/3 nodes are available"}]}
NO_IMAGE = {"phase": "Pending", "containerStatuses": [{"ready": False, "state": {"waiting": {
    "reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}}]}


@pytest.mark.parametrize(("faults", "arguments", "message"), [
    pytest.param({"forbidden": {("list", "nodes")}}, (), "gives no right to list nodes",
                 id="no right to see nodes"),
    pytest.param({"forbidden": {("create", "namespaces")}}, (),
                 "gives no right to create namespaces", id="no right to make a namespace"),
    pytest.param({"forbidden": {("create", "pods")}}, (), "gives no right to create pods in"
                 " namespace calico-mn-", id="no right to make pods"),
    pytest.param({"forbidden": {("create", "pods/exec")}}, (), "pods/exec is forbidden",
                 id="no right to run programs"),
    pytest.param({"forbidden": {("patch", "ippools.crd.projectcalico.org")}}, CHANGE,
                 "gives no right to patch ippools.crd.projectcalico.org",
                 id="no right to change the pool"),
    pytest.param({"waiting": {"same": UNSCHEDULABLE}}, (),
                 "same-subnet does not run: Unschedulable: 0/3 nodes are available",
                 id="unschedulable"),
    pytest.param({"waiting": {"client": NO_IMAGE}}, (), "client does not run: ImagePullBackOff:"
                 ' Back-off pulling image "x". The image is', id="image cannot be had"),
    pytest.param({}, ("--image", "no-iperf3"), "the image no-iperf3 has no iperf3: name one that"
                 " has iperf3 and ping with --image", id="no iperf3"),
    pytest.param({}, ("--image", "no-ping"), "the image no-ping has no ping", id="no ping"),
    pytest.param({}, ("--image", "no-tcpdump", "--allow-host-capture"),
                 "the image no-tcpdump has no tcpdump", id="no tcpdump"),
    pytest.param({}, ("--namespace", "taken"), "the namespace taken exists already in test, and is"
                 " not this run's", id="name taken"),
    pytest.param({}, ("--modes", "Never"), "the pool pool has the mode Always, and Never would"
                 " change it for all pods in it: --allow-mode-change permits that",
                 id="another mode without permission"),
    pytest.param({"missing": {"ippools"}}, (), "has no IPPools", id="no Calico")])
def test_what_cannot_be_is_said_and_nothing_is_left(faults, arguments, message, cluster, measure):
    for name, value in faults.items():
        setattr(cluster, name, value)
    cluster.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "taken"}})
    begun = measure(*FEW, *TO_SUBNETS, *arguments)
    status, _, err = begun.end()
    assert status in (1, 2) and message in err and "Traceback" not in err, err
    assert list(cluster.namespaces) == ["taken"]
    assert cluster.resources["crd.projectcalico.org/v1", "ippools"]["", "pool"]["spec"][
        "ipipMode"] == "Always"


def test_a_root_that_is_not_the_kubeconfigs_owner_reads_none(cluster, measure):
    os.chown(os.environ["KUBECONFIG"], 65534, 65534)
    status, _, err = measure(*FEW).end()
    assert status == 2 and "root does not use" in err


def test_the_kubeconfig_is_that_of_kubectl(cluster, measure, monkeypatch, tmp_path):
    file = Path(os.environ["KUBECONFIG"])
    content = yaml.safe_load(file.read_text())
    assert measure("--context", "other", *FEW).end()[0] == 2
    assert content["current-context"] == "test"
