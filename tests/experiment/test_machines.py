"""Blocks of repeats on several machines' workers, and the one run that is made of them.

What really happens between machines is in test_lab.py.
"""

import inspect
import os
import pickle
import pkgutil
import signal
import subprocess
import time
from importlib import import_module
from types import SimpleNamespace

import distributed
import pytest
import yaml
from support.lab import documented
from support.patience import SLOWNESS

import calico_mn
from calico_mn import errors
from calico_mn.cli.main import main
from calico_mn.errors import CalicoMnError, Problem, TopologyError
from calico_mn.experiment import options, record, requirements, submission, workers
from calico_mn.experiment.blocks import Block, Part, about, begun, blocks, merged, resumed
from calico_mn.experiment.runner import run_experiment
from calico_mn.experiment.scripts import load
from calico_mn.kernel.netlink import NetlinkError
from calico_mn.measure.readings import Reading
from calico_mn.report.document import Document
from calico_mn.report.estimates import with_machines

from .conftest import command

for module in pkgutil.walk_packages(calico_mn.__path__, "calico_mn."):
    if not module.name.endswith("__main__"):
        import_module(module.name)


def subclasses(kind):
    return [kind, *(each for child in kind.__subclasses__() for each in subclasses(child))]


ERRORS = [TopologyError([Problem("odd", "a.yaml", 3)], ["w"]), NetlinkError(17, 2, "File exists"),
          errors.IPAMError("no address", "full"),
          *(kind("text") for kind in subclasses(CalicoMnError)
            if kind not in (TopologyError, NetlinkError))]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_from_another_process_as_it_was(error):
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(("repeats", "machines", "expected"), [
    pytest.param(6, 2, [(1, 3, 7), (4, 3, 8)], id="even"),
    pytest.param(5, 2, [(1, 2, 7), (3, 3, 8)], id="odd"),
    pytest.param(2, 3, [(1, 1, 7), (2, 1, 8)], id="more machines than repeats"),
    pytest.param(4, 1, [(1, 4, 7)], id="one machine")])
def test_every_repeat_is_in_one_block(repeats, machines, expected):
    assert blocks(repeats, machines, 7) == tuple(Block(*each) for each in expected)


def test_a_block_has_the_runs_command_line_but_for_what_is_its_own():
    words = ["--on", "tls://h:1", "--repeats=6", "--modes", "Never", "--seed", "3", "--output=o",
             "--topology", "t.yaml", "--quick"]
    assert Block(4, 3, 9).arguments(words) == [
        "--modes", "Never", "--quick", "--repeats", "3", "--seed", "9"]


@pytest.mark.parametrize(("address", "message"), [
    ("tls://lab:8786", ""), ("tls://[fd00::1]:8786", ""), ("tcp://127.0.0.1:8786", ""),
    ("tcp://localhost:1", ""), ("tcp://[::1]:1", ""),
    ("tcp://lab:8786", "is root on it"), ("tcp://10.0.0.1:8786", "is root on it"),
    ("tcp://[0:0:0:0:0:0:0:1]:1", ""), ("tcp://127.9.9.9:1", ""),
    ("tcp://127.0.0.1.lab:1", "is root on it"), ("tcp://localhost.lab:1", "is root on it"),
    ("tcp://[fd00::1]:1", "is root on it"), ("tcp://[::]:1", "is root on it"),
    ("tcp://0.0.0.0:1", "is root on it"), ("tcp://127.0.0.999:1", "is root on it"),
    ("tcp://[::1::]:1", "is root on it"), ("lab:8786", "no address"),
    ("tls://lab", "no address"), ("ucx://lab:1", "no address")])
def test_plain_tcp_is_for_this_machine_alone(address, message):
    if not message:
        assert options.scheduler(address) == address
        return
    with pytest.raises(options.argparse.ArgumentTypeError, match=message):
        options.scheduler(address)


