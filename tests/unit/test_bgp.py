"""The full mesh: which node learned what, and which nodes are named when that changes."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.bgp.engine import RouteEngine
from calico_mn.bgp.graph import Graph, Speaker
from calico_mn.errors import ClusterError

from .clusters import ip, net

P, Q, R = net("10.22.138.0/26"), net("10.22.151.0/26"), net("10.22.200.7/32")
A, B, C = ip("192.168.57.9"), ip("192.168.57.31"), ip("192.168.57.100")


D = ip("192.168.57.200")
ROUTER_IDS = dict(zip("abcd", (A, B, C, D), strict=True))


def mesh(*nodes: str) -> RouteEngine:
    engine = BuiltInEngine()
    for name in nodes:
        join(engine, name, nodes)
    return engine


def join(engine, name, names):
    """A speaker comes, in a full mesh of these."""
    engine.add_node(name, ROUTER_IDS[name])
    sessions(engine, True, {}, names)


def sessions(engine, mesh, unreachable, names="abc", router_ids=None):
    """Tell the engine of a full mesh of these nodes, or of none."""
    speakers = {name: Speaker((router_ids or ROUTER_IDS)[name], 64512) for name in names}
    return engine.set_sessions(Graph.of(speakers, {}, names if mesh else ()), unreachable)


def originate(engine, node, prefixes):
    return engine.announce({node: prefixes})


def test_all_who_announce_a_prefix_are_its_next_hops_ordered_as_numbers():
    engine = mesh("a", "b", "c")
    join(engine, "d", "abcd")
    assert originate(engine, "c", [P]) == {"a", "b", "d"}
    assert engine.learned("d") == {P: (C,)}
    assert originate(engine, "a", [P]) == {"a", "b", "d"}
    assert originate(engine, "b", [P]) == {"b", "d"}, "a and c have it themselves"
    assert engine.learned("d") == {P: (A, B, C)}
    assert originate(engine, "c", []) == {"c", "d"}, "it sees what the others offer again"
    assert engine.learned("c") == engine.learned("d") == {P: (A, B)}
    assert originate(engine, "b", []) == {"b", "c", "d"}
    assert originate(engine, "a", []) == {"b", "c", "d"}
    assert engine.learned("d") == {}


@pytest.mark.parametrize("again", [
    pytest.param([P, Q], id="same"),
    pytest.param([Q, P], id="other-order"),
    pytest.param([P, Q, P], id="repeated"),
])
def test_nothing_changes_when_the_same_is_announced_again(again):
    engine = mesh("a", "b")
    originate(engine, "a", [P, Q])
    assert originate(engine, "a", again) == frozenset()


def test_a_node_does_not_learn_what_it_originates_itself():
    engine = mesh("a", "b")
    originate(engine, "b", [P])
    assert engine.learned("a") == {P: (B,)}
    assert "a" in originate(engine, "a", [P])
    assert P not in engine.learned("a")
    assert P not in engine.learned("b")
    assert "a" in originate(engine, "a", []), "what the other one offers is visible again"
    assert engine.learned("a") == {P: (B,)}


def test_many_announcements_in_one_call_are_as_many_calls():
    one, many = mesh("a", "b", "c"), mesh("a", "b", "c")
    announcements = {"a": [P], "b": [Q], "c": [R]}
    assert one.announce(announcements) == {"a", "b", "c"}
    for node, prefixes in announcements.items():
        originate(many, node, prefixes)
    for node in announcements:
        assert one.learned(node) == many.learned(node)


def test_nodes_that_see_the_same_share_a_table_that_never_changes():
    engine = mesh("a", "b", "c")
    originate(engine, "a", [P])
    table = engine.table("a")
    assert table is engine.table("b")
    engine.kill("c")
    originate(engine, "b", [Q])
    assert table == {P: (A,)}
    assert engine.table("a") is engine.table("b")
    assert engine.table("c") == {P: (A,)}


def test_what_each_node_heard_and_its_sessions():
    engine = mesh("a", "b", "c")
    engine.announce({"a": [P], "b": [Q]})
    engine.kill("a")
    engine.announce({"a": [R], "b": []})
    join(engine, "d", "abcd")
    assert engine.sessions("a") == ()
    assert engine.sessions("b") == ("c", "d")
    assert engine.originated("a") == (R,)
    assert engine.heard("a", "b") == (Q,), "as when it died"
    assert engine.heard("c", "a") == (P,)
    assert engine.heard("c", "b") == ()
    assert engine.heard("d", "a") == ()


AB, NO_WAY = frozenset("ab"), "no route to 192.168.57.31"


def test_without_tcp_there_is_no_session_and_the_routes_come_back_with_it():
    engine = mesh("a", "b", "c")
    engine.announce({"a": [P], "b": [Q], "c": [R]})
    assert sessions(engine, True, {AB: NO_WAY}) == {"a", "b"}
    assert sessions(engine, True, {AB: NO_WAY}) == frozenset()
    assert (engine.learned("a"), engine.learned("b")) == ({R: (C,)}, {R: (C,)})
    assert engine.learned("c") == {P: (A,), Q: (B,)}
    assert (engine.sessions("a"), engine.sessions("c")) == (("c",), ("a", "b"))
    assert [engine.why_down("b", peer) for peer in "ac"] == [NO_WAY, ""]
    assert engine.heard("a", "b") == ()
    assert originate(engine, "b", [Q, net("10.22.44.0/26")]) == {"c"}
    assert sessions(engine, True, {}) == {"a", "b"}
    assert engine.learned("a") == {Q: (B,), R: (C,), net("10.22.44.0/26"): (B,)}


def test_without_a_mesh_nobody_learns_anything():
    engine = mesh("a", "b")
    engine.announce({"a": [P], "b": [Q]})
    assert sessions(engine, False, {}) == {"a", "b"}
    assert (engine.learned("a"), engine.sessions("a"), engine.heard("a", "b")) == ({}, (), ())
    assert engine.why_down("a", "b") == (
        "there is no node-to-node mesh, and no BGPPeer makes a session")
    assert originate(engine, "a", [P, R]) == frozenset()
    assert sessions(engine, True, {}) == {"a", "b"}


def test_a_speaker_that_dies_unreachable_was_never_heard_and_a_dead_one_stays_known():
    engine = mesh("a", "b", "c")
    engine.announce({"a": [P], "b": [Q]})
    sessions(engine, True, {AB: NO_WAY})
    engine.kill("a")
    sessions(engine, True, {frozenset("ac"): NO_WAY})
    assert engine.learned("b") == {}, "no session until a comes back"
    assert engine.learned("c") == {P: (A,), Q: (B,)}, "c expects a back, as after a break"
    assert engine.why_down("a", "c") == "no speaker on a"
    assert engine.restart("a") == {"a", "b", "c"}
    assert (engine.learned("b"), engine.learned("c")) == ({P: (A,)}, {Q: (B,)})



def test_a_new_node_learns_all_prefixes_and_all_learn_its_own():
    engine = mesh("a", "b")
    originate(engine, "a", [P])
    originate(engine, "b", [Q])
    join(engine, "c", "abc")
    assert engine.learned("c") == {P: (A,), Q: (B,)}
    assert originate(engine, "c", [R]) == {"a", "b"}
    assert engine.learned("a") == {Q: (B,), R: (C,)}


def test_a_removed_nodes_prefixes_are_withdrawn_everywhere():
    engine = mesh("a", "b", "c")
    originate(engine, "a", [P])
    assert engine.remove_node("a") == {"b", "c"}
    assert engine.learned("b") == engine.learned("c") == {}
    with pytest.raises(ClusterError, match="no BGP speaker on a"):
        engine.learned("a")


def test_peers_keep_the_routes_of_a_dead_speaker_and_it_keeps_theirs():
    engine = mesh("a", "b")
    originate(engine, "a", [P])
    originate(engine, "b", [Q])
    engine.kill("a")
    assert not engine.is_alive("a")
    assert engine.is_alive("b")
    assert engine.learned("b") == {P: (A,)}
    assert engine.learned("a") == {Q: (B,)}


def test_a_dead_speaker_neither_tells_nor_hears():
    engine = mesh("a", "b")
    originate(engine, "a", [P])
    engine.kill("a")
    assert originate(engine, "a", [R]) == frozenset()
    assert originate(engine, "b", [Q]) == frozenset()
    assert engine.learned("b") == {P: (A,)}
    assert engine.learned("a") == {}


def test_a_restarted_speaker_and_its_peers_catch_up_in_both_directions():
    engine = mesh("a", "b")
    originate(engine, "a", [P])
    originate(engine, "b", [Q])
    engine.kill("a")
    originate(engine, "a", [R])
    originate(engine, "b", [])
    assert engine.restart("a") == {"a", "b"}
    assert engine.is_alive("a")
    assert engine.learned("a") == {}
    assert engine.learned("b") == {R: (A,)}


def test_a_restart_that_missed_nothing_changes_nothing():
    engine = mesh("a", "b")
    originate(engine, "a", [P])
    engine.kill("a")
    assert engine.restart("a") == frozenset()


def test_a_node_removed_while_its_speaker_was_dead_leaves_no_routes_behind():
    engine = mesh("a", "b")
    originate(engine, "a", [P])
    engine.kill("a")
    assert engine.remove_node("a") == {"b"}
    assert engine.learned("b") == {}


def test_a_restarted_speaker_forgets_nodes_that_were_removed_meanwhile():
    engine = mesh("a", "b")
    originate(engine, "a", [P])
    engine.kill("b")
    engine.remove_node("a")
    engine.restart("b")
    assert engine.learned("b") == {}


@pytest.mark.parametrize("call", [
    lambda d: d.learned("x"), lambda d: d.announce({"x": []}), lambda d: d.kill("x"),
    lambda d: d.restart("x"), lambda d: d.is_alive("x"), lambda d: d.remove_node("x"),
    lambda d: d.table("x"), lambda d: d.originated("x"), lambda d: d.sessions("x"),
    lambda d: d.heard("x", "a"), lambda d: d.why_down("a", "x"),
], ids=["learned", "announce", "kill", "restart", "is_alive", "remove_node", "table",
        "originated", "sessions", "heard", "why_down"])
def test_an_unknown_node_is_named(call):
    with pytest.raises(ClusterError, match="no BGP speaker on x"):
        call(mesh("a"))


NAMES = ("a", "b", "c", "d", "e")
ADDRESS = {name: ip(f"192.168.57.{9 + i * 23}") for i, name in enumerate(NAMES)}
PREFIXES = (P, Q, R)


class Mesh(RuleBasedStateMachine):
    """Any history ends where a fresh computation from what all nodes originate ends.

    Prefixes of a node whose speaker is dead are compared as they were when it died; who wasn't
    connected to it all the time may have forgotten them, or never heard of them.
    """

    @initialize()
    def begin(self):
        self.engine = BuiltInEngine()
        self.originates = {}
        self.told = {}
        self.dead = set()
        self.mesh = True
        self.broken = {}
        self.witness = set()  # (viewer, dead node): connected without a break when it died

    def alive(self):
        return [n for n in self.originates if n not in self.dead]

    def learned(self):
        return {n: dict(self.engine.learned(n)) for n in self.alive()}

    def compare(self, before, changed):
        after = self.learned()
        really = {n for n in after if n in before and after[n] != before[n]}
        assert really <= set(changed), "a node that must change its routes was not named"

    @rule(name=st.sampled_from(NAMES))
    def add(self, name):
        if name not in self.originates:
            self.engine.add_node(name, ADDRESS[name])
            self.originates[name] = self.told[name] = ()
            sessions(self.engine, self.mesh, self.broken, self.originates, ADDRESS)

    @precondition(lambda self: self.originates)
    @rule(data=st.data(), prefixes=st.lists(st.sampled_from(PREFIXES), unique=True))
    def originate(self, data, prefixes):
        name = data.draw(st.sampled_from(sorted(self.originates)))
        before = self.learned()
        changed = originate(self.engine, name, prefixes)
        self.originates[name] = tuple(prefixes)
        if name not in self.dead:
            self.told[name] = tuple(prefixes)
        self.compare(before, changed)

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def kill(self, data):
        name = data.draw(st.sampled_from(sorted(self.alive())))
        self.engine.kill(name)
        self.dead.add(name)
        self.witness |= {(viewer, name) for viewer in self.alive()
                         if self.mesh and frozenset((viewer, name)) not in self.broken}
        self.witness = {(v, d) for v, d in self.witness if v != name}

    @rule(mesh=st.booleans(), pairs=st.lists(st.sets(
        st.sampled_from(NAMES), min_size=2, max_size=2), max_size=4))
    def set_sessions(self, mesh, pairs):
        before = self.learned()
        self.mesh = mesh
        self.broken = {frozenset(pair): "no route" for pair in pairs
                       if set(pair) <= set(self.originates)}
        self.compare(before, sessions(self.engine, mesh, self.broken, self.originates, ADDRESS))

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def restart(self, data):
        name = data.draw(st.sampled_from(sorted(self.dead)))
        before = self.learned()
        changed = self.engine.restart(name)
        self.dead.discard(name)
        self.told[name] = self.originates[name]
        self.witness = {(v, d) for v, d in self.witness if d != name}
        self.compare(before, changed)

    @precondition(lambda self: self.originates)
    @rule(data=st.data())
    def remove(self, data):
        name = data.draw(st.sampled_from(sorted(self.originates)))
        before = self.learned()
        changed = self.engine.remove_node(name)
        del self.originates[name], self.told[name]
        self.dead.discard(name)
        self.witness = {(v, d) for v, d in self.witness if name not in (v, d)}
        self.broken = {pair: why for pair, why in self.broken.items() if name not in pair}
        self.compare(before, changed)

    @invariant()
    def every_live_node_learned_what_a_fresh_mesh_would_teach_it(self):
        for viewer in self.alive():
            certain, possible = {}, {}
            for name, prefixes in self.told.items():
                is_up = frozenset((viewer, name)) not in self.broken
                if name == viewer or not self.mesh or not (is_up or name in self.dead):
                    continue
                for prefix in prefixes:
                    possible.setdefault(prefix, []).append(ADDRESS[name])
                    if name not in self.dead or (viewer, name) in self.witness:
                        certain.setdefault(prefix, []).append(ADDRESS[name])
            own = set(self.originates[viewer])
            learned = self.engine.learned(viewer)
            assert set(certain) - own <= set(learned) <= set(possible) - own
            for prefix, hops in learned.items():
                assert set(certain.get(prefix, ())) <= set(hops) <= set(possible[prefix])


TestMesh = Mesh.TestCase
TestMesh.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
