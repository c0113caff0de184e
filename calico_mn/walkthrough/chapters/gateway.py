"""The gateway that exists nowhere: proxy ARP, and what it needs."""

from __future__ import annotations

from calico_mn.walkthrough import article
from calico_mn.walkthrough.compare import Quote
from calico_mn.walkthrough.language import Text
from calico_mn.walkthrough.step import BACKEND, NODE32, Chapter, Expect, Step, Typed, Wrong

_DEVICE = article.BACKEND_DEVICE

CHAPTER = Chapter(Text("The gateway that nobody has", "不存在的网关 169.254.1.1"), (
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
        expects=(Expect("^1$", Text("on, and yet nobody answers", "开着，却没有人应答")),),
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
