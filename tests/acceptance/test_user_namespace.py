"""Root of a user namespace only (``unshare -Urnm``): all that the kernel allows there works.

     node31  a        node32  b
        |                |
   -----+----------------+---- (.1) gateway        topologies/article.yaml

Without the kernel's ipip there is no tunl0: eBPF needs CAP_BPF on the machine itself.
"""

import json
import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.machine import leftovers as left_by
from support.patience import eventually
from support.user_namespace import ROOT, SOMEBODY, UserNamespace, as_somebody, python_for

from calico_mn import CalicoNet, load_topology
from calico_mn.kernel import cleanup, processes, runtime_dir
from calico_mn.kernel.tunnel import kernel_reason

ARTICLE = str(ROOT / "topologies" / "article.yaml")
A, B = "sit/sit-web-frontend-6c9f7d5b8d-x7k2p", "sit/sit-web-backend-58f48df4c9-b2q28"
HAS_IPIP = kernel_reason() is None
without_ipip = pytest.mark.skipif(HAS_IPIP, reason="here the kernel has ipip: see the tests of it")
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users at once")


@pytest.fixture
def user():
    """What makes a command an ordinary user's; nothing, where only root can run our Python."""
    found = as_somebody()
    return found if python_for(*found) else []


@pytest.fixture
def opened(user):
    """opened(**options) -> a user namespace; what is asked there comes in from outside, as from
    other terminals.
    """
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("needs unshare and nsenter (util-linux)")
    with ExitStack() as stack:
        def start(*arguments, **options):
            namespace = stack.enter_context(UserNamespace(*(arguments or [user]), **options))
            if namespace.refusal:
                pytest.skip(f"this machine allows no user namespaces: {namespace.refusal}")
            return namespace
        yield start


@pytest.fixture
def inside(opened):
    return opened()


@pytest.fixture
def own(user):
    """A directory of the user's; pytest's own are closed to others, and have long names."""
    with TemporaryDirectory() as name:
        if user:
            os.chown(name, SOMEBODY, SOMEBODY)
        yield Path(name)


def the_only_line(done):
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr.strip()


@pytest.mark.parametrize("who", ["an ordinary user", "the machine's root"])
def test_a_cluster_without_ipip_runs_and_every_terminal_inside_finds_it(opened, who):
    user = as_somebody() if who == "an ordinary user" else []
    if not python_for(*user):
        pytest.skip(f"no Python with calico_mn's packages that {who} may run")
    inside = opened(user)
    up = inside.calico_mn("up", "-d", "--mode", "Never", ARTICLE)
    assert up.returncode == 0, up.stderr
    if not HAS_IPIP:
        assert "no tunl0" in up.stdout
        assert "IPIP mode Never only" in the_only_line(up) and "CAP_BPF" in up.stderr
    (run,) = inside.asked("list")
    directory = Path(run["directory"])
    assert (run["status"], directory.stat().st_mode & 0o777) == ("running", 0o700)
    assert directory.parent.parent == Path("/tmp") and directory.parent.stat().st_mode & 0o77 == 0
    assert "2 of 2 pairs" in inside.ok("pingall")
    assert "without encapsulation, both ways" in inside.ok("trace", A, B)
    own_pod = inside.ok("exec", "node31", "--", "ip", "route", "get", "10.22.138.1")
    assert "src 192.168.57.31" in own_pod
    assert "eth0" in inside.ok("exec", "node31", "--", "ls", "/sys/class/net")
    assert "cni.log" in inside.ok("exec", "node31", "--", "ls", "/var/log/calico/cni")
    inside.ok("pod", "add", "--node", "node32", "late")
    inside.ok("exec", "node31", "--", "ip", "link", "del", "eth0")
    inside.ok("verify", "--repair")
    assert "all is as it should be" in inside.ok("verify")
    inside.ok("down")
    assert not directory.parent.exists()


