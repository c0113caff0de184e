"""What the speakers of a running cluster know: their sessions and routes, with either engine.

In go the name of a node or router with BGP, and a prefix; out come ``Session`` and ``BgpRoute`` of
:mod:`calico_mn.bgp.engine`, of BIRD itself or of the built-in engine. The net has one :class:`Bgp`
as ``net.bgp``.

Which sessions of the BIRDs are down, and why, is asked of both ends, their logs and the kernel
(:func:`down`)::

    show protocols of both ends --> the end that knows more --> its log: since when, error in full
                                                            --> who listens on BIRD's port
                                                            --> why TCP does not work
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network
from itertools import permutations

from calico_mn.bgp.birdc import BirdProtocol, downtime
from calico_mn.bgp.engine import ESTABLISHED, BgpRoute, Session
from calico_mn.bgp.graph import Graph, Speaker
from calico_mn.bgp.peerings import Peering
from calico_mn.bgp.unlearned import mistake
from calico_mn.calico.underlay import Unreachable
from calico_mn.emulation.membership import ClusterMininet
from calico_mn.emulation.speakers import (
    peer_graph,
    peerings_of,
    speaker_addresses,
    unreachable,
)
from calico_mn.errors import CalicoMnError, ClusterError, KernelError
from calico_mn.kernel import tcp
from calico_mn.text import join_some

#: so many sessions are named in a sentence
_MOST = 3

#: what BIRD says where it has no port to listen on (bgp_open() in its proto/bgp/bgp.c)
_NO_PORT = "No listening socket"
#: BIRD's last error -> what connect(2) would say
_ERRORS = {**{os.strerror(number): number for number in (
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)},
    "Hold timer expired": errno.ETIMEDOUT, "Neighbor lost": errno.EHOSTUNREACH}

#: BIRD connects, and until it gives up its last error is none, or how the session before ended
_CONNECT = "Connect"
_UNTIL_THEN = ("", "Socket: Connection closed", f"Socket: {os.strerror(errno.ECONNRESET)}",
               "Received: Cease", "Error: BFD session down")

#: why TCP from the second node to the first one fails with an errno, in a few words
Diagnose = Callable[[str, str, int], str]


class Bgp:
    """Asks the speakers of the cluster of ``net``."""

    def __init__(self, net: ClusterMininet) -> None:
        self._net = net

    def sessions(self, node: str | None = None) -> tuple[Session, ...]:
        """The sessions of a node or router with BGP, or of all, as each of the two ends has them.

        What is known of TCP is from the last ``net.refresh_sessions()``. Raises ClusterError for
        what is no speaker.
        """
        ends, speakers = peerings_of(self._net.cluster), peer_graph(self._net.cluster).speakers
        return tuple(session for name in self._chosen(node)
                     for session in self._of(name, ends, speakers))

    def routes(self, node: str, prefix: str = "") -> tuple[BgpRoute, ...]:
        """What a speaker announces itself and has heard by BGP, ordered by prefix, best first.

        ``prefix`` chooses: of an address all routes to it, of a prefix itself and what is inside.
        Raises ClusterError for what is no speaker or no prefix, KernelError where BIRD is silent.
        """
        wanted = _network(prefix)
        (name,) = self._chosen(node)
        routes = sorted(self._bird_routes(name) if self._net.birds
                        else self._net.distributor.routes(name),
                        key=lambda route: (route.prefix, not route.is_best))
        return tuple(route for route in routes if wanted is None or (
            wanted.subnet_of(route.prefix) if wanted.prefixlen == 32
            else route.prefix.subnet_of(wanted)))

    def remarks(self) -> dict[str, str]:
        """What is wrong with BGP, by speaker: BIRDs that ended, sessions that are down and why."""
        net, texts = self._net, dict[str, list[str]]()
        ended = net.birds.remarks() if net.birds else {
            name: "its speaker is dead, and routes stay as they are" for name in self._chosen(None)
            if not (net.distributor.is_alive(name) or name in net.cluster.admission.unstarted)}
        for name, text in ended.items():
            texts[name] = [text]
        graph = peer_graph(net.cluster)
        mistakes = self._mistakes(graph)
        without = {(name, peer): why for pair, why in unreachable(net.cluster).items()
                   for name, peer in permutations(sorted(pair))
                   if not {(name, peer), (peer, name)} & mistakes.keys()}
        down: dict[str, list[str]] = {}
        for (name, peer), why in {**mistakes, **without}.items():
            down.setdefault(name, []).append(f"{peer} ({why})")
        for name in self._alone(graph):
            if name not in down:
                texts.setdefault(name, []).append("no BGP session: it is in no node-to-node mesh,"
                                                  " and no BGPPeer makes a session")
        for name, peers in down.items():
            texts.setdefault(name, []).append(f"no BGP session with {join_some(peers, _MOST)}")
        return {name: "; ".join(items) for name, items in texts.items()}

    def _alone(self, graph: Graph) -> Iterator[str]:
        """The nodes without peers, where BIRD is to write routes between nodes."""
        cluster = self._net.cluster
        if any(cluster.routes.by_bird(cluster.mode_of_pool(pool))
               for pool in cluster.topology.pools):
            yield from (name for name in cluster.nodes
                        if not (graph.mesh_of(name) or graph.heard(name)))

    def _mistakes(self, graph: Graph) -> dict[tuple[str, str], str]:
        """Speakers and their peers, with why BGPPeers cannot make a session of the two."""
        ends = peerings_of(self._net.cluster, with_mesh=False)
        return {(name, end.peer or str(end.address)): why for name, own in ends.items() if own
                for peers in [graph.peers(name)] for end in own if end.peer not in peers
                and (why := mistake(name, end, ends, graph.speakers))}

    def _chosen(self, node: str | None) -> list[str]:
        speakers = list(speaker_addresses(self._net.cluster))
        if node is not None and node not in speakers:
            raise ClusterError(f"{node} speaks no BGP: neither a node nor a router with bgp")
        return speakers if node is None else [node]

    # --- sessions

    def _of(self, node: str, ends: Mapping[str, Sequence[Peering]],
            speakers: Mapping[str, Speaker]) -> Iterator[Session]:
        engine, birds = self._net.distributor, self._net.birds
        protocols: dict[str, BirdProtocol] = {}
        if birds and engine.is_alive(node):
            with suppress(ClusterError, KernelError, OSError):
                protocols = birds.protocols(node, counted=True)
        for end in ends[node]:
            reason = mistake(node, end, ends, speakers) or engine.why_down(node, end.peer)
            protocol = protocols.get(end.name)
            if protocol is not None:
                yield Session(node, end.peer, end.address, end.kind, protocol.state,
                              protocol.bgp_state, protocol.since, protocol.imported,
                              protocol.exported, protocol.error,
                              "" if protocol.is_up else reason or f"{node}: {protocol.info}")
            elif reason:
                yield Session(node, end.peer, end.address, end.kind, "down", reason=reason)
            elif birds:
                yield Session(node, end.peer, end.address, end.kind, "down",
                              reason=f"BIRD on {node} does not answer")
            else:
                yield Session(node, end.peer, end.address, end.kind, "up", ESTABLISHED, "",
                              len(engine.heard(node, end.peer)), len(engine.heard(end.peer, node)))

    # --- routes

    def _bird_routes(self, node: str) -> Iterator[BgpRoute]:
        assert self._net.birds is not None
        own = set(self._net.distributor.originated(node))
        try:
            known: Sequence[BgpRoute] = self._net.birds.routes(node)
        except OSError as error:
            raise KernelError(f"{node}: BIRD does not answer: {error}") from None
        # Felix's blackhole of an own block is a second way for BIRD, learned from the kernel.
        return (route for route in known
                if not route.is_own or (route.is_best and route.prefix in own))


def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text) if text else None
    except ValueError:
        raise ClusterError(f"{text!r} is no IPv4 address or prefix") from None


# --- the BIRDs' sessions that are down


def down(net: ClusterMininet, diagnose: Diagnose) -> Unreachable:
    """The pairs of live speakers that peer, with why the session is down; empty if it is up."""
    assert net.birds is not None
    ends = peerings_of(net.cluster)
    states: dict[str, dict[str, BirdProtocol]] = {}
    silent: dict[str, str] = {}
    for name in net.birds.alive():
        try:
            states[name] = net.birds.protocols(name)
        except (KernelError, OSError) as error:
            states[name], silent[name] = {}, f"BIRD on {name} does not answer: {error}"
    known: dict[frozenset[str], list[tuple[bool, bool, bool, str, str, str]]] = {}
    for name in ends.keys() & states.keys():
        for end in ends[name]:
            if end.peer in states:
                protocol = states[name].get(end.name)
                is_down = not (protocol and protocol.is_up)
                has_port = not (protocol and _NO_PORT in protocol.error)
                known.setdefault(frozenset((name, end.peer)), []).append(
                    (is_down, has_port, end.is_passive, name, end.peer, end.name))
    reasons: Unreachable = {}
    for pair, items in known.items():
        # One protocol that is up is enough; the side that connects knows more than the other.
        is_down, _, _, name, peer, session = min(items)
        reasons[pair] = "" if not is_down else silent.get(name) or silent.get(peer) or _reason(
            net, name, peer, states[name].get(session), diagnose)
    return reasons


def _reason(net: ClusterMininet, node: str, peer: str, protocol: BirdProtocol | None,
            diagnose: Diagnose) -> str:
    if protocol is None:
        return f"BIRD on {node}: no such protocol"
    assert net.birds is not None
    if _NO_PORT in protocol.error:
        return f"BIRD on {node}: {protocol.error}: {_taken(net, node)}"
    log = downtime(net.birds.log_lines(node), protocol.name)
    # The log has more of the same error, such as the AS number that was found.
    error = log.error if protocol.error.rpartition(": ")[2] in log.error else protocol.error
    parts = [protocol.bgp_state or protocol.state, error if protocol.error else "", str(log)]
    number = next((code for text, code in _ERRORS.items() if text in protocol.error), 0)
    if protocol.bgp_state == _CONNECT and protocol.error in _UNTIL_THEN:
        number = errno.ETIMEDOUT
    cause = diagnose(peer, node, number) if number else ""
    return f"BIRD on {node}: {', '.join(filter(None, parts))}{f'; {cause}' if cause else ''}"


def _taken(net: ClusterMininet, node: str) -> str:
    """Who has BIRD's port; BIRD itself does not try again."""
    port = net.topology.bgp.listen_port
    try:
        owner = net.inside(node, tcp.listening, port)
    except (CalicoMnError, OSError):
        owner = None
    first = (f"{owner or 'another program'} listens on TCP port {port}: end it, then"
             if owner is not None else "try again with")
    return f"{first} 'calico-mn exec {node} -- birdc enable all'"
