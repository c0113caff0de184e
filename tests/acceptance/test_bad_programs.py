"""Measuring programs that hang, talk rubbish or leave children: told in bounded time.

     node31 .31    node32 .32
     pod a         pod b
        |             |
   -----+-- rack-a ---+----

Files called iperf3 and ping, first in the PATH, stand in for the real ones.
"""

import re
import time

import pytest
from support import machine
from support.patience import SLOWNESS, eventually
from support.topologies import one_subnet

from calico_mn.errors import ToolError
from calico_mn.measure import iperf, ping, programs, reachability
from calico_mn.measure.paths import endpoints, ordered_pairs

pytestmark = pytest.mark.root

#: what a program does instead of its work
MISDEEDS = {
    "hangs": "exec sleep 300",
    "ignores SIGTERM": "trap '' TERM; sleep 300; sleep 300",
    "rubbish": "head -c 100000 /dev/urandom",
    "huge output": "exec yes",
    "half a JSON": "echo '{\"start\": {\"connected\": ['",
    "another JSON": "echo '[1, 2]'",
    "numbers for objects": "echo '{\"end\": 3, \"start\": 4}'",
    "fails with text": "echo 'no mood today' >&2; exit 1",
    "fails silently": "exit 3",
    "a child holds the pipe": "sleep 300 & exit 0",
}


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """pretend(program, shell commands): from now on that is what the program does."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    # Waiting is what is tested, not for how long.
    for module, name in ((iperf, "_GRACE_S"), (iperf, "_START_TIMEOUT_S"),
                         (ping, "_STREAM_START_S"), (reachability, "_OVERDUE_S"),
                         (programs, "_END_TIMEOUT_S")):
        monkeypatch.setattr(module, name, 0.3 * SLOWNESS)

    def write(program, commands):
        path = tmp_path / program
        path.write_text(f"#!/bin/sh\n{commands}\n")
        path.chmod(0o755)

    return write


def nothing_runs():
    return eventually(lambda: not [
        name for name in machine.processes_of_runs().values() if name in ("sleep", "yes", "sh")])


@pytest.fixture(params=MISDEEDS.values(), ids=MISDEEDS)
def misdeed(request):
    return request.param


def refused(instrument, begin):
    """The error's text; it came soon."""
    began = time.monotonic()
    with pytest.raises(ToolError, match=begin) as error:
        instrument()
    assert time.monotonic() - began < 60 * SLOWNESS
    return str(error.value)


def test_an_error_of_an_iperf3_client_names_the_pods_and_the_reason(boot, pretend, misdeed):
    net = boot(one_subnet("Always"))
    pretend("iperf3", 'for word; do [ "$word" = -s ] && exec /usr/bin/iperf3 "$@"; done\n'
            + misdeed)
    said = refused(lambda: iperf.transfer(net["a"], net["b"], duration=0, rate=0), "^default/a")
    assert "iperf3" in said and len(said) < 1000
    assert nothing_runs()


def test_an_error_of_an_iperf3_server_names_its_pod(boot, pretend, misdeed):
    net = boot(one_subnet("Always"))
    pretend("iperf3", misdeed)
    said = refused(lambda: iperf.transfer(net["a"], net["b"], duration=0, rate=0), "^default/b")
    assert "iperf3 -s" in said and len(said) < 1000
    refused(lambda: ping.round_trips_under_load(net["a"], net["b"]), "^default/b: iperf3 -s")
    assert nothing_runs()


def test_an_error_of_a_ping_names_its_pod_and_command(
        boot, pretend, misdeed, monkeypatch):
    monkeypatch.setattr(ping, "_LONGEST_S", -9.5)
    net = boot(one_subnet("Always"))
    pretend("ping", misdeed)
    said = refused(lambda: ping.round_trips(net["a"], net["b"].ip), r"^default/a: ping ")
    assert net["b"].ip in said and len(said) < 1000
    assert nothing_runs()


def test_a_hanging_ping_is_not_called_unreachable(boot, pretend):
    net = boot(one_subnet("Always"))
    pretend("ping", MISDEEDS["ignores SIGTERM"])
    pairs = ordered_pairs(endpoints(net))
    refused(lambda: list(reachability.matrix(net, pairs)), r"^default/[ab]: ping .* did not end")
    assert nothing_runs()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"end": []}', '{"end": {"sum_sent": 1}}',
                                  '{"start": {}, "end": {"streams": [{}]}}', '"text"', "null"])
def test_any_json_that_is_no_transfer_is_refused(text):
    with pytest.raises(ToolError):
        iperf.parse(text)


def test_the_output_of_a_program_that_never_stops_talking_is_bounded(boot, monkeypatch):
    monkeypatch.setattr(programs, "_MOST_BYTES", 1 << 20)
    net = boot(one_subnet("Always"))
    with pytest.raises(ToolError, match=re.escape("default/a: yes wrote more than 1 MB")):
        programs.run(net["a"], ["yes"], timeout=60)
