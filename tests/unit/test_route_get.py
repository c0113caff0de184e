"""Policy rules decoded from the kernel's messages, and the lookup that they amount to."""

from __future__ import annotations

import socket

import pytest

from calico_mn.kernel import route_get
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import attribute, text, u32

NAMES = {1: "lo", 2: "eth0", 3: "tunl0"}


def rule(priority, action=1, table=254, source="", destination="", flags=0, extra=b""):
    """RTM_NEWRULE's body."""
    ends = [(end.split("/") if end else ("", "0")) for end in (destination, source)]
    body = rt.ROUTE_HEADER.pack(socket.AF_INET, int(ends[0][1]), int(ends[1][1]), 0, table, 0, 0,
                                action, flags)
    body += u32(6, priority) + extra
    for kind, (address, _length) in zip((1, 2), ends, strict=True):
        body += attribute(kind, socket.inet_aton(address)) if address else b""
    return route_get.rule_of(body)


def route(prefix, table=254, kind=1, device=2):
    """RTM_NEWROUTE's body."""
    address, length = prefix.split("/")
    return rt.ROUTE_HEADER.pack(socket.AF_INET, int(length), 0, 0, table, 3, 0, kind, 0) + (
        attribute(rt.RTA_DST, socket.inet_aton(address)) + u32(rt.RTA_OIF, device))


DEFAULTS = [rule(0, table=255), rule(32766), rule(32767, table=253)]
IIF, MARK, GOTO, SUPPRESS = text(3, "eth0"), u32(10, 5), u32(4, 32766), u32(14, 0)


@pytest.mark.parametrize(("item", "words"), [
    (rule(100, source="10.1.0.0/16"), "100: from 10.1.0.0/16 lookup main"),
    (rule(9, 6, destination="10.1.0.1/32"), "9: from all to 10.1.0.1 blackhole"),
    (rule(9, 8, flags=2, extra=IIF), "9: not from all iif eth0 prohibit"),
    (rule(9, table=77, extra=MARK), "9: from all fwmark 0x5/0xffffffff lookup 77"),
    (rule(9, 2, extra=GOTO), "9: from all goto 32766"),
    (rule(9, extra=SUPPRESS), "9: from all lookup main suppress_prefixlength 0"),
    (rule(9, extra=attribute(22, b"\1")), "9: from all ipproto lookup main"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_rule_is_written_as_ip_does(item, words):
    assert item.text == words and not item.is_default


ROUTES = [route("10.1.0.0/16"), route("10.1.2.0/24", kind=6), route("0.0.0.0/0", device=3),
          route("0.0.0.0/0", table=77, kind=7), route("10.1.3.0/24", table=78, kind=9)]


@pytest.mark.parametrize(("rules", "packet", "decided"), [
    ([], ("10.1.1.1",), (32766, "10.1.0.0/16")),
    ([], ("10.1.2.1",), (32766, "10.1.2.0/24")),
    ([], ("10.9.9.9",), (32766, "default")),
    ([rule(9, 6, source="10.5.0.0/16")], ("10.1.1.1", "10.5.1.1"), (9, None)),
    ([rule(9, 6, source="10.5.0.0/16")], ("10.1.1.1", "10.6.1.1"), (32766, "10.1.0.0/16")),
    ([rule(9, 6, source="10.5.0.0/16", flags=2)], ("10.1.1.1", "10.6.1.1"), (9, None)),
    ([rule(9, table=77, extra=IIF)], ("10.1.1.1", "", "eth0"), (9, "default")),
    ([rule(9, table=77, extra=IIF)], ("10.1.1.1",), (32766, "10.1.0.0/16")),
    ([rule(9, table=77, extra=MARK)], ("10.1.1.1",), (32766, "10.1.0.0/16")),
    ([rule(9, table=78)], ("10.1.3.1",), (32766, "10.1.0.0/16")),
    ([rule(9, table=79)], ("10.1.3.1",), (32766, "10.1.0.0/16")),
    ([rule(9, 3), rule(10, table=77)], ("10.1.3.1",), (10, "default")),
    ([rule(9, 2, extra=GOTO), rule(10, 6)], ("10.1.1.1",), (32766, "10.1.0.0/16")),
    ([rule(9, extra=SUPPRESS), rule(10, table=77)], ("10.9.9.9",), (10, "default")),
], ids=range(14))
def test_the_first_rule_with_a_route_decides(rules, packet, decided):
    item, found = route_get.lookup([DEFAULTS[0], *rules, *DEFAULTS[1:]], ROUTES, NAMES, *packet)
    assert (item.priority, found and str(found).split(" dev")[0].split()[-1]) == decided


def test_nothing_matches_where_no_table_has_a_route():
    assert route_get.lookup(DEFAULTS, [], NAMES, "10.1.1.1") == (None, None)
    assert all(item.is_default for item in DEFAULTS)
