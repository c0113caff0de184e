"""BGP's TCP over the running underlay: who can connect to whom, and the routes that follow.

The built-in route engine speaks no BGP; whether its sessions could be is asked of the kernel, by
connections between the speakers' own addresses::

    which pairs? --> kernel.tcp: a connection each --> why not? --> cluster.probed --> routes

As in Calico's mesh, the node with the higher address (compared as text) connects to port 179 of
the other one, from its own address (``passive on`` in bird.cfg.template), and a node connects to a
router; a listener is there meanwhile, unless the user runs one. A boot asks nothing: what it makes
is known to work or not (:mod:`calico_mn.calico.sessions`). The net has one :class:`Sessions` as
``net.sessions``.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from itertools import combinations, pairwise

from calico_mn.bgp.graph import Graph
from calico_mn.calico.underlay import Unreachable
from calico_mn.delta import Delta
from calico_mn.emulation import bgp
from calico_mn.emulation.membership import ClusterMininet
from calico_mn.emulation.speakers import peer_graph, peerings_of
from calico_mn.errors import CalicoMnError
from calico_mn.kernel import nftables, tcp
from calico_mn.kernel.ebpf import handover
from calico_mn.model import Node, Subnet
from calico_mn.packetmatch import PROTOCOL_TCP, Drop

#: seconds until a session that was up counts as broken: two SYNs are sent until then
_PATIENCE_S = 2.0
#: the same for one that was not: ARP and TCP ask again after a second
_PATIENCE_WHEN_DOWN_S = 1.2
#: Up to so many nodes all pairs are asked: each pair of a subnet costs two neighbour entries, of
#: which the whole machine has 1024 by default.
_ALL_PAIRS = 24
_AT_ONCE = 500
#: so many failures without another explanation are looked for in nftables, so many seconds each
_MOST_TRACES, _TRACE_S = 3, 0.3

_Pair = tuple[str, str]
#: server and client; a router is a node with the address that it has in the session
_Nodes = tuple[Node, Node]


@dataclass(slots=True)
class _Known:
    """What follows from how the underlay is built, and what was found on the way.

    That is what is broken by place, the places that drop, and the number of traces.
    """

    built: Unreachable
    damage: dict[str, str] = field(default_factory=dict)
    dropping: set[str] = field(default_factory=set)
    traces: int = 0


class Sessions:
    """Asks which sessions could be up, and lets the routes follow."""

    def __init__(self, net: ClusterMininet) -> None:
        self._net = net

    def refresh(self) -> tuple[Delta, ...]:
        """Ask, and write or withdraw the routes of sessions that came or went; the changes.

        Of more than 24 nodes a sample is asked (:class:`_Sample`): a filter that concerns two
        addresses only may be missed there.
        """
        cluster = self._net.cluster
        before = cluster.unreachable()
        cluster.probed = self._probe(before)
        return () if cluster.unreachable() == before else self._net.reconcile(())

    def kill(self, node: str) -> None:
        """See :meth:`calico_mn.CalicoNet.kill_speaker`."""
        self._net.distributor.kill(node)
        if self._net.birds:
            self._net.birds.kill(node)

    def restart(self, node: str) -> tuple[Delta, ...]:
        """See :meth:`calico_mn.CalicoNet.restart_speaker`."""
        if self._net.birds:
            self._net.birds.restart(node)
        changed = self._net.distributor.restart(node) | {node}
        return (*self._net.reconcile(sorted(changed & self._net.cluster.nodes.keys())),
                *self.refresh())

    def filters_changed(self, drops: Iterable[Drop]) -> None:
        """Ask again when these begin or end to be dropped somewhere, if they can be BGP's."""
        if any(map(self._is_bgp, drops)):
            self.refresh()

    @property
    def _port(self) -> int:
        return self._net.topology.bgp.listen_port

    def _is_bgp(self, drop: Drop) -> bool:
        return drop.protocol == PROTOCOL_TCP and drop.port in (None, self._port)

    def _probe(self, before: Unreachable) -> Unreachable:
        if self._net.birds is not None:
            # Nothing is traced: BIRD would take one more connection for its peer's.
            known = _Known(self._net.cluster.fabric.unreachable(self._net.cluster.nodes.values()),
                           traces=_MOST_TRACES)
            return bgp.down(self._net, lambda server, client, code: (
                self._reason(server, client, code, known)))
        cluster = self._net.cluster
        graph = peer_graph(cluster)
        nodes = [node for node in cluster.nodes.values() if graph.mesh_of(node.name)
                 and self._net.distributor.is_alive(node.name)]
        if graph.sessions or len(graph.meshes) > 1:
            codes = self._connect(list(self._peers(graph)), before)
        elif len(nodes) <= _ALL_PAIRS:
            codes = self._connect(list(map(_in_order, combinations(nodes, 2))), before)
        else:
            sample = _Sample(nodes, {
                node.name: cluster.fabric.subnet_of(node).name for node in nodes})
            codes = self._connect(sample.pairs, before)
            inferred, suspects = sample.rest(codes)
            codes = {**codes, **inferred, **self._connect(suspects, before)}
        known = _Known(cluster.fabric.unreachable(cluster.nodes.values()))
        return {frozenset(pair): self._reason(*pair, code, known) if code else ""
                for pair, code in codes.items()}

    def _peers(self, graph: Graph) -> Iterator[_Nodes]:
        """The sessions between live speakers."""
        nodes, alive = self._net.cluster.nodes, list(filter(
            self._net.distributor.is_alive, graph.speakers))
        peers = {name: frozenset(graph.peers(name)) for name in alive}
        for name, peer in combinations(alive, 2):  # nodes come before routers
            if peer in peers[name]:
                pair = self._end(peer, name), self._end(name, peer)
                yield pair if name in nodes and peer not in nodes else _in_order(pair)

    def _end(self, name: str, peer: str) -> Node:
        """A speaker with the address that it has in its session with a peer."""
        cluster = self._net.cluster
        if name in cluster.nodes:
            return cluster.nodes[name]
        address = next(end.local for end in peerings_of(cluster, with_mesh=False)[name]
                       if end.peer == peer)
        assert address is not None
        return Node(name, IPv4Interface(address))

    # --- the connections

    def _connect(self, pairs: Sequence[_Nodes], before: Unreachable) -> dict[_Pair, int]:
        """The errno of each pair, 0 where TCP works; server first."""
        codes: dict[_Pair, int] = {}
        for start in range(0, len(pairs), _AT_ONCE):
            codes.update(self._connect_at_once(pairs[start:start + _AT_ONCE], before))
        return codes

    def _connect_at_once(self, pairs: Iterable[_Nodes], before: Unreachable) -> dict[_Pair, int]:
        inside, codes = self._net.inside, dict[_Pair, int]()
        of_client: dict[Node, dict[str, str]] = {}
        for server, client in pairs:
            of_client.setdefault(client, {})[str(server.address.ip)] = server.name
        with ExitStack() as listeners:
            for address, name in {item for servers in of_client.values()
                                  for item in servers.items()}:
                listener = inside(name, tcp.listen, address, self._port)
                if listener is not None:
                    listeners.enter_context(listener)
            hopeful: dict[_Pair, socket.socket] = {}
            others: dict[_Pair, socket.socket] = {}
            for client, servers in of_client.items():
                begun = inside(client.name, tcp.connect, str(client.address.ip), servers,
                               self._port)
                for address, attempt in begun.items():
                    pair = servers[address], client.name
                    if isinstance(attempt, int):
                        codes[pair] = attempt
                    else:
                        (others if frozenset(pair) in before else hopeful)[pair] = attempt
            slowest = max((subnet.link.delay or 0
                           for subnet in self._net.topology.underlay.subnets), default=0) / 100
            began = time.monotonic()
            codes.update(tcp.outcomes(hopeful, _PATIENCE_S + slowest))
            waited = time.monotonic() - began  # the others have waited as well
            codes.update(tcp.outcomes(others, _PATIENCE_WHEN_DOWN_S + slowest - waited))
        return codes

    # --- what is wrong

    def _reason(self, server: str, client: str, code: int, known: _Known) -> str:
        """Why it does not work, in a few words."""
        ends = self._end(server, client), self._end(client, server)
        address = ends[0].address.ip
        if code == errno.EADDRNOTAVAIL:
            return f"{client} does not have its address {ends[1].address.ip}"
        if code == errno.ECONNREFUSED:
            return f"{address} refuses TCP port {self._port}"
        places = list(self._places(*ends))
        if code not in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            for place in places:
                if any(map(self._is_bgp, self._net.filters.present.get(place, ()))):
                    return f"TCP port {self._port} is dropped at {place}"
        for place in places:
            if place not in known.damage:
                known.damage[place] = ", ".join(self._net.runtime.writer.diagnose(place))
            if known.damage[place]:
                return f"no way to {address}: {place}: {known.damage[place]}"
        built = known.built.get(frozenset((server, client)))
        if built:
            return built
        if code != errno.ETIMEDOUT:
            return f"no route to {address}"
        dropping = next((place for place in places if place in known.dropping), "")
        if not dropping and known.traces < _MOST_TRACES:
            known.traces += 1
            dropping = self._dropping(*ends, places)
            known.dropping.add(dropping)
        return (f"TCP port {self._port} is dropped at {dropping}" if dropping
                else f"no answer from {address} to TCP port {self._port}")

    def _dropping(self, server: Node, client: Node, places: Iterable[str]) -> str:
        """Where nftables drops it, by the kernel's trace of one more attempt; or empty."""
        inside, nft = self._net.inside, self._net.filters.nft
        source, destination = str(client.address.ip), str(server.address.ip)
        matches = (f"ip saddr {source} ip daddr {destination} tcp dport {self._port}",
                   f"ip saddr {destination} ip daddr {source} tcp sport {self._port}")
        switches = {subnet.name for subnet in self._net.topology.underlay.subnets}
        with suppress(CalicoMnError, OSError), ExitStack() as stack:
            listeners = {}
            for place in places:
                listeners[place] = stack.enter_context(inside(place, nftables.TraceListener))
                is_switch = place in switches
                nft(place, nftables.APPLY, nftables.trace_rules(matches, is_switch=is_switch))
                stack.callback(nft, place, nftables.APPLY,
                               nftables.trace_removal(is_switch=is_switch))
            begun = inside(client.name, tcp.connect, source, [destination], self._port)
            tcp.outcomes({address: attempt for address, attempt in begun.items()
                          if not isinstance(attempt, int)}, _TRACE_S)
            return next((place for place, listener in listeners.items() if any(
                verdict.dropped for verdict in listener.verdicts(0, handover.TABLE))), "")
        return ""

    def _places(self, server: Node, client: Node) -> Iterator[str]:
        fabric = self._net.cluster.fabric
        yield from (client.name, server.name)
        crossed: tuple[Subnet, ...] = fabric.crossed(
            fabric.subnet_of(client), fabric.subnet_of(server))
        subnets = {subnet.name for subnet in crossed}
        yield from subnets
        yield from (router.name for router in fabric.routers if len(subnets) > 1
                    and any(interface.subnet in subnets for interface in router.interfaces))


