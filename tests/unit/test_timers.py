"""BIRD's timers by words of the command line: what they mean, and what is wrong with others."""

from dataclasses import replace

import pytest

from calico_mn.bgp.timers import CALICO, SHORT, Timers, read_timers
from calico_mn.errors import ClusterError

GOOD = {
    "calico": CALICO,
    "short": SHORT,
    "hold=9": Timers(hold=9),
    "calico,hold=9, bfd=300": Timers(hold=9, bfd=300),
    "short,error-wait-most=30": replace(SHORT, error_wait_most=30),
    "graceful-restart=0,restart-wait=0": Timers(graceful_restart=0, restart_wait=0),
}
BAD = {
    "hold=2": "'hold=2': hold is a whole number of seconds from 3 to 65535",
    "hold": "'hold': hold is a whole number of seconds from 3 to 65535",
    "connect-delay=0.5": "'connect-delay=0.5': connect-delay is a whole number of seconds from 1",
    "bfd=300ms": "'bfd=300ms': bfd is a whole number of milliseconds from 0 to 10000",
    "scan=\u0662": "scan is a whole number of seconds from 1",
    "shrt": "BIRD has no timer 'shrt' .*did you mean short?",
    "short,hodl=9": "BIRD has no timer 'hodl' .*did you mean hold?",
    "hold=9,short": "BIRD has no timer 'short' .*before them calico or short",
    "": "BIRD has no timer ''",
    "error-wait=40": "error-wait 40 is more than error-wait-most 30",
}


@pytest.mark.parametrize("text", GOOD)
def test_words_are_timers(text):
    assert read_timers(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_named(text):
    with pytest.raises(ClusterError, match=BAD[text]):
        read_timers(text)


@pytest.mark.parametrize("text", GOOD)
def test_timers_are_said_in_few_words(text):
    assert str(GOOD[text]) == text.removeprefix("calico").lstrip(",").replace(" ", "")
    assert read_timers(str(GOOD[text]) or "calico") == GOOD[text]


@pytest.mark.parametrize(("text", "seconds"), [
    ("calico", (100, 240)), ("short", (3.75, 9)), ("calico,bfd=300", (0.6, 0.9))])
def test_when_a_session_with_a_silent_peer_ends(text, seconds):
    assert read_timers(text).silence == pytest.approx(seconds)
