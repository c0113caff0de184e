"""A third node behind the router: where a tunnel is needed, and what does as well."""

from __future__ import annotations

from calico_mn.walkthrough.language import Text
from calico_mn.walkthrough.step import (
    ELSEWHERE,
    FRONTEND,
    LIBRARY,
    NODE31,
    NODE33,
    ROUTER,
    TWO_SUBNETS,
    Chapter,
    Expect,
    Step,
    Typed,
)

_PING = "ping -c 1 -W 0.5 10.22.152.1"

CHAPTER = Chapter(Text("Across subnets", "跨子网"), (
    Step(
        "where", Typed(ELSEWHERE, "ip -4 -o a show eth0"), Text(
            "The same cluster with one more node, 192.168.58.33, in a subnet of its own behind the"
            " router; it runs this pod. The mode is CrossSubnet.",
            "同样的集群，再加一个节点 192.168.58.33，位于路由器后面的另一个子网，"
            "上面运行着这个 Pod。"
            "模式是 CrossSubnet。"),
        expects=(Expect(r"inet 10\.22\.152\.1/32", Text("a pod of the new node's block",
                                                        "地址来自新节点的地址块")),)),
    Step(
        "cross", Typed(NODE31, "ip route show proto bird"), Text(
            "One routing table, both ways of travelling:", "一张路由表，两种走法："),
        expects=(
            Expect(r"^10\.22\.151\.0/26 via 192\.168\.57\.32 dev eth0", Text(
                "to the neighbour node32 without a tunnel", "到邻居 node32 不走隧道")),
            Expect(r"^10\.22\.152\.0/26 via 192\.168\.58\.33 dev tunl0 onlink", Text(
                "to the node behind the router through tunl0", "到路由器后面的节点走 tunl0")),
        )),
    Step(
        "cross-ping", Typed(
            NODE33, "tcpdump --immediate-mode -nn -c 2 -i eth0 ip proto 4"), Text(
            "The router in between forwards packets from node to node; it never learns that there"
            " are pods.",
            "中间的路由器只转发节点到节点的包，不知道有 Pod 存在。"),
        meanwhile=Typed(FRONTEND, _PING),
        expects=(Expect(r"192\.168\.57\.31 > 192\.168\.58\.33: IP 10\.22\.138\.1 > 10\.22\.152\.1",
                        Text("the pod's packet inside the node's", "Pod 的包装在节点的包里")),)),
    Step(
        "never", Typed(LIBRARY, 'net.set_ipip_mode("Never")'), Text(
            "Now without any tunnel.", "现在完全不用隧道。"),
        action="mode", argument="Never",
        expects=(Expect("^node31: ip route replace 10.22.152.0/26 via 192.168.57.1 dev eth0", Text(
            "the block is sent to the router", "这个地址块改为交给路由器")),)),
    Step(
        "never-ping", Typed(FRONTEND, _PING), Text(
            "The router gets the pod's own packet, for an address that it has never heard of.",
            "路由器收到 Pod 原本的包，目的地址它从没听说过。"),
        expects=(
            Expect("1 packets transmitted, 0 received", Text("nothing arrives", "到不了")),
            Expect("Unreachable", Text("and no ICMP error comes back", "也没有收到 ICMP 差错"),
                   absent=True),
        )),
    Step(
        "router", Typed(ROUTER, "ip route get 10.22.152.1; ip route get 10.22.138.1"), Text(
            "Why not even an error? Ask the router for the way to either pod.",
            "为什么连差错都没有？问问路由器怎么到这两个 Pod。"),
        expects=(Expect(r"unreachable\n.*unreachable", Text(
            "it knows neither, so it cannot tell the sender, either",
            "两个它都不知道，所以也无法通知发送方")),)),
    Step(
        "learn", Typed(LIBRARY, "net.set_pod_routes(True)"), Text(
            "Let the router know the pods' blocks, as one does that speaks BGP with the nodes.",
            "让路由器知道 Pod 的地址块，就像它与各节点建立了 BGP 会话那样。"),
        action="pod-routes",
        expects=(Expect("ip route replace 10.22.152.0/26 via 192.168.58.33", Text(
            "the router gets a route to each block", "路由器得到每个地址块的路由")),)),
    Step(
        "learned-ping", Typed(FRONTEND, _PING), Text(
            "So the article's sentence that different segments need IPIP holds only for routers"
            " that know no pods.",
            "所以，文章说不同网段必须用 IPIP，只有在路由器不知道 Pod 时才成立。"),
        expects=(Expect("1 packets transmitted, 1 received", Text(
            "across subnets, in mode Never, and it arrives",
            "跨子网、Never 模式，照样到达")),)),
), cluster=TWO_SUBNETS, spoils=True)
