import socket

import pytest

from calico_mn.kernel.capture import OUTGOING, Frame
from calico_mn.measure.wire import echo_request

ECHO_REQUEST, ECHO_REPLY = b"\x08\0\0\0\0\1\0\1", b"\0\0\0\0\0\1\0\1"


def ip(source, destination, protocol, payload, options=b""):
    return bytes([0x40 | 5 + len(options) // 4, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]) + (
        socket.inet_aton(source) + socket.inet_aton(destination) + options + payload)


PING = ip("10.0.0.1", "10.0.1.1", 1, ECHO_REQUEST)


@pytest.mark.parametrize(("packet", "seen"), [
    pytest.param(PING, ("10.0.0.1", "10.0.1.1", False), id="plain request"),
    pytest.param(ip("192.168.57.31", "192.168.58.33", 4, PING),
                 ("10.0.0.1", "10.0.1.1", True), id="request inside IPIP"),
    pytest.param(ip("192.168.57.31", "192.168.58.33", 4, PING, options=b"\1\1\1\0"),
                 ("10.0.0.1", "10.0.1.1", True), id="outer header with options"),
    pytest.param(ip("10.0.1.1", "10.0.0.1", 1, ECHO_REPLY), None, id="reply"),
    pytest.param(ip("1.1.1.1", "2.2.2.2", 4, ip("10.0.1.1", "10.0.0.1", 1, ECHO_REPLY)), None,
                 id="reply inside IPIP"),
    pytest.param(ip("1.1.1.1", "2.2.2.2", 4, ip("10.0.0.1", "10.0.1.1", 6, b"x" * 20)), None,
                 id="TCP inside IPIP"),
    pytest.param(ip("1.1.1.1", "2.2.2.2", 4, b"\x60" + b"\0" * 60), None, id="IPv6 inside"),
    pytest.param(ip("1.1.1.1", "2.2.2.2", 4, PING[:10]), None, id="torn inside"),
    pytest.param(PING[:20], None, id="no ICMP header"),
    pytest.param(PING[:12], None, id="torn"),
    pytest.param(b"", None, id="empty"),
])
def test_only_whole_echo_requests_are_seen(packet, seen):
    assert echo_request(Frame("tunl0", OUTGOING, False, 0, packet)) == seen
