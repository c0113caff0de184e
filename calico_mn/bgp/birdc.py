"""What BIRD answers to ``show protocols`` and ``show route all``, as data. Pure.

In go the lines of an answer, without birdc's codes; out come protocols and routes. The columns are
those of BIRD 2: ``bgp_get_status()`` and ``bgp_show_proto_info()`` in its proto/bgp/bgp.c,
``rt_show_rte()`` in nest/rt-show.c::

    Mesh_192_168_57_32 BGP        ---        start  03:08:58.175  Active        Socket: ...
    10.22.32.0/26        unicast [Mesh_192_168_57_32 03:08:57.862] * (100) [i]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from calico_mn.bgp.engine import ESTABLISHED, BgpRoute

# A time of the last 20 hours, else a date (timeformat "iso short ms" of BIRD).
_SINCE = r"(?P<since>\d{4}-\d\d-\d\d(?: +\d\d:\d\d:\d\d)?|\d\d:\d\d:\d\d)(?:\.\d+)?"
_PROTOCOL = re.compile(rf"(?P<name>\S+) +BGP +\S+ +(?P<state>\w+) +{_SINCE} *(?P<info>.*)")
_COUNTS = re.compile(r"Routes: +(\d+) imported, (?:\d+ filtered, )?(\d+) exported")
_ROUTE = re.compile(rf"(?P<prefix>[\d.]+/\d+)? *\S+ \[(?P<name>\S+) {_SINCE}"
                    r"(?: from (?P<sender>[\d.]+))?\] (?P<best>\*?)")
_LOGGED = re.compile(rf"\S+ {_SINCE} <(?P<level>\w+)> (?:(?P<name>[A-Z][\w.]+): )?(?P<text>.*)")
_ATTRIBUTE = re.compile(r"BGP\.(\w+): *(.*)")


@dataclass(frozen=True, slots=True)
class BirdProtocol:
    """A protocol of kind BGP; fields are as of a :class:`.engine.Session`.

    The counts are known where the question was ``show protocols all``.
    """

    name: str
    state: str
    since: str
    bgp_state: str = ""
    error: str = ""
    imported: int = 0
    exported: int = 0

    @property
    def is_up(self) -> bool:
        """Whether routes are exchanged."""
        return self.bgp_state == ESTABLISHED

    @property
    def info(self) -> str:
        """BIRD's own column Info."""
        return " ".join(filter(None, (self.bgp_state, self.error))) or self.state


def protocols(lines: Iterable[str]) -> dict[str, BirdProtocol]:
    """The protocols of kind BGP by name, from ``show protocols``, with or without ``all``."""
    known: dict[str, BirdProtocol] = {}
    last = ""
    for line in lines:
        if match := _PROTOCOL.match(line):
            last, info = match["name"], match["info"].strip()
            # Only the error is shown of a protocol that is down, or about to be.
            state, _, error = ("", "", info) if match["state"] in ("down", "flush") else (
                info.partition(" "))
            known[last] = BirdProtocol(last, match["state"], match["since"], state, error.strip())
        elif not line.strip():
            last = ""
        elif last and (counts := _COUNTS.search(line)):
            known[last] = replace(known[last], imported=int(counts[1]), exported=int(counts[2]))
    return known


@dataclass(frozen=True, slots=True)
class Downtime:
    """Since when a protocol's session is down, by BIRD's log, and its last error in full.

    ``was_up``: it was up before, since this BIRD started.
    """

    since: str = ""
    was_up: bool = False
    error: str = ""

    def __str__(self) -> str:
        if not self.since:
            return ""
        return f"down since {self.since}" if self.was_up else f"never up since {self.since}"


def downtime(log: Iterable[str], protocol: str) -> Downtime:
    """What a BIRD's log tells of a protocol whose session is down.

    The log has the line of each change of state (``debug { states }`` in bird.cfg).
    """
    known = Downtime()
    is_up = False
    for line in log:
        match = _LOGGED.match(line)
        if match is None or match["name"] not in (protocol, None):
            continue
        if match["name"] is None:
            if match["text"] == "Started":
                known, is_up = Downtime(match["since"]), False
        elif match["level"] in ("RMT", "ERR", "WARN"):
            known = replace(known, error=match["text"])
        elif match["text"] == "State changed to up":
            known, is_up = Downtime(match["since"], was_up=True), True
        elif is_up and match["text"].startswith("State changed to"):
            known, is_up = replace(known, since=match["since"]), False
    return known


def routes(lines: Sequence[str]) -> tuple[BgpRoute, ...]:
    """All paths of ``show route all``, those of other protocols than BGP, too."""
    paths: list[BgpRoute] = []
    prefix = ""
    for line in lines:
        if match := _ROUTE.match(line):
            prefix = match["prefix"] or prefix
            paths.append(BgpRoute(
                IPv4Network(prefix), bool(match["best"]), match["name"],
                IPv4Address(match["sender"]) if match["sender"] else None, since=match["since"]))
        elif paths and (attribute := _ATTRIBUTE.match(line.strip())):
            paths[-1] = _with(paths[-1], attribute[1], attribute[2].strip())
    return tuple(paths)


def _with(route: BgpRoute, name: str, value: str) -> BgpRoute:
    if name == "as_path":
        return replace(route, as_path=tuple(map(int, re.findall(r"\d+", value))))
    if name == "next_hop":
        hop = IPv4Address(value.split()[0])
        return replace(route, next_hop=hop, sender=route.sender or hop)
    if name == "local_pref":
        return replace(route, local_pref=int(value))
    if name == "originator_id":
        return replace(route, originator=IPv4Address(value))
    if name == "cluster_list":
        return replace(route, cluster_list=tuple(map(IPv4Address, value.split())))
    if name == "community":
        return replace(route, communities=tuple(re.findall(r"\(([^)]*)\)", value)))
    return route
