"""Chains and IP sets as a :class:`~calico_mn.state.Firewall`: lines for iptables-restore. Pure.

As Felix does it, each rule carries a comment ``cali:HASH``: a digest of its own text and of all
rules before it in its chain, so that the last one of a chain proves the whole chain. Source: felix
``iptables/chain.go`` (``RuleHashes``).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from calico_mn.calico.policy.chains import Chains, Rule
from calico_mn.calico.policy.node_chains import APPENDED, HOOKS
from calico_mn.state import Firewall


def hashes(chain: str, rules: Sequence[Rule]) -> list[str]:
    """The 16 characters of each rule's comment."""
    digest = hashlib.sha224(chain.encode()).digest()
    start, result = f"-A {chain} HASH", []
    for rule in rules:
        line = f"{start} {rule.text}" if rule.text else start
        digest = hashlib.sha224(digest + line.encode()).digest()
        result.append(base64.urlsafe_b64encode(digest[:12]).decode())
    return result


def _lines(option: str, chain: str, rules: Sequence[Rule], hashed_as: str = "") -> Iterator[str]:
    for digest, rule in zip(hashes(hashed_as or chain, rules), rules, strict=True):
        text = f" {rule.text}" if rule.text else ""
        yield f'{option} {chain} -m comment --comment "cali:{digest}"{text}'


def firewall(tables: Mapping[str, Chains], sets: Mapping[str, Iterable[str]]) -> Firewall:
    """The chains and sets of a node as the kernel is to have them."""
    hooks = {table: tuple(line for chain, rule in HOOKS[table].items()
                          for line in _lines("-I", chain, [rule])) for table in tables}
    hooks["filter"] += tuple(_lines("-A", "FORWARD", APPENDED, "FORWARD*appends*"))
    return Firewall({(table, chain): tuple(_lines("-A", chain, rules))
                     for table, chains in tables.items() for chain, rules in chains.items()},
                    hooks, {name: frozenset(members) for name, members in sets.items()})
