import json
from pathlib import Path

import pytest

from calico_mn.errors import ToolError
from calico_mn.measure import iperf, udp
from calico_mn.measure.programs import Finished
from calico_mn.measure.udp import Datagrams


def recorded(name):
    """What iperf3 3.12 answered once."""
    return (Path(__file__).parent / "iperf3" / f"{name}.json").read_text(encoding="utf-8")


def answer(size=100, **end):
    return json.dumps({"start": {"test_start": {"blksize": size}}, "end": end})


SENT = {"seconds": 2.0, "bytes": 100_000, "packets": 1000}


def test_datagrams_lost_at_the_very_end_count_as_lost():
    # The receiver knows of 94859 packets, its last sequence number; 94900 were sent.
    found = udp.parse(recorded("udp"))
    assert found == Datagrams(64, 94892.409, 71599.456, pytest.approx(1 - 71618 / 94900), 36.659)


def test_a_count_of_datagrams_takes_less_than_a_second():
    found = udp.parse(recorded("udp-count"))
    assert found == Datagrams(64, 91121.155, 69815.7, pytest.approx(0.2329), 35.746)


@pytest.mark.parametrize(("output", "found"), [
    pytest.param(answer(sum_sent=SENT, sum_received={
        "seconds": 2.0, "bytes": 90_000, "packets": 1000, "lost_packets": 150}),
        Datagrams(100, 500, 450, pytest.approx(0.1), 0.36),
        id="late datagrams that iperf3 calls lost did arrive"),
    pytest.param(answer(sum_sent=SENT, sum_received={"seconds": 4.0, "bytes": 100_000}),
                 Datagrams(100, 500, 250, 0, 0.2), id="each end has its own clock"),
    pytest.param(answer(sum_sent=SENT, sum_received={"seconds": 2.0, "bytes": 0}),
                 Datagrams(100, 500, 0, 1, 0), id="all are lost"),
    pytest.param(answer(sum={**SENT, "packets": 990, "lost_packets": 90}),
                 Datagrams(100, 500, 450, pytest.approx(0.1), 0.36),
                 id="one sum only, before 3.11"),
    pytest.param(answer(sum={**SENT, "bytes": 1}, sum_sent=SENT, sum_received={
        "seconds": 2.0, "bytes": 90_000}, sum_bidir_reverse={}),
        Datagrams(100, 500, 450, pytest.approx(0.1), 0.36), id="other sums beside"),
])
def test_what_is_counted(output, found):
    assert udp.parse(output) == found


@pytest.mark.parametrize("output", [
    pytest.param(answer(), id="no sums"),
    pytest.param(json.dumps({"end": {"sum_sent": SENT, "sum_received": SENT}}), id="no size"),
    pytest.param(answer(sum_sent={**SENT, "bytes": 0}, sum_received=SENT), id="nothing sent"),
    pytest.param(json.dumps({"start": [], "end": []}), id="another shape"),
])
def test_what_is_no_measurement_is_an_error(output):
    with pytest.raises(ToolError, match=r"^iperf3's answer has no start\.test_start\.blksize"):
        udp.parse(output)


@pytest.mark.parametrize(("version", "words"), [
    pytest.param("iperf 3.12", [["-k", "2000"], ["-k", "100"], ["-t", "2"]],
                 id="a count where iperf3 times it"),
    pytest.param("iperf 3.18", [["-t", "1"], ["-t", "2"]], id="else the next second"),
])
def test_a_duration_below_a_second(monkeypatch, version, words):
    commands = []

    def exchange(_client, _server, command, _expected):
        commands.append(command)
        return answer(sum_sent=SENT, sum_received=SENT)

    monkeypatch.setattr(udp.iperf, "answer", exchange)
    monkeypatch.setattr(iperf, "_known", {})
    monkeypatch.setattr(iperf, "run", lambda *_: Finished(0, version, ""))
    server = type("Server", (), {"ip": "10.0.0.1", "name": "b"})()
    udp.datagrams(None, server, size=100, duration=0.2)
    udp.datagrams(None, server, size=100, duration=2)
    assert [command[-2:] for command in commands] == words
    assert all(command[-8:-2] == ["2000", "-u", "-b", "0", "-l", "100"] for command in commands)


@pytest.mark.parametrize("size", [15, 65508])
def test_a_size_that_no_datagram_has(size):
    with pytest.raises(ToolError, match=f"^iperf3 sends datagrams of 16 to 65507 bytes, not of"
                                        f" {size}$"):
        udp.datagrams(None, None, size=size, duration=1)
