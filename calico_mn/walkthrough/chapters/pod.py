"""Inside the pod: its devices, its address and its two routes."""

from __future__ import annotations

from calico_mn.walkthrough import article
from calico_mn.walkthrough.compare import TENTATIVE, Quote
from calico_mn.walkthrough.language import Text
from calico_mn.walkthrough.step import BACKEND, Chapter, Expect, Step, Typed, Wrong

_NO_TUNL0 = Text(
    "the eBPF back end works without the ipip module, and only that gives every namespace a tunl0",
    "eBPF 后端不需要 ipip 模块，而只有加载了该模块，每个命名空间里才会出现 tunl0")

CHAPTER = Chapter(Text("Inside the pod", "进入 Pod 内部"), (
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
