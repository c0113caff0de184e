"""Which rules of a namespace's packet filter count what they drop, by ``nft list ruleset``."""

from __future__ import annotations

import re

from calico_mn.errors import ToolError
from calico_mn.measure.programs import Host, run
from calico_mn.trace.recording import FilterCounter

_TIMEOUT_S = 10.0
_OWN = re.compile(r"counter packets (\d+) bytes \d+")
_NAMED = re.compile(r'counter name "([^"]+)"')


def counters(host: Host) -> tuple[FilterCounter, ...]:
    """Each dropping rule that counts, with its count; nothing where there is no nft."""
    try:
        done = run(host, ["nft", "list", "ruleset"], _TIMEOUT_S)
    except ToolError:
        return ()
    return parse(host.name, done.out) if done.status == 0 else ()


def parse(namespace: str, listing: str) -> tuple[FilterCounter, ...]:
    """The dropping rules in nft's listing; those that share a named counter are told as one."""
    named: dict[tuple[str, str], int] = {}
    rules: list[tuple[str, str, str]] = []
    table = chain = counter = ""
    for line in map(str.strip, listing.splitlines()):
        words = line.split()
        if line.startswith("table "):
            table = " ".join(words[1:3])
        elif line.startswith("chain "):
            chain, counter = words[1], ""
        elif line.startswith("counter ") and line.endswith("{"):
            counter = words[1].strip('"')
        elif counter and line.startswith("packets "):
            named[table, counter], counter = int(words[1]), ""
        elif re.search(r"\b(drop|reject)\b", line) and not line.startswith("type "):
            rules.append((table, chain, line))
    found = []
    shared: dict[tuple[str, str, str], list[str]] = {}
    for table, chain, rule in rules:
        own, by_name = _OWN.search(rule), _NAMED.search(rule)
        text = " ".join(_NAMED.sub("", _OWN.sub("", rule)).split())
        if own is not None:
            found.append(FilterCounter(
                namespace, f"{text} (table {table}, chain {chain})", int(own[1])))
        elif by_name is not None:
            shared.setdefault((table, by_name[1], text), []).append(chain)
    for (table, counter, text), chains in shared.items():
        where = f"chain{'s' if len(chains) > 1 else ''} {', '.join(chains)}"
        found.append(FilterCounter(namespace, f"{text} (table {table}, {where})",
                                   named.get((table, counter), 0)))
    return tuple(found)
