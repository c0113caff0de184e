"""RIB, speakers and the full mesh: who learned what, and who was told."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from calico_mn.bgp.distributor import Distributor
from calico_mn.bgp.rib import Rib
from calico_mn.bgp.speaker import Speaker, Update
from calico_mn.errors import ClusterError

from .clusters import ip, net

P, Q, R = net("10.22.138.0/26"), net("10.22.151.0/26"), net("10.22.200.7/32")
A, B, C = ip("192.168.57.9"), ip("192.168.57.31"), ip("192.168.57.100")


# --- the RIB

def test_the_lowest_router_id_wins_as_a_number_not_as_a_string():
    rib = Rib()
    assert rib.offer(C, P, C)
    assert rib.offer(B, P, B), "31 is lower than 100"
    assert rib.offer(A, P, A), "9 is lower than 31"
    assert rib.best == {P: A}
    assert not rib.offer(B, P, B)


def test_the_best_path_changes_only_when_the_winner_goes():
    rib = Rib()
    for peer in (A, B, C):
        rib.offer(peer, P, peer)
    assert not rib.withdraw(C, P)
    assert rib.best == {P: A}
    assert rib.withdraw(A, P)
    assert rib.best == {P: B}
    assert rib.withdraw(B, P)
    assert rib.best == {}


@pytest.mark.parametrize("peer", [A, B])
def test_withdrawing_what_was_never_offered_changes_nothing(peer):
    rib = Rib()
    rib.offer(A, P, A)
    assert not rib.withdraw(peer, Q)
    assert not rib.withdraw(B, P)
    assert rib.best == {P: A}


def test_the_rib_knows_what_a_peer_announces():
    rib = Rib()
    rib.offer(A, P, A)
    rib.offer(B, P, B)
    rib.offer(B, Q, B)
    assert rib.from_peer(A) == (P,)
    assert set(rib.from_peer(B)) == {P, Q}
    assert rib.from_peer(C) == ()


def test_a_next_hop_of_the_same_peer_may_change():
    rib = Rib()
    rib.offer(A, P, A)
    assert rib.offer(A, P, C)
    assert rib.best == {P: C}


# --- speakers

class Listener(Speaker):
    """Writes down what it is told."""

    def __init__(self, node, address):
        super().__init__(node, address)
        self.heard = []

    def receive(self, sender, update):
        self.heard.append(update)
        return super().receive(sender, update)


@pytest.fixture
def pair():
    speaker, listener = Speaker("a", A), Listener("b", B)
    speaker.connect(listener)
    listener.heard.clear()
    return speaker, listener


@pytest.mark.parametrize(("before", "after", "update"), [
    pytest.param([], [P], Update((P,)), id="announce"),
    pytest.param([P], [], Update((), (P,)), id="withdraw"),
    pytest.param([P], [P, Q], Update((Q,)), id="one-more"),
    pytest.param([P, Q], [Q, R], Update((R,), (P,)), id="both"),
])
def test_an_update_says_what_changed_and_no_more(pair, before, after, update):
    speaker, listener = pair
    speaker.originate(before)
    listener.heard.clear()
    assert speaker.originate(after) == {"b"}
    assert listener.heard == [update]
    assert listener.learned == {prefix: A for prefix in after}


@pytest.mark.parametrize("again", [
    pytest.param([P, Q], id="same"),
    pytest.param([Q, P], id="other-order"),
    pytest.param([P, Q, P], id="repeated"),
])
def test_nothing_is_said_when_nothing_changed(pair, again):
    speaker, listener = pair
    speaker.originate([P, Q])
    listener.heard.clear()
    assert speaker.originate(again) == frozenset()
    assert listener.heard == []


def test_a_node_does_not_learn_what_it_originates_itself(pair):
    speaker, listener = pair
    listener.originate([P])
    assert speaker.learned == {P: B}
    assert "a" in speaker.originate([P])
    assert P not in speaker.learned
    assert P not in listener.learned
    assert "a" in speaker.originate([]), "what the other one offers is visible again"
    assert speaker.learned == {P: B}


def test_what_was_learned_is_never_passed_on():
    a, b, c = Speaker("a", A), Speaker("b", B), Speaker("c", C)
    a.connect(b)
    b.connect(c)
    a.originate([P])
    assert b.learned == {P: A}
    assert c.learned == {}


# --- the mesh

def mesh(*nodes):
    distributor = Distributor()
    for name, address in zip(nodes, (A, B, C), strict=False):
        distributor.add_node(name, address)
    return distributor


def test_a_newcomer_learns_everything_and_everybody_learns_from_it():
    distributor = mesh("a", "b")
    distributor.originate("a", [P])
    distributor.originate("b", [Q])
    distributor.add_node("c", C)
    assert distributor.learned("c") == {P: A, Q: B}
    assert distributor.originate("c", [R]) == {"a", "b"}
    assert distributor.learned("a") == {Q: B, R: C}


def test_a_removed_nodes_prefixes_are_withdrawn_everywhere():
    distributor = mesh("a", "b", "c")
    distributor.originate("a", [P])
    assert distributor.remove_node("a") == {"b", "c"}
    assert distributor.learned("b") == distributor.learned("c") == {}
    with pytest.raises(ClusterError, match="no BGP speaker on a"):
        distributor.learned("a")


def test_peers_keep_the_routes_of_a_dead_speaker_and_it_keeps_theirs():
    distributor = mesh("a", "b")
    distributor.originate("a", [P])
    distributor.originate("b", [Q])
    distributor.kill("a")
    assert not distributor.is_alive("a")
    assert distributor.is_alive("b")
    assert distributor.learned("b") == {P: A}
    assert distributor.learned("a") == {Q: B}


def test_a_dead_speaker_neither_tells_nor_hears():
    distributor = mesh("a", "b")
    distributor.originate("a", [P])
    distributor.kill("a")
    assert distributor.originate("a", [R]) == frozenset()
    assert distributor.originate("b", [Q]) == frozenset()
    assert distributor.learned("b") == {P: A}
    assert distributor.learned("a") == {}


def test_a_restarted_speaker_and_its_peers_catch_up_in_both_directions():
    distributor = mesh("a", "b")
    distributor.originate("a", [P])
    distributor.originate("b", [Q])
    distributor.kill("a")
    distributor.originate("a", [R])
    distributor.originate("b", [])
    assert distributor.restart("a") == {"a", "b"}
    assert distributor.is_alive("a")
    assert distributor.learned("a") == {}
    assert distributor.learned("b") == {R: A}


def test_a_restart_that_missed_nothing_changes_nothing():
    distributor = mesh("a", "b")
    distributor.originate("a", [P])
    distributor.kill("a")
    assert distributor.restart("a") == frozenset()


def test_a_node_removed_while_its_speaker_was_dead_leaves_no_routes_behind():
    distributor = mesh("a", "b")
    distributor.originate("a", [P])
    distributor.kill("a")
    assert distributor.remove_node("a") == {"b"}
    assert distributor.learned("b") == {}


def test_a_restarted_speaker_forgets_nodes_that_were_removed_meanwhile():
    distributor = mesh("a", "b")
    distributor.originate("a", [P])
    distributor.kill("b")
    distributor.remove_node("a")
    distributor.restart("b")
    assert distributor.learned("b") == {}


@pytest.mark.parametrize("call", [
    lambda d: d.learned("x"), lambda d: d.originate("x", []), lambda d: d.kill("x"),
    lambda d: d.restart("x"), lambda d: d.is_alive("x"), lambda d: d.remove_node("x"),
], ids=["learned", "originate", "kill", "restart", "is_alive", "remove_node"])
def test_an_unknown_node_is_named(call):
    with pytest.raises(ClusterError, match="no BGP speaker on x"):
        call(mesh("a"))


NAMES = ("a", "b", "c", "d", "e")
ADDRESS = {name: ip(f"192.168.57.{9 + i * 23}") for i, name in enumerate(NAMES)}
PREFIXES = (P, Q, R)


class Mesh(RuleBasedStateMachine):
    """Any history ends where a fresh computation from what everybody originates ends.

    Prefixes of a node whose speaker is dead are compared as they were when it died; who wasn't
    connected to it all the time may have forgotten them, or never heard of them.
    """

    @initialize()
    def begin(self):
        self.distributor = Distributor()
        self.originates = {}
        self.told = {}
        self.dead = set()
        self.witness = set()  # (viewer, dead node): connected without a break when it died

    def alive(self):
        return [n for n in self.originates if n not in self.dead]

    def learned(self):
        return {n: dict(self.distributor.learned(n)) for n in self.alive()}

    def compare(self, before, changed):
        after = self.learned()
        really = {n for n in after if n in before and after[n] != before[n]}
        assert really <= set(changed), "a node that must change its routes was not named"

    @rule(name=st.sampled_from(NAMES))
    def add(self, name):
        if name not in self.originates:
            self.distributor.add_node(name, ADDRESS[name])
            self.originates[name] = self.told[name] = ()

    @precondition(lambda self: self.originates)
    @rule(data=st.data(), prefixes=st.lists(st.sampled_from(PREFIXES), unique=True))
    def originate(self, data, prefixes):
        name = data.draw(st.sampled_from(sorted(self.originates)))
        before = self.learned()
        changed = self.distributor.originate(name, prefixes)
        self.originates[name] = tuple(prefixes)
        if name not in self.dead:
            self.told[name] = tuple(prefixes)
        self.compare(before, changed)

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def kill(self, data):
        name = data.draw(st.sampled_from(sorted(self.alive())))
        self.distributor.kill(name)
        self.dead.add(name)
        self.witness |= {(viewer, name) for viewer in self.alive()}
        self.witness = {(v, d) for v, d in self.witness if v != name}

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def restart(self, data):
        name = data.draw(st.sampled_from(sorted(self.dead)))
        before = self.learned()
        changed = self.distributor.restart(name)
        self.dead.discard(name)
        self.told[name] = self.originates[name]
        self.witness = {(v, d) for v, d in self.witness if d != name}
        self.compare(before, changed)

    @precondition(lambda self: self.originates)
    @rule(data=st.data())
    def remove(self, data):
        name = data.draw(st.sampled_from(sorted(self.originates)))
        before = self.learned()
        changed = self.distributor.remove_node(name)
        del self.originates[name], self.told[name]
        self.dead.discard(name)
        self.witness = {(v, d) for v, d in self.witness if name not in (v, d)}
        self.compare(before, changed)

    @invariant()
    def every_live_node_learned_what_a_fresh_mesh_would_teach_it(self):
        for viewer in self.alive():
            certain, possible = {}, {}
            for name, prefixes in self.told.items():
                if name == viewer:
                    continue
                for prefix in prefixes:
                    possible.setdefault(prefix, []).append(ADDRESS[name])
                    if name not in self.dead or (viewer, name) in self.witness:
                        certain.setdefault(prefix, []).append(ADDRESS[name])
            own = set(self.originates[viewer])
            learned = self.distributor.learned(viewer)
            assert set(certain) - own <= set(learned) <= set(possible) - own
            for prefix, hop in learned.items():
                assert hop in possible[prefix]
                assert prefix not in certain or hop <= min(certain[prefix])


TestMesh = Mesh.TestCase
TestMesh.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