@pytest.mark.parametrize(("files", "message"), [
    pytest.param({"a.yaml": "a: [\n"}, "Dask's configuration cannot be read: ", id="malformed"),
    pytest.param({"a.yaml": documented("distributed:").replace("/etc/dask", "/nowhere")},
                 "the certificates that Dask's configuration names cannot be used: ",
                 id="no certificates"),
    pytest.param({}, "Dask's configuration names no certificates for tls://", id="none named")])
def test_what_is_wrong_with_dasks_files_is_said_in_a_line(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    done = subprocess.run(
        command("--on", "tls://127.0.0.1:1"), capture_output=True, text=True,
        env={**os.environ, "DASK_CONFIG": str(tmp_path)}, timeout=60 * SLOWNESS)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message) and len(done.stderr.splitlines()) == 1


def readings(values):
    """A round trip in Never and in Always for each repeat; ``values`` are of the latter."""
    return tuple(
        Reading(2 * repeat + (mode == "Always"), "round trips", repeat,
                {"mode": mode, "path": "same-subnet", "source": "default/a",
                 "destination": "default/b", "tunnel": "ebpf", "fabric": "plain"},
                {"encapsulated": mode == "Always"}, {"latency": value}, {})
        for repeat, always in enumerate(values, 1)
        for mode, value in (("Never", 10.0 + repeat / 100), ("Always", always)))


def part(machine, values, steal=0.0, failures=()):
    return Part(machine, readings(values), {
        "plan": {"repeats": len(values), "seed": 1},
        "environment": {"machine": {"kernel": machine}, "cluster": {}},
        "failures": list(failures), "steal_share": steal, "elapsed_s": 5.0})


LIKE = [12.0, 12.1, 12.2, 12.3, 12.2, 12.1]
SLOW = [20.0, 20.1, 20.2, 20.3, 20.2, 20.1]


def test_parts_become_one_run_in_which_no_repeat_is_of_two_machines():
    parts = {Block(7, 6, 2): part("b", SLOW, 0.2, ["tcp: hung"]), Block(1, 6, 1): part("a", LIKE)}
    whole = merged(parts)
    assert [reading.order for reading in whole] == list(range(1, 25))
    assert {(reading.seen["machine"], reading.repeat) for reading in whole} == {
        *(("a", n) for n in range(1, 7)), *(("b", n) for n in range(7, 13))}
    known = about(parts, 12, ["repeat 13: lost"], None)
    assert known["plan"] == {"repeats": 12, "seed": 1}
    assert known["failures"] == ["repeat 13: lost", "b: tcp: hung"]
    assert known["environment"]["machines"] == {
        name: {"machine": {"kernel": name}, "cluster": {}} for name in "ab"}
    assert (known["steal_share"], known["complete"]) == (0.2, True)


@pytest.mark.parametrize(("second", "ratio", "sentence", "sentences"), [
    pytest.param(LIKE, "1.21", "b against a: of 1 estimate no difference is detectable in 1.",
                 1, id="alike"),
    pytest.param(SLOW, "2.01", "b against a: of 1 estimate they differ in 1.", 2, id="different")])
def test_the_report_says_where_machines_differ(second, ratio, sentence, sentences):
    whole = merged({Block(1, 6, 1): part("a", LIKE), Block(7, 6, 2): part("b", second)})
    document = with_machines(Document("e", "t", "", (), (), (), (), (), (), {}, ""), whole, "Never")
    (table,) = document.tables
    assert table.columns == ("quantity", "where", "mode", "a", "b")
    assert [str(cell)[:4] for cell in table.rows[0][3:]] == ["1.21", ratio]
    assert (document.findings[0], len(document.findings)) == (sentence, sentences)


def test_the_pages_manifest_passes_the_schemas_of_kubernetes():
    schemas = pytest.importorskip("kubernetes_validate", reason="./install.sh develop installs it")
    schemas.validate(yaml.safe_load(documented("apiVersion:")), "1.33", strict=True)


