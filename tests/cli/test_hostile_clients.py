"""The daemon's ear, with clients that mean harm or do not know better: it lives on, serves others.

A real server on a real socket, and operations that need no cluster.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from support.patience import eventually

from calico_mn.control import daemon, protocol
from calico_mn.control import dispatcher as dispatching
from calico_mn.control.daemon import ControlServer
from calico_mn.control.dispatcher import Dispatcher

GOOD = b'{"verb": "echo", "arguments": {"text": "x"}}\n'


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A server's socket; ``echo`` gives its text, ``big`` a lot, ``bug`` fails."""
    def echo(job, text: str = ""):
        return text

    def big(job):
        return "x" * 5_000_000

    def bug(job):
        raise ZeroDivisionError("\x1b[2J")

    def steps(job):
        for number in range(10_000):
            job.progress(number)

    echo.__annotations__["text"] = "str"
    for function in (echo, big, bug, steps):
        monkeypatch.setitem(dispatching._operations, function.__name__, function)
    monkeypatch.setattr(daemon, "_REQUEST_S", 1.0)
    monkeypatch.setattr(daemon, "_ANSWER_S", 1.0)
    listening = ControlServer(Dispatcher(None), tmp_path / "control")
    yield tmp_path / "control"
    listening.close()


def connected(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(10)
    for _ in range(200):
        try:
            made.connect(str(path))
            return made
        except BlockingIOError:  # the queue is full for the moment
            time.sleep(0.05)
    raise TimeoutError


def answer(path: Path, words: bytes, descriptors=()) -> bytes:
    """All that is answered, until the server ends the connection."""
    with connected(path) as client:
        try:
            socket.send_fds(client, [words], descriptors)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))
        except ConnectionError:
            return b""  # it was refused before we had said all


def is_well(path: Path) -> bool:
    return answer(path, GOOD) == b'{"result":"x"}\n'


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


REQUESTS = {
    "noise": os.urandom(500).replace(b"\n", b"") + b"\n", "nul": b"\0\n", "empty": b"\n",
    "nothing": b"", "half": b'{"verb": "ec', "object": b"{}\n", "list": b"[]\n",
    "word": b'"echo"\n',
    "null": b"null\n", "deep": b"[" * 60_000 + b"\n", "deep-objects": b'{"a":' * 12_000 + b"\n",
    "long": b"x" * 100_000 + b"\n", "endless": b"x" * 100_000, "digits": b"9" * 60_000 + b"\n",
    "latin1": b'{"verb": "\xff"}\n', "verb-number": b'{"verb": 3}\n',
    "verb-null": b'{"verb": null}\n',
    "arguments-list": b'{"verb": "echo", "arguments": []}\n', "arguments-null":
        b'{"verb": "echo", "arguments": null}\n', "http": b"GET / HTTP/1.1\r\n\r\n",
    "unknown": b'{"verb": "\\u001b[2J\\nforged"}\n', "private": b'{"verb": "__init__"}\n',
    "path": b'{"verb": "../../x"}\n', "argument-unknown": b'{"verb":"echo","arguments":{"a":1}}\n',
    "argument-number": b'{"verb":"echo","arguments":{"text":7}}\n',
    "argument-nan": b'{"verb":"echo","arguments":{"text":NaN}}\n',
    "argument-list": b'{"verb":"echo","arguments":{"text":["x"]}}\n',
    "argument-self": b'{"verb":"echo","arguments":{"job":1}}\n', "bug": b'{"verb": "bug"}\n',
    "mode": b'{"verb":"mode","arguments":{"mode":5}}\n',
    "enter": b'{"verb":"enter","arguments":{"place":null}}\n',
    "places": b'{"verb":"verify","arguments":{"places":"node31"}}\n',
    "pod": b'{"verb":"pod-add","arguments":{"pod":7,"node":[],"ip":12}}\n',
    "probe": b'{"verb":"trace","arguments":{"source":"a","destination":"b","probe":[]}}\n',
    "probe-field":
        b'{"verb":"trace","arguments":{"source":"a","destination":"b","probe":{"x":1}}}\n',
    "probe-type":
        b'{"verb":"trace","arguments":{"source":"a","destination":"b","probe":{"ttl":"x"}}}\n',
    "form": b'{"verb":"graph","arguments":{"form":"../x"}}\n',
    "form-mode": b'{"verb":"graph","arguments":{"form":"svg","mode":"x"}}\n',
    "form-encapsulation":
        b'{"verb":"graph","arguments":{"form":"svg","encapsulation":"x"}}\n',
}
UNSAID = {"nothing", "half", "endless", "long"}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_is_none_is_refused_and_the_next_one_answered(name, path):
    said = answer(path, REQUESTS[name])
    assert said.isascii() and b"\x1b" not in said and said.count(b"\n") <= 1
    if said:
        found = json.loads(said)
        assert set(found) == {"error", "kind"}
        assert ("internal error" in found["error"]) == (name == "bug")
    else:
        assert name in UNSAID
    assert is_well(path)


