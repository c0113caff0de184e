"""nftables: packet filters as rules, which rule drops a packet, and what ``nft`` prints.

In go two filters, or what nft printed; out come the lines for nft that lead from one filter to the
other, or counts. A filter is a table per :class:`~calico_mn.packetmatch.Drop`, so that adding or
taking away one leaves the others and their counters alone; ``nft list ruleset`` in the namespace
shows them. The rules are made of our own words and of numbers, never of text from a topology.
Switches are filtered in the ``bridge`` family, all else in ``ip``.

Which rule or policy, ours or another's, drops a packet is told by the kernel's own trace::

    trace_rules(...)  --> nft -f -       marks the packets whose bytes match, while they are there
    TraceListener    <--  netlink        a verdict for each rule and policy that a marked packet met
    verdict_text(...) <-- nft -a list    the text of the rule that dropped it

As ``nft monitor trace`` does it (nf_tables_trace.c, nft(8)): rules without a counter and chains
with ``policy drop`` are seen too, of every family that the packet passes, iptables-nft's included.
"""

from __future__ import annotations

import json
import re
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from calico_mn.errors import KernelError, ToolError, UnsupportedError
from calico_mn.kernel import processes
from calico_mn.kernel.netlink import attributes, listener, messages, string
from calico_mn.packetmatch import PROTOCOL_TCP, Drop, Filter, Hook

#: reads rules from its standard input
APPLY = ("nft", "-f", "-")
LIST_COUNTERS = ("nft", "-j", "list", "counters")
LIST_RULES = ("nft", "-j", "list", "ruleset")
_TIMEOUT_S = 30
_COUNTER = "dropped"

_TRACE_TABLE = "calico_mn_trace"
_NETLINK_NETFILTER, _NFTRACE_GROUP = 12, 9
#: NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE
_TRACE = 10 << 8 | 17
#: NFTA_TRACE_* and NFTA_VERDICT_CODE of linux/netfilter/nf_tables.h
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _ID, _IIF, _OIF, _POLICY = 1, 2, 3, 4, 5, 6, 10, 12, 16
_NETWORK_HEADER, _CODE, _RULE, _DROP = 8, 1, 3, bytes(4)
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge"}
# Before everything else, and after it: raw has -300, source NAT 100.
_EARLY = 400


def table(drop: Drop) -> str:
    """The name of a drop's table.

    ``calico_mn_protocol_4``, ``calico_mn_icmp_3_4``, ``calico_mn_udp_4789``.
    """
    if drop.port is not None:
        return f"calico_mn_{_protocol(drop)}_{drop.port}"
    if drop.icmp_type is None:
        return f"calico_mn_protocol_{drop.protocol}"
    code = "any" if drop.icmp_code is None else drop.icmp_code
    return f"calico_mn_icmp_{drop.icmp_type}_{code}"


def _protocol(drop: Drop) -> str:
    return "tcp" if drop.protocol == PROTOCOL_TCP else "udp"


def change(present: Filter, wanted: Filter, *, is_switch: bool) -> list[str]:
    """The lines for nft, one transaction, that lead from one filter to another."""
    family = _family(is_switch)
    lines = [f"delete table {family} {table(drop)}"
             for drop, hooks in present.items() if wanted.get(drop) != hooks]
    for drop, hooks in wanted.items():
        if present.get(drop) == hooks:
            continue
        name = f"{family} {table(drop)}"
        lines += [f"add table {name}", f"add counter {name} {_COUNTER}"]
        for hook in Hook:
            if hook in hooks and (not is_switch or hook is Hook.FORWARD):
                lines += [
                    f"add chain {name} {hook} {{ type filter hook {hook} priority 0; }}",
                    f"add rule {name} {hook} {_match(drop)} counter name {_COUNTER} drop",
                ]
    return lines


def _family(is_switch: bool) -> str:
    return "bridge" if is_switch else "ip"


def random_drop(device: str, percent: float) -> list[str]:
    """The lines for nft that lose so many percent of what a device takes and sends, 0 for none.

    For links where the kernel has no netem. ``device`` is a switch's port or a node's end of a
    pod's veth, whose names we make: no tc program redirects packets past the hooks there, as the
    eBPF tunnel's does on uplinks (nf_hook_egress with skb->nf_skip_egress).
    """
    name = f"netdev calico_mn_loss_{device}"
    lines = [f"add table {name}", f"delete table {name}"]
    if percent:
        lines += [f"add table {name}", f"add counter {name} {_COUNTER}"]
        for hook in ("ingress", "egress"):
            lines += [f'add chain {name} {hook} {{ type filter hook {hook} device "{device}"'
                      " priority 0; }",
                      f"add rule {name} {hook} numgen random mod 1000000"
                      f" <= {max(1, round(percent * 1e4)) - 1}"
                      f" counter name {_COUNTER} drop"]
    return lines


def _match(drop: Drop) -> str:
    if drop.port is not None:
        return f"{_protocol(drop)} dport {drop.port}"
    if drop.icmp_type is None:
        return f"ip protocol {drop.protocol}"
    code = "" if drop.icmp_code is None else f" icmp code {drop.icmp_code}"
    return f"icmp type {drop.icmp_type}{code}"


def counts(listing: str, present: Filter) -> dict[Drop, int]:
    """How many packets each drop has lost, from what LIST_COUNTERS printed."""
    with _as_expected(listing, "counters"):
        packets = {item["counter"]["table"]: int(item["counter"]["packets"])
                   for item in json.loads(listing)["nftables"] if "counter" in item}
        return {drop: packets[table(drop)] for drop in present}


