"""From a pod's address to the device on its node that is the pod's other end."""

from __future__ import annotations

from calico_mn.walkthrough import article
from calico_mn.walkthrough.compare import BARE_INDEX, POD_COLUMNS, Quote
from calico_mn.walkthrough.language import Text
from calico_mn.walkthrough.step import (
    BACKEND,
    LIBRARY,
    NODE32,
    Chapter,
    Expect,
    Same,
    Step,
    Typed,
)

_INDEX = r"^(\d+): cali262cda17a90@"

CHAPTER = Chapter(Text("The pod's cable", "Pod 的那根网线"), (
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
        expects=(Same(r"^(\d+)$", "index", _INDEX, Text(
            "it is the index of cali262cda17a90 on node32",
            "它就是 cali262cda17a90 在 node32 上的索引")),)),
    Step(
        "ifindex", Typed(BACKEND, "cat /sys/class/net/eth0/ifindex"), Text(
            "And the way back: eth0's own index is the number after \"@if\" on the node. So the"
            " two are the ends of one veth pair.",
            "反过来再验证一次：eth0 自己的索引就是节点上“@if”后面的数字。"
            "所以两者是同一对 veth 的两端。"),
        expects=(Same(r"^(\d+)$", "index", r"cali262cda17a90@if(\d+):", Text(
            "it is the number after @if on node32", "它就是 node32 上 @if 后面的数字")),)),
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