@pytest.mark.parametrize("number", [1, 2, 3, 100])
def test_descriptors_sent_with_a_request_are_closed(number, path):
    assert is_well(path)
    before = descriptors()
    null = os.open(os.devnull, os.O_RDONLY)
    assert answer(path, GOOD, [null] * number) == b'{"result":"x"}\n'
    with connected(path) as client:
        for _ in range(200):
            socket.send_fds(client, [b" "], [null] * number)
        time.sleep(0.1)
        assert descriptors() <= before + 4
    os.close(null)
    assert eventually(lambda: descriptors() <= before)


def test_a_slow_writer_delays_no_other_client_and_is_disconnected(path):
    slow = [connected(path) for _ in range(20)]
    for client in slow:
        client.sendall(b'{"verb"')
    began = time.monotonic()
    assert is_well(path)
    assert time.monotonic() - began < 0.9
    # A byte now and then does not prolong it.
    end = time.monotonic() + 20
    with pytest.raises(OSError):  # a broken pipe, or a connection that was reset
        while time.monotonic() < end:
            slow[0].sendall(b" ")
            time.sleep(0.05)
    for client in slow:
        client.close()


def test_a_client_that_does_not_read_is_left(path):
    deaf = [connected(path) for _ in range(5)]
    for client in deaf:
        client.sendall(b'{"verb": "big"}\n')
    time.sleep(0.2)
    began = time.monotonic()
    assert is_well(path)
    assert time.monotonic() - began < 10
    for client in deaf:
        client.close()


def test_clients_that_vanish_leave_nothing(path):
    assert is_well(path)
    before, threads = descriptors(), threading.active_count()
    for number in range(200):
        with connected(path) as client:
            client.sendall((b"", b'{"ver', GOOD, b'{"verb": "steps"}\n', b'{"verb": "big"}\n')[
                number % 5])
    assert eventually(lambda: descriptors() <= before)
    assert eventually(lambda: threading.active_count() <= threads)
    assert is_well(path)


def test_many_at_once_are_all_answered(path):
    answers = []

    def ask() -> None:
        for _ in range(5):
            answers.append(answer(path, GOOD))

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [b'{"result":"x"}\n'] * 200


def test_of_another_user_nothing_is_taken(path):
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_each_argument_of_each_operation_has_a_kind_that_is_checked():
    dispatching.load()
    for name, function in dispatching._operations.items():
        for parameter in list(inspect.signature(function).parameters.values())[1:]:
            assert parameter.annotation in dispatching.KINDS, (name, parameter)


@pytest.mark.parametrize("line", [b"[" * 60_000, b'{"a":' * 50_000, b"9" * 60_000])
def test_an_answer_that_is_none_is_refused_too(line):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode(line)
