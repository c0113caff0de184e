"""The way to another node: its route, tunl0, what the wire carries, and the MTU of a pod."""

from __future__ import annotations

from calico_mn.walkthrough import article
from calico_mn.walkthrough.step import (
    AUTOMATIC_MTU,
    FRONTEND,
    NODE31,
    NODE32,
    Chapter,
    Expect,
    Quote,
    Step,
    Text,
    Typed,
    Wrong,
)

# --- the way to another node: the block's route, tunl0, and what the wire carries

_LISTEN = "tcpdump -eni tunl0  -nnvv -c 4 | grep 10.22.151.11"
_ARTICLE_LISTEN = "tcpdump -eni tunl0  -nnvv | grep 10.22.151.11"

TUNNEL = Chapter(Text("To another node, through tunl0", "经过 tunl0 到另一个节点"), (
    Step(
        "routes", Typed(NODE31, "ip route"), Text(
            "On the other node the back end is not a route of its own: BIRD has learned the whole"
            " block 10.22.151.0/26 by BGP, with node32 as next hop and tunl0 as device. The"
            " node's own block is a blackhole, which drops packets to unused addresses; the routes"
            " of its own pods are longer and win.",
            "在另一个节点上，后端 Pod 没有单独的路由：BIRD 通过 BGP 学到整个地址块 10.22.151.0/26，"
            "下一跳是 node32，出口是 tunl0。本节点自己的地址块是一条 blackhole 路由，"
            "没人使用的地址到此为止；本节点 Pod 的路由前缀更长，因此优先。"),
        quotes=(Quote(article.IP_ROUTE),)),
    Step(
        "device", Typed(NODE31, "ip a|grep tunl0"), Text(
            "tunl0 has one address, the first that the node took from its block, and an MTU of"
            " 1480: the uplink's 1500 less the 20 bytes of an outer IPv4 header.",
            "tunl0 有一个地址，是本节点从自己的地址块里取用的第一个；MTU 为 1480，"
            "即上行网卡的 1500 减去外层 IPv4 头的 20 字节。"),
        quotes=(Quote(article.TUNL0),)),
    Step(
        "kind", Typed(NODE31, (
            "ip -d link show tunl0 | tail -n 1 | cut -d ' ' -f 5-7; ls /var/log/calico/cni")), Text(
            "What kind of device is it, and what is in that log directory?",
            "它究竟是哪种设备？那个日志目录里又有什么？"),
        expects=(
            Expect("^ipip ", Text("the kernel calls it an ipip tunnel",
                                      "内核说它是 ipip 隧道"), backend="kernel"),
            Expect("^tun ", Text(
                "it is a TUN device: this machine's stand-in for the ipip module",
                "它是 TUN 设备：这台机器用它代替 ipip 模块"), backend="ebpf"),
            Expect("^cni.log$", Text("the log there is the CNI plug-in's by name",
                                     "从文件名看，那是 CNI 插件的日志")),
        ),
        wrong=Wrong(
            "E4", Text("calico-node creates tunl0 when it starts, and logs it in"
                       " /var/log/calico/cni.",
                       "calico-node 启动时创建 tunl0，日志在 /var/log/calico/cni。"),
            Text("The kernel's ipip module makes tunl0; Felix, a part of calico-node, configures"
                 " it: MTU, state, address. The directory belongs to the CNI plug-in, which wires"
                 " pods and never touches tunl0. Felix and BIRD log to the container's output.",
                 "tunl0 由内核的 ipip 模块创建；calico-node 里的 Felix 只负责配置它：MTU、"
                 "启停和地址。"
                 "那个目录属于 CNI 插件，它给 Pod 接线，从不碰 tunl0；"
                 "Felix 和 BIRD 的日志写到容器的"
                 "标准输出。"),
            Text("who writes which log: no calico-node runs here, and the emulator keeps one log"
                 " for all, in that directory. That the device is not Felix's shows in mode Never,"
                 " which takes its address and leaves it there (chapter 7).",
                 "谁写哪份日志：这里没有运行 calico-node，模拟器把全部日志合成一份放在该目录。"
                 "至于设备并不归 Felix 所有，在 Never 模式下可以看到：地址被收回，"
                 "设备还在（第 7 章）。"))),
    Step(
        "capture", Typed(NODE32, _LISTEN), Text(
            "Listen on node32's tunl0 while node31 pings the back end. Link type RAW: on tunl0"
            " packets have no Ethernet header, and the outer header is off already. (-c 4 and -c 2"
            " are added so that both commands end.)",
            "在 node32 的 tunl0 上抓包，同时从 node31 ping 后端 Pod。链路类型是 RAW："
            "tunl0 上的包没有以太网头，外层 IP 头也已经去掉了。"
            "（加上 -c 4 和 -c 2 是为了让命令自己结束。）"),
        article=_ARTICLE_LISTEN,
        quotes=(Quote(article.TCPDUMP_BANNER), Quote(article.TCPDUMP)),
        meanwhile=Typed(NODE31, "ping -c 2 -i 0.2 10.22.151.11")),
    Step(
        "from-pod", Typed(
            NODE32, "tcpdump --immediate-mode -eni tunl0 -nnvv -c 4 | grep 10.22.151.11"), Text(
            "The article says that a pod sent that ping. Its source address, 10.22.138.0, says"
            " otherwise: it is the tunl0 of 192.168.57.31. Now let a pod ping.",
            "文章说这次 ping 是 Pod 发出的。但源地址 10.22.138.0 是 192.168.57.31 的 tunl0 地址，"
            "并不支持这个说法。现在真的让一个 Pod 来 ping。"),
        meanwhile=Typed(FRONTEND, "ping -c 2 -i 0.2 10.22.151.11"),
        expects=(
            Expect(r"10\.22\.138\.1 > 10\.22\.151\.11: ICMP echo request", Text(
                "a pod's ping carries the pod's own address, 10.22.138.1",
                "Pod 发出的 ping 带的是 Pod 自己的地址 10.22.138.1")),
            Expect(r"10\.22\.138\.0 >", Text(
                "the tunnel's address 10.22.138.0 does not appear",
                "隧道地址 10.22.138.0 没有出现"), absent=True),
        ),
        wrong=Wrong(
            "E2", Text("The captured ping comes from a pod on node 31.",
                       "抓到的 ping 来自 31 节点上的 Pod。"),
            Text("It was typed on the host. A host that sends through tunl0 takes tunl0's address"
                 " as source; between pods nothing is translated, so a pod keeps its own.",
                 "它是在宿主机上执行的。宿主机经 tunl0 发包时，源地址取 tunl0 的地址；"
                 "Pod 之间不做地址转换，Pod 发出的包保留自己的地址。"))),
    Step(
        "wire", Typed(NODE32, "tcpdump --immediate-mode -nn -v -c 2 -i eth0 ip proto 4"), Text(
            "The article never looks at the uplink, where the encapsulation can be seen: IP"
            " protocol 4, from node to node, with the pod's packet inside."
            " (-t 33 makes the TTL easy to recognise; node31 forwards, and takes one off.)",
            "文章没有在上行网卡上抓包，而封装恰恰要在那里看：IP 协议号 4，"
            "从节点到节点，里面装着 Pod 的包。（-t 33 让 TTL 容易辨认；node31 转发时减 1。）"),
        meanwhile=Typed(FRONTEND, "ping -c 1 -t 33 10.22.151.11"),
        expects=(
            Expect(r"proto IPIP \(4\), length 104\)\n\s+192\.168\.57\.31 > 192\.168\.57\.32:",
                   Text("outside: 192.168.57.31 > 192.168.57.32, protocol 4, 104 bytes",
                        "外层：192.168.57.31 > 192.168.57.32，协议号 4，104 字节")),
            Expect(r"proto ICMP \(1\), length 84\)\n\s+10\.22\.138\.1 > 10\.22\.151\.11:", Text(
                "inside: 10.22.138.1 > 10.22.151.11, 84 bytes; the difference is the outer header",
                "内层：10.22.138.1 > 10.22.151.11，84 字节；相差的 20 字节就是外层头")),
            Expect(r"ttl 32, .*flags \[DF\], proto IPIP.*\n.*ttl 32, .*flags \[DF\], proto ICMP",
                   Text("TTL and DF of the outer header are copies of the inner ones",
                        "外层头的 TTL 和 DF 是从内层复制的")),
        ),
        wrong=Wrong(
            "E1", Text("Calico has no encapsulation, no overlay and no NAT.",
                       "Calico 没有封装，没有 overlay，也没有 NAT。"),
            Text("IPIP is an encapsulation of 20 bytes a packet, and pods' addresses that the"
                 " fabric never sees are an overlay. NAT, too, is on by default for packets that"
                 " leave the pools (natOutgoing).",
                 "IPIP 就是封装，每个包多 20 字节；物理网络看不到 Pod 的地址，这就是 overlay。"
                 "NAT 也有：离开地址池的包默认会做源地址转换（natOutgoing）。"),
            Text("NAT: the emulator leaves it out.", "NAT：模拟器没有实现。"))),
))

