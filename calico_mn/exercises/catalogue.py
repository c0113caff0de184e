"""The exercises: what is wrong, what the student sees and is asked, and how it is found.

``symptom`` and ``question`` name no cause. Texts have the names of the places in braces
(:attr:`.stage.Stage.names`); a command begins with ``calico-mn``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from calico_mn.exercises import faults
from calico_mn.exercises.stage import Stage
from calico_mn.packetmatch import Drop


@dataclass(frozen=True, slots=True)
class Exercise:
    """One fault. ``find`` are commands that show it, ``mend`` those that take it away.

    ``is_broken`` tells whether the symptom is there.
    """

    symptom: str
    question: str
    hints: tuple[str, ...]
    cause: str
    find: tuple[str, ...]
    mend: tuple[str, ...]
    stage: Callable[[Stage], None]
    needs: frozenset[str] = frozenset()
    is_broken: Callable[[Stage], bool] = lambda at: at.is_lost("{pod}", "{peer_ip}")


_TRACE = "calico-mn trace {pod} {peer}"
_BACK = "calico-mn trace {peer} {pod}"
#: what a host learned of the MTU of paths stays for ten minutes (net.ipv4.route.mtu_expires)
_FORGET = "calico-mn exec {pod} -- ip route flush cache"

EXERCISES = (
    Exercise(
        "The pods of one node reach no pod of another node.",
        "Pods of {node}, such as {pod}, get no answer from {peer} or any other pod elsewhere, and "
        "cannot be reached from there. {node} itself reaches the other nodes. Why?",
        ("How far does a packet come? " + _TRACE,
         "{node} sends packets on that are not its own. Which setting lets a Linux host do that?",
         "calico-mn exec {node} -- sysctl net.ipv4.ip_forward"),
        "IP forwarding is off on {node}: net.ipv4.ip_forward is 0. A node is the router of its "
        "pods, and Felix needs it to be 1.",
        (_TRACE, "calico-mn verify {node}"),
        ("calico-mn exec {node} -- sysctl -w net.ipv4.ip_forward=1",),
        faults.typed("{node}", "sysctl -qw net.ipv4.ip_forward=0")),
    Exercise(
        "The pods of one node have lost all other nodes; the nodes reach each other.",
        "{node} and {peer_node} ping each other, and {pod} and {peer} do not. Where do the packets "
        "of {pod} go?",
        ("Compare the routes of {node} and {peer_node}: calico-mn routes {node} {peer_node}",
         "Which device should the routes to the blocks of other nodes use? Is it there?",
         "calico-mn exec {node} -- ip link show {tunnel}"),
        "{tunnel} is down on {node}. With a device the kernel takes its routes away, and so the "
        "packets follow the default route.",
        (_TRACE, "calico-mn verify {node}"), ("calico-mn verify --repair {node}",),
        faults.typed("{node}", "ip link set {tunnel} down"), frozenset({"tunnel", "builtin"})),
    Exercise(
        "Small pings pass, larger ones between two pods get an error.",
        "{pod} pings {peer}, until the packets have more than some 1,270 bytes: 'calico-mn exec "
        "{pod} -- ping -M do -s 1400 {peer_ip}' fails. The MTU of the pods has not changed. Who "
        "refuses the packets, and why?",
        ("ping prints who sent the error, and the MTU that it names.",
         "Let trace send a larger packet: " + _TRACE + " --size 1400",
         "Which devices lie on the way inside {node}? calico-mn exec {node} -- ip link"),
        "{tunnel} of {node} has MTU 1300 and should have the uplink's less the bytes of the outer "
        "headers. {node} answers larger packets with ICMP 'fragmentation needed', and {pod} "
        "remembers that for ten minutes.",
        (_TRACE + " --size 1400", "calico-mn verify {node}"),
        ("calico-mn verify --repair {node}", _FORGET),
        faults.small_tunnel, frozenset({"tunnel"}), faults.large_is_lost),
    Exercise(
        "Pods of different racks have lost each other, and 'verify' has nothing to report.",
        "{pod} and {peer} do not reach each other; their nodes do, BGP is up, and no node differs "
        "from what it should be. What is between them?",
        ("calico-mn pingall shows which pairs are lost: what do they have in common?",
         "How far does a packet come, and in which form? " + _TRACE,
         "A device between the racks may treat packets by their IP protocol: "
         "calico-mn exec {router} -- nft list ruleset"),
        "{router} drops IP protocol 4, as networks do that know TCP, UDP and ICMP only: the "
        "packets of pods are inside IPIP there, those of BGP and of ping between nodes are not.",
        (_TRACE, "calico-mn drop --show"), ("calico-mn drop --reset {router} ipip",),
        lambda at: at.drop("{router}", Drop.IPIP), frozenset({"ip-protocol", "router"})),
    Exercise(
        "Small pings pass between racks, and large packets vanish without an error.",
        "{pod} pings {peer}; a connection between them opens, and hangs once it carries data. "
        "'calico-mn exec {pod} -- ping -M do -s 1400 {peer_ip}' gets neither answer nor error. "
        "Which two things are wrong?",
        ("Let trace send a larger packet: " + _TRACE + " --size 1400",
         "A host that cannot forward a packet reports it to the sender. Which message is that?",
         "calico-mn exec {router} -- ip link, and calico-mn drop --show"),
        "{router_device} of {router} has MTU 1300, and {router} drops the ICMP messages (type 3 "
        "code 4) that would tell the senders: a path MTU black hole.",
        (_TRACE + " --size 1400", "calico-mn drop --show"),
        ("calico-mn drop --reset {router} frag-needed", "calico-mn verify --repair {router}",
         _FORGET),
        faults.silent_router, frozenset({"way"}), faults.large_is_lost),
    Exercise(
        "One node does not reach one pod, and reaches its neighbours.",
        "Pods of {peer_node} do not reach {pod}, and reach the other pods of {node}. How does "
        "{peer_node} route packets to {pod_ip}?",
        ("Follow a packet: " + _BACK,
         "Which of several routes to an address does Linux take? calico-mn routes {peer_node}",
         "calico-mn exec {peer_node} -- ip route get {pod_ip}"),
        "{peer_node} has a stale route to {pod_ip} alone, by {ghost}, which is not the address of "
        "a node. It is more specific than the route to the block.",
        (_BACK, "calico-mn verify {peer_node}"),
        ("calico-mn exec {peer_node} -- ip route del {pod_ip}",),
        faults.typed("{peer_node}", "ip route add {pod_ip} via {ghost} dev eth0 proto bird onlink"),
        frozenset({"builtin"}), lambda at: at.is_lost("{peer}", "{pod_ip}")),
    Exercise(
        "One node has lost the pods of one other node.",
        "{pod} does not reach {peer}, nor any other pod of {peer_node}. Other nodes do. Who sends "
        "the packets where?",
        ("Follow a packet: " + _TRACE,
         "Compare the outer destination with the address of {peer_node}: calico-mn get nodes",
         "calico-mn routes {node}"),
        "The route of {node} to {peer_block} has a wrong next hop, {ghost}. Should be: {route}",
        (_TRACE, "calico-mn verify {node}"), ("calico-mn verify --repair {node}",),
        faults.typed("{node}",
               "ip route replace {peer_block} via {ghost} dev {tunnel} proto bird onlink"),
        frozenset({"builtin"})),
    Exercise(
        "Packets to addresses that no pod has leave the cluster.",
        "No pod has {spare}, an address of a block of {peer_node}. A packet to it should end on "
        "{peer_node}, and reaches the network outside. Which route is missing?",
        ("Follow the packet: calico-mn trace {pod} {spare}",
         "What does {peer_node} do with packets to its block for which it has no pod? What do "
         "other nodes? calico-mn routes",
         "calico-mn verify {peer_node}"),
        "{peer_node} has lost the blackhole route of its block {peer_block}. Packets to addresses "
        "without a pod follow the default route out of the cluster, and may come back.",
        ("calico-mn trace {pod} {spare}", "calico-mn verify {peer_node}"),
        ("calico-mn exec {peer_node} -- ip route add blackhole {peer_block} proto bird",),
        faults.typed("{peer_node}", "ip route del blackhole {peer_block}"),
        frozenset({"router", "builtin"}),
        lambda at: at.has_way("{peer_node}", "{spare}")),
    Exercise(
        "One pod reaches nothing at all.",
        "{pod} cannot even reach its own node. Its address, its routes and its device are as "
        "they should be. What is missing?",
        ("Look at the neighbours in the pod: calico-mn exec {pod} -- ip neigh",
         "Which host should answer ARP for 169.254.1.1, an address that no host has? " + _TRACE,
         "calico-mn exec {node} -- sysctl net.ipv4.conf.{cali}.proxy_arp"),
        "proxy_arp is off on {cali}, the end of the pod's veth in {node}. No host answers ARP "
        "for the gateway 169.254.1.1, so the pod can send nothing.",
        (_TRACE, "calico-mn verify {node}"),
        ("calico-mn exec {node} -- sysctl -w net.ipv4.conf.{cali}.proxy_arp=1",),
        faults.no_proxy_arp),
    Exercise(
        "One pod gets no answer from any other.",
        "{pod} sends, and gets no answer. Its device, its default route and its neighbours on "
        "{node} are as they should be. What is missing?",
        ("Where does the packet end, and what is checked there? " + _TRACE,
         "What should {node} have for each of its pods? calico-mn routes {node}",
         "calico-mn exec {node} -- ip route get {pod_ip}"),
        "{node} has lost its route to {pod_ip} by {cali}. What remains is the blackhole of the "
        "block. Felix's rules (rpfilter, in the raw table) already drop what a pod sends by a "
        "device by which it could not be answered.",
        (_TRACE, "calico-mn verify {node}"),
        ("calico-mn exec {node} -- ip route add {pod_ip} dev {cali} scope link",),
        faults.typed("{node}", "ip route del {pod_ip} dev {cali}")),
    Exercise(
        "A new pod is reached from everywhere but one node.",
        "The pod newcomer was added on {peer_node}. All nodes reach it but {node}, which reaches "
        "all the other pods. What does {node} not know, and why?",
        ("Compare routes: calico-mn routes {node} {peer_node}",
         "How do nodes learn of new blocks? calico-mn bgp {node}",
         "calico-mn status"),
        "The BGP speaker of {node} is dead: routes that were there stay, and new ones do not come. "
        "The block of newcomer is new.",
        ("calico-mn trace {pod} newcomer", "calico-mn bgp {node}", "calico-mn status"),
        ("calico-mn speaker restart {node}",), faults.deaf_speaker, frozenset({"bgp"}),
        is_broken=lambda at: at.is_lost("{pod}", "{newcomer_ip}")),
    Exercise(
        "The routes to one node's pods have vanished from all other nodes.",
        "{pod} has lost all pods of other nodes. The nodes ping each other. Why does {node} have "
        "no routes to them, and why do other nodes have no routes to its pods?",
        ("Who brings the routes? calico-mn bgp {node}",
         "What do the sessions of {node} need of the network?",
         "calico-mn drop --show"),
        "{node} drops TCP port 179: none of its BGP sessions is up, and after the hold time the "
        "routes are withdrawn on both sides.",
        ("calico-mn bgp {node}", "calico-mn verify {node}", "calico-mn drop --show"),
        ("calico-mn drop --reset {node} bgp",), faults.no_bgp, frozenset({"builtin", "bgp"})),
    Exercise(
        "Two nodes of one rack have lost each other's pods; all other pairs work.",
        "{pod} and {peer} do not reach each other, and both reach all the others. Requests of "
        "{pod} come as far as {peer_node}. Why does it not take them?",
        ("Compare the ways there and back: calico-mn routes {node} {peer_node}",
         "Who checks by which device a source address may come? " + _TRACE,
         "calico-mn exec {peer_node} -- sysctl net.ipv4.conf.eth0.rp_filter"),
        "{node} alone is in mode CrossSubnet and sends to its rack without a tunnel; {peer_node} "
        "sends through the tunnel, and rp_filter of its eth0 is 1 (strict): a packet has to come "
        "by the device by which the answer would leave.",
        (_TRACE, "calico-mn status", "calico-mn verify {peer_node}"),
        ("calico-mn mode Always --node {node}",
         "calico-mn exec {peer_node} -- sysctl -w net.ipv4.conf.eth0.rp_filter=2"),
        faults.two_views, frozenset({"rack"})),
    Exercise(
        "One pod is refused by a whole namespace.",
        "{pod} reaches no pod of the namespace {namespace} any more, others do. Routes, tunnels "
        "and the network are as they should be. Who decides otherwise?",
        ("Where does the packet end? " + _TRACE,
         "Who may talk to whom is a question of policies: calico-mn policy explain {pod} {peer} "
         "tcp/80", "calico-mn get networkpolicies -A"),
        "The NetworkPolicy tidy of Calico in {namespace} denies what comes from {pod_ip}.",
        (_TRACE, "calico-mn policy explain {pod} {peer} tcp/80"),
        ("calico-mn delete networkpolicy tidy -n {namespace}",), faults.denied,
        frozenset({"policy"})),
    Exercise(
        "Pods reach each other, and nothing outside the cluster.",
        "{pod} reaches {peer}, and {node} reaches the router's address {gateway}; 'calico-mn exec "
        "{pod} -- ping {gateway}' gets no answer. What happens on the way back?",
        ("With which source address does the request arrive? calico-mn trace {pod} {gateway}",
         "Which routers outside know the pods' addresses? What does a cluster do about that?",
         "calico-mn get ippools -o yaml"),
        "natOutgoing of the IPPool is false: requests leave the cluster with the pod's address, to "
        "which routers outside have no route.",
        ("calico-mn trace {pod} {gateway}", "calico-mn get ippools -o yaml"),
        ("calico-mn get ippools -o yaml | sed 's/natOutgoing: false/natOutgoing: true/' |"
         " calico-mn apply -f -",), faults.no_nat, frozenset({"nat", "policy"}),
        lambda at: at.is_lost("{pod}", "{gateway}")),
    Exercise(
        "The pods of one node reach their own rack only.",
        "{pod} has lost {peer} and all that is in other subnets. What does {node} do with packets "
        "to {peer_node_ip}?",
        ("Follow a packet: " + _TRACE,
         "Tunnels need a route, too: for the outer destination.",
         "calico-mn exec {node} -- ip route get {peer_node_ip}"),
        "{node} has lost its default route by {gateway}. The outer packets of its tunnels have no "
        "way out of the rack, and neither has BGP.",
        (_TRACE, "calico-mn verify {node}"),
        ("calico-mn exec {node} -- ip route add default via {gateway} dev eth0",),
        faults.typed("{node}", "ip route del default"), frozenset({"router", "builtin"})),
    Exercise(
        "One node is cut off.",
        "{node} and its pods reach no other node. It runs, its addresses and routes are there. "
        "What else does a packet need?",
        ("Follow a packet: " + _TRACE,
         "Look at the flags of the uplink: calico-mn exec {node} -- ip link show eth0",
         "calico-mn link show {node}"),
        "The link of {node} is down: its eth0 has no carrier.",
        (_TRACE, "calico-mn link show {node}:eth0"), ("calico-mn link {node}:eth0 up",),
        faults.pulled),
    Exercise(
        "The pods of one node reach their own rack only, and all routes are right.",
        "{pod} has lost {peer} and all other subnets, {node} too. 'verify' has nothing to report, "
        "and {gateway} answers all the others. What does {node} get wrong?",
        ("Follow a packet to the switch: " + _TRACE,
         "To whom is the frame addressed? Compare with the router's own address.",
         "calico-mn exec {node} -- ip neigh"),
        "{node} has a permanent neighbour entry with a wrong MAC address for its gateway "
        "{gateway}: the switch delivers its frames to no port that has that address.",
        (_TRACE, "calico-mn exec {node} -- ip neigh"),
        ("calico-mn exec {node} -- ip neigh del {gateway} dev eth0",), faults.wrong_mac,
        frozenset({"router", "builtin"})),
)


def listed() -> list[dict[str, int | str]]:
    """The number and the symptom of each."""
    return [{"number": number, "symptom": exercise.symptom}
            for number, exercise in enumerate(EXERCISES, 1)]
