import subprocess
import time

import pytest

from calico_mn.errors import ToolError
from calico_mn.measure import programs
from calico_mn.measure.programs import run


class Here:
    """A host that is this machine's own namespace: nothing here sends a packet."""

    name = "here"

    def __init__(self):
        self.started = []

    def popen(self, argv, **options):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.started.append(process)
        return process


def test_output_and_status_are_handed_back():
    found = run(Here(), ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10)
    assert (found.status, found.out, found.err) == (3, "out\n", "err\n")


def test_a_program_that_hangs_is_ended():
    here = Here()
    begin = time.monotonic()
    with pytest.raises(ToolError, match=r"^here: sleep 60 did not end within 0\.2 s$"):
        run(here, ["sleep", "60"], timeout=0.2)
    assert here.started[0].returncode is not None
    assert time.monotonic() - begin < 30


def test_a_program_is_ended_when_its_caller_is_interrupted(monkeypatch):
    here = Here()

    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(programs, "readable", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(here, ["sleep", "60"], timeout=60)
    assert here.started[0].returncode is not None