def test_what_is_resumed_is_a_run_of_several_machines(tmp_path):
    asked = load("mtu").experiment.parse(["--repeats", "4", "--output", str(tmp_path / "out")])
    with begun("mtu", asked, asked.topology.read_text(), 2) as run:
        with (pytest.raises(CalicoMnError, match="its run is still going on"),
              resumed("mtu", run.directory)):
            pass
        run.add(run.planned[1], part("b", LIKE[:2]))
    with resumed("mtu", run.directory) as again:
        assert again.lacking == [run.planned[0]] and merged(again.parts) == merged(run.parts)
    with pytest.raises(CalicoMnError, match="was measured by several workers: go on with sweep"):
        run_experiment(load("mtu").experiment, lambda run: None, lambda run: None, None,
                       ["--resume", str(run.directory)])
    for written, message in (([], "was measured on one machine"), ([{"first": 1}], "blocks")):
        record.add(run.directory, {"blocks": written})
        with (pytest.raises(CalicoMnError, match=message),
              resumed("mtu", run.directory)):
            pass


def test_of_a_run_without_a_part_nothing_is_left(tmp_path):
    asked = load("mtu").experiment.parse(["--output", str(tmp_path / "out")])
    with begun("mtu", asked, "text", 2) as run:
        assert (run.directory / "run.json").is_file()
    assert not run.directory.exists()


class Scheduler:
    """What a client is asked before anything is measured."""

    def __init__(self, codes, threads, machines=()):
        self.codes = codes
        self.threads = threads
        self.machines = machines

    def scheduler_info(self, n_workers):
        return {"workers": {f"tls://10.0.0.{n}:1": {"nthreads": self.threads, "host": f"10.0.0.{n}"}
                            for n in range(len(self.codes))}}

    def run(self, asked, on_error="raise"):
        answers = self.codes if asked is workers.code else self.machines
        return {f"tls://10.0.0.{n}:1": answer for n, answer in enumerate(answers)}


@pytest.mark.parametrize(("scheduler", "message"), [
    pytest.param(Scheduler([], 1), "no workers", id="none"),
    pytest.param(Scheduler([workers.code(), "0.0.9 (code 1)"], 1),
                 r"10.0.0.1:1: has calico_mn 0.0.9 \(code 1\), and this is ", id="other code"),
    pytest.param(Scheduler([ModuleNotFoundError("No module named 'calico_mn'")], 1),
                 "10.0.0.0:1: calico_mn does not answer: No module", id="not installed"),
    pytest.param(Scheduler([workers.code()], 4), "has 4 threads", id="threads"),
    pytest.param(Scheduler([workers.code()] * 3, 1, [("a", "1"), ("b", "2"), ("a", "3")]),
                 "2 machines are called a, and", id="host name")])
def test_workers_that_cannot_measure_are_named(scheduler, message):
    with pytest.raises(CalicoMnError, match=message):
        workers._checked(scheduler)


def test_two_workers_of_one_machine_may_measure():
    scheduler = Scheduler([workers.code()] * 2, 1, [("a", "1"), ("a", "1")])
    assert workers._checked(scheduler) == ["tls://10.0.0.0:1", "tls://10.0.0.1:1"]


# --- workers within this process, which measure nothing

#: the addresses of workers that have failed, by the tests below
FAILED = []


def measured_elsewhere(block):
    """A task that fails on the worker that has repeat 1 first, and succeeds elsewhere."""
    worker = distributed.get_worker()
    if block.first == 1 and not FAILED:
        FAILED.append(worker.address)
        raise submission.BlockError(f"a: odd\nno iperf3 for {block}", worker.address)
    return Part("same" if worker.address in FAILED else "other", (), {})


def measured_nowhere(block):
    raise submission.BlockError("no", distributed.get_worker().address)


def measured_by_other_code(block):
    return workers.measure_block("mtu", [], "", {}, "0.0.9")


def measured_never(block):
    time.sleep(0.3)


