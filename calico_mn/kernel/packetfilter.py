"""Packet filters as nftables rules: their text, and running ``nft`` in a namespace.

In go two filters, or what nft printed; out come the lines for nft that lead from one filter to the
other, or counts. A filter is a table per :class:`~calico_mn.packetmatch.Drop`, so that adding or
taking away one leaves the others and their counters alone; ``nft list ruleset`` in the namespace
shows them. The rules are made of our own words and of numbers, never of text from a topology.
Switches are filtered in the ``bridge`` family, all else in ``ip``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from calico_mn.errors import KernelError, ToolError, UnsupportedError
from calico_mn.packetmatch import PROTOCOL_TCP, Drop, Filter, Hook

#: reads rules from its standard input
APPLY = ("nft", "-f", "-")
LIST_COUNTERS = ("nft", "-j", "list", "counters")
LIST_RULES = ("nft", "-j", "list", "ruleset")
_TIMEOUT_S = 30
_COUNTER = "dropped"


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
    family = "bridge" if is_switch else "ip"
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
        if nft.poll() is None:
            nft.kill()
            with suppress(subprocess.TimeoutExpired):
                nft.communicate(timeout=_TIMEOUT_S)
    if nft.returncode == 0:
        return out
    reason = next(iter(err.splitlines()), "") or f"exit status {nft.returncode}"
    if "Operation not supported" in err:
        raise UnsupportedError(
            f"{name}: this kernel's nftables cannot filter here ({reason}); it needs"
            " CONFIG_NF_TABLES_IPV4 for nodes and routers and CONFIG_NF_TABLES_BRIDGE for"
            " switches")
    raise KernelError(f"{name}: nft: {reason}")
