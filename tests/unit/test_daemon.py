"""The process that holds a run: a signal ends it, whatever the process does at that moment."""

import os
import signal
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest
from support.patience import eventually

from calico_mn.control.daemon import Daemon, Ended

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGALRM)


@pytest.fixture(autouse=True)
def own_handlers():
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def no_unraisable_hook(monkeypatch):
    """What an exception that Python drops is given to; pytest's would make an error of it."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


class Destructor:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)


def in_a_destructor():
    Destructor()


def in_code_that_takes_it_for_argparses():
    with suppress(SystemExit):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("no_unraisable_hook")
@pytest.mark.parametrize("lose", [in_a_destructor, in_code_that_takes_it_for_argparses])
def test_a_signal_whose_exception_is_lost_ends_the_run_a_little_later(lose, tmp_path):
    reached = []
    net = SimpleNamespace(
        start=lambda: None, stop=lambda: reached.append("stopped"),
        runtime=SimpleNamespace(directory=SimpleNamespace(
            path=tmp_path, socket=tmp_path / "socket")))
    with pytest.raises(Ended) as ended, Daemon(net, b""):
        try:
            lose()
            eventually(lambda: False)
        finally:
            os.kill(os.getpid(), signal.SIGALRM)
            reached.append("left")
    assert reached == ["left", "stopped"]
    assert ended.value.number == signal.SIGTERM
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
