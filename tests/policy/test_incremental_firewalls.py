"""Firewalls after many changes, against those of a fresh cluster; and what a change leaves alone.

After each step of a random walk only those nodes are brought up to date that the cluster names.
What each node holds must then be what a cluster that begins with the same resources gives it, and
so must be what the lines for iptables-restore and ipset make of what it held before.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from unit.clusters import MODES, NODE31, NODE32, NODE33, ip, node, pool, topology

from calico_mn import CalicoNet
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.evolution import evolved, fork
from calico_mn.calico.snapshot import snapshot
from calico_mn.kernel.firewall import restore_lines, set_lines
from calico_mn.model import Pod, Topology
from calico_mn.policy import (
    Action,
    EntityRule,
    HostEndpoint,
    Labelled,
    NetworkSet,
    Policy,
    Ports,
    Profile,
    Rule,
    Service,
    ServicePort,
)
from calico_mn.rules import FirewallChange
from calico_mn.state import Firewall

STEPS = 80
SPARE = node("late", "192.168.58.44/24")
LABELS = [(), (("app", "web"),), (("app", "db"), ("tier", "2")), (("tier", "1"),)]
SELECTORS = ["", "all()", "app == 'web'", "has(tier)", "app != 'web'", "tier in {'1', '2'}"]
SPACES = ["", "color == 'red'", "all()", "global()"]
NETS = ["10.0.0.0/8", "192.168.57.31/32", "0.0.0.0/0", "172.16.0.0/12"]
PORTS = ((), (Ports(80, 80),), (Ports(name="http"),), (Ports(1000, 2000), Ports(name="http")))


def one_pool(*pods: Pod, policies: tuple[Policy, ...] = ()) -> Topology:
    return replace(topology(pools=[pool("10.22.0.0/16", 28, name="pool")], affinities=[]),
                   pods=pods, policies=policies, namespaces=(Labelled("default"), Labelled("shop")))


def a_pod(name: str, where: str, labels: tuple[tuple[str, str], ...] = ()) -> Pod:
    return Pod("default", name, where, labels=labels)


def allow_from(selector: str, name: str = "p", applies_to: str = "all()") -> Policy:
    return Policy("NetworkPolicy", name, f"default.{name}", "default", selector=applies_to,
                  ingress=(Rule(source=EntityRule(selector=selector)),))


class Walk:
    """A cluster that changes at random, and what its nodes hold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cluster = Cluster(one_pool(policies=(allow_from("has(app)"),)), 0)
        self.held = {name: self.wanted(self.cluster, name) for name in self.cluster.nodes}
        self.count = 0

    @staticmethod
    def wanted(cluster: Cluster, name: str) -> Firewall | None:
        return cluster.node_state(name, {}).firewall

    def step(self) -> str:
        """Change one thing; its name."""
        change = self.random.choice([
            self.apply_pod, self.apply_pod, self.add_pod, self.delete_pod, self.relabel,
            self.policy, self.policy, self.delete_policy, self.namespace, self.network_set,
            self.mode, self.nodes, self.host_endpoint, self.profile, self.service])
        change()
        return change.__name__

    def apply(self, **fields: object) -> None:
        self.cluster = evolved(self.cluster, replace(snapshot(self.cluster), **fields))

    def pod(self) -> Pod:
        self.count += 1
        return Pod(self.random.choice(["default", "shop"]), f"p{self.count}",
                   self.random.choice(sorted(self.cluster.nodes)),
                   labels=self.random.choice(LABELS),
                   ports=self.random.choice([(), (("http", "tcp", 8080 + self.count % 2),)]),
                   service_account=self.random.choice(["default", "robot"]))

    def apply_pod(self) -> None:
        self.apply(pods=(*snapshot(self.cluster).pods, self.pod()))

    def add_pod(self) -> None:
        new = self.pod()
        self.cluster.add_pod(Pod(new.namespace, new.name, new.node))

    def end_pod(self, key: str) -> None:
        self.cluster.delete_pod(key)

    def delete_pod(self) -> None:
        if self.cluster.endpoints:
            key = self.random.choice(sorted(self.cluster.endpoints))
            if self.random.random() < 0.5:
                self.end_pod(key)
            else:
                self.apply(pods=tuple(p for p in snapshot(self.cluster).pods if p.key != key))

    def relabel(self) -> None:
        pods = list(snapshot(self.cluster).pods)
        if pods:
            number = self.random.randrange(len(pods))
            pods[number] = replace(pods[number], labels=self.random.choice(LABELS))
            self.apply(pods=tuple(pods))

    def entity(self) -> EntityRule:
        choose = self.random.choice
        if self.random.random() < 0.1:
            return EntityRule(service="web", service_namespace=choose(["", "shop"]))
        return EntityRule(selector=choose(SELECTORS), not_selector=choose(["", "", "app == 'db'"]),
                          namespace_selector=choose(SPACES),
                          nets=choose([(), (IPv4Network("10.22.0.0/17"),)]))

    def policy(self) -> None:
        choose = self.random.choice
        name = f"policy{self.random.randrange(6)}"
        rules = tuple(Rule(choose(list(Action)), "tcp", source=self.entity(),
                           destination=replace(self.entity(), ports=choose(PORTS)))
                      for _ in range(self.random.randrange(3)))
        space = choose(["", "default", "shop"])
        stage = self.random.randrange(6)
        policy = Policy("NetworkPolicy" if space else "GlobalNetworkPolicy", name,
                        f"default.{name}", space, choose([1, 2.5, 1000]), choose(SELECTORS),
                        types=choose([("Ingress",), ("Egress",), ("Ingress", "Egress")]),
                        ingress=rules, egress=rules[:1], applies_on_forward=stage < 3,
                        is_untracked=stage == 0, is_pre_dnat=stage == 1)
        self.apply(policies=(policy, *(p for p in self.cluster.topology.policies
                                       if p.id != policy.id)))

    def delete_policy(self) -> None:
        policies = list(self.cluster.topology.policies)
        if policies:
            policies.pop(self.random.randrange(len(policies)))
            self.apply(policies=tuple(policies))

    def namespace(self) -> None:
        color = self.random.choice([(), (("color", "red"),), (("color", "blue"),)])
        self.apply(namespaces=(Labelled("default"), Labelled("shop", labels=color)))

    def network_set(self) -> None:
        sets = (NetworkSet(name, self.random.choice(["", "shop"]), self.random.choice(LABELS),
                           tuple(map(IPv4Network, self.random.sample(NETS, 2))))
                for name in ("a", "b")[:self.random.randrange(3)])
        self.apply(network_sets=tuple(sets))

    def host_endpoint(self) -> None:
        choose = self.random.choice
        number = self.random.randrange(3)
        others = tuple(host for host in snapshot(self.cluster).host_endpoints
                       if host.name != f"host{number}")
        host = HostEndpoint(f"host{number}", choose(["node31", "node32"]),
                            choose(["eth0", "*", "tunl0"]), labels=choose(LABELS),
                            profiles=choose([(), ("own",), ("own", "lacking")]),
                            ports=choose([(), (("http", "tcp", 8080),)]))
        self.apply(host_endpoints=(*others, host) if self.random.random() < 0.7 else others)

    def profile(self) -> None:
        self.apply(profiles=self.random.choice([(), (Profile(
            "own", self.random.choice(LABELS), (Rule(source=self.entity()),)),)]))

    def service(self) -> None:
        self.apply(services=tuple(
            Service("web", space, self.random.choice(LABELS),
                    (ServicePort("tcp", self.random.choice([80, "http"])),),
                    self.random.choice([(), ((ip("10.9.9.9"), (("tcp", 80),)),)]))
            for space in ("default", "shop")[:self.random.randrange(3)]))

    def mode(self) -> None:
        self.cluster.set_mode(self.random.choice(MODES))

    def nodes(self) -> None:
        if SPARE.name not in self.cluster.nodes:
            self.cluster = fork(self.cluster)
            self.cluster.add_node(SPARE)
            self.held[SPARE.name] = self.wanted(self.cluster, SPARE.name)
        elif not self.cluster.pods_on(SPARE.name):
            self.cluster = fork(self.cluster)
            self.cluster.delete_node(SPARE.name)
            del self.held[SPARE.name]


