"""ipip_modes.py --on kubernetes from end to end: an API over HTTP, and true packets.

The pods that the experiment makes are pods of an emulated cluster, whose mode is that of the pool:

     node31  client, same-node   node32  same-subnet       node33  cross-subnet
        |                           |                         |
   -----+-- rack-a -----------------+-- (.1) r1 (.1) ---------+-- rack-b ----
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from experiment.conftest import SCRIPT, topology
from support.live_cluster import POOL_API, LiveCluster, managed
from support.patience import SLOWNESS, eventually

from calico_mn import CalicoNet, load_topology, results
from calico_mn.errors import ClusterError
from calico_mn.experiment import real
from calico_mn.experiment.arguments import Defaults, Repetitions, parse
from calico_mn.kubernetes import cluster as real_cluster
from calico_mn.kubernetes import namespace, pods
from calico_mn.kubernetes.client import ApiError
from calico_mn.measure import programs
from calico_mn.topology import parse_topology

pytestmark = pytest.mark.root

FEW = ("--quick", "--repeats", "1", "--duration", "0.1", "--instruments", "rtt,tcp")
TO_SUBNETS = ("--paths", "same-subnet,cross-subnet")
#: two pods: where what is measured is not the point
ONE_PATH = ("--paths", "same-subnet")
#: results of an emulated run
EMULATED = SCRIPT.parents[1] / "tests" / "unit" / "results-format-2"
#: in a user namespace of its own the experiment is no root, whoever owns its files
WITHOUT_ROOT = ["unshare", "-U"] if subprocess.run(
    ["unshare", "-U", "true"], capture_output=True, timeout=60, check=False).returncode == 0 else []
PAGE = SCRIPT.parents[1] / "docs" / "kubernetes.md"
CHANGE = ("--allow-mode-change", "--modes", "Always,Never", "--settle", "0.2")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with CalicoNet(load_topology(topology(tmp_path_factory.mktemp("net")))) as net:
        yield net


@pytest.fixture
def cluster(net, tmp_path, monkeypatch):
    """The API server, to which $KUBECONFIG leads; its pool has the mode Always."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with LiveCluster(net, tmp_path) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        yield server
    net.set_mode("Always")


