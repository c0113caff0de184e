"""The pod: its cable, its inside, and its gateway that no device has."""

from __future__ import annotations

from calico_mn.walkthrough import article
from calico_mn.walkthrough.compare import BARE_INDEX, POD_COLUMNS, TENTATIVE
from calico_mn.walkthrough.step import (
    BACKEND,
    LIBRARY,
    NODE32,
    Chapter,
    Expect,
    Quote,
    Step,
    Text,
    Typed,
    Wrong,
)

# --- from a pod's address to the device on its node that is the pod's other end

_INDEX = r"^(\d+): cali262cda17a90@"

CABLE = Chapter(Text("The pod's cable", "Pod 的那根网线"), (
    Step(
        "pods", Typed(LIBRARY, "kubectl get pod -owide -n sit"), Text(
            "The story is about one pod, a web back end. Kubernetes knows its address and its"
            " node. The node is called node32 here; as in the article, its address is shown.",
            "故事的主角是一个 Web 后端 Pod。Kubernetes 知道它的地址和所在节点。"
            "这个节点在这里叫 node32，下面和文章一样，显示的是节点的地址。"),
        quotes=(Quote(article.KUBECTL),), rules=(POD_COLUMNS,), action="pods", argument="sit"),
    Step(
        "name", Typed(NODE32, "printf sit.sit-web-backend-58f48df4c9-b2q28 | sha1sum"), Text(
            "Calico's CNI plug-in names the node's end of the pod's cable \"cali\" plus the first"
            " 11 digits of SHA-1 over namespace, dot, pod name. The article doesn't say so, but"
            " its own names prove it.",
            "Calico 的 CNI 插件这样给节点一侧的网卡起名：“cali”加上"
            "“命名空间.Pod 名”的 SHA-1 值的前 11 位。文章没有提到这一点，但它自己的输出可以验证。"),
        expects=(Expect("^262cda17a90", Text(
            "the hash begins with 262cda17a90, as the article's cali262cda17a90 does",
            "散列值以 262cda17a90 开头，与文章中的 cali262cda17a90 吻合")),)),
    Step(
        "route", Typed(NODE32, 'route -n|grep "10.22.151.11"'), Text(
            "On its node a pod is a host route: one address (mask 255.255.255.255), no gateway,"
            " straight to the pod's device.",
            "在所在节点上，一个 Pod 就是一条主机路由：掩码 255.255.255.255，没有网关，"
            "直接指向这个 Pod 的网卡。"),
        quotes=(Quote(article.ROUTE_N),)),
    Step(
        "index", Typed(NODE32, "ip a|grep cali262cda17a90"), Text(
            "The number before the name is the device's index on the node; \"@if4\" says that the"
            " other end has index 4, in the pod's own namespace.",
            "名字前面的数字是这块网卡在节点上的索引；"
            "“@if4”表示对端在 Pod 自己的命名空间里，索引为 4。"),
        quotes=(Quote(article.HOST_SIDE.splitlines()[0]),)),
    Step(
        "iflink", Typed(BACKEND, "cat /sys/class/net/eth0/iflink"), Text(
            "The pod's eth0 names its other end by index. It must be the number that the node"
            " just printed, and not the article's: indices count what a machine has made before.",
            "Pod 里的 eth0 用索引指出它的对端。这个数字应当等于节点刚才打印的索引，"
            "而不必等于文章里的 8608：索引取决于那台机器此前建过多少网卡。"),
        quotes=(Quote(article.IFLINK),), rules=(BARE_INDEX,),
        expects=(Expect(r"^(\d+)$", Text(
            "it is the index of cali262cda17a90 on node32",
            "它就是 cali262cda17a90 在 node32 上的索引"), same_as=("index", _INDEX)),)),
    Step(
        "ifindex", Typed(BACKEND, "cat /sys/class/net/eth0/ifindex"), Text(
            "And the way back: eth0's own index is the number after \"@if\" on the node. So the"
            " two are the ends of one veth pair.",
            "反过来再验证一次：eth0 自己的索引就是节点上“@if”后面的数字。"
            "所以两者是同一对 veth 的两端。"),
        expects=(Expect(r"^(\d+)$", Text(
            "it is the number after @if on node32", "它就是 node32 上 @if 后面的数字"),
            same_as=("index", r"cali262cda17a90@if(\d+):")),)),
    Step(
        "host-side", Typed(NODE32, "ip a|grep cali262cda17a90 -A 10"), Text(
            "The node's end in full: the well-known MAC address, an IPv6 link-local address made"
            " of it, and no IPv4 address at all. Lines after these, if any, are the next device.",
            "节点一侧的完整信息：固定的 MAC 地址、由它推算出的 IPv6 链路本地地址，"
            "没有任何 IPv4 地址。"
            "如果后面还有别的行，那是下一块网卡的。"),
        quotes=(Quote(article.HOST_SIDE),),
        expects=(Expect(r"cali262cda17a90@[^\n]*\n(    .*\n)*    inet \d", Text(
            "it has no IPv4 address", "它没有 IPv4 地址"), absent=True),)),
))

