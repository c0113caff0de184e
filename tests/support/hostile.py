"""Large texts that cost time or memory to read: what makes each, by the name of the trick.

A text is made when it is wanted: all of them are 100 MB, which collecting the tests needs not.
"""

from __future__ import annotations

from collections.abc import Callable

POOL = ("{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, spec: "
        "{cidr: 172.16.0.0/12, ipipMode: Always}}\n---\n")
BARE = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n%d}, spec: {}}\n---\n"


def node(number: int, length: int = 8) -> str:
    """One of 65,536 nodes in 10.0.0.0/8."""
    return (f"{{apiVersion: projectcalico.org/v3, kind: Node, metadata: {{name: n{number}}}, spec: "
            f"{{bgp: {{ipv4Address: 10.0.{number >> 8}.{number & 255}/{length}}}}}}}\n---\n")


def _pods(number: int) -> str:
    return ("{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: "
            f"{{replicas: {number}}}}}\n---\n")


def _crowded() -> str:
    """All limits nearly reached at once, and nothing wrong."""
    racks = "".join(f"{{name: s{i}, cidr: 11.{i >> 8}.{i & 255}.0/24}}," for i in range(660))
    routers = ",".join(
        f"{{name: r{i}, interfaces: [{{subnet: last, address: 10.1.{i >> 8}.{i & 255}}}]}}"
        for i in range(1, 660))
    return "".join(node(i, 32) for i in range(1, 660)) + POOL + _pods(20_000) + (
        f"{{apiVersion: calico-mn/v1, kind: Underlay, spec: {{subnets: [{racks}"
        f"{{name: last, cidr: 10.0.0.0/8}}], routers: [{routers}]}}}}")


#: accepted, so that a cluster is made of them
LARGE: dict[str, Callable[[], str]] = {
    "2000-nodes": lambda: "".join(map(node, range(1, 2001))) + POOL,
    "20000-pods": lambda: "".join(map(node, range(1, 50))) + POOL + _pods(20_000),
    "all-limits": _crowded,
    "blocks-of-gone-nodes": lambda: node(1) + POOL + "".join(
        "{apiVersion: projectcalico.org/v3, kind: BlockAffinity, spec: "
        f"{{node: x{i}, cidr: 172.16.{i >> 2}.{(i & 3) * 64}/26}}}}\n---\n" for i in range(1_000)),
}

HOSTILE: dict[str, Callable[[], str]] = {
    "brackets": lambda: "[" * 5_000_000,
    "dashes": lambda: "- " * 4_000_000,
    "question-marks": lambda: "? " * 3_000_000,
    "10000-levels": lambda: "".join(f"{' ' * i}a:\n" for i in range(4_000)),
    "documents": lambda: "---\n" * 100_000,
    "lines": lambda: "---\n" * 2_000_000,
    "lines-in-a-quote": lambda: '"' + "x \n" * 3_000_000,
    "lines-in-a-quote-below-the-limit": lambda: '"' + "x \n" * 490_000,
    "separators-of-unicode": lambda: "a: " + "\u2028" * 3_000_000,
    "newlines": lambda: "\n" * 9_000_000,
    "comments": lambda: "# x\n" * 450_000,
    "values": lambda: "[" + "a," * 4_000_000,
    "one-scalar": lambda: "a: " + "x" * 9_000_000,
    "long-alias": lambda: "a: *" + "x" * 9_000_000 + "\n",
    "long-line": lambda: "{apiVersion: v1, kind: Pod, " + " " * 5_000_000 + "x: 1}",
    "anchors": lambda: "".join(f"- &a{i} x\n" for i in range(400_000)),
    "tag-directives": lambda: "".join(f"%TAG !a{i}! tag:x\n" for i in range(200_000)) + "---\na\n",
    "nodes-without-address": lambda: "".join(BARE % i for i in range(6_000)),
    "100000-pods": lambda: node(1) + POOL + _pods(100_000),
    "subnets": lambda: node(1) + "{apiVersion: calico-mn/v1, kind: Underlay, spec: {subnets: ["
    + ",".join(f"{{name: s{i}, cidr: 11.{i >> 8}.{i & 255}.0/24}}" for i in range(12_000)) + "]}}",
    "unknown-fields": lambda: "{apiVersion: v1, kind: Pod, "
    + ", ".join(f"nodeNam{i}: 1" for i in range(45_000)) + "}",
    "json-bomb": lambda: "{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: "
    "{cni.projectcalico.org/ipAddrs: '" + "[" * 900_000 + "'}}}",
    "too-large": lambda: "#" * 10_000_001,
}
