"""Which rules and policies of iptables dropped a packet, by their counters before and after. Pure.

In go two texts of ``iptables-save -c``; out come the drops whose packets rose between them. Unlike
nftables' trace (:mod:`calico_mn.kernel.nftrace`), this works with iptables-legacy too; but a
counter counts every packet, not the probe alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: the programs that print all rules of a back end, whichever of them a node's rules are in
SAVE = {"nft": ("iptables-nft-save", "-c"), "legacy": ("iptables-legacy-save", "-c")}
_LINE = re.compile(r"\[(\d+):\d+\] -A (\S+) ?(.*)|:(\S+) (\S+) \[(\d+):\d+\]")
_TARGET = re.compile(r"(?:^| )-([jg]) (\S+)")
_DROPS = ("DROP", "REJECT")


@dataclass(frozen=True, slots=True)
class Rise:
    """A rule, or by ``number`` 0 a chain's policy, that drops, and its packets before and after.

    ``back_end`` is a key of :data:`SAVE`; ``rule`` is as iptables-save prints it after the chain;
    ``hook`` is the kernel's chain from which packets came to it, as ``FORWARD``.
    """

    back_end: str
    table: str
    chain: str
    number: int
    rule: str
    hook: str
    before: int
    after: int

    @property
    def words(self) -> str:
        """What drops, and where it is."""
        return (f"{self.rule} (iptables-{self.back_end}, table {self.table}, chain {self.chain},"
                f" hook {self.hook.lower()})")

    def __str__(self) -> str:
        item = f"rule {self.number} of chain" if self.number else "the policy of chain"
        return (f"counter of {item} {self.chain}, table {self.table} (iptables-{self.back_end}):"
                f" packets {self.before} -> {self.after}")


def rises(back_end: str, before: str, after: str) -> list[Rise]:
    """The drops that counted packets between two listings, in the order of the second one."""
    earlier = _counters(before)
    rose = {key: packets for key, packets in _counters(after).items()
            if packets > earlier.get(key, 0)}
    called = {(table, match[2]): chain for table, chain, _, rule in rose
              if (match := _TARGET.search(rule))}
    result = []
    for (table, chain, number, rule), packets in rose.items():
        match = _TARGET.search(rule)
        if (match is None or match[2] not in _DROPS) if number else rule == "policy ACCEPT":
            continue
        hook = chain
        for _ in rose:
            hook = called.get((table, hook), hook)
        result.append(Rise(back_end, table, chain, number, rule, hook,
                           earlier.get((table, chain, number, rule), 0), packets))
    return result


def _counters(listing: str) -> dict[tuple[str, str, int, str], int]:
    """(table, chain, number from 1, rule) -> packets; a chain's policy has the number 0."""
    counters: dict[tuple[str, str, int, str], int] = {}
    numbers: dict[tuple[str, str], int] = {}
    table = ""
    for line in listing.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif match := _LINE.match(line):
            packets, chain, rule, base, policy, dropped = match.groups()
            if chain:
                numbers[table, chain] = number = numbers.get((table, chain), 0) + 1
                counters[table, chain, number, rule] = int(packets)
            elif policy != "-":
                counters[table, base, 0, f"policy {policy}"] = int(dropped)
    return counters
