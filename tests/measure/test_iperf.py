import json
from pathlib import Path

import pytest

from calico_mn.errors import ToolError
from calico_mn.measure import iperf
from calico_mn.measure.programs import Finished

RECEIVED = {"seconds": 2.0, "bytes": 250_000_000, "bits_per_second": 1e9}


def command_of(monkeypatch, version, action=None, **options):
    """The only command by which an iperf3 that says ``version`` is asked for a transfer."""
    commands = []

    def transfer(_client, _server, command, _expected, _read):
        commands.append(command)
        return iperf.Transfer(800, 1, 1, 0)

    monkeypatch.setattr(iperf, "exchange", transfer)
    monkeypatch.setattr(iperf, "_known", {})
    monkeypatch.setattr(iperf, "run", lambda *_: Finished(0, version, ""))
    server = type("Server", (), {"ip": "10.0.0.1", "name": "b"})()
    if action:
        action(None, server)
    else:
        iperf.transfer(None, server, rate=800, **options)
    command, = commands
    return command


def answer(**end):
    return json.dumps({"start": {}, "intervals": [], "end": end})


def test_goodput_is_what_the_receiver_got():
    sent = {"seconds": 2.0, "bytes": 300_000_000, "bits_per_second": 1.2e9, "retransmits": 7}
    found = iperf.parse(answer(sum_sent=sent, sum_received=RECEIVED))
    assert found == iperf.Transfer(1000.0, 250_000_000, 2.0, 7)


def test_retransmits_are_unknown_where_iperf3_does_not_say():
    assert iperf.parse(answer(sum_received=RECEIVED)).retransmits is None


@pytest.mark.parametrize(("output", "text"), [
    pytest.param(json.dumps({"start": {}, "end": {}, "error": "unable to connect to server"}),
                 "iperf3: unable to connect to server", id="its own error"),
    pytest.param("iperf3: parameter error", "iperf3 answered something that is not JSON:"
                 " 'iperf3: parameter error'", id="not JSON"),
    pytest.param("", "iperf3 answered something that is not JSON: ''", id="nothing"),
    pytest.param("[]", "iperf3 answered no JSON object: '[]'", id="a list"),
    pytest.param(answer(), "iperf3's answer has no end.sum_received with bytes, seconds and"
                 " bits_per_second", id="no result"),
    pytest.param(json.dumps({"end": []}), "iperf3's answer has no end.sum_received with bytes,"
                 " seconds and bits_per_second", id="another shape"),
    pytest.param(answer(sum_received={**RECEIVED, "seconds": "x"}), "iperf3's answer has no"
                 " end.sum_received with bytes, seconds and bits_per_second", id="no number"),
    pytest.param(answer(sum_received={**RECEIVED, "bytes": 0}), "iperf3: nothing arrived",
                 id="no bytes"),
])
def test_what_is_no_measurement_is_an_error(output, text):
    with pytest.raises(ToolError) as caught:
        iperf.parse(output)
    assert str(caught.value) == text


@pytest.mark.parametrize(("limit", "words"), [
    ({"seconds": 2}, ["-t", "2"]),
    ({"amount": 1000}, ["-n", "1000"]),
    ({"seconds": 2, "skipped": 1}, ["-O", "1", "-t", "2"]),
])
def test_client_command(limit, words):
    command = iperf.client_argv("10.0.0.1", **limit)
    assert command[:4] == ["iperf3", "-c", "10.0.0.1", "-J"]
    assert command[-len(words):] == words


@pytest.mark.parametrize(("duration", "words"), [
    pytest.param(2, ["-t", "2"], id="whole seconds as they are"),
    pytest.param(2.0, ["-t", "2"], id="also written with a point"),
    pytest.param(0.5, ["-n", "50000000"], id="800 Mbit/s for half a second: 50 MB"),
    pytest.param(1.5, ["-n", "150000000"], id="more than a second"),
])
def test_durations_that_iperf3_cannot_count_become_an_amount(monkeypatch, duration, words):
    assert command_of(monkeypatch, "iperf 3.12", duration=duration)[-2:] == words


@pytest.mark.parametrize("version", ["iperf 3.16 (cJSON 1.7.15)", "something else"])
@pytest.mark.parametrize(("duration", "words"), [
    pytest.param(2.0, ["-t", "2"], id="whole seconds as they are"),
    pytest.param(0.05, ["-t", "1"], id="a second at least"),
    pytest.param(1.5, ["-t", "2"], id="the next one"),
])
def test_whole_seconds_where_iperf3_does_not_time_amounts(monkeypatch, version, duration, words):
    assert command_of(monkeypatch, version, duration=duration)[-2:] == words


