"""What goes wrong in the middle of an experiment's trials: told with whose it is, never waited for.

     node31  a        node32  b               r1
        |             |                        |
   -----+-- rack-a ---+------------------------+-- rack-b ----
"""

import os

import pytest
from support import machine
from support.patience import SLOWNESS

from calico_mn import results
from calico_mn.errors import ToolError
from calico_mn.experiment.arguments import Defaults, Repetitions
from calico_mn.experiment.runner import run_experiment
from calico_mn.measure import iperf, ping, programs, tcp
from calico_mn.measure.trials import Instruments
from calico_mn.report import summary_figures
from experiments import ipip_modes

from .conftest import topology

pytestmark = pytest.mark.root


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """compare(fault) -> exit status, what was found; the fault strikes before the third transfer.

    With ``at=0`` it strikes before anything is measured. The fault gets the cluster, and what it
    ``cuts`` off is not waited for as long as usual. No pictures are drawn.
    """
    small, designs, calls = topology(tmp_path, a="node31", b="node32"), [], []
    monkeypatch.setattr(summary_figures, "figures", lambda *_: ())
    # Enough of what a trial reads.
    monkeypatch.setattr(ipip_modes, "instruments",
                        lambda run: Instruments(("round trips", "tcp"), run.duration, ()))
    few = Repetitions(repeats=2, duration=0.02)
    monkeypatch.setattr(ipip_modes.experiment, "defaults", Defaults(small, few, few))
    boot, transfer = ipip_modes.boot, tcp.bulk

    def start(fault, at=3, cuts=True):
        def strike():
            if cuts:
                monkeypatch.setattr(ping, "_LONGEST_S", 1)
                monkeypatch.setattr(iperf, "CONNECT_TIMEOUT_MS", 500 * SLOWNESS)
            fault(designs[0].reach.net)

        def boot_and_strike(run):
            designs.append(boot(run))
            if at == 0:
                strike()
            return designs[0]

        def bulk(*args, **options):
            calls.append(args)
            if len(calls) == at:
                strike()
            return transfer(*args, **options)

        monkeypatch.setattr(ipip_modes, "boot", boot_and_strike)
        monkeypatch.setattr(tcp, "bulk", bulk)
        status = run_experiment(
            ipip_modes.experiment, ipip_modes.measure, ipip_modes.report, ipip_modes.show,
            ["--quick", "--modes", "Always,Never", "--output", str(tmp_path / "out")])
        assert machine.leftovers() == []
        return status, results.load(tmp_path / "out")

    return start


def by_hand(place, *commands):
    def do(net):
        for command in commands:
            _out, err, status = net[place].pexec(command.format(bridge=bridge(net)).split())
            assert status == 0, err
    return do


def bridge(net):
    devices = net["rack-a"].pexec(["ls", "/sys/class/net"])[0].split()
    return next(name for name in devices
                if net["rack-a"].pexec(["ls", f"/sys/class/net/{name}/bridge"])[2] == 0)


FAULTS = {
    "link down and up": (by_hand("node31", "ip link set eth0 down", "ip link set eth0 up"),
                         "node31: default via 192.168.57.1 dev eth0 is missing"),
    "link renamed": (by_hand("node31", "ip link set eth0 down", "ip link set eth0 name e9"),
                     "node31: there is no device eth0 any more"),
    "bridge deleted": (by_hand("rack-a", "ip link del {bridge}"),
                       "rack-a: there is no device br0 any more"),
    "tunl0 deleted": (by_hand("node31", "ip link del tunl0"),
                      "node31: there is no device tunl0 any more"),
    "pod's device gone": (by_hand("a", "ip link del eth0"),
                          "default/a: there is no device eth0 any more"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_cluster_broken_in_the_middle_of_the_trials_is_named_and_the_readings_stay(
        compare, capsys, name):
    fault, said = FAULTS[name]
    if name == "tunl0 deleted" and not deletable(compare):
        pytest.skip("the kernel refuses to delete the tunl0 of its ipip module")
    status, found = compare(fault)
    err = capsys.readouterr().err
    assert status == 1 and not found.complete
    assert f"Not complete: the cluster is no longer as it was set up: {said}" in err or (
        f"; {said}" in err), err
    assert "Noticed " in err and "--resume" in err and ".." not in err.replace("...", "")
    whole = [r for r in found.readings if r.instrument == "tcp"]
    assert len(whole) >= 2 and found.about["cut_short"].startswith("the cluster is no longer as")


def test_a_cluster_broken_before_the_trials_is_not_measured_as_unreachable(
        compare, capsys):
    status, found = compare(by_hand("node31", "ip link set eth0 down"), at=0)
    assert status == 1 and not found.complete
    assert "is no longer as it was set up: node31: eth0 is down. Noticed " in (
        capsys.readouterr().err)


def deletable(compare):
    from calico_mn.kernel import tunnel
    backend = tunnel.choose(os.environ.get("CALICO_MN_TUNNEL", "auto"))
    try:
        return backend.name == "ebpf"
    finally:
        backend.close()


@pytest.mark.parametrize(("answer", "said"), [
    pytest.param(programs.Finished(-9, "", ""), "killed by SIGKILL", id="killed"),
    pytest.param(programs.Finished(0, '{"end": "tired"}', ""), "iperf3", id="rubbish"),
    pytest.param(ToolError("default/a: iperf3 -c did not end within 9 s"), "did not end within 9 s",
                 id="hanging"),
])
def test_one_failed_trial_is_reported_and_missing_and_the_others_stay(
        compare, capsys, monkeypatch, tmp_path, answer, said):
    def strike(_net):
        def once(*_args, **_options):
            again.undo()
            if isinstance(answer, ToolError):
                raise answer
            return answer
        again.setattr(iperf, "run", once)

    with monkeypatch.context() as again:
        status, found = compare(strike, cuts=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 1 and found.complete
    taken = {(r.setting["mode"], r.repeat) for r in found.readings if r.instrument == "tcp"}
    (missing,) = {(mode, number) for mode in ("Always", "Never") for number in (1, 2)} - taken
    assert line.startswith(f"a trial failed: {missing[0]}, same-subnet, default/a to default/b,"
                           f" repeat {missing[1]}: default/a") and said in line
    assert found.about["failures"] == [line.removeprefix("a trial failed: ")]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Failed trials" in page and f"{missing[0]}, same-subnet, default/a to default/b" in page
