"""Cluster and distributor together, under random histories.

After each change only those nodes are brought up to date that the change names: the node itself,
those that the distributor names as having learned something, and those with other rules.
That must be enough.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.round_trip import assert_survives

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.calico.cluster import Cluster
from calico_mn.delta import delta
from calico_mn.emulation.speakers import follow, set_sessions
from calico_mn.errors import IPAMError
from calico_mn.model import IPAMConfiguration

from .clusters import MODES, NODE31, NODE32, NODE33, ip, net, node, pod, pool, topology

SPARE = node("late", "192.168.58.44/24")
EVERYBODY = {n.name: n for n in (NODE31, NODE32, NODE33, SPARE)}


class Life(RuleBasedStateMachine):
    """Pods and nodes come and go, modes change, blocks run full and addresses are lent."""

    @initialize(mode=st.sampled_from(MODES), strict=st.booleans())
    def begin(self, mode, strict):
        self.cluster = Cluster(topology(
            pools=[pool("10.22.0.0/28", 30, mode, name="thirty"),
                   pool("10.33.0.0/30", 32, mode, name="single")], affinities=[],
            ipam=IPAMConfiguration(strict_affinity=strict)), 0)
        self.bgp = BuiltInEngine()
        self.states = {}
        for name, one in self.cluster.nodes.items():
            self.bgp.add_node(name, one.address.ip)
        follow(self.bgp, self.cluster, self.cluster)
        for name in self.cluster.nodes:
            self.states[name] = self.wanted(name)
        self.count = 0

    def wanted(self, name):
        return self.cluster.node_state(name, self.bgp.table(name))

    def refresh(self, names):
        announced = set_sessions(self.cluster, self.bgp) | self.bgp.announce(
            {name: self.cluster.originated(name) for name in names})
        for name in {*names, *announced, *self.cluster.felix_changed()}:
            self.states[name] = self.wanted(name)

    @rule(data=st.data(), fixed=st.one_of(st.none(), st.sampled_from(
        [*net("10.22.0.0/28"), *net("10.33.0.0/30")])))
    def add_pod(self, data, fixed):
        name = data.draw(st.sampled_from(sorted(self.cluster.nodes)))
        self.count += 1
        try:
            self.cluster.add_pod(pod(f"p{self.count}", name, str(fixed) if fixed else None))
        except IPAMError:
            return
        self.refresh([name])

    @precondition(lambda self: self.cluster.endpoints)
    @rule(data=st.data())
    def delete_pod(self, data):
        key = data.draw(st.sampled_from(sorted(self.cluster.endpoints)))
        self.refresh([self.cluster.delete_pod(key).node])

    @rule(mode=st.sampled_from(MODES), data=st.data())
    def set_mode(self, mode, data):
        name = data.draw(st.sampled_from([None, *sorted(self.cluster.nodes)]))
        self.cluster.set_mode(mode, name)
        self.refresh(list(self.cluster.nodes) if name is None else [name])

    @rule(data=st.data())
    def add_node(self, data):
        missing = sorted(set(EVERYBODY) - set(self.cluster.nodes))
        if not missing:
            return
        name = data.draw(st.sampled_from(missing))
        self.cluster.add_node(EVERYBODY[name])
        self.bgp.add_node(name, EVERYBODY[name].address.ip)
        self.refresh([name])

    @precondition(lambda self: len(self.cluster.nodes) > 1)
    @rule(data=st.data())
    def delete_node(self, data):
        name = data.draw(st.sampled_from(sorted(self.cluster.nodes)))
        for endpoint in self.cluster.pods_on(name):
            self.refresh([self.cluster.delete_pod(endpoint.key).node])
        changed = self.bgp.remove_node(name)
        self.cluster.delete_node(name)
        del self.states[name]
        self.refresh(changed - {name})

    @invariant()
    def who_was_not_named_needed_no_change(self):
        for name in self.cluster.nodes:
            assert not delta(self.states[name], self.wanted(name)), name

    @invariant()
    def no_prefix_is_announced_by_two_nodes(self):
        announced = [p for n in self.cluster.nodes for p in self.cluster.originated(n)]
        assert len(announced) == len(set(announced))

    @invariant()
    def each_node_has_each_destination_once(self):
        for state in self.states.values():
            destinations = [r.destination for r in state.routes]
            assert len(destinations) == len(set(destinations))

    @invariant()
    def every_node_sends_every_address_to_the_node_that_has_it(self):
        places = [(e.address, e.node, e.device) for e in self.cluster.endpoints.values()]
        places += [(address, n, "") for n in self.cluster.nodes
                   if (address := self.cluster.tunnel_address(n))]
        for name in self.cluster.nodes:
            table = [(net("0.0.0.0/0") if r.destination == "default" else net(r.destination), r)
                     for r in self.states[name].routes]
            for address, home, device in places:
                _, best = max(((p, r) for p, r in table if address in p),
                              key=lambda entry: entry[0].prefixlen)
                if home == name:
                    assert not device or best.device == device
                    continue
                peer = self.cluster.nodes[home].address.ip
                across = peer not in net("192.168.57.0/24" if name in ("node31", "node32")
                                         else "192.168.58.0/24")
                assert best.kind == "unicast"
                if best.device == "tunl0" or not across:
                    assert ip(best.via) == peer
                else:
                    assert best.via.endswith(".1"), "the router"
                    assert best.protocol == "bird"


    def teardown(self):
        """What is left at the end, written as resources, boots as the same cluster."""
        try:
            self.cluster.set_mode(None)  # nodes that alone see another mode follow
        except (AttributeError, IPAMError):
            return
        assert_survives(self.cluster)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
