"""The same cluster with the MTU that Calico chooses by itself."""

from __future__ import annotations

from calico_mn.walkthrough.language import Text
from calico_mn.walkthrough.step import AUTOMATIC_MTU, FRONTEND, Chapter, Expect, Step, Typed

CHAPTER = Chapter(Text("With the MTU that Calico chooses", "换成 Calico 自动选择的 MTU"), (
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
            Expect("Frag needed", Text("and nobody has to be told anything",
                                       "也没有任何 ICMP 差错"), absent=True),
        )),
), cluster=AUTOMATIC_MTU)
