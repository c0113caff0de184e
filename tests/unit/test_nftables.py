"""Packet filters as text for nft, what nft answers, and the kernel's trace in a verdict's words."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys

import pytest

from calico_mn.errors import ClusterError, KernelError, ToolError, UnsupportedError
from calico_mn.kernel import nftables
from calico_mn.kernel.netlink import attribute, text
from calico_mn.packetmatch import Drop, Hook, parse

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

ALL = frozenset(Hook)
IPIP, NEEDED, VXLAN = Drop.IPIP, Drop.FRAGMENTATION_NEEDED, Drop(17, port=4789)


def chain(table, hook, match):
    return [f"add chain {table} {hook} {{ type filter hook {hook} priority 0; }}",
            f"add rule {table} {hook} {match} counter name dropped drop"]


def made(table, *chains):
    return [f"add table {table}", f"add counter {table} dropped",
            *(line for lines in chains for line in lines)]


@pytest.mark.parametrize(("present", "wanted", "is_switch", "lines"), [
    pytest.param({}, {}, False, [], id="nothing"),
    pytest.param({}, {IPIP: ALL}, True, made(
        "bridge calico_mn_protocol_4",
        chain("bridge calico_mn_protocol_4", "forward", "ip protocol 4")),
        id="a switch has only forward"),
    pytest.param({}, {NEEDED: ALL}, False, made(
        "ip calico_mn_icmp_3_4",
        *(chain("ip calico_mn_icmp_3_4", hook, "icmp type 3 icmp code 4")
          for hook in ("input", "forward", "output"))), id="a router has all hooks"),
    pytest.param({}, {Drop(1, 8): frozenset({Hook.OUTPUT})}, False, made(
        "ip calico_mn_icmp_8_any",
        chain("ip calico_mn_icmp_8_any", "output", "icmp type 8")), id="any code, one hook"),
    pytest.param({}, {VXLAN: ALL}, True, made(
        "bridge calico_mn_udp_4789",
        chain("bridge calico_mn_udp_4789", "forward", "udp dport 4789")), id="a UDP port"),
    pytest.param({}, {Drop(6, port=179): frozenset({Hook.FORWARD})}, False, made(
        "ip calico_mn_tcp_179",
        chain("ip calico_mn_tcp_179", "forward", "tcp dport 179")), id="a TCP port"),
    pytest.param({IPIP: ALL, NEEDED: ALL}, {NEEDED: ALL}, False,
                 ["delete table ip calico_mn_protocol_4"], id="what stays is left alone"),
    pytest.param({IPIP: ALL}, {IPIP: frozenset({Hook.INPUT})}, False, [
        "delete table ip calico_mn_protocol_4",
        *made("ip calico_mn_protocol_4",
              chain("ip calico_mn_protocol_4", "input", "ip protocol 4"))], id="other hooks"),
])
def test_a_change_of_filter_is_the_difference_only(present, wanted, is_switch, lines):
    assert nftables.change(present, wanted, is_switch=is_switch) == lines


@pytest.mark.parametrize("fields", [
    (256,), (-1,), ("4; flush ruleset",), (True,), (4, 3), (1, None, 4), (1, 3, 256), (1, 3.0),
    (17, None, None, 65536), (17, None, None, "53"), (17, None, None, True), (4, None, None, 80),
    (1, 3, 4, 53)])
def test_a_drop_that_no_packet_can_match_is_refused(fields):
    with pytest.raises(ClusterError):
        Drop(*fields)


@pytest.mark.parametrize(("percent", "least"), [(100, 999_999), (1, 9_999), (1e-6, 0)])
def test_a_random_drop_is_a_share_of_a_million(percent, least):
    lines = nftables.random_drop("rack-1.a", percent)
    assert [line for line in lines if "numgen" in line] == [
        f"add rule netdev calico_mn_loss_rack-1.a {hook} numgen random mod 1000000 <= {least}"
        " counter name dropped drop" for hook in ("ingress", "egress")]
    assert nftables.random_drop("rack-1.a", 0) == lines[:2]


@pytest.mark.parametrize(("drop", "words"), [
    (IPIP, "IP protocol 4"), (NEEDED, "ICMP type 3 code 4"), (Drop(1, 8), "ICMP type 8"),
    (VXLAN, "UDP port 4789"), (Drop(17), "IP protocol 17")])
def test_a_drop_says_what_it_is(drop, words):
    assert str(drop) == words


@pytest.mark.parametrize(("text", "drop"), [
    ("ipip", IPIP), ("IPIP", IPIP), ("protocol 4", IPIP), ("protocol/4", IPIP), ("vxlan", VXLAN),
    ("udp port 4789", VXLAN), ("udp/4789", VXLAN), ("frag-needed", NEEDED), ("icmp/3/4", NEEDED),
    ("icmp frag-needed", NEEDED), ("icmp", Drop(1)), ("icmp/8", Drop(1, 8)),
    ("bgp", Drop(6, port=179)), ("tcp/179", Drop(6, port=179)),
    *((str(drop), drop) for drop in (IPIP, NEEDED, Drop(1, 8), VXLAN, Drop(17)))])
def test_a_drop_is_read_as_people_write_it(text, drop):
    assert parse(text) == drop


@pytest.mark.parametrize("text", ["", "gre", "tcp", "tcp/x", "tcp/65536", "tcp/1/2", "protocol",
                                  "protocol/256", "icmp/1/2/3", "4", "icmp/256", "ipip/4"])
def test_what_is_no_kind_of_packets_is_refused_with_those_there_are(text):
    with pytest.raises(ClusterError, match="say ipip, vxlan, frag-needed"):
        parse(text)


def listing(**tables):
    return json.dumps({"nftables": [{"metainfo": {}}, *(
        {"counter": {"table": name, "name": "dropped", "packets": count, "bytes": 0}}
        for name, count in tables.items())]})


def test_counts_are_those_of_our_tables():
    text = listing(calico_mn_protocol_4=7, somebody_elses=9)
    assert nftables.counts(text, {IPIP: ALL}) == {IPIP: 7}


@pytest.mark.parametrize("text", ["", "[]", "{}", listing(somebody_elses=9)])
def test_a_listing_without_our_counters_is_an_error_of_the_tool(text):
    with pytest.raises(ToolError, match="list of counters"):
        nftables.counts(text, {IPIP: ALL})


def nft(script):
    """A stand-in that answers as nft might."""
    return subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize(("script", "error", "words"), [
    ("import sys; sys.exit('stdin:1: Error: syntax error\\nmore')", KernelError,
     r"^r1: nft: stdin:1: Error: syntax error$"),
    ("import sys; sys.exit('Could not process rule: Operation not supported')",
     UnsupportedError, "r1: .*CONFIG_NF_TABLES_IPV4"),
    ("raise SystemExit(3)", KernelError, "r1: nft: exit status 3"),
])
def test_what_nft_refuses_is_said_in_one_line(script, error, words):
    with pytest.raises(error, match=words) as raised:
        nftables.finish("r1", nft(script))
    assert "\n" not in str(raised.value)


def test_an_nft_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(nftables, "_TIMEOUT_S", 0.1)
    hung = nft("import time; time.sleep(60)")
    with pytest.raises(ToolError, match="did not end"):
        nftables.finish("r1", hung)
    assert hung.poll() is not None


def test_without_nft_the_error_names_the_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UnsupportedError, match="apt-get install nftables") as raised:
        nftables.require_nft()
    assert "\n" not in str(raised.value)


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
    (drop,) = (v for v in nftables.verdicts(others + b"".join(events)) if v.dropped)
    assert (drop.incoming, nftables.verdict_text(drop, LISTING)) == (incoming, words)


@pytest.mark.parametrize("data", [b"", b"\0" * 64, event("c", 3)[:30]])
def test_what_is_cut_short_is_no_drop(data):
    assert not any(verdict.dropped for verdict in nftables.verdicts(data))


def test_the_table_is_made_at_both_hooks_and_removed():
    rules = nftables.trace_rules(["m1", "m2"], is_switch=True)
    assert rules.count("meta nftrace set 1") == 4 and rules.count("add chain") == 5
    assert nftables.trace_removal(is_switch=True) == "delete table bridge calico_mn_trace\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="nftables' trace is for root")
def test_it_listens_also_with_many_open_files():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with nftables.TraceListener() as listener:
            assert listener.verdicts(0.01, "") == []
    finally:
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
