"""Chains and IP sets as the input of iptables-restore and ``ipset restore``. Pure.

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

_HASH_LENGTH = 16
_MAX_MEMBERS = 1048576  # FelixConfiguration's MaxIpsetSize


def hashes(chain: str, rules: Sequence[Rule]) -> list[str]:
    """The 16 characters of each rule's comment."""
    digest = hashlib.sha224(chain.encode()).digest()
    result = []
    for rule in rules:
        line = " ".join(filter(None, (f"-A {chain} HASH", rule.text)))
        digest = hashlib.sha224(digest + line.encode()).digest()
        result.append(base64.urlsafe_b64encode(digest).decode()[:_HASH_LENGTH])
    return result


def _lines(option: str, chain: str, rules: Sequence[Rule], hashed_as: str = "") -> Iterator[str]:
    for digest, rule in zip(hashes(hashed_as or chain, rules), rules, strict=True):
        yield " ".join(filter(None, (
            f'{option} {chain} -m comment --comment "cali:{digest}"', rule.text)))


def restore_text(tables: Mapping[str, Chains]) -> str:
    """The input of ``iptables-restore --noflush`` that writes all chains of a node."""
    lines: list[str] = []
    for table, chains in tables.items():
        lines += [f"*{table}", *(f":{chain} - -" for chain in chains)]
        for chain, rules in chains.items():
            lines += _lines("-A", chain, rules)
        for chain, rule in HOOKS[table].items():
            lines += _lines("-I", chain, [rule])
        if table == "filter":
            lines += _lines("-A", "FORWARD", APPENDED, "FORWARD*appends*")
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def ipset_text(sets: Mapping[str, Iterable[str]]) -> str:
    """The input of ``ipset restore`` that makes sets; a name with ports in it is a port set's."""
    lines = []
    for name, members in sets.items():
        kind = "hash:ip,port" if name.startswith("cali40n:") else "hash:net"
        lines.append(f"create {name} {kind} family inet maxelem {_MAX_MEMBERS}")
        lines += [f"add {name} {member}" for member in members]
    return "\n".join([*lines, "COMMIT"]) + "\n"