@pytest.mark.parametrize("seed", range(6))
def test_after_each_step_all_is_as_in_a_fresh_cluster(seed: int) -> None:
    walk = Walk(seed)
    for number in range(STEPS):
        change = f"step {number}: {walk.step()}"
        for name in walk.cluster.felix_changed():
            after = walk.wanted(walk.cluster, name)
            assert carried_out(walk.held[name], after) == after, f"{change}, {name}"
            walk.held[name] = after
        fresh = Cluster(snapshot(walk.cluster), 0)
        assert walk.held == {name: walk.wanted(fresh, name) for name in fresh.nodes}, change
        assert walk.cluster.felix_changed() == []


class KernelWalk(Walk):
    """The same with a cluster that runs."""

    def __init__(self, net: CalicoNet, seed: int) -> None:
        self.net, self.random, self.count = net, random.Random(seed), 0

    @property
    def cluster(self) -> Cluster:
        return self.net.cluster

    def apply(self, **fields: object) -> None:
        self.net.become(evolved(self.cluster, replace(snapshot(self.cluster), **fields)))

    def add_pod(self) -> None:
        new = self.pod()
        self.net.add_pod(namespace=new.namespace, name=new.name, node=new.node)

    def end_pod(self, key: str) -> None:
        self.net.delete_pod(key)

    def mode(self) -> None:
        self.net.set_mode(self.random.choice(MODES))

    def nodes(self) -> None:
        if SPARE.name not in self.cluster.nodes:
            self.net.add_node(SPARE.name, str(SPARE.address))
        else:
            self.net.delete_node(SPARE.name)


