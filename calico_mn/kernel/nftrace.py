"""Which rule or policy of nftables drops a packet, by the kernel's own trace of it.

    rules(...) --> nft -f -       marks the packets whose bytes match, for as long as they are there
    Listener  <--  netlink        one verdict for each rule and policy that a marked packet met
    text(...) <-- nft -a list     the text of the rule that dropped it

As ``nft monitor trace`` does it (nf_tables_trace.c, nft(8)): rules without a counter and chains
with ``policy drop`` are seen too, of every family that the packet passes, iptables-nft's included.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from calico_mn.kernel.netlink import attributes

TABLE = "calico_mn_trace"
_NETLINK_NETFILTER, _NFTRACE_GROUP = 12, 9
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
#: NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE
_TRACE = 10 << 8 | 17
#: NFTA_TRACE_* and NFTA_VERDICT_CODE of linux/netfilter/nf_tables.h
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _ID, _IIF, _OIF, _POLICY = 1, 2, 3, 4, 5, 6, 10, 12, 16
_NETWORK_HEADER, _CODE, _RULE, _DROP = 8, 1, 3, bytes(4)
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge"}
# Before everything else, and after it: raw has -300, source NAT 100.
_EARLY = 400


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule, or by ``handle`` 0 a chain's policy, made of a packet.

    ``packet`` is the kernel's number of the packet. ``incoming`` says that it had come in and had
    no way out yet (prerouting, input), as the packet's first event at a hook has it; ``chains`` are
    those of the table that it went through. ``addresses``: source and destination, where told.
    """

    packet: int
    family: str
    table: str
    chains: tuple[str, ...]
    handle: int
    dropped: bool
    incoming: bool
    addresses: tuple[str, str] | None


def rules(matches: Sequence[str], *, is_switch: bool) -> str:
    """For ``nft -f -``: a table that marks what matches, where packets enter or are made.

    At the other hooks it shows last what became of them: their addresses, after NAT.
    """
    name = f"{'bridge' if is_switch else 'ip'} {TABLE}"
    lines = [f"add table {name}"]
    for hook in ("prerouting", "output", "input", "forward", "postrouting"):
        marks = hook in ("prerouting", "output")
        lines.append(f"add chain {name} {hook} {{ type filter hook {hook} priority"
                     f" {-_EARLY if marks else _EARLY}; }}")
        lines += [f"add rule {name} {hook} {match} meta nftrace set 1"
                  for match in matches if marks]
    return "\n".join(lines) + "\n"


def removal(*, is_switch: bool) -> str:
    """For ``nft -f -``: without that table again."""
    return f"delete table {'bridge' if is_switch else 'ip'} {TABLE}\n"


class Listener:
    """The drops in the namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC
                                     | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFTRACE_GROUP)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def verdicts(self, seconds: float, ignored: str) -> list[Verdict]:
        """What comes during ``seconds``, of tables other than ``ignored``; a drop ends the wait."""
        data = bytearray()
        waiting = select.poll()  # select() refuses descriptors above 1023
        waiting.register(self._socket, select.POLLIN)
        end = time.monotonic() + seconds
        while True:
            found = [verdict for verdict in verdicts(data) if verdict.table != ignored]
            if any(verdict.dropped for verdict in found) or not waiting.poll(
                    max(0.0, end - time.monotonic()) * 1000):
                return found
            # ENOBUFS: more came than the socket holds, and what it has is there.
            with suppress(OSError):
                while True:
                    data += self._socket.recv(65536)


def verdicts(data: bytes | bytearray) -> Iterator[Verdict]:
    """The verdicts among the netlink messages in ``data``, in order."""
    at = 0
    seen: dict[tuple[int, str], list[str]] = {}
    incoming: dict[int, bool] = {}
    while at + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        body, at = bytes(data[at + 16:at + length]), at + ((max(length, 16) + 3) & ~3)
        if kind != _TRACE:
            continue
        inside = attributes(body[4:])
        packet, event = (int.from_bytes(inside.get(key, b""), "big") for key in (_ID, _TYPE))
        table, chain = (inside.get(key, b"").rstrip(b"\0").decode(errors="replace")
                        for key in (_TABLE, _CHAIN))
        if _IIF in inside or _OIF in inside:
            incoming[packet] = _OIF not in inside
        chains = seen.setdefault((packet, table), [])
        if chain not in chains[-1:]:
            chains.append(chain)
        header = inside.get(_NETWORK_HEADER, b"")
        verdict = (attributes(inside.get(_VERDICT, b"")).get(_CODE) if event == _RULE
                   else inside.get(_POLICY))
        yield Verdict(packet, _FAMILIES.get(body[0], str(body[0])), table, tuple(chains),
                      int.from_bytes(inside.get(_HANDLE, b""), "big") if event == _RULE else 0,
                      verdict == _DROP, incoming.get(packet, False),
                      (socket.inet_ntoa(header[12:16]), socket.inet_ntoa(header[16:20]))
                      if len(header) >= 20 else None)


def text(verdict: Verdict, listing: str) -> str:
    """A verdict in words; ``listing`` is what ``nft -a list table`` prints."""
    bodies = dict(re.findall(r"^\tchain (\S+) \{.*?\n(.*?)^\t\}", listing, re.M | re.S))
    chain = verdict.chains[-1]
    hook = next((hook[1] for name in reversed(verdict.chains)
                 if (hook := re.search(r"hook (\w+)", bodies.get(name, "")))), "")
    place = (f"table {verdict.family} {verdict.table}, chain {chain}"
             + (f", hook {hook}" if hook else ""))
    if not verdict.handle:
        return f"policy drop ({place})"
    rule = re.search(rf"^\s*(.*) # handle {verdict.handle}$", bodies.get(chain, ""), re.MULTILINE)
    words = re.sub(r" ?counter packets \d+ bytes \d+| ?counter name \S+", "", rule[1]).strip(
        ) if rule else f"handle {verdict.handle}"
    return f"{words} ({place})"
