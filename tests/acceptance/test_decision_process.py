"""Which path is best, and who hears of it: a table of cases, computed and asked of a real BIRD.

            c1 .11  c2 .12      n1 .21  n2 .22      e1 .31       e2 .32
            clients of r        no clients          AS 65001     AS 65002
               |       |           |       |           |            |
    192.168.57 ----+---------------------------------------------------+----
                   |                                                   |
                   r .10  AS 65000, a reflector                        r1 .1

Each peer runs a stock BIRD that announces the paths of the table, with the attributes that stand
there. r runs a BIRD as each node does, and ``bgp/paths.py`` says what it should write to the kernel
and tell each peer (RFC 4271 §9.1.2, RFC 4456). n2 takes no more than one path (RFC 7911), so that
it hears which one r thinks best.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path as File

import pytest
from support.engines import NEEDS_BIRD
from support.patience import eventually
from support.topologies import cluster

from calico_mn import CalicoNet
from calico_mn.bgp import birdc
from calico_mn.bgp.bird import BirdPool, configuration
from calico_mn.bgp.bird import Speaker as BirdSpeaker
from calico_mn.bgp.graph import ReceivingEnd, SendingEnd, Speaker
from calico_mn.bgp.paths import Path, Received, best, is_taken, sent
from calico_mn.bgp.peerings import Peering, PeerType
from calico_mn.bgp.timers import SHORT
from calico_mn.model import ExternalHost

POOL, SUBNET = IPv4Network("10.22.0.0/16"), IPv4Network("192.168.57.0/24")
AS, OWN_CLUSTER = 65000, "1.0.0.1"


def ip(last: int | str) -> IPv4Address:
    """A number is an address of the subnet."""
    return SUBNET[last] if isinstance(last, int) else IPv4Address(last)


R = Speaker(ip(10), AS, OWN_CLUSTER, (SUBNET,), exports=(POOL,))
PEERS = {"c1": Speaker(ip(11), AS), "c2": Speaker(ip(12), AS), "n1": Speaker(ip(21), AS),
         "n2": Speaker(ip(22), AS), "e1": Speaker(ip(31), 65001), "e2": Speaker(ip(32), 65002)}


@dataclass(frozen=True)
class Told:
    """What a peer announces; ``hop`` None is its own address, and its own AS is in ``path``."""

    path: tuple[int, ...] = ()
    hop: int | str | None = None
    originator: int | str | None = None
    clusters: tuple[str, ...] = ()


#: what peers announce, the last parts of the next hops in use, and who hears of it
Case = tuple[list[tuple[str, Told]], list[str], str]
FAR, FAR_TOO = "192.168.58.8", "192.168.58.9"
CASES: dict[str, Case] = {
    "short-AS-path": ([("e1", Told((65001, 7))), ("e2", Told((65002,)))], ["57.32"],
                      "c1 c2 n1 n2 e1 e2"),
    "equal-AS-paths": ([("e1", Told((65001, 7))), ("e2", Told((65002, 8)))], ["57.31", "57.32"],
                       "c1 c2 n1 n2 e1 e2"),
    "external-before-internal": ([("c1", Told((9,))), ("e1", Told((65001,)))], ["57.31"],
                                 "c1 c2 n1 n2 e1 e2"),
    "short-AS-path-before-external": ([("c1", Told()), ("e1", Told((65001,)))], ["57.11"],
                                      "c1 c2 n1 n2 e1 e2"),
    "near-before-far": ([("c1", Told(hop=FAR)), ("c2", Told())], ["57.12"], "c1 c2 n1 n2 e1 e2"),
    "both-far": ([("c1", Told(hop=FAR)), ("c2", Told(hop=FAR_TOO))], ["58.8", "58.9"],
                 "c1 c2 n1 n2 e1 e2"),
    "client-and-not": ([("c1", Told()), ("n1", Told())], ["57.11", "57.21"], "c1 c2 n1 n2 e1 e2"),
    "originator-and-clusters-count-for-one-only": (
        [("c1", Told(originator="9.0.0.9")), ("c2", Told(clusters=("2.0.0.2",))), ("n1", Told())],
        ["57.11", "57.12", "57.21"], "c1 c2 n1 n2 e1 e2"),
    "low-router-id": ([("c1", Told()), ("c2", Told())], ["57.11", "57.12"], "c1 c2 n1 n2 e1 e2"),
    "originator-in-place-of-the-router-id": (
        [("c1", Told(originator=99)), ("c2", Told())], ["57.11", "57.12"], "c1 c2 n1 n2 e1 e2"),
    "short-cluster-list": (
        [("c1", Told(originator=99, clusters=("2.0.0.2", "3.0.0.3"))),
         ("c2", Told(originator=99, clusters=("2.0.0.2",)))], ["57.11", "57.12"],
        "c1 c2 n1 n2 e1 e2"),
    "low-address": ([("c1", Told(originator=99)), ("c2", Told(originator=99))], ["57.11", "57.12"],
                    "c1 c2 n1 n2 e1 e2"),
    "next-hop-is-r-itself": ([("c1", Told(hop=10))], [], ""),
    "from-a-client": ([("c1", Told())], ["57.11"], "c2 n1 n2 e1 e2"),
    "from-no-client": ([("n1", Told())], ["57.21"], "c1 c2 e1 e2"),
    "from-another-AS": ([("e1", Told((65001,)))], ["57.31"], "c1 c2 n1 n2 e2"),
    "own-AS-in-the-path": ([("e1", Told((65001, AS)))], [], ""),
    "own-AS-in-an-internal-path": ([("n1", Told((AS,)))], [], ""),
    "AS-of-a-peer-in-the-path": ([("e1", Told((65001, 65002)))], ["57.31"], "c1 c2 n1 n2"),
    "own-originator": ([("n1", Told(originator=10))], [], ""),
    "originator-is-the-peer": ([("n1", Told(originator=11))], ["57.21"], "c2 e1 e2"),
    "own-cluster-from-a-client": ([("c1", Told(clusters=(OWN_CLUSTER,)))], [], ""),
    "own-cluster-from-no-client": ([("n1", Told(clusters=(OWN_CLUSTER,)))], ["57.21"], "e1 e2"),
    "another-cluster": ([("n1", Told(clusters=("2.0.0.2", "3.0.0.3")))], ["57.21"], "c1 c2 e1 e2"),
    "sixteen-at-the-most": ([("c1", Told(hop=hop)) for hop in range(100, 117)],
                            [f"57.{hop}" for hop in range(100, 116)], "c2 n1 n2 e1 e2"),
    "outside-the-pool": ([("c1", Told())], ["57.11"], ""),
}
PREFIXES = {case: IPv4Network(f"10.{99 if case == 'outside-the-pool' else 22}.{number}.0/24")
            for number, case in enumerate(CASES)}
#: whose path n2 hears where there are several
BEST = {"short-AS-path": "e2", "equal-AS-paths": "e1", "external-before-internal": "e1",
        "near-before-far": "c2", "originator-and-clusters-count-for-one-only": "c1",
        "low-router-id": "c1", "originator-in-place-of-the-router-id": "c2",
        "short-cluster-list": "c2", "low-address": "c1"}


def sending(receiver: Speaker, sender: Speaker) -> SendingEnd:
    return SendingEnd(sender.router_id, receiver.as_number != sender.as_number,
                      to_client=sender is R and receiver in (PEERS["c1"], PEERS["c2"]),
                      add_paths=receiver is not PEERS["n2"])


def received(case: str) -> list[Received]:
    """What r takes of a case."""
    items = []
    for name, told in CASES[case][0]:
        peer = PEERS[name]
        path = Path(PREFIXES[case], peer.router_id if told.hop is None else ip(told.hop), told.path,
                    None if told.originator is None else ip(told.originator), told.clusters)
        receiving = ReceivingEnd(from_client=name in ("c1", "c2"))
        if is_taken(path, "r", R, receiving):
            items.append(Received(path, name, peer.router_id, (sending(R, peer), receiving)))
    return items


def heard(case: str) -> dict[str, set[Path]]:
    """What each peer takes of what r tells it."""
    return {name: {path._replace(told_by="")
                   for path in sent(R, sending(peer, R), (), received(case))
                   if path.told_by != name and is_taken(path, name, peer, ReceivingEnd())}
            for name, peer in PEERS.items()}


def is_detour(path: Path, others: set[Path]) -> bool:
    """Another one is a shorter part of it, which the built-in engine then sends alone."""
    return any(path.next_hop == other.next_hop and set(other.as_path) < set(path.as_path)
               for other in others)


@pytest.mark.parametrize("case", CASES)
def test_next_hops_and_who_hears(case):
    _, hops, hearers = CASES[case]
    table = best(received(case), R)
    assert [str(hop).removeprefix("192.168.") for hop in table.get(PREFIXES[case], ())] == hops
    assert " ".join(name for name, paths in heard(case).items() if paths) == hearers


@pytest.mark.parametrize("case", BEST)
def test_the_best_path(case):
    (told,) = heard(case)["n2"]
    assert told.next_hop == PEERS[BEST[case]].router_id


def of_peer(name: str) -> str:
    """The configuration of a peer's BIRD."""
    peer, routes, rules = PEERS[name], [], []
    for case, item in ((case, item) for case, (announced, _, _) in CASES.items()
                       for sender, item in announced if sender == name):
        own = item.path[peer.as_number != AS:]
        actions = [*(f"bgp_path.prepend({number});" for number in reversed(own)),
                   f"bgp_next_hop = {peer.router_id if item.hop is None else ip(item.hop)};",
                   *(f"bgp_cluster_list.add({cluster_id});" for cluster_id in item.clusters),
                   *([f"bgp_originator_id = {ip(item.originator)};"] if item.originator else ())]
        protocol = f"s{len(routes)}"
        routes.append(f"protocol static {protocol} {{ ipv4; route {PREFIXES[case]} blackhole; }}")
        rules.append(f'if proto = "{protocol}" then {{ {" ".join(actions)} accept; }}')
    newline = "\n"
    return f"""
log stderr all;
router id {peer.router_id};
protocol device {{}}
{newline.join(routes)}
protocol bgp r {{
  local {peer.router_id} as {peer.as_number};
  neighbor {R.router_id} as {AS};
  multihop;
  connect delay time 1;
  ipv4 {{
    add paths {"off" if name == "n2" else "on"};
    import all;
    export filter {{
      {newline.join(rules)}
      reject;
    }};
  }};
}}
"""