@pytest.mark.root
def test_the_kernel_follows_a_random_walk() -> None:
    with CalicoNet(one_pool(policies=(allow_from("has(app)"),))) as net:
        walk = KernelWalk(net, 3)
        for number in range(25):
            change = walk.step()
            assert net.verify() == (), f"step {number}: {change}"


def carried_out(before: Firewall | None, wanted: Firewall | None) -> Firewall | None:
    """What the lines of a change make of a firewall. Raises where a program would refuse one."""
    change = FirewallChange(before, wanted)
    sets = {name: set(members) for name, members in before.sets.items()} if before else {}
    chains = {key: list(rules) for key, rules in before.chains.items()} if before else {}
    hooks = {table: list(rules) for table, rules in before.hooks.items()} if before else {}
    _ipset(sets, set_lines(change, removing=False))
    table = ""
    for line in restore_lines(change):
        verb, _, rest = line.partition(" ")
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chains[table, verb[1:]] = []
        elif verb == "-X":
            assert not chains.pop((table, rest))
        elif verb == "-D":
            hooks[table] = [hook for hook in hooks[table] if hook[2:] != line[2:]]
        elif verb == "-A" and (key := (table, rest.split()[0])) in chains:
            chains[key].append(line)
        elif line != "COMMIT":
            hooks.setdefault(table, []).append(line)
    _ipset(sets, set_lines(change, removing=True))
    hooks = {table: rules for table, rules in hooks.items() if rules}
    return wanted and Firewall({key: tuple(rules) for key, rules in chains.items()},
                               {key: tuple(rules) for key, rules in hooks.items()},
                               {name: frozenset(members) for name, members in sets.items()})