def looks_at(listing: str, protocol: str, hooks: Collection[str]) -> tuple[bool, bool]:
    """Of what LIST_RULES printed: does a rule behind one of ``hooks`` name the protocol, as
    /etc/protocols calls it, and does a chain there drop what no rule accepts?

    Felix's own chains do not count: they accept what nodes send each other.
    """
    with _as_expected(listing, "rules"):
        items = json.loads(listing)["nftables"]
        chains = [item["chain"] for item in items if "chain" in item]
        behind = {(c["table"], c["name"]) for c in chains if c.get("hook") in hooks}
        texts = {(rule["table"], rule["chain"]): "" for rule in
                 (item["rule"] for item in items if "rule" in item)}
        for rule in (item["rule"] for item in items if "rule" in item):
            texts[rule["table"], rule["chain"]] += json.dumps(rule["expr"])
        for _ in chains:  # a jump leads into a chain of the same table
            behind |= {(table, name) for table, name in texts
                       if any(f'"target": "{name}"' in texts.get(chain, "")
                              for chain in behind if chain[0] == table)}
    return (any(f'"{protocol}"' in texts.get(chain, "") for chain in behind
                if not chain[1].startswith("cali-")),
            any(c.get("hook") in hooks and c.get("policy") == "drop" for c in chains))


@contextmanager
def _as_expected(listing: str, kind: str) -> Iterator[None]:
    """Raise ToolError where a list of nft has another layout than the code inside expects."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(f"nft's list of {kind} is not as expected ({error!r}):"
                        f" {listing[:200]!r}") from error


def require_nft() -> None:
    """Raises UnsupportedError, with the package's name, where nft is not installed."""
    if shutil.which("nft") is None:
        raise UnsupportedError(
            "packet filters need nft, which is not installed: ./install.sh installs it, and so"
            " does 'apt-get install nftables'")


def finish(name: str, nft: subprocess.Popen[str], rules: str = "") -> str:
    """What an nft that was started with text pipes prints; ``name`` is the namespace's.

    Raises ToolError when it hangs, UnsupportedError when the kernel lacks what the rules need,
    KernelError when it refuses them.
    """
    try:
        out, err = nft.communicate(rules, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{name}: nft did not end within {_TIMEOUT_S} s") from None
    finally:
        processes.end([nft])
    if nft.returncode == 0:
        return out
    reason = next(iter(err.splitlines()), "") or f"exit status {nft.returncode}"
    if "Operation not supported" in err:
        raise UnsupportedError(
            f"{name}: this kernel's nftables cannot filter here ({reason}); it needs"
            " CONFIG_NF_TABLES_IPV4 for nodes and routers and CONFIG_NF_TABLES_BRIDGE for"
            " switches")
    raise KernelError(f"{name}: nft: {reason}")


# --- the kernel's trace


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


def trace_rules(matches: Sequence[str], *, is_switch: bool) -> str:
    """For ``nft -f -``: a table that marks what matches, where packets enter or are made.

    At the other hooks it shows last what became of them: their addresses, after NAT.
    """
    name = f"{_family(is_switch)} {_TRACE_TABLE}"
    lines = [f"add table {name}"]
    for hook in ("prerouting", "output", "input", "forward", "postrouting"):
        marks = hook in ("prerouting", "output")
        lines.append(f"add chain {name} {hook} {{ type filter hook {hook} priority"
                     f" {-_EARLY if marks else _EARLY}; }}")
        lines += [f"add rule {name} {hook} {match} meta nftrace set 1"
                  for match in matches if marks]
    return "\n".join(lines) + "\n"


def trace_removal(*, is_switch: bool) -> str:
    """For ``nft -f -``: without that table again."""
    return f"delete table {_family(is_switch)} {_TRACE_TABLE}\n"


class TraceListener:
    """The drops in the namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._socket = listener([_NFTRACE_GROUP], _NETLINK_NETFILTER)

    def __enter__(self) -> TraceListener:
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
            met = [verdict for verdict in verdicts(data) if verdict.table != ignored]
            if any(verdict.dropped for verdict in met) or not waiting.poll(
                    max(0.0, end - time.monotonic()) * 1000):
                return met
            # ENOBUFS: more came than the socket holds, and what it has is there.
            with suppress(OSError):
                while True:
                    data += self._socket.recv(65536)


def verdicts(data: bytes | bytearray) -> Iterator[Verdict]:
    """The verdicts among the netlink messages in ``data``, in order."""
    seen: dict[tuple[int, str], list[str]] = {}
    incoming: dict[int, bool] = {}
    for kind, _flags, _sequence, body in messages(bytes(data)):
        if kind != _TRACE:
            continue
        inside = attributes(body[4:])
        packet, event = (int.from_bytes(inside.get(key, b""), "big") for key in (_ID, _TYPE))
        name, chain = (string(inside.get(key, b"")) for key in (_TABLE, _CHAIN))
        if _IIF in inside or _OIF in inside:
            incoming[packet] = _OIF not in inside
        chains = seen.setdefault((packet, name), [])
        if chain not in chains[-1:]:
            chains.append(chain)
        header = inside.get(_NETWORK_HEADER, b"")
        verdict = (attributes(inside.get(_VERDICT, b"")).get(_CODE) if event == _RULE
                   else inside.get(_POLICY))
        yield Verdict(packet, _FAMILIES.get(body[0], str(body[0])), name, tuple(chains),
                      int.from_bytes(inside.get(_HANDLE, b""), "big") if event == _RULE else 0,
                      verdict == _DROP, incoming.get(packet, False),
                      (socket.inet_ntoa(header[12:16]), socket.inet_ntoa(header[16:20]))
                      if len(header) >= 20 else None)


def verdict_text(verdict: Verdict, listing: str) -> str:
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
