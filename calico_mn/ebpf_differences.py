"""What is so only because eBPF makes tunl0: the one list for the documentation, trace and verify.

In go facts about a node and a packet; out come sentences. They say what the eBPF tunnel does and
what the kernel's ipip module does instead. Behaviour that both share is tested with both
(tests/ebpf, tests/uml) and is not here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in a node, and of an outer packet that it sent or received.

    ``has_output_rules``: a rule for protocol 4 in OUTPUT or POSTROUTING; ``drops_output``: OUTPUT
    drops what no rule accepts; ``tunnel_is_down``: tunl0 is.
    """

    has_output_rules: bool = False
    drops_output: bool = False
    tunnel_is_down: bool = False


@dataclass(frozen=True, slots=True)
class EbpfDifference:
    """One difference: its name, a sentence, and whether it matters for what was seen.

    ``applies`` None: always there, and no packet fares differently for it.
    """

    name: str
    text: str
    applies: Callable[[Seen], bool] | None = None


DIFFERENCES: tuple[EbpfDifference, ...] = (
    EbpfDifference(
        "look", "`ip address` shows `tunl0: <POINTOPOINT,...>` and `peer`, where the kernel's shows"
        " `tunl0@NONE: <...>` and `brd`; `ip -d link` says `tun`; its counters stay 0."),
    EbpfDifference(
        "pods", "Pods have no `tunl0` of their own (with ipip loaded every namespace has one,"
        " unused)."),
    EbpfDifference(
        "rules", "`nft list ruleset` in a node shows a table `calico_mn_tunl0`, the way from INPUT"
        " into tunl0; it stays when all rules are flushed."),
    EbpfDifference(
        "output-rules", "Outer packets that a node sends pass neither OUTPUT nor POSTROUTING: rules"
        " for protocol 4 there see none, with the kernel's ipip they see all. What PREROUTING"
        " and INPUT drop is dropped with both. The tunnel's own \"fragmentation needed\" passes"
        " FORWARD in place of OUTPUT.", lambda seen: seen.has_output_rules),
    EbpfDifference(
        "counters", "Felix's rules in PREROUTING and INPUT do not count the outer packets that they"
        " accept, nor does conntrack, while a node has no other rules there: what they do with"
        " them is known. What they drop they count."),
    EbpfDifference(
        "allowed", "`ip route show table 4040` in a node lists the sources whose outer packets"
        " Felix's rules accept, as its IP set `cali40all-hosts-net` does. The set decides: while"
        " the two differ the rules are asked for each packet."),
    EbpfDifference(
        "output-policy", "Where PREROUTING or INPUT has rules of others than Felix, an outer packet"
        " that they accept goes to tunl0 through lo, as protocol 255: an OUTPUT chain that drops by"
        " default must accept what leaves by lo.", lambda seen: seen.drops_output),
    EbpfDifference(
        "host-endpoints", "`cali-failsafe-out` of a node with host endpoints has one rule more than"
        " Felix's, for that protocol 255 on lo."),
    EbpfDifference(
        "down", "While tunl0 is down, packets for it are dropped; the kernel's ipip answers \"port"
        " unreachable\" as well.", lambda seen: seen.tunnel_is_down),
)


def only_with_ebpf(backend: str, seen: Seen) -> tuple[str, ...]:
    """The sentences that explain what was seen where tunl0's back end is called ``backend``."""
    return tuple(difference.text for difference in DIFFERENCES
                 if backend == "ebpf" and difference.applies and difference.applies(seen))