def _ipset(sets: dict[str, set[str]], lines: list[str]) -> None:
    for line in lines:
        verb, name, *rest = line.split()
        if verb == "create":
            assert name not in sets
            sets[name] = set()
        elif verb == "add":
            sets[name].add(rest[0])
        elif verb == "del":
            sets[name].remove(rest[0])
        else:
            del sets[name]


WEB, DB, CLIENT = (("app", "web"),), (("app", "db"),), (("client", "yes"),)
PODS = (a_pod("a", "node31", WEB), a_pod("b", "node32", DB), a_pod("c", "node33"))


def _another_pod(cluster: Cluster) -> Cluster:
    cluster.add_pod(a_pod("new", "node32"))
    return cluster


def _applied(**fields: Callable[[Topology], object]) -> Callable[[Cluster], Cluster]:
    def change(cluster: Cluster) -> Cluster:
        running = snapshot(cluster)
        return evolved(cluster, replace(
            running, **{name: value(running) for name, value in fields.items()}))
    return change


@pytest.mark.parametrize(("change", "expected"), [
    (_another_pod, ["node32"]),
    (_applied(pods=lambda now: (*now.pods, a_pod("new", "node33", CLIENT))), ["node31", "node33"]),
    (_applied(pods=lambda now: now.pods[1:]), ["node31"]),
    (_applied(pods=lambda now: (now.pods[0], replace(now.pods[1], labels=CLIENT), now.pods[2])),
     ["node31"]),
    (_applied(policies=lambda now: (*now.policies, allow_from("all()", "q", "app == 'db'"))),
     ["node32"]),
    (_applied(policies=lambda now: ()), ["node31"]),
    (_applied(network_sets=lambda now: (NetworkSet("n", "default", CLIENT),)), []),
    (_applied(network_sets=lambda now: (NetworkSet("n", "default", CLIENT, (
        IPv4Network("10.9.0.0/16"),)),)), ["node31"]),
    (_applied(namespaces=lambda now: (Labelled("default", labels=DB), Labelled("shop"))), []),
    (_applied(), []),
], ids=["a pod that no set takes", "a pod that a set takes", "a pod with the policy goes",
        "a label that a set looks at", "a policy comes", "the last policy goes", "an empty set",
        "a network set", "a label of a namespace that nothing looks at", "nothing"])
def test_only_nodes_concerned_get_another_firewall(
        change: Callable[[Cluster], Cluster], expected: list[str]) -> None:
    cluster = Cluster(one_pool(*PODS, policies=(
        allow_from("has(client)", applies_to="app == 'web'"),)), 0)
    for name in cluster.nodes:
        cluster.node_state(name, {})
    assert change(fork(cluster)).felix_changed() == expected
    assert cluster.felix_changed() == [], "a fork shares books with the cluster before"


def test_a_member_of_a_set_leaves_the_chains_alone() -> None:
    cluster = Cluster(one_pool(*PODS, policies=(allow_from("app == 'web'"),)), 0)
    before = {name: cluster.node_state(name, {}).firewall for name in cluster.nodes}
    after = evolved(cluster, replace(snapshot(cluster), pods=(
        *snapshot(cluster).pods, a_pod("new", "node33", WEB))))
    now = {name: after.node_state(name, {}).firewall for name in after.nodes}
    address = after.endpoints["default/new"].address
    for name in (NODE31.name, NODE32.name):
        assert now[name].chains is before[name].chains
        change = FirewallChange(before[name], now[name])
        assert restore_lines(change) == set_lines(change, removing=True) == []
        assert [line.split()[2] for line in set_lines(change, removing=False)] == [str(address)]
    changed = {chain for key, rules in now[NODE33.name].chains.items()
               if before[NODE33.name].chains.get(key) is not rules for _, chain in (key,)}
    device = after.endpoints["default/new"].device
    assert {f"cali-tw-{device}", f"cali-fw-{device}"} <= changed
    assert all(device in chain or "dispatch" in chain for chain in changed)
    assert address != ip("10.22.0.1")
