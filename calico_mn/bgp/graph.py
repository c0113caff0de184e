"""The sessions between BGP speakers, and what each end does to the routes on them. Pure.

In go speakers, which are nodes or routers of the underlay, and their peerings; out comes a graph
for the route engine. A session is two directions, and each direction has two ends::

    sender --SendingEnd--> filter, next hop, AS path, reflection
                                    |
                              ReceivingEnd--> loops, filter --> receiver

The node-to-node mesh inside one AS is by far the most common case. Its sessions are all alike, so
that a thousand nodes are one group here and not a million sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import permutations

from calico_mn.bgp.filters import EXPORT, IMPORT, SessionFilter, rules_of
from calico_mn.bgp.peerings import Peering, next_hop_option
from calico_mn.bgp_resources import BGPFilter

#: bgp_default_local_pref of BIRD
LOCAL_PREF = 100
#: from this value the metric is taken away to get the local preference (bgp_processor.go in confd)
HIGHEST_PREF = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Speaker:
    """A node or a router that speaks BGP.

    ``router_id`` is a node's address in the underlay. ``cluster_id`` is that of a route reflector.
    ``networks`` are those in which the speaker has an address; with ``has_gateway`` it has a route
    to all other next hops as well. It hands on only what lies in ``exports`` (a node: the enabled
    pools), None means everything. ``local`` are the prefixes that only a filter can let it
    announce, or that a filter may know by their device: each with that device, empty for none.
    ``local_pref`` is that of what nodes of its own AS announce.
    """

    router_id: IPv4Address
    as_number: int
    cluster_id: str = ""
    networks: tuple[IPv4Network, ...] = ()
    has_gateway: bool = True
    exports: tuple[IPv4Network, ...] | None = None
    local: tuple[tuple[IPv4Network, str], ...] = ()
    local_pref: int = LOCAL_PREF


@dataclass(frozen=True, slots=True)
class SendingEnd:
    """What a speaker does to routes on their way to a peer. Peers with equal ones hear the same.

    ``address`` is the sender's own one in this session. ``to_client``: the peer is a client of
    this reflector. ``subnet`` names the subnet that both are in where the session is single-hop
    (BIRD's ``direct``), empty for a multihop session as Calico's are. ``next_hop`` is BIRD's option
    of this name: ``keep``, ``self``, ``self ebgp`` (for what comes from another AS), or empty.
    With ``add_paths`` all paths are sent, and only the best one without (RFC 7911).
    """

    address: IPv4Address
    is_external: bool = False
    to_client: bool = False
    subnet: str = ""
    next_hop: str = ""
    add_paths: bool = True
    filter: SessionFilter | None = None


@dataclass(frozen=True, slots=True)
class ReceivingEnd:
    """What a speaker does to routes that come from a peer.

    ``from_client``: the peer is a client of this reflector. ``allowed_own_as`` is how many times
    the speaker's own AS may be in an AS path (``allow local as``). ``subnet`` is that of the
    speaker's own :class:`SendingEnd` in this session.
    """

    from_client: bool = False
    allowed_own_as: int = 0
    filter: SessionFilter | None = None
    subnet: str = ""


#: one direction of a session
Session = tuple[SendingEnd, ReceivingEnd]


@dataclass(frozen=True, slots=True)
class Graph:
    """Who tells whom.

    ``meshes`` are groups of speakers of one AS that all peer with each other, each with at most
    one; ``sessions`` are all others: receiver -> sender -> what each end does.
    """

    speakers: Mapping[str, Speaker]
    meshes: tuple[frozenset[str], ...] = ()
    sessions: Mapping[str, Mapping[str, Session]] = field(default_factory=dict)

    @classmethod
    def of(cls, speakers: Mapping[str, Speaker], peerings: Mapping[str, Sequence[Peering]],
           mesh: Iterable[str] = (), filters: Mapping[str, BGPFilter] | None = None) -> Graph:
        """The graph of these peerings and of a mesh of these speakers; ``filters`` by their names.

        A session needs an end on both sides, and the AS number that each expects of the other.
        Members of the mesh have no other one with each other: BIRD takes the first with an address.
        """
        members = frozenset(mesh)
        by_as: dict[int, list[str]] = {}
        for name in sorted(members):
            by_as.setdefault(speakers[name].as_number, []).append(name)
        sessions: dict[str, dict[str, Session]] = {name: {} for name in speakers}
        for group, others in permutations(by_as.values(), 2):
            for sender in group:
                end = SendingEnd(speakers[sender].router_id, is_external=True)
                for receiver in others:
                    sessions[receiver][sender] = end, ReceivingEnd()
        ends = {name: _by_peer(own) for name, own in peerings.items()}
        for sender, own in ends.items():
            for receiver, forth in own.items():
                back = ends.get(receiver, {}).get(sender)
                if back and not members >= {sender, receiver} and (
                        forth.as_number, back.as_number) == (
                        speakers[receiver].as_number, speakers[sender].as_number):
                    end = _sending_end(speakers[sender], forth, back)
                    other = _sending_end(speakers[receiver], back, forth)
                    sessions[receiver][sender] = (
                        replace(end, filter=_filter(EXPORT, forth, filters, end)),
                        ReceivingEnd(back.is_client, back.options.allowed_local_as,
                                     _filter(IMPORT, back, filters, end), other.subnet))
        return cls(speakers, tuple(frozenset(group) for group in by_as.values()),
                   {name: senders for name, senders in sessions.items() if senders})

    def mesh_of(self, name: str) -> frozenset[str]:
        """The members of the mesh that a speaker is in, empty for none."""
        return next((members for members in self.meshes if name in members), frozenset())

    def heard(self, name: str) -> Mapping[str, Session]:
        """The sessions outside of meshes in which a speaker hears others."""
        return self.sessions.get(name, {})

    def session(self, receiver: str, sender: str) -> Session:
        """The direction in which one of two peers hears the other."""
        return self.heard(receiver).get(sender) or (
            SendingEnd(self.speakers[sender].router_id), ReceivingEnd())

    def peers(self, name: str) -> tuple[str, ...]:
        """All with which a speaker peers."""
        return tuple(dict.fromkeys((*sorted(self.mesh_of(name) - {name}), *self.heard(name))))


def _sending_end(sender: Speaker, forth: Peering, back: Peering) -> SendingEnd:
    """A router's session is single-hop where it leads to another AS on a connected subnet."""
    is_external = forth.as_number != back.as_number
    local, peer = forth.local or sender.router_id, forth.address
    subnet = next((str(network) for network in sender.networks
                   if local in network and peer in network), "")
    return SendingEnd(
        local, is_external, forth.is_client, subnet if forth.local and is_external else "",
        next_hop_option(forth.options, is_external) if forth.local is None else (
            "" if is_external else "self ebgp"),
        add_paths=forth.local is back.local is None)


def _filter(direction: str, end: Peering, filters: Mapping[str, BGPFilter] | None,
            session: SendingEnd) -> SessionFilter | None:
    rules = rules_of(end.options.filters, filters or {}, direction)
    return SessionFilter(rules, session.is_external) if rules else None


def _by_peer(peerings: Iterable[Peering]) -> dict[str, Peering]:
    """A speaker's peering with each peer; of several, the one in which the peer is a client."""
    by_peer: dict[str, Peering] = {}
    for peering in peerings:
        if peering.peer and (peering.peer not in by_peer or peering.is_client):
            by_peer[peering.peer] = peering
    return by_peer
