"""Pods of 1500 bytes behind a tunnel of 1480, and with the MTU that Calico chooses."""

from __future__ import annotations

from calico_mn.walkthrough.step import (
                       AUTOMATIC_MTU,
                       FRONTEND,
                       NODE32,
                       Chapter,
                       Expect,
                       Step,
                       Text,
                       Typed,
                       Wrong,
)

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
