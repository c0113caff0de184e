"""The long guest runs beside the other tests: it has one CPU of its own, and takes two minutes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SUITE = "test_tests_marked_ipip_pass_on_a_kernel_with_ipip"

GUEST_SECONDS = 540


class Guest:
    """The tests marked ``ipip``, in a guest that was started when all tests had been found."""

    def __init__(self) -> None:
        # A pipe would fill up, and stop the guest, before anybody reads it.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        # Nicer than the others, among which are some that measure.
        self._process = subprocess.Popen(
            ["nice", "-n", "10", sys.executable, str(HERE / "umlrun"), "-t", str(GUEST_SECONDS),
             "-e", "CALICO_MN_TUNNEL=kernel", "-m", "3G", "--",
             sys.executable, "-m", "pytest", "-m", "ipip", "tests", "-p", "no:cacheprovider",
             "--color=no", "--durations=5"],
            cwd=HERE.parent.parent, stdout=self._output, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL)

    def finish(self) -> tuple[int, str]:
        """Wait for its end; exit status and output."""
        status = self._process.wait(GUEST_SECONDS + 30)
        self._output.seek(0)
        return status, self._output.read().decode(errors="replace")

    def end(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
        self._output.close()


_STARTED = pytest.StashKey[Guest]()


def pytest_collection_finish(session: pytest.Session) -> None:
    for item in session.items:
        skipped = any(mark.args[0] for mark in item.iter_markers("skipif"))
        if item.name == SUITE and not skipped and not session.config.option.collectonly:
            session.stash[_STARTED] = Guest()


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Guest:
    """The guest with the marked tests."""
    return request.session.stash[_STARTED]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _STARTED in session.stash:
        session.stash[_STARTED].end()
