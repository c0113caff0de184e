"""Programs that we start: what they inherit of this process, and what they do not."""

import re
import signal
import subprocess
import threading
import time

import pytest
from support.patience import eventually

from calico_mn.kernel import processes

LOOK = ["grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"]


@pytest.fixture
def deaf():
    """This process ignores some signals, and its main thread blocks another."""
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGRTMAX)
    before = {number: signal.getsignal(number) for number in ignored}
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in before.items():
        signal.signal(number, handler)


def inherited(**options):
    process = processes.start(LOOK, stdout=subprocess.PIPE, text=True, **options)
    out, _ = process.communicate(timeout=60)
    return [int(mask, 16) for mask in re.findall(r"\t(\w+)$", out, re.M)]


@pytest.mark.parametrize("options", [{}, {"start_new_session": True}], ids=str)
def test_a_program_starts_with_default_signals_whatever_its_parent_ignores(deaf, options):
    assert inherited(**options) == [0, 0]


def test_a_program_that_another_thread_starts_does_so_too(deaf):
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(inherited()))  # with this one's mask
    thread.start()
    thread.join()
    assert seen == [0, 0]


def test_the_parents_own_signals_stay_as_they_are(deaf):
    inherited()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_usually_nothing_runs_between_fork_and_exec(monkeypatch):
    before = {number: signal.getsignal(number) for number in processes._RESETTABLE}
    ignored = [number for number, handler in before.items() if handler is signal.SIG_IGN
               and number not in processes._IGNORED_BY_PYTHON]
    monkeypatch.setattr(processes, "_reset_signals", lambda: 1 / 0)
    for number in ignored:  # such as SIGQUIT in a shell's background job
        signal.signal(number, signal.SIG_DFL)
    assert inherited() == [0, 0]
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


# --- ending

def started(code, **options):
    """A shell that runs ``code``, once that has said ``ready``."""
    process = subprocess.Popen(["bash", "-c", code], stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("code", "options", "status"), [
    pytest.param("echo ready; exec sleep 1000", {}, -signal.SIGTERM, id="obeys"),
    pytest.param("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done", {}, 3,
                 id="tidies"),
    pytest.param("trap '' TERM; echo ready; while :; do sleep 0.01; done", {}, -signal.SIGKILL,
                 id="refuses"),
    pytest.param("trap '' TERM; echo ready; kill -STOP $$", {}, -signal.SIGKILL, id="is stopped"),
    pytest.param("sleep 1000 & echo ready; exec sleep 1000", {"start_new_session": True},
                 -signal.SIGTERM, id="has children"),
])
def test_a_program_is_asked_then_killed(code, options, status):
    with started(code, **options) as process:
        processes.end([process], grace=0.3)
        assert process.returncode == status
        # A child that still ran would hold the pipe open.
        assert not options or process.stdout.read() == ""


def test_several_are_ended_within_one_time_and_ended_ones_are_left_alone():
    stubborn = [started("trap '' TERM; echo ready; while :; do sleep 0.01; done") for _ in range(4)]
    begun = time.monotonic()
    processes.end(stubborn, grace=0.5)
    assert 0.5 <= time.monotonic() - begun < 30
    assert [process.returncode for process in stubborn] == [-signal.SIGKILL] * 4
    processes.end(stubborn)
    for process in stubborn:
        process.stdout.close()


def test_the_end_is_seen_before_it_is_noted():
    with started("echo ready; read line", stdin=subprocess.PIPE) as process:
        assert not processes.is_finished(process)
        process.stdin.close()
        assert eventually(lambda: processes.is_finished(process)) and process.returncode is None
        assert process.wait(60) == 1 and processes.is_finished(process)