def test_a_node_of_30_pods_gets_its_rules_there(inside, own):
    """In one transaction nftables would refuse them: the message is too long."""
    pods = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
            "spec": {"replicas": 30, "selector": {"matchLabels": {"app": "many"}}, "template": {
                "metadata": {"labels": {"app": "many"}},
                "spec": {"nodeName": "node31", "containers": [{"name": "c", "image": "i"}]}}}}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
              "metadata": {"name": "all"}, "spec": {"podSelector": {}, "ingress": [{}]}}
    file = own / "many.yaml"
    file.write_text(f"{Path(ARTICLE).read_text()}\n---\n{json.dumps(pods)}\n---\n"
                    f"{json.dumps(policy)}")
    file.chmod(0o644)
    up = inside.calico_mn("up", "-d", "--mode", "Never", "--iptables", "nft", str(file))
    assert up.returncode == 0, up.stderr
    assert "rules by iptables-nft" in up.stdout
    saved = inside.ok("exec", "node31", "--", "iptables-save").splitlines()
    assert sum(line.startswith(":cali-tw-") for line in saved) == 31
    assert sum(line.startswith("-A cali-fw-") for line in saved) > 300
    assert "all is as it should be" in inside.ok("verify")


@without_ipip
def test_vxlan_needs_no_ipip_and_can_be_changed_there(inside):
    up = inside.calico_mn("up", "-d", "--mode", "Always", "--encapsulation", "vxlan", ARTICLE)
    assert up.returncode == 0, up.stderr
    assert "VXLAN Always" in up.stdout
    assert "2 of 2 pairs" in inside.ok("pingall")
    assert "inside VXLAN, both ways" in inside.ok("trace", A, B)
    inside.ok("mode", "Never")
    assert "vxlan.calico" not in inside.ok("exec", "node31", "--", "ls", "/sys/class/net")
    inside.ok("mode", "CrossSubnet")
    assert "all is as it should be" in inside.ok("verify")
    refused = inside.calico_mn("mode", "Always", "--encapsulation", "ipip")
    assert refused.returncode == 1 and "tunl0" in the_only_line(refused)


@without_ipip
def test_ipip_that_cannot_be_had_there_is_refused_in_one_line_that_says_what_to_do(inside):
    refused = inside.calico_mn("up", "-d", ARTICLE)
    assert refused.returncode == 1
    inside.calico_mn("up", "-d", "--mode", "Never", ARTICLE)
    changed = inside.calico_mn("mode", "Always")
    assert changed.returncode == 1
    for line in (the_only_line(refused), the_only_line(changed)):
        assert all(word in line for word in ("tunl0", "CAP_BPF", "sudo", "modprobe ipip")), line
    assert "all is as it should be" in inside.ok("verify")
    check = inside.calico_mn("check")
    assert check.returncode == 0 and "of a user namespace" in check.stdout


@pytest.mark.root
@pytest.mark.ipip
@pytest.mark.skipif(not HAS_IPIP, reason=f"without it there is no tunl0: {kernel_reason()}")
def test_with_the_kernels_ipip_every_mode_works_there(inside):
    # The kernel loads what Felix's rules need for the machine's root, and for no other.
    with CalicoNet(load_topology(ARTICLE), policies=True):
        pass
    assert "tunl0 by kernel" in inside.ok("up", "-d", ARTICLE)
    inside.ok("mode", "Never")
    inside.ok("mode", "Always")
    # On a busy machine a packet may be under way for longer than a trace waits.
    assert eventually(lambda: "inside IPIP, both ways" in inside.calico_mn("trace", A, B).stdout)
    assert "all is as it should be" in inside.ok("verify")


@without_ipip
def test_an_experiment_with_never_alone_runs_and_others_are_refused_without_a_trace(inside, own):
    script = [inside.python, str(ROOT / "experiments" / "blocked_protocol_4.py"), "--quick",
              "--output", str(own / "results")]
    refused = inside.run(*script)
    assert refused.returncode != 0 and "CAP_BPF" in the_only_line(refused)
    assert not list(own.iterdir())
    done = inside.run(*script, "--modes", "Never")
    assert done.returncode == 0, done.stderr
    summary = json.loads((own / "results" / "summary.json").read_text())
    assert summary["complete"] and not summary["failures"]
    assert summary["environment"]["cluster"]["tunnel"] == "none"


