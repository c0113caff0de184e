"""The article's lines against real ones: which agree, and what differs where they don't. Pure.

Each rule names one thing that cannot be equal on two machines, and nothing else is forgiven.
"""

from __future__ import annotations

import re
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

# --- the rules

def any_number(line: str) -> str:
    """Interface indexes of host devices and namespace ids; a pod's own 4 stays."""
    line = re.sub(r"^\d+: (cali\w+)@", r"N: \1@", line)
    line = re.sub(r"^(\d+: eth0@if)\d+:", r"\1N:", line)
    return re.sub(r"link-netnsid \d+", "link-netnsid N", line)


def any_mac(line: str) -> str:
    """The pod's MAC address and the link-local address made of it; never ee:ee:ee:ee:ee:ee."""
    line = re.sub(r"link/ether (?!ee:ee:ee:ee:ee:ee)[0-9a-f:]{17} ", "link/ether M ", line)
    return re.sub(r"inet6 fe80::(?!ecee:eeff:feee:eeee/)[0-9a-f:]+/64", "inet6 fe80::M/64", line)


def any_icmp_id(line: str) -> str:
    """Ping's identifier."""
    return re.sub(r"\bid \d+, seq", "id N, seq", line)


def one_blank(line: str) -> str:
    """Blanks at the end, and runs of them inside; those in front tell a line's level."""
    text = line.rstrip()
    front = len(text) - len(text.lstrip())
    return " " * front + " ".join(text.split())


def banner(line: str) -> str:
    """tcpdump says "capture size 262144 bytes" or "snapshot length 262144 bytes"."""
    return re.sub(r", (capture size|snapshot length) \d+ bytes", "", line)


def newer_iproute2(line: str) -> str:
    """Who put a loopback or link-local address there is printed by newer versions only."""
    return re.sub(r" proto kernel_l[ol]\b", "", line)


def real_tunl0(line: str) -> str:
    """A TUN device has no @NONE, is POINTOPOINT, and so has a peer instead of a broadcast."""
    line = re.sub(r"^(\d+: tunl0): <POINTOPOINT,", r"\1@NONE: <", line)
    return line.replace("link/ipip 0.0.0.0 peer 0.0.0.0", "link/ipip 0.0.0.0 brd 0.0.0.0")


def any_pod(line: str) -> str:
    """cali0953d667977 belongs to a pod that the article doesn't name."""
    return re.sub(r"dev cali(?!262cda17a90)[0-9a-f]{11} ", "dev caliP ", line)


def _bare_index(line: str) -> str:
    return re.sub(r"^\d+$", "N", line)


def _tentative(line: str) -> str:
    return re.sub(r" tentative(?= proto |$)", "", line.rstrip())


def _pod_columns(line: str) -> str:
    return re.sub(r"^(\S+)\s+\d+/\d+\s+\w+\s+\d+\s+\w+\s+([\d.]+)\s+(\S+)\s+<none>\s+<none>$",
                  r"\1 \2 \3", line.rstrip())


RULES = (
    Rule("index", any_number, Text(
        "interface indices and namespace ids: they count what was made before",
        "网卡索引和命名空间编号：取决于这台机器此前建过多少对象")),
    Rule("mac", any_mac, Text(
        "the pod's MAC address, drawn at random, and the link-local address made of it",
        "Pod 的 MAC 地址由内核随机生成，链路本地地址又由它推算而来")),
    Rule("icmp-id", any_icmp_id, Text(
        "ping's identifier", "ping 的标识号")),
    Rule("blanks", one_blank, Text("blanks", "空格")),
    Rule("tcpdump", banner, Text(
        "newer tcpdump says \"snapshot length\" where older ones say \"capture size\"",
        "新版 tcpdump 把 capture size 改称 snapshot length")),
    Rule("iproute2", newer_iproute2, Text(
        "newer iproute2 also prints who put the address there",
        "新版 iproute2 还会打印地址是由谁添加的")),
    Rule("pod-device", any_pod, Text(
        "the article doesn't name this pod, and a device's name is a hash of the pod's",
        "文章没有写出这个 Pod 的名字，而网卡名是 Pod 名字的散列值")),
    Rule("tun-device", real_tunl0, Text(
        "here an eBPF program stands in for the ipip module, on a TUN device: POINTOPOINT and"
        " peer, where ipip has @NONE and brd",
        "这里由 TUN 设备加 eBPF 程序代替 ipip 模块：显示 POINTOPOINT 和 peer，"
        "而 ipip 显示 @NONE 和 brd"), backend="ebpf"),
)
#: rules for single steps, which would forgive too much elsewhere
BARE_INDEX = Rule("index", _bare_index, RULES[0].says)
TENTATIVE = Rule("tentative", _tentative, Text(
    "tentative: for its first second or two the kernel checks whether the address is a duplicate",
    "tentative：地址刚配置的一两秒内，内核还在检测它是否重复"))
POD_COLUMNS = Rule("pod-columns", _pod_columns, Text(
    "there is no API server here: name, IP and node come from the emulator's own books, the"
    " other columns have no meaning",
    "这里没有 API server：名字、IP 和节点取自模拟器自己的记录，其余各列没有意义"))


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