def of_r() -> str:
    """r's, as a node has it; it waits for its peers."""
    return configuration(BirdSpeaker(
        "r", IPv4Interface((R.router_id, 24)), AS, 179, (), (BirdPool(POOL),),
        tuple(Peering(PeerType.NODE, name, peer.router_id, peer.as_number, is_passive=True,
                      is_client=name in ("c1", "c2")) for name, peer in PEERS.items()),
        OWN_CLUSTER, SHORT))


@pytest.fixture
def birds(tunnel: str, tmp_path: File) -> Iterator[CalicoNet]:
    topology = cluster("Never", nodes={"r": f"{R.router_id}/24"}, blocks={})
    topology = replace(topology, underlay=replace(topology.underlay, hosts=tuple(
        ExternalHost(name, peer.router_id) for name, peer in PEERS.items())))
    with CalicoNet(topology, tunnel=tunnel, policies=False) as net, ExitStack() as stack:
        for name in ("r", *PEERS):
            (tmp_path / name).write_text(of_r() if name == "r" else of_peer(name))
            process = stack.enter_context(net[name].popen(
                ["bird", "-f", "-c", str(tmp_path / name), "-s", str(tmp_path / f"{name}.ctl")],
                stdout=subprocess.DEVNULL, stderr=(tmp_path / f"{name}.log").open("w")))
            stack.callback(process.terminate)
        yield net