def test_where_iperf3_does_not_time_amounts_the_warm_up_has_none(monkeypatch):
    assert command_of(monkeypatch, "iperf 3.18", action=iperf.warm_up)[-2:] == ["-t", "1"]


def test_with_an_amount_iperf3_reports_since_only_then_it_looks_at_the_amount():
    command = iperf.client_argv("10.0.0.1", amount=1000)
    assert command[command.index("-i") + 1] == "0.1"


@pytest.mark.parametrize(("duration", "words"), [
    pytest.param(0.3, ["-O", "1", "-t", "2"], id="two seconds at least"),
    pytest.param(2.5, ["-O", "1", "-t", "3"], id="whole seconds"),
    pytest.param(5, ["-O", "1", "-t", "5"], id="as asked for"),
])
def test_over_a_limited_link_the_first_second_is_not_counted(monkeypatch, duration, words):
    calls = []
    monkeypatch.setattr(iperf, "exchange", lambda *arguments: calls.append(arguments))
    server = type("Server", (), {"ip": "10.0.0.1", "name": "b"})()
    iperf.transfer(None, server, duration=duration, rate=800, limited=True)
    (_client, _server, command, expected, _read), = calls
    assert command[-4:] == words
    assert expected == int(words[-1]) + 1


def recorded(name):
    """What iperf3 3.12 answered once, between two pods with an MTU of 1480, inside IPIP."""
    return (Path(__file__).parent / "iperf3" / f"{name}.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "transfer"), [
    pytest.param("two-streams", iperf.Transfer(20310.758, 2_540_568_576, 1.000679, 45, 1428),
                 id="streams are summed up"),
    pytest.param("reverse", iperf.Transfer(16326.336, 2_041_053_184, 1.000128, 204, 1428),
                 id="in reverse the client receives"),
    pytest.param("both", iperf.Transfer(16521.858, 2_073_034_752, 1.003778, 136, 1428),
                 id="both directions are summed up"),
    pytest.param("both-two-streams",
                 iperf.Transfer(15885.029, 1_992_294_400, 1.003357, 90, 1428),
                 id="both directions, two streams in each"),
])
def test_recorded_answers(name, transfer):
    assert iperf.parse(recorded(name)) == transfer


@pytest.mark.parametrize("name", ["two-streams", "reverse"])
def test_recorded_answers_tell_the_cpu_time_of_both_ends(name):
    found = iperf.parse(recorded(name))
    # Two programs of one thread, or of one for each stream, at work for the transfer's time.
    assert 0 < found.cpu_s < 8 * found.seconds


@pytest.mark.parametrize(("start", "stream", "size"), [
    pytest.param({"tcp_mss_default": 1428}, {"pmtu": 1480}, 1428, id="as negotiated"),
    pytest.param({"tcp_mss_default": 1448}, {"pmtu": 1480}, 1428,
                 id="the path turned out to be narrower"),
    pytest.param({"tcp_mss_default": 1460}, {"pmtu": 1500}, 1460, id="without timestamps"),
    pytest.param({"tcp_mss_default": 1428}, {}, 1428, id="no pmtu, as in reverse"),
    pytest.param({"tcp_mss_default": 0}, {"pmtu": 1480}, None, id="the kernel did not tell"),
    pytest.param({}, {"pmtu": 1480}, None, id="iperf3 did not tell"),
])
def test_payload_of_a_full_segment(start, stream, size):
    answered = {"start": start, "intervals": [{"streams": [stream]}],
                "end": {"sum_received": RECEIVED}}
    assert iperf.parse(json.dumps(answered)).mss == size


@pytest.mark.parametrize(("options", "words"), [
    pytest.param({}, [], id="one stream, forward"),
    pytest.param({"streams": 4}, ["-P", "4"], id="streams"),
    pytest.param({"direction": "reverse"}, ["-R"], id="reverse"),
    pytest.param({"direction": "both", "streams": 2}, ["-P", "2", "--bidir"], id="both"),
])
@pytest.mark.parametrize("limited", [False, True])
def test_streams_and_direction_become_options(monkeypatch, options, words, limited):
    commands = []
    monkeypatch.setattr(iperf, "exchange", lambda _c, _s, command, *_: commands.append(command))
    server = type("Server", (), {"ip": "10.0.0.1", "name": "b"})()
    iperf.transfer(None, server, duration=2, rate=800, limited=limited, **options)
    command, = commands
    assert command[8:command.index("-O" if limited else "-t")] == words


def test_in_both_directions_each_moves_half_of_the_amount(monkeypatch):
    command = command_of(monkeypatch, "iperf 3.12", duration=0.5, direction="both")
    assert command[-2:] == ["-n", "25000000"]
