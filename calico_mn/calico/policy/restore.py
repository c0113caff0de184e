"""Chains and IP sets as a :class:`~calico_mn.state.Firewall`: lines for iptables-restore. Pure.

As Felix does it, each rule carries a comment ``cali:HASH``: a digest of its own text and of all
rules before it in its chain, so that the last one of a chain proves the whole chain. Source: felix
``iptables/chain.go`` (``RuleHashes``).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from calico_mn.calico.policy.chains import Chains, Rule
from calico_mn.calico.policy.node_chains import APPENDED, HOOKS
from calico_mn.state import Firewall


def hashes(chain: str, rules: Sequence[Rule]) -> list[str]:
    """The 16 characters of each rule's comment."""
    return _hashes(chain, [rule.text for rule in rules])


def _hashes(chain: str, texts: Iterable[str]) -> list[str]:
    digest = hashlib.sha224(chain.encode()).digest()
    start, digests = f"-A {chain} HASH", []
    for text in texts:
        line = f"{start} {text}" if text else start
        digest = hashlib.sha224(digest + line.encode()).digest()
        digests.append(digest[:12])
    # Twelve bytes are sixteen characters, so that all of them are encoded at once.
    encoded = base64.urlsafe_b64encode(b"".join(digests)).decode()
    return [encoded[first:first + 16] for first in range(0, len(encoded), 16)]


# A chain that stays is the same object, and so is one that several nodes have.
@lru_cache(maxsize=10_000)
def _lines(option: str, chain: str, texts: tuple[str, ...], hashed_as: str = "") -> tuple[str, ...]:
    start = f'{option} {chain} -m comment --comment "cali:'
    return tuple([f'{start}{digest}" {text}' if text else f'{start}{digest}"'
                  for digest, text in zip(_hashes(hashed_as or chain, texts), texts, strict=True)])


def _texts(rules: Iterable[Rule]) -> tuple[str, ...]:
    return tuple([rule.text for rule in rules])


def firewall(tables: Mapping[str, Chains], sets: Mapping[str, frozenset[str]],
             inserts: bool = True) -> Firewall:
    """The chains and sets of a node as the kernel is to have them.

    ``inserts`` False is FelixConfiguration's chainInsertMode ``Append``.
    """
    option = "-I" if inserts else "-A"
    hooks = {table: tuple(line for chain, rule in HOOKS[table].items()
                          for line in _lines(option, chain, (rule.text,))) for table in tables}
    hooks["filter"] += _lines("-A", "FORWARD", _texts(APPENDED), "FORWARD*appends*")
    # The chains of many pods have the same rules.
    distinct = {id(rules): rules for chains in tables.values() for rules in chains.values()}
    texts = {key: _texts(rules) for key, rules in distinct.items()}
    return Firewall({(table, chain): _lines("-A", chain, texts[id(rules)])
                     for table, chains in tables.items() for chain, rules in chains.items()},
                    hooks, sets)
