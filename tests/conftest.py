"""Options of the whole test suite, and what holds for all tests that need root."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("support")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="write golden files anew instead of comparing"
    )


def pytest_configure() -> None:
    # A shell starts background jobs with SIGINT ignored, and our children would inherit that:
    # the tests of Ctrl-C would then wait in vain.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid():
        pytest.skip("needs root, to make network namespaces: sudo pytest")


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
    eventually(lambda: machine.snapshot() == before, seconds=2, pause=0.2)
    changed = machine.differences(before, machine.snapshot())
    assert not changed, "the tests changed this machine's own network:\n" + "\n".join(changed)
