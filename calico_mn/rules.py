"""Firewalls as items that can be compared, and the change from one to another. Pure.

In goes a :class:`~calico_mn.state.Firewall`, or what ``iptables-save`` and ``ipset save`` print;
out come a :class:`RuleChain` for each chain, with the digests in its rules' comments, and a
:class:`SetMembers` for each set. A rule without such a comment has the digest ``?``: it is not
ours. :func:`lets_in` says what all rules together mean for a tunnel's packets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from calico_mn.state import Firewall
from calico_mn.text import plural

_DIGEST = re.compile(r'--comment "?cali:([\w-]{16})')
_IN_MEMORY = re.compile(rb"cali:([\w-]{16})")
_OURS = ("cali-", "cali4")


#: a table and a chain in it
Chain = tuple[str, str]


@dataclass(frozen=True, slots=True)
class OuterWay:
    """What our rules are to a tunnel's outer packet, from an allowed source and for this host.

    It passes the chains of ``passing`` as a whole, by the digests of their rules; in those of
    ``accepting`` it meets the first rule alone, which accepts it or leads to one that does.
    ``sources`` is the IP set of the allowed sources.
    """

    passing: Mapping[Chain, tuple[str, ...]]
    accepting: Mapping[Chain, str]
    sources: str

    @property
    def chains(self) -> frozenset[Chain]:
        """All of them."""
        return frozenset((*self.passing, *self.accepting))


@dataclass(frozen=True, slots=True)
class Hooked:
    """A chain of the kernel's hooks: what it does with packets that no rule takes."""

    chain: Chain
    accepts: bool
    has_rules: bool


def lets_in(way: OuterWay, hooked: Iterable[Hooked], digests: Mapping[Chain, tuple[str, ...]]
            ) -> bool:
    """Whether rules accept a tunnel's packets from allowed sources and do nothing else with them.

    ``hooked`` are all chains that such a packet meets, ``digests`` the rules in these and in those
    of ``way``. Rules of others behind the one of ours that accepts it do not matter.
    """
    return all(
        chain.chain in way.accepting
        or (chain.accepts and (chain.chain in way.passing or not chain.has_rules))
        for chain in hooked) and all(
        digests.get(chain, ()) == rules for chain, rules in way.passing.items()) and all(
        digests.get(chain, ())[:1] == (rule,) for chain, rule in way.accepting.items()) and bool(
        way.accepting)


def digest(rule: bytes) -> str:
    """The digest of a rule as it is in the kernel's memory, ``?`` where it has none."""
    match = _IN_MEMORY.search(rule)
    return match[1].decode() if match else "?"


@dataclass(frozen=True, slots=True)
class FirewallChange:
    """From one firewall to another; None is one without rules of ours."""

    before: Firewall | None
    wanted: Firewall | None


@dataclass(frozen=True, slots=True)
class RuleChain:
    """A chain of ours, or our rules in a chain of the kernel's, by their digests.

    Of a chain of the kernel's ``?`` at the begin and at the end stands for rules of others there.
    """

    table: str
    chain: str
    digests: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        """What it is, apart from what it holds."""
        return self.table, self.chain

    def __str__(self) -> str:
        digests, place = self.digests, ""
        if not self.chain.startswith(_OURS):
            digests = tuple(item for item in digests if item != "?")
            place = ("; rules of others come before" if self.digests[:1] == ("?",) else
                     "; rules of others come behind" if self.digests[-1:] == ("?",) else "")
        last = f", the last cali:{digests[-1]}" if digests else ""
        return (f"chain {self.chain} of table {self.table} with"
                f" {plural(len(digests), 'rule')}{last}{place}")


@dataclass(frozen=True, slots=True)
class SetMembers:
    """An IP set of ours."""

    name: str
    members: frozenset[str]

    @property
    def key(self) -> str:
        """What it is, apart from what it holds."""
        return self.name

    def __str__(self) -> str:
        return f"IP set {self.name} of {', '.join(sorted(self.members)) or 'nothing'}"


RuleItem = RuleChain | SetMembers