class Measuring:
    """The experiment as a process, and the directory of its results."""

    def __init__(self, output, *arguments, by=()):
        self.output = output
        self.process = subprocess.Popen(
            [*by, sys.executable, str(SCRIPT), *map(str, arguments)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def has_readings(self, count):
        """Whether it has taken so many within a minute."""
        file = self.output / "results.jsonl"
        return eventually(lambda: file.exists() and len(file.read_text().splitlines()) > count)

    def end(self):
        """Status, output and errors."""
        out, err = self.process.communicate(timeout=300 * SLOWNESS)
        return self.process.returncode, out, err


@pytest.fixture
def measure(tmp_path):
    """measure(ARGUMENTS) -> the experiment, on kubernetes; it is ended after the test."""
    started = []

    def start(*arguments, **options):
        begun = Measuring(tmp_path / "out", "--on", "kubernetes", "--output", tmp_path / "out",
                          *arguments, **options)
        started.append(begun.process)
        return begun

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def resume(output):
    return Measuring(output, "--resume", output)


def known(output):
    return json.loads((output / "run.json").read_text())["kubernetes"]


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


def granted():
    """(verb, resource) that the ClusterRole in docs/kubernetes.md gives a right to."""
    text = re.search(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    return {(verb, f"{resource}.{group}".removesuffix("."))
            for rule in yaml.safe_load(text)["rules"] for verb in rule["verbs"]
            for resource in rule["resources"] for group in rule["apiGroups"]}


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing_and_the_run_goes_on_later(number, cluster, measure):
    begun = measure(*FEW, *ONE_PATH, *CHANGE, "--duration", "1", "--instruments", "tcp")
    assert begun.has_readings(5)  # four pings, and the first of two trials
    begun.process.send_signal(number)
    status, _, err = begun.end()
    assert status == 130 and "a second Ctrl-C leaves that to you" in err, err
    assert not list(cluster.namespaces) and cluster.modes[-1] == "Always"
    assert eventually(lambda: all(process.poll() is not None for process in cluster.running))
    before = results.load(begun.output)
    assert not before.complete
    again = resume(begun.output)
    assert again.end()[0] == 0
    after = results.load(begun.output)
    assert after.complete and after.readings[:len(before.readings)] == before.readings
    assert not list(cluster.namespaces) and cluster.modes[-1] == "Always"


def test_a_second_signal_while_cleaning_says_what_is_left(cluster, measure):
    begun = measure(*FEW, *TO_SUBNETS)
    assert begun.has_readings(3)
    cluster.keeps_namespaces = True
    begun.process.send_signal(signal.SIGINT)
    assert eventually(lambda: any(request.verb == "delete" for request in cluster.requests))
    begun.process.send_signal(signal.SIGINT)
    status, _, err = begun.end()
    (name,) = cluster.namespaces
    assert status == 130
    assert f"    kubectl --context test delete namespace {name}\n" in err
    cluster.keeps_namespaces = False
    assert resume(begun.output).end()[0] == 0
    assert not list(cluster.namespaces)


def test_a_lost_connection_fails_the_trial_and_a_resumed_run_takes_it_again(cluster, measure):
    begun = measure(*FEW, *ONE_PATH, "--duration", "1", "--repeats", "2", "--instruments", "tcp")
    assert begun.has_readings(3)  # two pings, and the first of two trials
    assert eventually(lambda: len(cluster.sockets) > 1 and cluster.cut())
    status, _, err = begun.end()
    assert status == 1 and "a trial failed" in err and "the connection to the pod was lost" in err
    # Kubernetes leaves such programs running; ours end all the same.
    assert eventually(lambda: all(process.poll() is not None for process in cluster.running))
    failed = results.load(begun.output)
    again = resume(begun.output)
    status, _, err = again.end()
    assert status == 0, err
    assert len(results.load(begun.output).readings) > len(failed.readings)


def test_an_api_server_that_is_gone_for_good_leaves_commands(cluster, measure, net, tmp_path,
                                                            monkeypatch):
    begun = measure(*FEW, *ONE_PATH, *CHANGE, "--modes", "Never,Always", "--duration", "1")
    assert eventually(lambda: cluster.modes == ["Never"])
    assert begun.has_readings(1)
    kept = cluster.resources
    # Not its exit, which would delete the pods.
    cluster.is_gone = True
    status, _, err = begun.end()
    assert status == 1, err
    name = known(begun.output)["namespace"]
    assert "Not everything is as it was before" in err and "Traceback" not in err
    if cluster.modes[-1] != "Always":
        assert "kubectl --context test patch ippools" in err
        assert known(begun.output)["former_mode"] == "Always"
    assert f"    kubectl --context test delete namespace {name}\n" in err
    assert kept is cluster.resources and list(cluster.namespaces) == [name]
    cluster.is_gone = False
    again = resume(begun.output)
    status, _, err = again.end()
    assert status == 0, err
    assert not list(cluster.namespaces) and cluster.modes[-1] == "Always"


def test_a_run_that_was_killed_is_tidied_up_by_the_resumed_one(cluster, measure):
    begun = measure(*FEW, *ONE_PATH, *CHANGE)
    assert eventually(lambda: "Never" in cluster.modes and cluster.modes[-1] == "Never")
    begun.process.kill()
    begun.end()
    assert eventually(lambda: all(process.poll() is not None for process in cluster.running))
    assert cluster.modes[-1] == "Never" and list(cluster.namespaces)
    assert known(begun.output)["former_mode"] == "Always"
    status, _, err = resume(begun.output).end()
    assert status == 0, err
    assert cluster.modes[-1] == "Always" and not list(cluster.namespaces)
    assert known(begun.output)["former_mode"] is None


def test_nodes_that_are_not_ready_any_more_stop_a_resumed_run(cluster, measure):
    begun = measure(*FEW, *TO_SUBNETS)
    assert begun.has_readings(3)
    begun.process.send_signal(signal.SIGINT)
    begun.end()
    del cluster.resources["v1", "nodes"]["", "node33"]
    status, _, err = resume(begun.output).end()
    assert status == 2 and "the run was on node node33, which cannot be used" in err
    assert not list(cluster.namespaces)


def prepared(*arguments):
    return real.prepared(parse("", Defaults(Path(), Repetitions(1, 1), Repetitions(1, 1)),
                               arguments=["--on", "kubernetes", *arguments]), {})


def test_the_mode_of_a_pool_that_the_operator_manages_is_changed_in_its_installation(
        cluster, measure):
    pool, installation = managed(cluster.resources[POOL_API, "ippools"]["", "pool"])
    cluster.add(pool)
    cluster.add(installation)
    begun = measure(*FEW, "--paths", "same-subnet", *CHANGE)
    status, _, err = begun.end()
    assert status == 0, err
    assert {row["mode"] for row in results.load(begun.output).rows} == {"Always", "Never"}
    assert set(cluster.modes) == {"Always", "Never"} and cluster.modes[-1] == "Always"
    patched = [request for request in cluster.requests if request.verb == "patch"]
    assert {request.resource for request in patched} == {"installations.operator.tigera.io"}
    assert installation["spec"]["calicoNetwork"]["ipPools"] == [
        {"cidr": "10.99.0.0/16", "encapsulation": "VXLAN"},
        {"name": "pool", "cidr": pool["spec"]["cidr"], "encapsulation": "IPIP"}]
    assert "The operator manages it, so its Installation is what changes" in err
    assert ("by hand: kubectl --context test patch installations.operator.tigera.io default --type"
            " json -p ") in err
    assert {(request.verb, request.resource) for request in cluster.requests} <= granted()


def test_a_pool_of_the_operator_that_its_installation_does_not_have(cluster, measure):
    pool, installation = managed(cluster.resources[POOL_API, "ippools"]["", "pool"])
    cluster.add(pool)
    cluster.add({**installation, "spec": {}})
    status, _, err = measure(*FEW, *TO_SUBNETS, *CHANGE).end()
    assert status == 2
    assert "the operator manages the pool pool, but no pool of the Installation default has" in err
    assert not list(cluster.namespaces) and cluster.modes == []


@pytest.mark.parametrize("watched", [(), ("--allow-host-capture",)], ids=["unseen", "seen"])
def test_a_mode_that_another_program_sets_back(watched, cluster, monkeypatch):
    monkeypatch.setattr(real_cluster, "EFFECT_S", 1.0)
    opened = prepared("--allow-mode-change", "--settle", "0", *watched)
    try:
        opened.open()
        cluster.reverted = True
        with pytest.raises(ClusterError, match="the pool pool has not kept the mode Never: another"
                                               " program manages it"):
            opened.set_mode("Never")
    finally:
        opened.close()
    assert not list(cluster.namespaces)


def event(pod, message, time):
    return {"apiVersion": "v1", "kind": "Event",
            "metadata": {"name": time, "namespace": "measured"}, "involvedObject": {"name": pod},
            "type": "Warning", "reason": "FailedCreatePodSandBox", "message": message,
            "lastTimestamp": f"2026-01-01T00:00:{time}Z"}


@pytest.mark.parametrize(("forbidden", "wanted"), [
    (set(), r"ContainerCreating \(FailedCreatePodSandBox: no more free affine blocks\)$"),
    ({("list", "events")}, "ContainerCreating$")], ids=["events", "no right to see events"])
def test_a_pod_that_begins_for_too_long(forbidden, wanted, cluster, monkeypatch):
    monkeypatch.setattr(namespace, "READY_S", 1.0)
    cluster.forbidden = forbidden
    cluster.waiting["client"] = {"phase": "Pending", "containerStatuses": [
        {"ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}]}
    for each in (event("client", "no more free affine blocks", "09"),
                 event("client", "an earlier one", "01"), event("other", "another pod's", "10")):
        cluster.add(each)
    opened = prepared("--namespace", "measured")
    try:
        with pytest.raises(ClusterError, match=f"^pod measured/client does not run: {wanted}"):
            opened.open()
    finally:
        opened.close()


def test_a_namespace_that_does_not_end_says_what_keeps_it(cluster, monkeypatch):
    opened = prepared()
    opened.open()
    cluster.keeps_namespaces = True
    monkeypatch.setattr(namespace, "GONE_S", 1.0)
    with pytest.raises(ApiError, match="is not gone 1 s after it was deleted: Discovery failed for"
                                       " some groups"):
        opened.close()
    cluster.keeps_namespaces = False
    monkeypatch.setattr(namespace, "GONE_S", 60.0)
    opened.close()
    assert not list(cluster.namespaces) and opened.left() == ()


def test_a_silent_program_keeps_its_connection(cluster, monkeypatch, tmp_path):
    quick = tmp_path / "relay.py"
    quick.write_text(f"import sys\nsys.path.insert(0, {str(SCRIPT.parents[1])!r})\n"
                     "from calico_mn.kubernetes import relay\n"
                     "relay._ALIVE_S = 0.1\nsys.exit(relay.main())\n")
    monkeypatch.setattr(pods, "_RELAY", quick)
    opened = prepared()
    try:
        opened.open()
        before = cluster.pings
        done = programs.run(opened[opened.endpoints[0].name], ["sleep", "1"], 60)
        assert done.status == 0 and cluster.pings > before
    finally:
        opened.close()


def test_a_mode_that_has_no_effect(cluster, monkeypatch):
    monkeypatch.setattr(real_cluster, "EFFECT_S", 1.0)
    opened = prepared("--allow-mode-change", "--allow-host-capture")
    try:
        opened.open()
        cluster.is_deaf = True
        with pytest.raises(ClusterError, match=r"^Never: packets from .* still do not travel as"):
            opened.set_mode("Never")
    finally:
        opened.close()
    assert cluster.modes == ["Never", "Always"] and not list(cluster.namespaces)


def test_over_tls_with_the_clusters_own_certificate(net, tmp_path, monkeypatch):
    with LiveCluster(net, tmp_path, tls=tmp_path) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        opened = prepared()
        try:
            opened.open()
            client = opened[opened.endpoints[0].name]
            assert programs.run(client, ["cat", "/proc/sys/net/ipv4/ip_forward"], 60).status == 0
            done = programs.run(client, ["sh", "-c", "echo out; echo err >&2; exit 7"], 60)
            assert (done.status, done.out, done.err) == (7, "out\n", "err\n")
        finally:
            opened.close()
        assert server.url.startswith("https") and not list(server.namespaces)


def test_a_root_that_is_not_the_kubeconfigs_owner_reads_none(cluster, measure):
    os.chown(os.environ["KUBECONFIG"], 65534, 65534)
    status, _, err = measure(*FEW).end()
    assert status == 2 and "root does not use" in err


def test_the_kubeconfig_is_that_of_kubectl(cluster, measure, monkeypatch, tmp_path):
    file = Path(os.environ["KUBECONFIG"])
    content = yaml.safe_load(file.read_text())
    assert measure("--context", "other", *FEW).end()[0] == 2
    assert content["current-context"] == "test"
