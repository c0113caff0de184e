"""The three modes on one subnet, and a third node behind the router."""

from __future__ import annotations

from calico_mn.walkthrough.step import (
    ELSEWHERE,
    FRONTEND,
    LIBRARY,
    NODE31,
    NODE32,
    NODE33,
    ROUTER,
    TWO_SUBNETS,
    Chapter,
    Expect,
    Step,
    Text,
    Typed,
    Wrong,
)

# --- Always, CrossSubnet and Never on the article's one subnet, changed while the cluster runs

_PLAIN = r"^10\.22\.151\.0/26 via 192\.168\.57\.32 dev eth0 proto bird"
_TUNNELLED = r"^10\.22\.151\.0/26 via 192\.168\.57\.32 dev tunl0 proto bird onlink"
_GO = "ping -c 1 10.22.151.11"

MODES = Chapter(Text("Always, CrossSubnet, Never", "三种模式：Always、CrossSubnet、Never"), (
    Step(
        "unset", Typed(LIBRARY, "calico-node starts without CALICO_IPV4POOL_IPIP"), Text(
            "Where does the mode come from? From the pool, and when there is none, from an"
            " environment variable of calico-node. First without that variable:",
            "模式从哪里来？来自地址池；没有地址池时，来自 calico-node 的环境变量。"
            "先看不设这个变量："),
        action="default", argument="",
        expects=(Expect("^ipipMode: Never$", Text("the pool is made with Never",
                                                  "创建的地址池是 Never")),)),
    Step(
        "always", Typed(LIBRARY, "calico-node starts with CALICO_IPV4POOL_IPIP=Always"), Text(
            "And with the line that the article quotes:", "再看文章引用的那一行配置："),
        action="default", argument="Always",
        expects=(Expect("^ipipMode: Always$", Text("the pool is made with Always",
                                                   "创建的地址池是 Always")),),
        wrong=Wrong(
            "E5", Text("Calico uses IPIP by default.", "Calico 默认使用 IPIP 模式。"),
            Text("The manifest calico.yaml sets Always, so it looks that way. Calico's own default"
                 " is Never (node/pkg/lifecycle/startup/startup.go). And the variable counts only"
                 " while no pool exists; later the pool is what must be changed.",
                 "清单文件 calico.yaml 里写了 Always，所以看起来如此；Calico 自己的默认值是 Never"
                 "（node/pkg/lifecycle/startup/startup.go）。而且这个变量只在还没有地址池时起作用，"
                 "以后要改的是地址池。"),
            Text("calico-node's start: what answers here is this program's reading of it.",
                 "calico-node 的启动过程：这里的结果由本程序按它的规则得出。"))),
    Step(
        "before", Typed(NODE31, "ip route show 10.22.151.0/26"), Text(
            "The cluster as the article has it: Always.", "文章中的集群：Always。"),
        expects=(Expect(_TUNNELLED, Text("both nodes are in 192.168.57.0/24, and still tunl0",
                                         "两个节点同在 192.168.57.0/24，却仍走 tunl0")),)),
    Step(
        "cross", Typed(LIBRARY, 'net.set_ipip_mode("CrossSubnet")'), Text(
            "Change the pool while everything runs (on a real cluster: calicoctl patch ippool)."
            " Below is all that has to change in the kernel, node by node.",
            "在运行中修改地址池（真实集群上用 calicoctl patch ippool）。"
            "下面是各节点内核里需要改动的全部内容。"),
        action="mode", argument="CrossSubnet",
        expects=(Expect("^node31: ip route replace 10.22.151.0/26 via 192.168.57.32 dev eth0",
                        Text("one route is replaced on each node", "每个节点替换一条路由")),)),
    Step(
        "cross-route", Typed(NODE31, "ip route show 10.22.151.0/26"), Text(
            "CrossSubnet tunnels only what crosses a subnet's border.",
            "CrossSubnet 只对跨子网的流量使用隧道。"),
        expects=(Expect(_PLAIN, Text("node32 is a neighbour: straight through eth0",
                                     "node32 是同网段邻居：直接走 eth0")),)),
    Step(
        "cross-wire", Typed(NODE32, "tcpdump --immediate-mode -nn -c 2 -i eth0 host 10.22.151.11"),
        Text("The wire shows it: the pods' packets as they are.",
             "在线路上看：就是 Pod 原本的包。"),
        meanwhile=Typed(FRONTEND, _GO),
        expects=(
            Expect(r" IP 10\.22\.138\.1 > 10\.22\.151\.11: ICMP echo request", Text(
                "no outer header, and the ping arrives", "没有外层头，ping 照样到达")),
            Expect("192.168.57", Text("no node's address is in it", "其中没有节点的地址"),
                   absent=True),
        ),
        wrong=Wrong(
            "E6", Text("Within one segment IPIP is not needed, across segments it is; Calico uses"
                       " the mode for that.",
                       "同网段可以不用 IPIP，不同网段就需要，Calico 因此使用该模式。"),
            Text("That describes CrossSubnet. The article's cluster has Always, and tunnels"
                 " between two neighbours that need no tunnel. The last chapter shows that across"
                 " subnets it is not strictly needed, either.",
                 "那是 CrossSubnet。文章的集群用的是 Always，在两个本不需要隧道的邻居之间也走隧道。"
                 "最后一章会看到，跨子网也并非一定需要它。"))),
    Step(
        "never", Typed(LIBRARY, 'net.set_ipip_mode("Never")'), Text(
            "Never: no pool needs a tunnel, so tunl0 loses its address. Routes stay as they were.",
            "Never：没有地址池需要隧道，于是 tunl0 失去地址。路由与刚才相同。"),
        action="mode", argument="Never",
        expects=(Expect("^node31: ip address del 10.22.138.0/32 dev tunl0$", Text(
            "the tunnel's address is taken away", "隧道地址被收回")),)),
    Step(
        "never-device", Typed(NODE31, "ip a|grep tunl0"), Text(
            "The device itself stays: the address was Felix's, the device is the kernel's.",
            "设备本身还在：地址归 Felix 管，设备归内核管。"),
        expects=(
            Expect(r"^\d+: tunl0", Text("tunl0 is there", "tunl0 还在")),
            Expect("inet ", Text("without an address", "没有地址"), absent=True),
        )),
    Step(
        "never-ping", Typed(FRONTEND, _GO), Text(
            "On one subnet nothing is missing.", "在同一子网内，什么也不缺。"),
        expects=(Expect("1 packets transmitted, 1 received", Text(
            "the ping arrives without any tunnel", "没有隧道，ping 也能到达")),)),
    Step(
        "again", Typed(LIBRARY, 'net.set_ipip_mode("Always")'), Text(
            "And back. The node takes the next free address for its tunnel, which is another one:"
            " a released address goes to the end of the queue.",
            "再改回来。节点给隧道取下一个空闲地址，和之前的不同：释放的地址排到队尾。"),
        action="mode", argument="Always",
        expects=(Expect("^node31: ip address add 10.22.138.[1-9][0-9]*/32 dev tunl0$", Text(
            "tunl0 gets an address that is not 10.22.138.0",
            "tunl0 得到的地址不再是 10.22.138.0")),)),
    Step(
        "again-route", Typed(NODE31, "ip route show 10.22.151.0/26"), Text(
            "The article's route is there again.", "文章里的那条路由又回来了。"),
        expects=(Expect(_TUNNELLED, Text("through tunl0", "经过 tunl0")),)),
), spoils=True)

# --- a third node behind the router: where a tunnel is needed, and what does as well

_PING = "ping -c 1 -W 0.5 10.22.152.1"

SUBNETS = Chapter(Text("Across subnets", "跨子网"), (
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