# --- inside the pod: its devices, its address and its two routes

_NO_TUNL0 = Text(
    "the eBPF back end works without the ipip module, and only that gives every namespace a tunl0",
    "eBPF 后端不需要 ipip 模块，而只有加载了该模块，每个命名空间里才会出现 tunl0")

INSIDE = Chapter(Text("Inside the pod", "进入 Pod 内部"), (
    Step(
        "addresses", Typed(BACKEND, "ip a"), Text(
            "A loopback and eth0; where the ipip module is loaded, also a tunl0. eth0's index is 4"
            " because its peer was made first, in the same namespace, and then moved to the node:"
            " Calico up to v3.26 did it that way.",
            "有回环网卡和 eth0；在加载了 ipip 模块的机器上还有一个 tunl0。eth0 的索引是 4，"
            "因为它的对端先在同一命名空间里创建，再移到节点上："
            "v3.26 及以前的 Calico 就是这样做的。"),
        quotes=(Quote(article.POD_LO), Quote(article.POD_TUNL0, {"ebpf": _NO_TUNL0}),
                Quote(article.POD_ETH0)),
        rules=(TENTATIVE,)),
    Step(
        "tunl0-unused", Typed(
            BACKEND, "ping -c 1 10.22.138.1; grep tunl0 /proc/net/dev || echo no tunl0"), Text(
            "Does the pod need that tunl0? Ping the other node's pod, then look at the device's"
            " counters.",
            "Pod 需要这个 tunl0 吗？先 ping 另一个节点上的 Pod，再看这块网卡的计数。"),
        expects=(
            Expect("1 packets transmitted, 1 received", Text(
                "the pod reaches the other node's pod", "Pod 能到达另一个节点上的 Pod")),
            Expect(r"tunl0:(\s+0){16}$", Text(
                "its tunl0 carried nothing", "它的 tunl0 没有传过任何数据"), backend="kernel"),
            Expect("^no tunl0$", Text("it has no tunl0 at all", "它根本没有 tunl0"),
                   backend="ebpf"),
        ),
        wrong=Wrong(
            "E3", Text("A tunl0 inside the pod is listed as if it were a part of the design.",
                       "文章把 Pod 里的 tunl0 列出来，好像它是设计的一部分。"),
            Text("The ipip module puts a tunl0 into every new namespace. In a pod it is down and"
                 " unused; pods know nothing of tunnels.",
                 "ipip 模块会给每个新命名空间放一个 tunl0。Pod 里的那个没有启用，也不会用到；"
                 "Pod 对隧道一无所知。"))),
    Step(
        "routes", Typed(BACKEND, "ip route"), Text(
            "Two routes, the same in every Calico pod: everything goes to 169.254.1.1, and that"
            " is declared to be on the link behind eth0.",
            "两条路由，所有 Calico Pod 都一样：一切都发给 169.254.1.1，"
            "并声明这个地址就在 eth0 的链路上。"),
        quotes=(Quote(article.POD_ROUTE),)),
    Step(
        "neighbour", Typed(BACKEND, "ip route get 10.22.151.12"), Text(
            "Even the address next to its own, which could be a pod on the same node, is not on"
            " the pod's link. Ask the kernel which way it would go.",
            "哪怕是紧挨着自己的地址，也许就是同节点的另一个 Pod，也不在本链路上。"
            "问问内核它会怎么走。"),
        expects=(Expect(r"^10\.22\.151\.12 via 169\.254\.1\.1 dev eth0", Text(
            "the way to the next address leads through 169.254.1.1 as well",
            "去相邻地址同样要经过 169.254.1.1")),),
        wrong=Wrong(
            "E11", Text("The /32 makes the pod a LAN with a single member.",
                        "32 位掩码表示容器是一个单点局域网。"),
            Text("As a picture that will do. The cause is the routing table: with a /32 no other"
                 " address is on-link, and the only on-link route is the one to 169.254.1.1.",
                 "作为比喻可以接受。确切的原因在路由表：/32 使其他任何地址都不算直连，"
                 "唯一的直连路由指向 169.254.1.1。"))),
))

