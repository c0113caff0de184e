"""Paths: what a BGP speaker sends to a peer, what the peer takes, and which paths are best. Pure.

In go what a speaker originates and received; out come the paths that it sends through one kind of
session end, and the table of its next hops::

    originated --+                                  +--> sent() --> peers: is_taken?
                 +--> paths of each prefix ---------+
    received ----+                                  +--> best() --> {prefix: next hops}

The rules are those of BIRD 2 (``bgp_preexport``, ``bgp_update_attrs``, ``bgp_update_next_hop_ip``,
``bgp_rte_better`` and ``bgp_rte_mergable`` in its ``proto/bgp``), as RFC 4271 and RFC 4456 say.
Local preference, origin and MED are the same for all routes of Calico, and are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from calico_mn.bgp.engine import Table
from calico_mn.bgp.graph import ReceivingEnd, SendingEnd, Session, Speaker

#: in place of an IGP metric: a next hop in an own network, behind a router, or without a way
_NEAR, _FAR, _UNRESOLVABLE = range(3)
#: next hops in a route of the kernel (KRT_DEFAULT_ECMP_LIMIT of BIRD); it takes the lowest ones
_MOST_MERGED = 16


class Path(NamedTuple):
    """A route as it is on its way in a session.

    ``originator`` is the router id of the speaker that brought it into the AS, once it is
    reflected, with the ``clusters`` that reflected it, the last one first. ``told_by`` names the
    peer from which the sender has it, empty for what the sender originates: it is not sent back
    there.
    """

    prefix: IPv4Network
    next_hop: IPv4Address
    as_path: tuple[int, ...] = ()
    originator: IPv4Address | None = None
    clusters: tuple[str, ...] = ()
    told_by: str = ""


class Received(NamedTuple):
    """A path that a speaker took from a peer, which has this name and router id."""

    path: Path
    peer: str
    router_id: IPv4Address
    session: Session


def is_taken(path: Path, name: str, speaker: Speaker, receiving: ReceivingEnd) -> bool:
    """Whether a speaker takes a path that a peer sends: no loop, and its filter lets it pass."""
    return ((not name or path.told_by != name)
            and path.next_hop != speaker.router_id
            and path.as_path.count(speaker.as_number) <= receiving.allowed_own_as
            and path.originator != speaker.router_id
            and not (receiving.from_client and speaker.cluster_id in path.clusters)
            and not (receiving.subnet and _metric(path.next_hop, speaker) != _NEAR)
            and not (receiving.filter and receiving.filter.learned(path.prefix) is False))


def sent(speaker: Speaker, end: SendingEnd, originated: Collection[IPv4Network],
         received: Iterable[Received]) -> tuple[Path, ...]:
    """What a speaker sends through an end; each peer behind it leaves out what it told itself."""
    own_as = (speaker.as_number,) if end.is_external else ()
    owned = frozenset(originated)
    devices = dict(speaker.local) if end.filter else {}
    paths = [Path(prefix, end.address, own_as) for prefix in dict.fromkeys((*originated, *devices))
             if _accepts(end.filter.local(prefix, devices.get(prefix, "")) if end.filter else None,
                         prefix in owned)]
    if not end.add_paths:
        chosen: dict[IPv4Network, Received] = {}
        for item in received:
            prefix = item.path.prefix
            if prefix not in owned and (prefix not in chosen or _rank(item, speaker) < _rank(
                    chosen[prefix], speaker)):
                chosen[prefix] = item
        received = chosen.values()
    paths += (_passed_on(item, speaker, end, own_as) for item in received
              if _may_pass(item, speaker, end, originated))
    return tuple(_useful(paths))


def _may_pass(item: Received, speaker: Speaker, end: SendingEnd,
              originated: Collection[IPv4Network]) -> bool:
    path, (sending, receiving) = item.path, item.session
    if not (end.is_external or sending.is_external) and (
            not (end.to_client or receiving.from_client)
            or (end.to_client and speaker.cluster_id in path.clusters)):
        return False
    prefix = path.prefix
    # Calico's own rules: the pools, and nothing inside an own block (calico_aggr).
    return _accepts(end.filter.learned(prefix) if end.filter else None, (
        speaker.exports is None or any(map(prefix.subnet_of, speaker.exports))) and not any(
        prefix != block and prefix.subnet_of(block) for block in originated))


def _accepts(verdict: bool | None, otherwise: bool) -> bool:
    """What a filter says, and ``otherwise`` where it has no rule that fits."""
    return otherwise if verdict is None else verdict


def _passed_on(item: Received, speaker: Speaker, end: SendingEnd, own_as: tuple[int, ...]) -> Path:
    path, (sending, receiving) = item.path, item.session
    is_self = end.next_hop == "self" or (end.next_hop == "self ebgp" and sending.is_external)
    # Where BIRD does not keep a next hop, it takes its gateway: itself in the peer's subnet.
    keeps = not end.is_external or end.next_hop == "keep" or (end.subnet != "" and (
        end.subnet == receiving.subnet or path.next_hop in IPv4Network(end.subnet)))
    next_hop = path.next_hop if keeps and not is_self else end.address
    if end.is_external or sending.is_external:
        return Path(path.prefix, next_hop, own_as + path.as_path, told_by=item.peer)
    return Path(path.prefix, next_hop, path.as_path, path.originator or item.router_id,
                (speaker.cluster_id, *path.clusters), item.peer)


def _useful(paths: Iterable[Path]) -> Iterator[Path]:
    """Without paths that are another one with a detour: no peer can prefer them.

    With add-path, speakers that all peer with each other would otherwise hand on every way
    through the graph.
    """
    ways: dict[tuple[IPv4Network, IPv4Address], list[Path]] = {}
    for path in dict.fromkeys(paths):
        ways.setdefault((path.prefix, path.next_hop), []).append(path)
    for several in ways.values():
        yield from several if len(several) == 1 else (
            path for path in several if not any(_is_detour(path, other) for other in several))


def _is_detour(path: Path, other: Path) -> bool:
    """Of equal AS paths those of another originator are none: it decides before the clusters do."""
    if len(other.as_path) == len(path.as_path) and other.originator != path.originator:
        return False
    return (len(other.as_path), len(other.clusters)) < (len(path.as_path), len(path.clusters)) and (
        set(other.as_path) <= set(path.as_path) and set(other.clusters) <= set(path.clusters))


def _metric(next_hop: IPv4Address, speaker: Speaker) -> int:
    """0 for a connected next hop; BIRD knows no metric of other routes (rt_get_igp_metric)."""
    if any(next_hop in network for network in speaker.networks):
        return _NEAR
    return _FAR if speaker.has_gateway else _UNRESOLVABLE


def _cost(item: Received, speaker: Speaker) -> tuple[bool, int, bool, int]:
    """Paths with the lowest are merged: resolvable, short AS path, external, near."""
    metric = _metric(item.path.next_hop, speaker)
    return (metric == _UNRESOLVABLE, len(item.path.as_path), not item.session[0].is_external,
            metric)


def _rank(item: Received, speaker: Speaker) -> tuple[object, ...]:
    """The lowest is the single best path. After the address BIRD prefers the older path."""
    path = item.path
    return (_cost(item, speaker), path.originator or item.router_id, len(path.clusters),
            item.session[0].address, path.next_hop, path.as_path, path.clusters)


def ranked(received: Iterable[Received], speaker: Speaker) -> list[Received]:
    """The best path of each prefix before its others."""
    return sorted(received, key=lambda item: _rank(item, speaker))


def best(received: Iterable[Received], speaker: Speaker) -> Table:
    """Each prefix with the next hops of all its best paths (``merge paths``)."""
    by_prefix: dict[IPv4Network, list[Received]] = {}
    for item in received:
        by_prefix.setdefault(item.path.prefix, []).append(item)
    return {prefix: (items[0].path.next_hop,) if len(items) == 1 else _merged(items, speaker)
            for prefix, items in by_prefix.items()}


def _merged(items: list[Received], speaker: Speaker) -> tuple[IPv4Address, ...]:
    costs = [_cost(item, speaker) for item in items]
    lowest = min(costs)
    return tuple(sorted({item.path.next_hop for item, cost in zip(items, costs, strict=True)
                         if cost == lowest})[:_MOST_MERGED])
