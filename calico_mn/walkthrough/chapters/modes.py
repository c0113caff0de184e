"""Always, CrossSubnet and Never on the article's one subnet, changed while the cluster runs."""

from __future__ import annotations

from calico_mn.walkthrough.language import Text
from calico_mn.walkthrough.step import (
    FRONTEND,
    LIBRARY,
    NODE31,
    NODE32,
    Chapter,
    Expect,
    Step,
    Typed,
    Wrong,
)

_PLAIN = r"^10\.22\.151\.0/26 via 192\.168\.57\.32 dev eth0 proto bird"
_TUNNELLED = r"^10\.22\.151\.0/26 via 192\.168\.57\.32 dev tunl0 proto bird onlink"
_GO = "ping -c 1 10.22.151.11"

CHAPTER = Chapter(Text("Always, CrossSubnet, Never", "三种模式：Always、CrossSubnet、Never"), (
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
