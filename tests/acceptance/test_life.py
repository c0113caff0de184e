"""The life of a run: what is left when it ends, however it ends, and runs side by side.

     node31 .31    node32 .32
     pod a         pod b
        |             |
   -----+-- rack-a ---+---- (.1) r1
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from support import machine
from support.connectivity import expect_connectivity, full_mesh
from support.patience import eventually
from support.routes import routes
from support.topologies import one_subnet, two_subnets

from calico_mn import CalicoNet
from calico_mn.emulation.membership import Membership
from calico_mn.errors import ClusterError, KernelError, UnsupportedError
from calico_mn.kernel.netlink import NetlinkSocket
from calico_mn.kernel.netns import NamespaceThread
from calico_mn.kernel.registry import RunDirectory
from calico_mn.kernel.steps import Plan
from calico_mn.kernel.write import KernelWriter
from calico_mn.model import Topology

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", autouse=True)
def imports_and_caches_are_warm():
    """The first cluster of a process loads things that stay, such as the eBPF program's probe."""
    with CalicoNet(one_subnet("Always"), tunnel=os.environ.get("CALICO_MN_TUNNEL", "auto")) as net:
        net["a"].cmd("true")
        net["a"].pexec(["true"])


@pytest.fixture
def nothing_is_left(imports_and_caches_are_warm):
    """After the test: no process, directory, namespace, mount or descriptor more than before."""
    gc.collect()
    before = machine.descriptors()
    namespaces = held_namespaces()
    mounts = Path("/proc/self/mounts").read_text()
    yield
    gc.collect()
    assert machine.leftovers() == []
    assert held_namespaces() == namespaces
    assert Path("/proc/self/mounts").read_text() == mounts
    assert machine.descriptors() == before


def held_namespaces() -> set[str]:
    """The namespaces that this process holds open."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if target.startswith(("net:", "mnt:")):
            found.add(target)
    return found


def sleeping() -> int:
    """How many of the runs' processes are ``sleep`` by now: a background one starts as a shell."""
    return list(machine.processes_of_runs().values()).count("sleep")


def test_stop_leaves_nothing(tunnel, nothing_is_left):
    with CalicoNet(two_subnets("Always"), tunnel=tunnel) as net:
        for name in ("node31", "a", "r1", "rack-a"):
            net[name].cmd("true")
        net["a"].cmd("nohup setsid sleep 1000 >/dev/null 2>&1 &")
        net["node31"].cmd("sleep 1000 &")
        held = [net["b"].popen(["sleep", "1000"]), net["node32"].popen("cat", stdin=-1)]
        assert eventually(lambda: sleeping() == 3)
        assert len(machine.run_directories()) == 1
    for process in held:
        assert process.poll() is not None
        process.communicate()


def test_stop_twice_does_no_harm(tunnel, nothing_is_left):
    net = CalicoNet(one_subnet("Always"), tunnel=tunnel)
    net.stop()  # never started
    net.start()
    net.start()  # runs already
    net["a"].cmd("true")
    net.stop()
    net.stop()


def test_a_stopped_cluster_says_so(tunnel, nothing_is_left):
    with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
        pod = net["a"]
    with pytest.raises(ClusterError, match="not running"):
        pod.popen(["true"])
    with pytest.raises(ClusterError):
        net.add_pod(name="late", node="node31")


def test_a_cluster_that_was_not_started_says_so(tunnel, nothing_is_left):
    net = CalicoNet(one_subnet("Always"), tunnel=tunnel)
    with pytest.raises(ClusterError, match="not running"):
        net.add_pod(name="late", node="node31")
    with pytest.raises(ClusterError, match="not running"):
        _ = net.tunnel


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_inside_with_cleans_up_and_is_passed_on(tunnel, nothing_is_left, error):
    with pytest.raises(error), CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
        net["node31"].cmd("sleep 1000 &")
        raise error


@pytest.mark.parametrize(("owner", "method", "after"), [
    (NamespaceThread, "create", 3),
    (Plan, "send", 4),
    (Plan, "send", 0),
    (NetlinkSocket, "carry_out", 2),
    (RunDirectory, "write_log", 1),
    (KernelWriter, "fill", 0),
    (Membership, "attach_pod", 1),
])  # fmt: skip
@pytest.mark.parametrize("error", [KernelError("made to fail"), KeyboardInterrupt()], ids=repr)
def test_a_boot_that_fails_in_the_middle_leaves_nothing(
        tunnel, nothing_is_left, monkeypatch, owner, method, after, error):
    real = getattr(owner, method)
    calls = []

    def failing(*args, **options):
        calls.append(method)
        if len(calls) > after:
            raise error
        return real(*args, **options)

    net = CalicoNet(one_subnet("Always"), tunnel=tunnel)
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, failing)
        with pytest.raises(type(error)):
            net.start()
    assert len(calls) > after
    error.__traceback__ = error.__context__ = None  # it would hold what the boot had open


def test_an_unknown_tunnel_is_refused_before_anything_is_made(nothing_is_left):
    with pytest.raises(UnsupportedError, match=r"'vxlan'.*auto, kernel or ebpf"):
        CalicoNet(one_subnet("Always"), tunnel="vxlan").start()


def test_an_empty_cluster_boots(tunnel, nothing_is_left):
    topology = one_subnet("Always")
    bare = Topology(topology.underlay, (), topology.pools)
    with CalicoNet(bare, tunnel=tunnel) as net:
        assert net.nodes == [] and net.pods == []
        assert "192.168.57.0/24" in " ".join(routes(net, "r1"))


#    two clusters with the very same names and addresses
def test_two_runs_at_once_do_not_disturb_each_other(tunnel, nothing_is_left):
    with CalicoNet(two_subnets("Always"), tunnel=tunnel) as one:
        with CalicoNet(two_subnets("Always"), tunnel=tunnel) as other:
            assert len(machine.run_directories()) == 2
            other.set_ipip_mode("Never")
            other.delete_pod("default/b")
            expect_connectivity(one, full_mesh("a", "b", "c"))
            expect_connectivity(other, {"a": {"node31"}, "c": set(), "node31": {"a"}})
            assert "tunl0" in " ".join(routes(one, "node31"))
            one["a"].cmd("sleep 1000 &")
            other["a"].cmd("sleep 1000 &")
        assert eventually(lambda: sleeping() == 1)
        expect_connectivity(one, full_mesh("a", "b", "c"))


def test_the_same_topology_boots_again_after_a_stop(tunnel, nothing_is_left):
    for _ in range(3):
        with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
            expect_connectivity(net, full_mesh("a", "b"))


def test_many_boots_do_not_leak_descriptors(tunnel, nothing_is_left):
    counts = []
    for _ in range(4):
        with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
            net["a"].cmd("true")
            net.add_pod(name="late", node="node31").cmd("true")
            net.delete_pod("default/late")
            net.add_node("node33", "192.168.57.33/24").cmd("true")
            net.delete_node("node33")
            counts.append(machine.descriptors())
        assert eventually(lambda: not machine.leftovers())
    assert len(set(counts)) == 1, counts
