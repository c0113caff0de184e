"""Random graphs of BGP sessions: what must hold of the built-in engine in every one of them.

A graph has three to six speakers: nodes of three ASes, some of them reflectors, and routers, each
with an AS that nodes may share. There is a mesh or none, and sessions come at random, as do events.
In the end the engine is compared with speakers that tell each other what they have, round by round,
until nothing changes (``converged``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from random import Random

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.bgp.engine import Table
from calico_mn.bgp.graph import Graph, Speaker
from calico_mn.bgp.paths import Received, best, is_taken, sent
from calico_mn.bgp.peerings import Peering, PeerType
from calico_mn.bgp_resources import SessionOptions

PREFIXES = [IPv4Network(f"10.22.{number}.0/26") for number in range(3)]
POOL = IPv4Network("10.22.0.0/16")
SUBNETS = [IPv4Network("192.168.57.0/24"), IPv4Network("192.168.58.0/24")]
OPTIONS = [SessionOptions(), SessionOptions(next_hop_mode="Self"),
           SessionOptions(next_hop_mode="Keep"), SessionOptions(allowed_local_as=1)]
SEEDS = range(200)

Announced = dict[str, tuple[IPv4Network, ...]]


def graph_of(random: Random, options: list[SessionOptions] = OPTIONS) -> Graph:
    speakers, locals_ = {}, {}
    racks: list[int] = []
    for number, name in enumerate("abcdef"[:random.randint(3, 6)]):
        subnet = random.choice(SUBNETS)
        address, is_router = subnet[number + 10], random.random() < 0.25
        racks += [100 + number] * is_router
        as_number = racks[-1] if is_router else random.choice((1, 1, 1, 2, 3, *racks))
        speakers[name] = Speaker(
            address, as_number, str(address) if is_router else "" if as_number > 100 else (
                random.choice(("", "", "0.0.0.1", "0.0.0.2"))),
            (subnet,), exports=None if is_router else (POOL,))
        locals_[name] = address if is_router else None
    mesh = {name for name in speakers if not speakers[name].cluster_id
            } if random.random() < 0.5 else set()
    peerings: dict[str, list[Peering]] = {name: [] for name in speakers}
    for pair in combinations(speakers, 2):
        if random.random() < 0.5 and not mesh.issuperset(pair):
            chosen = random.choice(options)
            for own, peer in (pair, pair[::-1]):
                peerings[own].append(replace(end(speakers, own, peer), local=locals_[own],
                                             options=chosen))
    return Graph.of(speakers, peerings, sorted(mesh))


def end(speakers: dict[str, Speaker], own: str, peer: str) -> Peering:
    facts, other = speakers[own], speakers[peer]
    is_client = facts.as_number == other.as_number and bool(
        facts.cluster_id) and facts.cluster_id != other.cluster_id
    return Peering(PeerType.NODE, peer, other.router_id, other.as_number, is_client=is_client)


def announced_by(graph: Graph, random: Random) -> Announced:
    return {name: tuple(random.sample(PREFIXES, random.choice((0, 0, 1, 2))))
            for name in graph.speakers}


def converged(graph: Graph, announced: Announced) -> dict[str, Table]:
    """What each speaker learns, by the same rules for one path and nothing else of the engine."""
    sessions = {(sender, receiver): graph.session(receiver, sender)
                for receiver in graph.speakers for sender in graph.peers(receiver)}
    told: dict[tuple[str, str], tuple] = dict.fromkeys(sessions, ())
    for _ in range(50):
        heard = {name: [
            Received(path, sender, graph.speakers[sender].router_id, session)
            for (sender, receiver), session in sessions.items() if receiver == name
            for path in told[sender, name]
            if is_taken(path, name, facts, session[1])] for name, facts in graph.speakers.items()}
        now = {(sender, receiver): sent(graph.speakers[sender], session[0], announced[sender],
                                        heard[sender])
               for (sender, receiver), session in sessions.items()}
        if {key: set(paths) for key, paths in now.items()} == {
                key: set(paths) for key, paths in told.items()}:
            return {name: {prefix: hops for prefix, hops in best(heard[name], facts).items()
                           if prefix not in announced[name]}
                    for name, facts in graph.speakers.items()}
        told = now
    raise AssertionError("it does not converge")


def engine_of(graph: Graph, announced: Announced) -> BuiltInEngine:
    engine = BuiltInEngine()
    for name, facts in graph.speakers.items():
        engine.add_node(name, facts.router_id)
    engine.set_sessions(graph, {})
    engine.announce(announced)
    return engine


def learned(engine: BuiltInEngine, graph: Graph) -> dict[str, Table]:
    return {name: dict(engine.learned(name)) for name in graph.speakers}


def without(graph: Graph, gone: str) -> Graph:
    return Graph(
        {name: facts for name, facts in graph.speakers.items() if name != gone},
        tuple(members - {gone} for members in graph.meshes),
        {receiver: {sender: ends for sender, ends in senders.items() if sender != gone}
         for receiver, senders in graph.sessions.items() if receiver != gone})


def events(engine: BuiltInEngine, graph: Graph, random: Random) -> Iterator[frozenset[str]]:
    """Things that happen, each with the speakers that the engine names as changed by it."""
    names = list(graph.speakers)
    for _ in range(6):
        name = random.choice(names)
        event = random.choice(("announce", "die", "return", "cut"))
        if event == "announce":
            yield engine.announce({name: random.sample(PREFIXES, 2)})
        elif event == "die":
            engine.kill(name)
            yield frozenset()
        elif event == "return":
            yield engine.restart(name)
        else:
            yield engine.set_sessions(graph, {frozenset(random.sample(names, 2)): "cut"})


def test_any_history_ends_where_speakers_end_that_tell_each_other_what_they_have():
    for seed in SEEDS:
        random = Random(seed)
        graph = graph_of(random)
        announced = announced_by(graph, random)
        engine = engine_of(graph, announced_by(graph, random))
        before = learned(engine, graph)
        for changed in events(engine, graph, random):
            now = learned(engine, graph)
            assert {name for name in now if engine.is_alive(name) and now[name] != before[name]
                    } <= changed, seed
            before = now
        for name in random.sample(list(graph.speakers), len(graph.speakers)):
            if not engine.is_alive(name):
                engine.restart(name)
        engine.set_sessions(graph, {})
        engine.announce(announced)
        assert learned(engine, graph) == converged(graph, announced), seed
        gone = random.choice(list(graph.speakers))
        engine.remove_node(gone)
        graph = without(graph, gone)
        engine.set_sessions(graph, {})
        assert learned(engine, graph) == converged(graph, announced), (seed, gone)


def test_a_withdrawn_block_vanishes_everywhere():
    for seed in SEEDS:
        random = Random(seed)
        graph = graph_of(random)
        announced = announced_by(graph, random)
        engine = engine_of(graph, announced)
        for withdrawn in PREFIXES:
            announced = {name: tuple(prefix for prefix in prefixes if prefix != withdrawn)
                         for name, prefixes in announced.items()}
            engine.announce(announced)
            assert not any(route.prefix == withdrawn for name in graph.speakers
                           for route in engine.routes(name)), (seed, withdrawn)


def test_what_holds_of_routes_with_default_settings():
    """No AS twice in a path, the next hop that BGP keeps, and no packet that goes in a circle."""
    for seed in SEEDS:
        random = Random(seed)
        graph = graph_of(random, OPTIONS[:1])
        announced = announced_by(graph, random)
        engine = engine_of(graph, announced)
        at = {facts.router_id: name for name, facts in graph.speakers.items()}
        for name, facts in graph.speakers.items():
            for route in engine.routes(name):
                path = (facts.as_number, *route.as_path)
                assert len(set(path)) == len(path), (seed, name, route)
                if route.next_hop is not None:
                    owner = at[route.next_hop]
                    assert graph.speakers[owner].as_number in path, (seed, route)
                    assert route.as_path or route.prefix in announced[owner], (seed, route)
            for prefix in engine.learned(name):
                assert_arrival(engine, at, announced, prefix, (name,))


def assert_arrival(engine: BuiltInEngine, at: dict[IPv4Address, str], announced: Announced,
                   prefix: IPv4Network, way: tuple[str, ...]) -> None:
    """From next hop to next hop, over all equal ones, to a speaker that has the prefix."""
    if prefix not in announced[way[-1]]:
        for hop in engine.learned(way[-1])[prefix]:
            assert at[hop] not in way, (way, prefix)
            assert_arrival(engine, at, announced, prefix, (*way, at[hop]))


def test_the_same_paths_in_another_order_are_no_news():
    """Seven sessions in which equal paths would overtake each other for ever."""
    numbers = {"a": 1, "c": 1, "d": 2, "e": 1, "f": 2, "g": 3}
    speakers = {name: Speaker(SUBNETS[0][10 + position], number, "0.0.0.1" * (name == "d"),
                              tuple(SUBNETS[:1]))
                for position, (name, number) in enumerate(numbers.items())}
    pairs = ("ac", "af", "cd", "cg", "df", "ef", "fg")
    peerings = {own: [end(speakers, own, peer) for pair in pairs if own in pair
                      for peer in pair if peer != own] for own in numbers}
    graph = Graph.of(speakers, peerings)
    announced = {**dict.fromkeys(numbers, ()), "e": (PREFIXES[0],), "g": (PREFIXES[1], PREFIXES[0])}
    assert learned(engine_of(graph, announced), graph) == converged(graph, announced)