# --- the gateway that no device has: proxy ARP, and what it needs

_DEVICE = article.BACKEND_DEVICE

GATEWAY = Chapter(Text("The gateway that does not exist", "不存在的网关 169.254.1.1"), (
    Step(
        "neighbours", Typed(
            BACKEND, "ip neigh flush all; ping -q -c 1 10.22.138.1 > /dev/null; ip neigh"), Text(
            "Forget all neighbours, send one packet, and look: the pod has learned a MAC address"
            " for its gateway. (The article only types \"ip neigh\", some time after a packet.)",
            "先清空邻居表，发一个包再看：Pod 学到了网关的 MAC 地址。"
            "（文章只输入了 ip neigh，此前已经有过流量。）"),
        article="ip neigh", quotes=(Quote(article.POD_NEIGH),)),
    Step(
        "proxy-arp", Typed(NODE32, f"cat /proc/sys/net/ipv4/conf/{_DEVICE}/proxy_arp"), Text(
            "The node answers in the place of others: proxy ARP is on, on the pod's device.",
            "节点会替别人应答：在 Pod 对应的网卡上，代理 ARP 是打开的。"),
        quotes=(Quote(article.PROXY_ARP),)),
    Step(
        "arp", Typed(NODE32, (
            f"tcpdump --immediate-mode -eni {_DEVICE} -c 3 'arp host 169.254.1.1 or icmp'")), Text(
            "Listen on the node's end of the cable while the pod forgets its gateway and pings:"
            " the question, the answer, and the first packet.",
            "在节点一侧抓包，同时让 Pod 忘掉网关再 ping：可以看到询问、应答和第一个数据包。"),
        meanwhile=Typed(BACKEND, "ip neigh flush all; ping -c 1 10.22.138.1"),
        expects=(
            Expect(r"Request who-has 169\.254\.1\.1 tell 10\.22\.151\.11", Text(
                "169.254.1.1 is in the ARP request", "169.254.1.1 出现在 ARP 请求里")),
            Expect(r"Reply 169\.254\.1\.1 is-at ee:ee:ee:ee:ee:ee", Text(
                "and in the reply", "也出现在应答里")),
            Expect(r"> ee:ee:ee:ee:ee:ee, .*: 10\.22\.151\.11 > 10\.22\.138\.1: ICMP", Text(
                "the IP packet names only the two pods; just its Ethernet destination is the"
                " gateway's", "IP 包里只有两个 Pod 的地址，只有以太网目的地址是网关的")),
        ),
        wrong=Wrong(
            "E8", Text("The gateway's address never appears in any packet header.",
                       "网关的 IP 地址不会出现在任何网络包头中。"),
            Text("Never in an IP header, that is right. In ARP it appears twice.",
                 "对 IP 头来说没错；但在 ARP 报文里它出现了两次。"))),
    Step(
        "real-mac", Typed(BACKEND, (
            "ip neigh replace 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0;"
            " ping -c 1 -W 0.5 10.22.138.1; ip neigh del 169.254.1.1 dev eth0;"
            " ping -c 1 10.22.138.1")), Text(
            "Is ee:ee:ee:ee:ee:ee just a placeholder? Give the pod another address for its gateway"
            " and ping; then let it learn the right one again.",
            "ee:ee:ee:ee:ee:ee 只是占位吗？给 Pod 配一个别的网关 MAC 再 ping；"
            "然后让它重新学习正确的。"),
        expects=(
            Expect(r"1 packets transmitted, 0 received(.*\n)*.*1 packets transmitted, 1 received",
                   Text("with another MAC address nothing arrives, with ee:ee:ee:ee:ee:ee it does",
                        "换一个 MAC 就不通，用 ee:ee:ee:ee:ee:ee 才通")),
        ),
        wrong=Wrong(
            "E7", Text("ee:ee:ee:ee:ee:ee is a useless MAC address.",
                       "ee:ee:ee:ee:ee:ee 是无用的 MAC 地址。"),
            Text("It is the real address of the node's end of the cable: the node accepts the"
                 " frames because of it. A different one for each pod is not needed, so"
                 " all have the same.",
                 "它是节点一侧网卡真实的 MAC 地址，节点正是因此才收下这些帧。"
                 "只是没必要让每个 Pod 都不同，所以全都用同一个。"))),
    Step(
        "no-route", Typed(NODE32, "ip route del default; ip route get 169.254.1.1"), Text(
            "Proxy ARP is on, and the article stops there. Take the node's default route away:"
            " now the node itself knows no way to 169.254.1.1.",
            "文章讲到代理 ARP 打开为止。现在删掉节点的默认路由："
            "节点自己也没有去 169.254.1.1 的路了。"),
        expects=(Expect("unreachable", Text(
            "node32 has no route to 169.254.1.1", "node32 没有到 169.254.1.1 的路由")),)),
    Step(
        "no-answer", Typed(BACKEND, (
            "ip neigh flush all; ping -c 1 -W 0.5 10.22.138.1; ip neigh")), Text(
            "The tunnel's route to the other node is still there. The same ping again:",
            "去另一个节点的隧道路由还在。再 ping 一次："),
        expects=(
            Expect("1 packets transmitted, 0 received", Text("the pod is cut off", "Pod 断网了")),
            Expect(r"169\.254\.1\.1 dev eth0 .*(INCOMPLETE|FAILED)", Text(
                "its question for 169.254.1.1 stays without an answer",
                "它对 169.254.1.1 的询问没有人应答")),
        )),
    Step(
        "still-on", Typed(NODE32, f"cat /proc/sys/net/ipv4/conf/{_DEVICE}/proxy_arp"), Text(
            "And proxy ARP? It never changed.", "那代理 ARP 呢？它一直没变。"),
        quotes=(Quote(article.PROXY_ARP),),
        expects=(Expect("^1$", Text("on, and yet there is no answer", "开着，却没有人应答")),),
        wrong=Wrong(
            "E9", Text("Switching proxy ARP on is what makes the node answer.",
                       "打开代理 ARP，节点就会应答。"),
            Text("It is one of two conditions. Linux answers for an address only if it has a"
                 " route to it through another device (arp_process() in the kernel): usually the"
                 " default route. Pods of a node that has none are without any network.",
                 "这只是两个条件之一。Linux 只有在经另一块网卡有到该地址的路由时才会代答"
                 "（内核的 arp_process()），通常靠的就是默认路由。节点若没有默认路由，"
                 "其上的 Pod 就没有网络。"))),
    Step(
        "back", Typed(NODE32, "ip route add default via 192.168.57.1; ip route"), Text(
            "Put it back.", "恢复默认路由。"),
        expects=(Expect(r"^default via 192\.168\.57\.1 dev eth0", Text(
            "the default route is there again", "默认路由恢复了")),)),
    Step(
        "answers-again",
        Typed(BACKEND, "ip neigh flush all; ping -c 1 10.22.138.1; ip neigh"), Text(
            "And the pod is back, with no change to proxy ARP.",
            "Pod 恢复了，代理 ARP 的设置没有动过。"),
        expects=(
            Expect("1 packets transmitted, 1 received", Text("the ping is answered", "ping 通了")),
            Expect("lladdr ee:ee:ee:ee:ee:ee", Text("the gateway has its MAC address again",
                                                    "网关又有了 MAC 地址")),
        )),
))