# --- the article's MTUs: pods with 1500 behind a tunl0 of 1480

MTU = Chapter(Text("A pod's 1500 bytes and a tunnel's 1480",
                       "Pod 的 1500 字节与隧道的 1480 字节"), (
    Step(
        "df", Typed(FRONTEND, "ip route flush cache; ping -c 1 -M do -s 1472 10.22.151.11"), Text(
            "The article shows eth0 with an MTU of 1500 and tunl0 with 1480, and does not say what"
            " that means. Send 1472 bytes of data in a packet of 1500 bytes that must not be"
            " fragmented (DF), as TCP does.",
            "文章里 eth0 的 MTU 是 1500，tunl0 是 1480，却没有说明后果。"
            "发一个 1500 字节（1472 字节数据）、不许分片（DF）的包，TCP 就是这样发包的。"),
        expects=(
            Expect(r"From 10\.22\.138\.0 .*Frag needed and DF set \(mtu = 1480\)", Text(
                "node31 drops it and says: fragmentation needed, MTU 1480",
                "node31 把它丢弃并告知：需要分片，MTU 1480")),
            Expect("1 packets transmitted, 0 received", Text(
                "the packet is lost", "这个包丢了")),
        ),
        wrong=Wrong(
            "E10", Text("Pods with MTU 1500 behind a tunl0 with 1480 are shown without a word.",
                        "文章展示了 MTU 1500 的 Pod 配 MTU 1480 的 tunl0，未作任何说明。"),
            Text("The first full packet to each address on another node is lost, and what saves"
                 " the rest is an ICMP message. Where that is filtered, large packets vanish and"
                 " small ones pass. Calico's automatic MTU gives pods 1480.",
                 "去往其他节点的每个目的地，第一个满长的包都会丢失，全靠一条 ICMP 消息补救。"
                 "如果 ICMP 被过滤，就会出现小包通、大包丢的现象。"
                 "Calico 自动计算的 Pod MTU 是 1480。"))),
    Step(
        "learned", Typed(FRONTEND, (
            "ip route get 10.22.151.11; ping -c 1 -W 0.2 -M do -s 1472 10.22.151.11")), Text(
            "The pod has learned from that message, for this destination and ten minutes.",
            "Pod 从这条消息中学到了教训：只对这个目的地址，有效期十分钟。"),
        expects=(
            Expect(r"cache expires \d+sec mtu 1480", Text(
                "its route to 10.22.151.11 now has mtu 1480",
                "到 10.22.151.11 的路由现在带有 mtu 1480")),
            # iputils up to 20221126, and later ones
            Expect("local error: message too long, mtu=1480|sendmsg: Message too long", Text(
                "now its own kernel refuses, before anything is sent",
                "现在不用发出去，本机内核就会拒绝")),
        )),
    Step(
        "fragments", Typed(NODE32, "tcpdump --immediate-mode -nn -v -c 2 -i eth0 ip proto 4"), Text(
            "The same size with fragments allowed: listen on node32's uplink.",
            "同样大小，但允许分片：在 node32 的上行网卡上抓包。"),
        meanwhile=Typed(FRONTEND, "ip route flush cache; ping -c 1 -M dont -s 1472 10.22.151.11"),
        expects=(
            Expect(r"offset 0, flags \[\+\], proto ICMP", Text(
                "a first fragment", "第一个分片")),
            Expect(r"offset [1-9]\d*, flags \[none\], proto ICMP", Text(
                "and a second one, each in an outer packet of its own",
                "以及第二个分片，各自装在一个外层包里")),
        )),
))

# --- the same cluster with the MTU that Calico chooses by itself

AUTOMATIC = Chapter(Text("With the MTU that Calico chooses", "换成 Calico 自动选择的 MTU"), (
    Step(
        "link", Typed(FRONTEND, "ip link show eth0"), Text(
            "The same cluster again, but for veth_mtu: \"0\" in the ConfigMap calico-config, which"
            " lets Calico choose.",
            "同样的集群，只把 ConfigMap calico-config 里的 veth_mtu 设为“0”，由 Calico 自己选择。"),
        expects=(Expect("mtu 1480 ", Text(
            "the pod's eth0 has 1480, as much as tunl0",
            "Pod 的 eth0 是 1480，与 tunl0 相同")),)),
    Step(
        "fits", Typed(FRONTEND, "ping -c 1 -M do -s 1452 10.22.151.11"), Text(
            "Its largest packet, with DF:", "它能发的最大的包，带 DF："),
        expects=(
            Expect("1 packets transmitted, 1 received", Text(
                "arrives at once", "一次就到")),
            Expect("Frag needed", Text("and no ICMP error is needed",
                                       "也没有任何 ICMP 差错"), absent=True),
        )),
), cluster=AUTOMATIC_MTU)
