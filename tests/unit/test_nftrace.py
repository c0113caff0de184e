"""The kernel's trace of packets in nftables: messages, and a verdict's words."""

from __future__ import annotations

import os
import resource
import struct

import pytest

from calico_mn.kernel import nftrace
from calico_mn.kernel.netlink import attribute, text

LISTING = """table ip t {
\tchain FORWARD { # handle 1
\t\ttype filter hook forward priority filter; policy drop;
\t\tjump inner # handle 3
\t}

\tchain inner { # handle 2
\t\tip saddr 10.0.0.1 counter packets 2 bytes 168 drop # handle 4
\t}
}
"""


def number(value):
    return struct.pack("!I", value)


def event(chain, kind, *, handle=0, verdict=None, policy=None, packet=7, devices=(), of=0xA11):
    """One message; kinds: 1 policy, 3 rule."""
    body = bytes((2, 0, 0, 0)) + attribute(6, number(packet)) + attribute(4, number(kind))
    body += text(1, "t") + text(2, chain)
    body += attribute(3, struct.pack("!Q", handle)) if handle else b""
    body += attribute(0x8005, attribute(1, number(verdict))) if verdict is not None else b""
    body += attribute(16, number(policy)) if policy is not None else b""
    for device in devices:
        body += attribute(device, number(1))
    return struct.pack("=IHHII", 16 + len(body), of, 0, 0, 0) + body


JUMP, GO_ON, DROP = 0xFFFFFFFD, 0xFFFFFFFF, 0


@pytest.mark.parametrize(("events", "incoming", "words"), [
    ([event("FORWARD", 3, handle=3, verdict=JUMP, devices=(10, 12)),
      event("inner", 3, handle=4, verdict=DROP)], False,
     "ip saddr 10.0.0.1 drop (table ip t, chain inner, hook forward)"),
    ([event("FORWARD", 3, handle=3, verdict=GO_ON, devices=(10,)),
      event("FORWARD", 1, policy=DROP)], True,
     "policy drop (table ip t, chain FORWARD, hook forward)"),
    ([event("gone", 3, handle=9, verdict=DROP)], False, "handle 9 (table ip t, chain gone)"),
], ids=["a jump", "a policy", "a rule that is gone"])
def test_a_drop_is_told_in_words(events, incoming, words):
    others = event("FORWARD", 1, policy=1, packet=8) + event("x", 1, policy=DROP, of=1)
    (drop,) = (v for v in nftrace.verdicts(others + b"".join(events)) if v.dropped)
    assert (drop.incoming, nftrace.text(drop, LISTING)) == (incoming, words)


@pytest.mark.parametrize("data", [b"", b"\0" * 64, event("c", 3)[:30]])
def test_what_is_cut_short_is_no_drop(data):
    assert not any(verdict.dropped for verdict in nftrace.verdicts(data))


def test_the_table_is_made_at_both_hooks_and_removed():
    rules = nftrace.rules(["m1", "m2"], is_switch=True)
    assert rules.count("meta nftrace set 1") == 4 and rules.count("add chain") == 5
    assert nftrace.removal(is_switch=True) == "delete table bridge calico_mn_trace\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="nftables' trace is for root")
def test_it_listens_also_with_many_open_files():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with nftrace.Listener() as listener:
            assert listener.verdicts(0.01, "") == []
    finally:
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
