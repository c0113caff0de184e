"""Why a speaker has not learned a prefix that another one has. Pure.

In go the route engine, the graph of sessions and the two speakers; out comes a reason in a few
words. Asked are, from the speaker back towards the origin, all sessions by which the prefix could
have come, and all that resources ask for and that cannot be::

    node31 <-- reflector <-- node33     wrong AS? session down? filter? not handed on?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network

from calico_mn.bgp.engine import RouteEngine
from calico_mn.bgp.filters import EXPORT, IMPORT
from calico_mn.bgp.graph import Graph, Speaker
from calico_mn.bgp.peerings import Peering, PeerType
from calico_mn.text import join, join_some

#: so many obstacles are named at most
_MOST = 3


def mistake(node: str, end: Peering, ends: Mapping[str, Sequence[Peering]],
            speakers: Mapping[str, Speaker]) -> str:
    """Why a node's end of a session finds no end that fits it, and what to do; empty if it does.

    No network between the two mends that. ``ends`` are each speaker's peerings.
    """
    if not end.peer:
        return (f"no node has {end.address}, so that no BGP speaker answers: peerIP must be the"
                " address of a node, or of a router with bgp")
    if end.peer not in ends:
        return f"router {end.peer} speaks no BGP: give it bgp: {{asNumber: {end.as_number}}}"
    first = next(own for own in ends[node] if own.address == end.address)
    if first.kind is PeerType.MESH is not end.kind:
        return (f"{node} has a session of the {first.kind} with {end.peer} already: set"
                " nodeToNodeMeshEnabled false, or leave the BGPPeer out")
    own, other = speakers[node].as_number, speakers[end.peer].as_number
    if other != end.as_number:
        return (f"{end.peer} is in AS {other}, {node} expects AS {end.as_number}: set the BGPPeer's"
                f" asNumber to {other}")
    expected = [back.as_number for back in ends[end.peer] if back.peer == node]
    if not expected:
        return (f"{end.peer} has no peering with {node}: a port in peerIP must be its listenPort,"
                " and with reversePeering Manual it needs a BGPPeer of its own")
    if own not in expected:
        return (f"{end.peer} expects AS {expected[0]} of {node}, which is in AS {own}: set the"
                f" BGPPeer's asNumber to {own}")
    return ""


class Unlearned:
    """Asks on behalf of one speaker for one prefix, which ``origin`` has.

    ``ends`` are each speaker's peerings.
    """

    def __init__(self, engine: RouteEngine, graph: Graph, ends: Mapping[str, Sequence[Peering]],
                 prefix: IPv4Network, origin: str) -> None:
        self._engine, self._graph, self._ends = engine, graph, ends
        self._prefix, self._origin = prefix, origin

    def why(self, node: str) -> str:
        """Why ``node`` has no route to the prefix; empty where BGP is not to blame."""
        if node == self._origin or not {node, self._origin} <= self._graph.speakers.keys():
            return ""
        if not self._engine.is_alive(node):
            return f"{node} learns nothing, since it has no speaker"
        obstacles = list(dict.fromkeys(self._obstacles(node, {node})))
        if self._prefix in self._engine.table(node):
            # Peers of a dead speaker keep its routes, with BIRD for the time of graceful restart.
            obstacles = [text for text in obstacles if "no speaker on" in text]
        elif not obstacles:
            obstacles = [self._engine.why_down(node, self._origin)]
            if self._graph.peers(node) and not self._graph.mesh_of(node):
                obstacles[0] += (", and without a routeReflectorClusterID nothing is handed on by"
                                 f" {join_some(self._graph.peers(node), _MOST)}")
        return (f"{node} did not learn {self._prefix} from {self._origin}:"
                f" {join_some(obstacles, _MOST)}" if any(obstacles) else "")

    def _obstacles(self, node: str, passed: set[str]) -> Iterator[str]:
        peers = self._graph.peers(node)
        for end in self._ends.get(node, ()):
            if end.peer not in peers and (
                    why := mistake(node, end, self._ends, self._graph.speakers)):
                yield f"{node} has no BGP session with {end.peer or end.address}: {why}"
        for peer in peers:
            if peer in passed:
                continue
            if peer == self._origin:
                yield from self._between(peer, node)
            elif self._hands_on(peer, node):
                if down := self._down(peer, node):
                    yield down
                elif self._prefix in self._engine.table(peer):
                    yield from self._between(peer, node)
                else:
                    passed.add(peer)
                    yield from self._obstacles(peer, passed)

    def _hands_on(self, sender: str, receiver: str) -> bool:
        """Whether a speaker hands on what others told it: a reflector, or to another AS."""
        speakers = self._graph.speakers
        return bool(speakers[sender].cluster_id) or (
            speakers[sender].as_number != speakers[receiver].as_number) or any(
            session[0].is_external for session in self._graph.heard(sender).values())

    def _down(self, sender: str, receiver: str) -> str:
        why = self._engine.why_down(receiver, sender)
        return why and f"the BGP session of {receiver} and {sender} is down: {why}"

    def _between(self, sender: str, receiver: str) -> Iterator[str]:
        """What keeps the prefix from going from a speaker that has it to its peer."""
        if down := self._down(sender, receiver):
            yield down
            return
        sending, receiving = self._graph.session(receiver, sender)
        is_remote = sender != self._origin
        speaker, taker = self._graph.speakers[sender], self._graph.speakers[receiver]
        exported = sending.filter and (
            sending.filter.learned if is_remote else sending.filter.local)(self._prefix)
        if exported is False:
            yield (f"{sender} does not send it to {receiver}:"
                   f" {self._filters(sender, receiver, EXPORT)}")
        elif receiving.filter and receiving.filter.learned(self._prefix) is False:
            yield (f"{receiver} does not take it from {sender}:"
                   f" {self._filters(receiver, sender, IMPORT)}")
        elif is_remote and not exported and speaker.exports is not None and not any(
                map(self._prefix.subnet_of, speaker.exports)):
            yield f"{sender} hands on nothing outside its pools"
        elif is_remote and sending.to_client and (twins := self._of_own_cluster(sender)):
            yield (f"{sender} does not hand on what {join(twins)} reflected, with the same"
                   f" routeReflectorClusterID {speaker.cluster_id}: give each its own")
        elif sending.is_external and taker.as_number == self._graph.speakers[
                self._origin].as_number != speaker.as_number and not receiving.allowed_own_as:
            yield (f"{receiver} takes no route from {sender} that went through its own AS"
                   f" {taker.as_number} (numAllowedLocalASNumbers)")

    def _of_own_cluster(self, reflector: str) -> list[str]:
        """The reflectors with the same cluster id of whom alone it has the prefix (RFC 4456 §8)."""
        speakers = self._graph.speakers
        tellers = [peer for peer in self._graph.peers(reflector)
                   if self._prefix in self._engine.heard(reflector, peer)]
        is_twin = all(peer != self._origin and speakers[peer].cluster_id == speakers[
            reflector].cluster_id for peer in tellers)
        return tellers if is_twin else []

    def _filters(self, node: str, peer: str, direction: str) -> str:
        names = list(dict.fromkeys(name for end in self._ends.get(node, ()) if end.peer == peer
                                   for name in end.options.filters))
        return f"the {direction} rules of BGPFilter {join(names, 'or')} reject it"
