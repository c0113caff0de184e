import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress

import pytest
from support.patience import eventually

from calico_mn.errors import ToolError
from calico_mn.experiment.interruption import Interruption

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def own_handlers():
    before = [signal.getsignal(number) for number in SIGNALS]
    for number in SIGNALS:  # nohup, or a shell's background, may have some ignored
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def strike(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_measurement_at_once(number):
    reached = []

    def measure():
        strike(number)
        reached.append("never")

    with Interruption() as interruption:
        interruption.interruptible(measure)
        reached.append("cleaned up")
    assert reached == ["cleaned up"]
    assert (interruption.status, interruption.reason) == (130, "interrupted")


def test_a_signal_outside_of_the_measurement_is_noted_only():
    reached = []
    with Interruption() as interruption:
        strike()
        reached.append("boot went on")
        interruption.interruptible(reached.append, "never")
        strike()
        strike(signal.SIGTERM)
        reached.append("cleaned up")
    assert reached == ["boot went on", "cleaned up"]
    assert (interruption.status, interruption.reason) == (130, "interrupted")


def test_a_signal_after_the_measurement_leaves_it_complete():
    reached = []
    with Interruption() as interruption:
        interruption.interruptible(reached.append, "measured")
        strike()
    assert reached == ["measured"]
    assert (interruption.status, interruption.reason) == (130, None)


@pytest.mark.parametrize("end", ["return 130", "raise KeyboardInterrupt"])
def test_after_an_interruption_no_signal_kills_the_end_of_the_program(end):
    code = ("import atexit, os, signal, sys\n"
            "from calico_mn.experiment.frame import exit_status\n"
            "def main():\n"
            f"    {end}\n"
            f"for number in {[int(number) for number in SIGNALS]}:\n"
            "    signal.signal(number, signal.default_int_handler)\n"
            "    atexit.register(os.kill, os.getpid(), number)\n"
            "sys.exit(exit_status(main))\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_after_an_interrupted_measurement_the_process_obeys_signals_as_before():
    obeyed = []
    for number in SIGNALS:
        signal.signal(number, lambda number, _frame: obeyed.append(number))
    with Interruption() as interruption:
        interruption.interruptible(strike)
        strike(signal.SIGTERM)
    assert (interruption.status, obeyed) == (130, [])
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    for number in SIGNALS:
        strike(number)
    assert obeyed == [*SIGNALS]


def test_an_error_ends_the_measurement_and_is_reported():
    def measure():
        raise ToolError("iperf3 is broken")

    with Interruption() as interruption:
        interruption.interruptible(measure)
    assert (interruption.status, interruption.reason) == (1, "iperf3 is broken")
    assert isinstance(interruption.error, ToolError)


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError), Interruption() as interruption:
        interruption.interruptible(lambda: 1 / 0)


def test_a_signal_in_a_part_that_holds_it_off_strikes_after_that_part():
    reached = []

    def measure():
        with interruption.deferred():
            strike()
            strike(signal.SIGTERM)
            reached.append("booted")
        reached.append("never")

    with Interruption() as interruption:
        interruption.interruptible(measure)
        strike()
        reached.append("cleaned up")
    assert reached == ["booted", "cleaned up"]
    assert (interruption.status, interruption.reason) == (130, "interrupted")


def test_after_a_part_that_held_signals_off_they_strike_at_once_again():
    reached = []

    def measure():
        with interruption.deferred():
            reached.append("booted")
        strike()
        reached.append("never")

    with Interruption() as interruption:
        interruption.interruptible(measure)
    assert reached == ["booted"]
    assert interruption.reason == "interrupted"


def test_what_stops_a_cluster_after_a_signal_is_not_stopped_itself():
    reached = []

    def measure():
        try:
            strike()
        finally:
            with interruption.deferred():
                strike(signal.SIGTERM)
                reached.append("stopped")

    with Interruption() as interruption:
        interruption.interruptible(measure)
    assert reached == ["stopped"]
    assert (interruption.status, interruption.reason) == (130, "interrupted")


def test_a_failure_in_a_part_that_holds_signals_off_is_the_reason_and_the_signal_the_status():
    reached = []

    def measure():
        with interruption.deferred():
            strike()
            raise ToolError("no boot")

    with Interruption() as interruption:
        interruption.interruptible(measure)
        strike()
        reached.append("cleaned up")
    assert reached == ["cleaned up"]
    assert (interruption.status, interruption.reason) == (130, "no boot")


def test_parts_that_hold_signals_off_may_lie_inside_each_other():
    reached = []

    def measure():
        with interruption.deferred():
            with interruption.deferred():
                strike()
            reached.append("outer part")
        reached.append("never")

    with Interruption() as interruption:
        interruption.interruptible(measure)
    assert reached == ["outer part"]


@pytest.fixture
def no_unraisable_hook(monkeypatch):
    """What an exception that Python drops is given to; pytest's would make an error of it."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


class Destructor:
    """An object whose destructor does this."""

    def __init__(self, work):
        self.work = work

    def __del__(self):
        self.work()


def in_a_destructor():
    Destructor(strike)


def in_a_callback():
    thing = threading.Event()
    reference = weakref.ref(thing, lambda _: strike())
    del thing
    assert reference() is None


def in_code_that_drops_it():
    with suppress(BaseException):
        strike()


def in_a_boot_whose_failure_is_noted(interruption):
    with suppress(ToolError), interruption.deferred():
        strike()
        raise ToolError("no boot")


@pytest.mark.usefixtures("no_unraisable_hook")
@pytest.mark.parametrize("lose", [in_a_destructor, in_a_callback, in_code_that_drops_it,
                                  in_a_boot_whose_failure_is_noted])
def test_a_signal_whose_exception_is_lost_ends_the_measurement_a_little_later(lose):
    reached = []

    def measure():
        lose(*([interruption] if lose is in_a_boot_whose_failure_is_noted else []))
        eventually(lambda: False)
        reached.append("never")

    with Interruption() as interruption:
        interruption.interruptible(measure)
    assert reached == []
    assert (interruption.status, interruption.reason) == (130, "interrupted")


@pytest.mark.usefixtures("no_unraisable_hook")
def test_a_signal_at_any_moment_ends_a_measurement_that_is_in_destructors_most_of_the_time():
    moments = random.Random(1)

    def computing(seconds):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    def collected():
        Destructor(lambda: computing(0.001))
        return False

    reasons = []
    for _ in range(20):
        with Interruption() as interruption:
            later = threading.Timer(moments.uniform(0, 0.02), strike)
            later.start()
            interruption.interruptible(eventually, collected, 60, 0.0001)
        later.join()
        reasons.append((interruption.status, interruption.reason))
    assert reasons == [(130, "interrupted")] * 20


def test_what_ends_a_measurement_after_a_signal_is_not_struck_by_its_repetition():
    reached = []

    def measure():
        try:
            strike()
        finally:
            with suppress(LookupError):
                try:
                    raise LookupError
                finally:
                    strike(signal.SIGALRM)
            strike(signal.SIGTERM)
            reached.append("ended")

    with Interruption() as interruption:
        interruption.interruptible(measure)
    assert reached == ["ended"]
    assert (interruption.status, interruption.reason) == (130, "interrupted")


@pytest.mark.usefixtures("no_unraisable_hook")
@pytest.mark.parametrize("lose", [in_a_destructor, strike])
def test_a_second_signal_leaves_a_long_clean_up_also_where_its_exception_is_lost(lose):
    reached = []
    with Interruption() as interruption:
        strike()
        with suppress(KeyboardInterrupt), interruption.breakable():
            reached.append("began")
            lose()
            eventually(lambda: False)
            reached.append("never")
        strike()
        reached.append("said what is left")
    assert reached == ["began", "said what is left"]


def test_a_first_signal_does_not_leave_a_long_clean_up():
    reached = []
    with Interruption() as interruption, interruption.breakable():
        strike()
        strike(signal.SIGALRM)
        reached.append("cleaned up")
    assert reached == ["cleaned up"]


def test_under_nohup_the_end_of_the_terminal_changes_nothing():
    reached = []

    def measure():
        strike(signal.SIGHUP)
        reached.append("measured")

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interruption() as interruption:
        interruption.interruptible(measure)
    assert reached == ["measured"]
    assert (interruption.status, interruption.reason) == (0, None)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_handlers_are_given_back_without_a_signal():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Interruption():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