def test_a_user_namespace_without_mounts_of_its_own_is_enough(opened):
    inside = opened(flags="-Ur")
    inside.ok("up", "-d", "--mode", "Never", ARTICLE)
    assert "2 of 2 pairs" in inside.ok("pingall")


def test_where_no_sysfs_may_be_mounted_sys_is_empty_and_says_why(opened):
    inside = opened(before="mount -t tmpfs none /sys/kernel && exec unshare -Urnm sh -c"
                           " 'echo ready && exec cat'")
    inside.ok("up", "-d", "--mode", "Never", ARTICLE)
    assert "2 of 2 pairs" in inside.ok("pingall")
    assert "Operation not permitted" in inside.ok("exec", "node31", "cat", "/sys/WHY-EMPTY")


@pytest.mark.alone  # as in tests/cli/test_runs.py
def test_what_a_killed_run_left_there_is_removed_at_the_next_start_there(inside):
    first = inside.asked("up", "-d", "--mode", "Never", ARTICLE)
    inside.ok("exec", "node31", "--", "sh", "-c", "sleep 1000 >&- 2>&- & echo $!")
    os.kill(first["pid"], signal.SIGKILL)
    assert eventually(lambda: processes.start_time(first["pid"]) is None)
    second = inside.calico_mn("up", "-d", "--mode", "Never", ARTICLE)
    assert f"({first['run']}) left when it was killed: sleep" in second.stderr, second.stderr
    assert [run["status"] for run in inside.asked("list")] == ["running"]


@only_root
@pytest.mark.root
@pytest.mark.kills
def test_runs_inside_and_the_machines_own_are_not_taken_for_one_another(inside, monkeypatch,
                                                                        tmp_path):
    """Both sides clean up, and the machine has a dead run with the very identity of a living one.
    """
    facts = inside.asked("up", "-d", "--mode", "Never", ARTICLE)
    program = int(inside.ok("exec", "node31", "--", "sh", "-c", "sleep 1000 >&- 2>&- & echo $!"))
    monkeypatch.setattr(runtime_dir, "MACHINE", tmp_path)
    dead = tmp_path / facts["run"]
    dead.mkdir()
    (dead / "run.json").write_text(json.dumps({"process_started": 1}))
    removed = cleanup.remove_all()
    assert [(run.identity, run.programs) for run in removed] == [(facts["run"], ())]
    assert processes.name_of(program) == "sleep"
    own = tmp_path / f"{os.getpid()}-1"
    own.mkdir(parents=True)
    inside.ok("cleanup")
    assert own.exists()
    assert [run["status"] for run in inside.asked("list")] == ["running"]
    inside.ok("down")
    assert eventually(lambda: not left_by(facts["pid"]))


@pytest.mark.kills
def test_a_run_in_another_user_namespace_of_the_same_user_is_seen_but_not_asked(opened):
    other, one = opened(), opened()
    one.ok("up", "-d", "--name", "first", "--mode", "Never", ARTICLE)
    assert [run["status"] for run in other.asked("list")] == ["elsewhere"]
    asked = other.calico_mn("mode", "Never", "--run", "first")
    assert "another container or user namespace" in the_only_line(asked)
    other.ok("cleanup")
    assert [run["status"] for run in one.asked("list")] == ["running"]


def test_what_needs_no_privilege_works_there_as_well(inside):
    inside.ok("validate", ARTICLE)
    assert "tunl0" in inside.ok("plan", ARTICLE)


def test_a_runtime_directory_of_ones_own_is_where_runs_are(opened, own):
    inside = opened(XDG_RUNTIME_DIR=str(own))
    facts = inside.asked("up", "-d", "--mode", "Never", ARTICLE)
    (run,) = inside.asked("list")
    assert run["directory"] == f"{own}/calico-mn/{facts['run']}"
    inside.ok("down")
    assert not list(own.iterdir())