@pytest.mark.root
@NEEDS_BIRD
def test_bird_decides_and_tells_the_same(birds, tmp_path):
    def known(name: str) -> dict[IPv4Network, set[Path]]:
        asked = subprocess.run(["birdc", "-r", "-s", str(tmp_path / f"{name}.ctl"), "show", "route",
                                "all", "protocol", "r"], capture_output=True, text=True,
                               timeout=60, check=False)
        paths: dict[IPv4Network, set[Path]] = {}
        for route in birdc.routes(asked.stdout.splitlines()):
            paths.setdefault(route.prefix, set()).add(Path(
                route.prefix, route.next_hop, route.as_path, route.originator,
                tuple(map(str, route.cluster_list))))
        return {prefix: {path for path in several if not is_detour(path, several)}
                for prefix, several in paths.items()}

    def kernel() -> dict[str, set[str]]:
        return {route.destination: {hop.via for hop in route.next_hops or (route,)}
                for route in birds.kernel_routes("r") if route.protocol == "bird"}

    wanted_routes = {}
    for case in CASES:
        for prefix, hops in best(received(case), R).items():
            wanted_routes[str(prefix)] = {str(hop) if hop in SUBNET else "192.168.57.1"
                                          for hop in hops}
    wanted = {name: {PREFIXES[case]: paths for case in CASES if (paths := heard(case)[name])}
              for name in PEERS}
    eventually(lambda: kernel() == wanted_routes and all(
        known(name) == wanted[name] for name in PEERS), 10)
    assert kernel() == wanted_routes
    assert {name: known(name) for name in PEERS} == wanted
