"""The control socket's protocol, and the dispatcher that does one operation after the other."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from calico_mn import errors
from calico_mn.control import dispatcher as dispatching
from calico_mn.control import protocol
from calico_mn.control.dispatcher import Dispatcher, Job
from calico_mn.control.protocol import Channel, ProtocolError


@pytest.fixture
def channels():
    one, other = (Channel(end, expecting=True) for end in socket.socketpair())
    with one, other:
        yield one, other


@pytest.mark.parametrize("kind", [errors.ClusterError, errors.NotFoundError, errors.KernelError,
                                  errors.ToolError, errors.UnsupportedError, errors.IPAMError])
def test_an_error_is_the_same_on_the_other_side(kind):
    answer = protocol.decode(protocol.encode(protocol.error(kind("what and where"))).rstrip())
    found = protocol.problem(answer)
    assert type(found) is kind and str(found) == "what and where"


@pytest.mark.parametrize("answer", [{"error": "x", "kind": "SystemExit"}, {"error": "x"},
                                    {"error": "x", "kind": "Sequence"}])
def test_an_unknown_kind_of_error_is_still_one_of_ours(answer):
    assert type(protocol.problem(answer)) is errors.CalicoMnError


def test_a_topologys_problems_come_with_its_warnings():
    wrong = errors.TopologyError([errors.Problem("what", "a.yaml", 3, 5)], ["Left out: x."])
    answer = protocol.decode(protocol.encode(protocol.error(wrong)).rstrip())
    told = protocol.problem(answer)
    assert isinstance(told, errors.TopologyError)
    assert (str(told), told.warnings) == ("a.yaml:3:5: what\n1 problem found", ("Left out: x.",))
    assert protocol.problem({"error": "x", "kind": "TopologyError", "warnings": 3}).warnings == ()


@pytest.mark.parametrize("line", [b"", b"x", b"[]", b'"mode"', b"{}", b'{"verb": 3}', b"\xff",
                                  b'{"verb": "mode", "arguments": []}'])
def test_what_is_no_request_is_refused(line):
    with pytest.raises(ProtocolError):
        protocol.decode_request(line)


def test_lines_of_any_size_come_whole_and_descriptors_beside_them(channels):
    one, other = channels
    long = protocol.encode({"result": "x" * 1_000_000})
    reading, writing = os.pipe()
    sender = threading.Thread(target=one.send, args=(long, 10, [reading]))
    sender.start()
    assert other.receive(2_000_000, 10) == long.rstrip(b"\n")
    sender.join()
    (mine,) = other.take_descriptors()
    os.write(writing, b"hello")
    assert os.read(mine, 9) == b"hello"
    assert not os.get_inheritable(mine)
    for descriptor in (reading, writing, mine):
        os.close(descriptor)


def test_a_line_that_is_too_long_or_too_late_or_torn_is_refused(channels):
    one, other = channels
    one.send(b"x" * 3000, 10)
    with pytest.raises(ProtocolError, match="longer than 1000 bytes"):
        other.receive(1000, 10)
    with pytest.raises(TimeoutError):
        other.receive(100_000, 0.05)
    one.close()
    with pytest.raises(ProtocolError, match="closed"):
        other.receive(100_000, 10)


def test_the_kernel_tells_who_asks(channels):
    assert channels[0].peer() == (os.getpid(), os.geteuid())


def test_one_piece_of_work_is_done_after_the_other(monkeypatch):
    order = []
    begun, go_on = threading.Event(), threading.Event()

    def first(_job):
        begun.set()
        assert go_on.wait(60)
        order.append("first")

    monkeypatch.setitem(dispatching._operations, "first", first)
    monkeypatch.setitem(dispatching._operations, "second", lambda _job: order.append("second"))
    dispatcher = Dispatcher(None)
    threads = [threading.Thread(target=dispatcher.perform, args=(name, Job(None), {}))
               for name in ("first", "second")]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]


def test_when_a_run_ends_long_operations_stop_and_none_begins(monkeypatch):
    begun = threading.Event()
    ended = []

    def long(job):
        begun.set()
        try:
            while True:
                job.progress({})
        except errors.CalicoMnError as error:
            ended.append(str(error))
            raise

    monkeypatch.setitem(dispatching._operations, "long", long)
    dispatcher = Dispatcher(None)

    def work():
        with pytest.raises(errors.CalicoMnError, match="ending"):
            dispatcher.perform("long", Job(None), {})

    worker = threading.Thread(target=work)
    worker.start()
    assert begun.wait(60)
    with dispatcher.closing():
        worker.join(10)
        assert ended == ["the run is ending"]
        with pytest.raises(errors.CalicoMnError, match="ending"):
            dispatcher.perform("long", Job(None), {})


def test_unknown_operations_and_wrong_arguments_are_mistakes_of_the_asker():
    for verb, arguments, said in (("nosuch", {}, "does not know 'nosuch'"),
                                  ("mode", {}, "missing a required argument: 'mode'"),
                                  ("mode", {"x": 1, "mode": ""}, "unexpected keyword")):
        with pytest.raises(errors.ClusterError, match=said):
            Dispatcher(None).perform(verb, Job(None), arguments)