def expected(firewall: Firewall) -> tuple[RuleItem, ...]:
    """What reading a firewall gives."""
    lines = [(table, line) for table, hooks in firewall.hooks.items() for line in hooks]
    of_kernel = {(table, line.split()[1]): None for table, line in lines}
    return (
        *(RuleChain(table, chain, tuple(map(_digest, rules)))
          for (table, chain), rules in firewall.chains.items()),
        *(RuleChain(table, chain, tuple(_digest(line) for of, line in lines
                                        if of == table and line.split()[1] == chain))
          for table, chain in of_kernel),
        *(SetMembers(name, members) for name, members in firewall.sets.items()))


def _digest(line: str) -> str:
    match = _DIGEST.search(line)
    return match[1] if match else "?"


def read(iptables: Iterable[str], ipset: Iterable[str]) -> tuple[RuleItem, ...]:
    """The items of what ``iptables-save`` and ``ipset save`` print."""
    chains: dict[tuple[str, str], list[str]] = {}
    table = ""
    for line in iptables:
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":cali-"):
            chains.setdefault((table, line[1:].split()[0]), [])
        elif line.startswith("-A "):
            chains.setdefault((table, line.split()[1]), []).append(_digest(line))
    sets: dict[str, set[str]] = {}
    for line in ipset:
        verb, name, *rest = line.split()
        if name.startswith(_OURS):
            members = sets.setdefault(name, set())
            members.update(rest[:1] if verb == "add" else ())
    return (*(RuleChain(*key, tuple(digests)) if key[1].startswith(_OURS) else
              RuleChain(*key, _placed(digests)) for key, digests in chains.items()
              if key[1].startswith(_OURS) or {*digests} > {"?"} or "?" not in digests),
            *(SetMembers(name, frozenset(members)) for name, members in sets.items()))


def _placed(digests: list[str]) -> tuple[str, ...]:
    ours = tuple(item for item in digests if item != "?")
    return (*("?",) * (digests[0] == "?"), *ours, *("?",) * (digests[-1] == "?"))


def _compared(item: RuleItem, wanted: Firewall) -> RuleItem:
    """As Felix compares it: what it inserts comes first, and what it appends last.

    expectedHashesForInsertAppendChain in felix/iptables/table.go.
    """
    if not isinstance(item, RuleChain) or item.chain.startswith(_OURS):
        return item
    options = {hook[:2] for hook in wanted.hooks.get(item.table, ())
               if hook.split()[1] == item.chain}
    digests = item.digests
    digests = digests[1:] if digests[0] == "?" and "-I" not in options else digests
    digests = digests[:-1] if digests[-1] == "?" and "-A" not in options else digests
    return replace(item, digests=digests)


def differences(wanted: Firewall, present: Iterable[RuleItem]
                ) -> Iterator[tuple[RuleItem | None, RuleItem | None]]:
    """Pairs of what is wanted and what is there instead; a stray has no wanted one."""
    due = {item.key: item for item in expected(wanted)}
    have = {item.key: _compared(item, wanted) for item in present}
    yield from ((item, have.get(key)) for key, item in due.items() if have.get(key) != item)
    yield from ((None, item) for key, item in have.items() if key not in due)


def repair(wanted: Firewall, pairs: Iterable[tuple[RuleItem | None, RuleItem | None]]
           ) -> FirewallChange | None:
    """The change that makes up for these differences; None where there are none."""
    chains, sets = dict(wanted.chains), dict(wanted.sets)
    hooks = dict(wanted.hooks)
    changed = False
    for due, have in pairs:
        changed = True
        item = due or have
        if isinstance(item, SetMembers):
            sets.pop(item.name, None)
            if isinstance(have, SetMembers):
                sets[item.name] = have.members
        elif isinstance(item, RuleChain):
            if item.chain.startswith(_OURS):
                chains.pop(item.key, None)
                if have is not None:
                    chains[item.key] = ()
            else:
                digests = have.digests if isinstance(have, RuleChain) else ()
                hooks[item.table] = tuple(
                    _elsewhere(hook) if hook.split()[1] == item.chain and "?" in digests else hook
                    for hook in hooks.get(item.table, ()) if hook.split()[1] != item.chain
                    or _digest(hook) in digests)
    return FirewallChange(replace(wanted, chains=chains, hooks=hooks, sets=sets), wanted
                          ) if changed else None


def _elsewhere(hook: str) -> str:
    """The same rule at the chain's other end."""
    return f"{'-A' if hook.startswith('-I') else '-I'}{hook[2:]}"