def _in_order(pair: _Nodes) -> _Nodes:
    """Server and client: the higher address connects, compared as text."""
    first, second = pair
    return pair if str(first.address.ip) < str(second.address.ip) else (second, first)


class _Sample:
    """Some of all pairs, and what follows from them for the others.

    Each node is paired with its successor in its subnet, and with a node of each other subnet.
    """

    def __init__(self, nodes: Sequence[Node], subnet_of: Mapping[str, str]) -> None:
        self._nodes = nodes
        self._subnet_of = subnet_of
        by_subnet: dict[str, list[Node]] = {}
        for node in nodes:
            by_subnet.setdefault(subnet_of[node.name], []).append(node)
        pairs = [pair for members in by_subnet.values() for pair in pairwise(members)]
        for members, others in combinations(by_subnet.values(), 2):
            pairs += ((members[n % len(members)], others[n % len(others)])
                      for n in range(max(len(members), len(others))))
        self.pairs = list(map(_in_order, pairs))

    def rest(self, codes: Mapping[_Pair, int]) -> tuple[dict[_Pair, int], list[_Nodes]]:
        """The pairs that fail like the sample, with its errno; and those that must be asked.

        A node of which no pair works reaches no other, and two subnets (or one) between which none
        works are apart. Where some work, the pairs of the nodes of the others are suspect.
        """
        if not any(codes.values()):
            return {}, []
        of_node: dict[str, list[int]] = {}
        for pair, code in codes.items():
            for name in pair:
                of_node.setdefault(name, []).append(code)
        cut_off = {name: found[0] for name, found in of_node.items() if all(found)}
        between: dict[frozenset[str], list[int]] = {}
        failed: set[tuple[frozenset[str], str]] = set()
        for pair, code in codes.items():
            if not cut_off.keys() & set(pair):
                subnets = self._subnets(pair)
                between.setdefault(subnets, []).append(code)
                failed.update((subnets, name) for name in pair if code)
        inferred: dict[_Pair, int] = {}
        suspects: list[_Nodes] = []
        for nodes in map(_in_order, combinations(self._nodes, 2)):
            pair = (nodes[0].name, nodes[1].name)
            subnets = self._subnets(pair)
            results = between.get(subnets, [])
            code = next((cut_off[name] for name in pair if name in cut_off), 0) or (
                results[0] if results and all(results) else 0)
            if pair in codes:
                continue
            if code:
                inferred[pair] = code
            elif any((subnets, name) in failed for name in pair):
                suspects.append(nodes)
        return inferred, suspects

    def _subnets(self, pair: _Pair) -> frozenset[str]:
        return frozenset(self._subnet_of[name] for name in pair)