def measure(monkeypatch, workers, task, after=lambda cluster: None):
    """What two repeats gave, as block -> machine; the failures, and why that is not all."""
    monkeypatch.setattr(submission, "_LOOK_S", 0.05)
    monkeypatch.setattr(submission, "_PATIENCE_S", 0.2)
    machines = {}
    with (distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=False,
                                   dashboard_address=None) as cluster,
          cluster.get_client() as client):
        if workers:
            client.wait_for_workers(workers, timeout=60 * SLOWNESS)
        asked = submission.Submission(
            client, lambda block, **where: client.submit(task, block, pure=False, **where),
            lambda block, part: machines.update({block.first: part.machine}))
        known = sorted(client.scheduler_info(n_workers=-1)["workers"])
        monkeypatch.setattr(asked, "_wait", lambda wait=asked._wait: (after(cluster), wait()))
        cut_short = asked.measure(blocks(2, 2, 1), known or ["inproc://10.0.0.1/1"])
    return machines, {block.first: texts for block, texts in asked.failed.items()}, cut_short


def test_a_block_that_fails_is_measured_by_another_worker(monkeypatch, capsys):
    FAILED.clear()
    machines, failed, cut_short = measure(monkeypatch, 2, measured_elsewhere)
    assert (machines[1], failed, cut_short) == ("other", {}, None)
    assert ("repeat 1 failed and is measured again by another worker: no iperf3 for repeat 1\n"
            in capsys.readouterr().err)


@pytest.mark.parametrize(("workers", "attempts"), [(2, 2), (1, 1)])
def test_a_block_is_tried_twice_where_there_are_two_workers(monkeypatch, workers, attempts):
    machines, failed, cut_short = measure(monkeypatch, workers, measured_nowhere)
    assert not machines and cut_short == "repeat 1 and repeat 2 failed"
    assert failed == {1: ["no"] * attempts, 2: ["no"] * attempts}


def test_a_worker_that_has_other_code_measures_no_block(monkeypatch):
    machines, failed, _ = measure(monkeypatch, 1, measured_by_other_code)
    assert not machines
    assert all(text.endswith(f"has calico_mn {workers.code()}, and not 0.0.9")
               for texts in failed.values() for text in texts)


def test_without_a_worker_the_wait_ends(monkeypatch):
    _, failed, cut_short = measure(monkeypatch, 0, measured_never)
    assert failed == {n: ["no worker is left to measure it"] for n in (1, 2)}
    assert cut_short == "repeat 1 and repeat 2 failed"


def test_without_the_scheduler_the_wait_ends(monkeypatch):
    _, failed, _ = measure(monkeypatch, 2, measured_never, after=lambda cluster: cluster.close())
    assert failed == {n: ["the scheduler ended, or cannot be reached"] for n in (1, 2)}


class _Pending:
    """A Future that does not end."""

    def add_done_callback(self, put):
        pass


class _Ended(_Pending):
    """A Future whose destructor is interrupted."""

    def add_done_callback(self, put):
        put(self)

    def result(self):
        return Part("a", (), {})

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_in_a_destructor_is_not_lost(capsys):
    cancelled = []
    client = SimpleNamespace(cancel=lambda futures, force: cancelled.append(len(futures)),
                             scheduler_info=lambda n_workers: {"workers": ["a"]})
    asked = submission.Submission(
        client, lambda block, **_: _Ended() if block.first == 1 else _Pending(),
        lambda block, part: None)
    assert asked.measure(blocks(2, 2, 1), ["a", "b"]) == "interrupted"
    assert cancelled == [1] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_sweep_has_as_many_workers_as_asked_for(monkeypatch):
    usual, asked = inspect.signature(distributed.LocalCluster), []

    def cluster(*words, **named):
        asked.append(usual.bind(*words, **named).arguments)
        raise CalicoMnError("enough")

    monkeypatch.setattr(distributed, "LocalCluster", cluster)
    monkeypatch.setattr(requirements, "require_root_and_programs", lambda: None)
    main(["sweep", "--local", "3", "mtu"])
    (arguments,) = asked
    assert (arguments["n_workers"], arguments["threads_per_worker"]) == (3, 1)
    assert (arguments["host"], arguments["security"]) == ("127.0.0.1", True)
