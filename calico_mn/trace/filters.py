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
    """The dropping rules in nft's listing. A named counter may serve several of them."""
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
    for table, chain, rule in rules:
        own, by_name = _OWN.search(rule), _NAMED.search(rule)
        if own is None and by_name is None:
            continue
        count = int(own[1]) if own else named.get((table, by_name[1] if by_name else ""), 0)
        text = _NAMED.sub("", _OWN.sub("", rule))
        found.append(FilterCounter(
            namespace, f"{' '.join(text.split())} (table {table}, chain {chain})", count))
    return tuple(found)
