"""The article's lines against real ones: which agree, and what differs where they don't. Pure.

Each rule names one thing that cannot be equal on two machines, and nothing else is forgiven.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from calico_mn.walkthrough.step import (
    ABSENT,
    AGREES,
    DIFFERS,
    NAMED,
    Comparison,
    Line,
    Quote,
    Rule,
    Text,
)

RULES = (
    # A pod's own index, 4, is not forgiven.
    Rule("index", Text(
        "interface indices and namespace ids: they count what was made before",
        "网卡索引和命名空间编号：取决于这台机器此前建过多少对象"), (
        (r"^\d+: (cali\w+)@", r"N: \1@"),
        (r"^(\d+: eth0@if)\d+:", r"\1N:"),
        (r"link-netnsid \d+", "link-netnsid N"))),
    # Never the node's own ee:ee:ee:ee:ee:ee, nor the address made of that.
    Rule("mac", Text(
        "the pod's MAC address, drawn at random, and the link-local address made of it",
        "Pod 的 MAC 地址由内核随机生成，链路本地地址又由它推算而来"), (
        (r"link/ether (?!ee:ee:ee:ee:ee:ee)[0-9a-f:]{17} ", "link/ether M "),
        (r"inet6 fe80::(?!ecee:eeff:feee:eeee/)[0-9a-f:]+/64", "inet6 fe80::M/64"))),
    Rule("icmp-id", Text("ping's identifier", "ping 的标识号"), (
        (r"\bid \d+, seq", "id N, seq"),)),
    # Those in front tell a line's level.
    Rule("blanks", Text("blanks", "空格"), (
        (r"(?<=\S)\s+(?=\S)", " "), (r"\s+$", ""))),
    Rule("tcpdump", Text(
        "newer tcpdump says \"snapshot length\" where older ones say \"capture size\"",
        "新版 tcpdump 把 capture size 改称 snapshot length"), (
        (r", (capture size|snapshot length) \d+ bytes", ""),)),
    Rule("iproute2", Text(
        "newer iproute2 also prints who put the address there",
        "新版 iproute2 还会打印地址是由谁添加的"), (
        (r" proto kernel_l[ol]\b", ""),)),
    Rule("pod-device", Text(
        "the article doesn't name this pod, and a device's name is a hash of the pod's",
        "文章没有写出这个 Pod 的名字，而网卡名是 Pod 名字的散列值"), (
        (r"dev cali(?!262cda17a90)[0-9a-f]{11} ", "dev caliP "),)),
    Rule("tun-device", Text(
        "here an eBPF program stands in for the ipip module, on a TUN device: POINTOPOINT and"
        " peer, where ipip has @NONE and brd",
        "这里由 TUN 设备加 eBPF 程序代替 ipip 模块：显示 POINTOPOINT 和 peer，"
        "而 ipip 显示 @NONE 和 brd"), (
        (r"^(\d+: tunl0): <POINTOPOINT,", r"\1@NONE: <"),
        (r"link/ipip 0\.0\.0\.0 peer 0\.0\.0\.0", "link/ipip 0.0.0.0 brd 0.0.0.0")),
        backend="ebpf"),
)
#: rules for single steps, which would forgive too much elsewhere
BARE_INDEX = Rule("index", RULES[0].says, ((r"^\d+$", "N"),))
TENTATIVE = Rule("tentative", Text(
    "tentative: for its first second or two the kernel checks whether the address is a duplicate",
    "tentative：地址刚配置的一两秒内，内核还在检测它是否重复"), (
    (r" tentative(?= proto |$)", ""),))
POD_COLUMNS = Rule("pod-columns", Text(
    "there is no API server here: name, IP and node come from the emulator's own books, the"
    " other columns have no meaning",
    "这里没有 API server：名字、IP 和节点取自模拟器自己的记录，其余各列没有意义"), (
    (r"^(\S+)\s+\d+/\d+\s+\w+\s+\d+\s+\w+\s+([\d.]+)\s+(\S+)\s+<none>\s+<none>$",
     r"\1 \2 \3"),))


def compare(quotes: Sequence[Quote], real: str, *, tunnel: str = "kernel",
            more: Sequence[Rule] = ()) -> Comparison:
    """Each line of the quotes with the real line that it is, in order.

    ``more`` are rules of this step alone; they go before the common ones. A line that is not
    there is shown beside the one that looks most like it.
    """
    rules = of_backend((*more, *RULES), tunnel)
    printed = [line.rstrip() for line in real.replace("\r", "").splitlines() if line.strip()]
    applied = [apply(rules, line) for line in printed]
    lines: list[Line] = []
    taken: set[int] = set()
    start = 0
    for quote in quotes:
        for text in filter(None, map(str.rstrip, quote.text.splitlines())):
            wanted = apply(rules, text)
            at = next((n for n in range(start, len(applied)) if applied[n] == wanted), None)
            if at is not None:
                start = at + 1
                taken.add(at)
                needed = _needed(rules, text, printed[at])
                lines.append(Line(text, printed[at], NAMED if needed else AGREES, needed))
            elif tunnel in quote.absent:
                lines.append(Line(text, None, ABSENT, reason=quote.absent[tunnel]))
            else:
                near = get_close_matches(text, [line for n, line in enumerate(printed)
                                                if n not in taken], 1)
                lines.append(Line(text, near[0] if near else None, DIFFERS))
    others = tuple(line for n, line in enumerate(printed) if n not in taken)
    return Comparison(tuple(lines), others)


def of_backend(rules: Sequence[Rule], tunnel: str) -> tuple[Rule, ...]:
    """The rules that hold for a tunnel back end."""
    return tuple(rule for rule in rules if rule.backend in ("", tunnel))


def apply(rules: Sequence[Rule], line: str) -> str:
    """The line as all rules leave it."""
    for rule in rules:
        line = rule.apply(line)
    return line


def _needed(rules: Sequence[Rule], article: str, real: str) -> tuple[Rule, ...]:
    """The rules without which the two lines would not be equal."""
    if article == real:
        return ()
    needed = list(rules)
    for rule in rules:
        rest = [r for r in needed if r is not rule]
        if apply(rest, article) == apply(rest, real):
            needed = rest
    return tuple(needed)
