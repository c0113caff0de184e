"""Options of the whole test suite, and what holds for all tests that need root."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("support")

# Collecting makes millions of objects that all stay: to look for garbage among them is a quarter
# of its time. pytest_collection_finish() goes on without them.
gc.disable()

# A time limit for one example fails on a busy machine, or where the first one imports a module.
settings.register_profile("calico_mn", deadline=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calico_mn")

# readline, which pytest-xdist's controller loads, sets them, and tables would be cut to 80 columns.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

_TURNS = pytest.StashKey[Any]()
#: a directory of this run of the tests, which its workers share
_SHARED = pytest.StashKey[Path]()
#: what takes longest comes first, so that no worker is left with it at the end
_LONG = ("tests/uml/", "tests/live/test_ipip_modes_on_kubernetes.py",
         "tests/live/test_interrupted_on_kubernetes.py", "tests/docs/",
         "tests/benchmarks/", "tests/experiment/",
         "tests/acceptance/", "tests/cli/", "tests/trace/", "tests/measure/", "tests/walkthrough/",
         "tests/policy/", "tests/ebpf/")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="write golden files again instead of comparing"
    )
    parser.addoption(
        "--order", metavar="reversed|random[:SEED]", help="run tests in another order than usual:"
        " files, and tests within each file; whether one disturbs those after it shows only then")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.order == "random":
        config.option.order = f"random:{random.randrange(1 << 32)}"  # workers get the same
    if hasattr(config, "workerinput"):
        from support.turns import Turns

        config.stash[_TURNS] = Turns(Path(config.workerinput["shared"]))
        return
    shared = config.stash[_SHARED] = Path(tempfile.mkdtemp(prefix="calico-mn-tests-"))
    shared.chmod(0o711)
    # For all programs that draw, those of other users, too: without it each would look through the
    # machine's fonts again.
    fonts = shared / "matplotlib"
    fonts.mkdir()
    fonts.chmod(0o1777)
    os.environ.setdefault("MPLCONFIGDIR", str(fonts))


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SHARED in config.stash:
        if os.environ.get("MPLCONFIGDIR", "").startswith(str(config.stash[_SHARED])):
            del os.environ["MPLCONFIGDIR"]
        shutil.rmtree(config.stash[_SHARED])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called by pytest-xdist for each worker that it starts."""
    node.workerinput["shared"] = str(node.config.stash[_SHARED])


def pytest_report_header(config: pytest.Config) -> str | None:
    return f"order of tests: --order {config.option.order}" if config.option.order else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    can_repeat = config.pluginmanager.hasplugin("rerunfailures")
    for item in items:
        if can_repeat and item.get_closest_marker("root"):
            # Where real namespaces and the kernel's timers are the point, other programs of a busy
            # machine have their say, too. pytest_terminal_summary() shows what failed at first.
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=2))
    items.sort(key=lambda item: next(
        (place for place, start in enumerate(_LONG) if item.nodeid.startswith(start)), len(_LONG)))
    order, _, seed = (config.option.order or "").partition(":")
    if order == "reversed":
        items.reverse()
    elif order == "random":
        chance = random.Random(seed)
        files = list(dict.fromkeys(item.path for item in items))
        chance.shuffle(items)
        chance.shuffle(files)
        items.sort(key=lambda item: files.index(item.path))
    elif order:
        raise pytest.UsageError(f"--order {order}: it is reversed, random or random:SEED")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show why tests that passed at the second try failed at the first."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.write_sep("-", f"failed, and was run again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


def pytest_collection_finish() -> None:
    """Leave what the collection made out of every search for garbage from here on."""
    gc.freeze()
    gc.enable()


def _heed_signals() -> None:
    """Take the signals that this process was started to ignore, but for those of Python itself.

    Shells start background jobs with SIGINT and SIGQUIT ignored, nohup(1) any program with SIGHUP,
    and our children would inherit that: tests of Ctrl-C and of closed terminals would wait in
    vain. And what ignores one, starts each program by fork(2) instead of vfork(2)
    (``processes.start``), and a worker that has collected all tests has 400 MB of pages: most
    acceptance tests took three times the CPU time.
    """
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT
                          else signal.SIG_DFL)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _heed_signals()
    turns = item.config.stash.get(_TURNS, None)
    alone, kills = (item.get_closest_marker(name) is not None for name in ("alone", "kills"))
    with turns.taken(alone=alone, kills=kills) if turns else nullcontext():
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid():
        pytest.skip("needs root, to make network namespaces: sudo pytest")
    if "IN_UML" in os.environ:
        from calico_mn.emulation.net import CalicoNet

        # A process takes a tenth of a second there, and rules need one a node.
        CalicoNet.__init__.__kwdefaults__["policies"] = bool(item.get_closest_marker("rules"))


@pytest.fixture(scope="session", autouse=True)
def machine_is_left_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The machine's own network is the same after all tests as it was before the first one."""
    if os.geteuid() or not any(i.get_closest_marker("root") for i in request.session.items):
        yield
        return
    from support import machine
    from support.patience import eventually

    before = machine.snapshot()
    yield
    # The kernel finishes the end of a namespace in the background.
    eventually(lambda: not machine.differences(before, machine.snapshot()), seconds=10, pause=0.2)
    changed = machine.differences(before, machine.snapshot())
    assert not changed, "the tests changed this machine's own network:\n" + "\n".join(changed)
