"""Large texts that are made to cost time or memory, by the name of the trick."""

from __future__ import annotations

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
LARGE = {
    "2000-nodes": "".join(map(node, range(1, 2001))) + POOL,
    "20000-pods": "".join(map(node, range(1, 50))) + POOL + _pods(20_000),
    "all-limits": _crowded(),
    "blocks-of-gone-nodes": node(1) + POOL + "".join(
        "{apiVersion: projectcalico.org/v3, kind: BlockAffinity, spec: "
        f"{{node: x{i}, cidr: 172.16.{i >> 2}.{(i & 3) * 64}/26}}}}\n---\n" for i in range(1_000)),
}

HOSTILE = {
    "brackets": "[" * 5_000_000,
    "dashes": "- " * 4_000_000,
    "question-marks": "? " * 3_000_000,
    "10000-levels": "".join(f"{' ' * i}a:\n" for i in range(4_000)),
    "documents": "---\n" * 100_000,
    "lines": "---\n" * 2_000_000,
    "lines-in-a-quote": '"' + "x \n" * 3_000_000,
    "lines-in-a-quote-below-the-limit": '"' + "x \n" * 490_000,
    "separators-of-unicode": "a: " + "\u2028" * 3_000_000,
    "newlines": "\n" * 9_000_000,
    "comments": "# x\n" * 450_000,
    "values": "[" + "a," * 4_000_000,
    "one-scalar": "a: " + "x" * 9_000_000,
    "long-alias": "a: *" + "x" * 9_000_000 + "\n",
    "long-line": "{apiVersion: v1, kind: Pod, " + " " * 5_000_000 + "x: 1}",
    "anchors": "".join(f"- &a{i} x\n" for i in range(400_000)),
    "tag-directives": "".join(f"%TAG !a{i}! tag:x\n" for i in range(200_000)) + "---\na\n",
    "nodes-without-address": "".join(BARE % i for i in range(6_000)),
    "100000-pods": node(1) + POOL + _pods(100_000),
    "subnets": node(1) + "{apiVersion: calico-mn/v1, kind: Underlay, spec: {subnets: ["
    + ",".join(f"{{name: s{i}, cidr: 11.{i >> 8}.{i & 255}.0/24}}" for i in range(12_000)) + "]}}",
    "unknown-fields": "{apiVersion: v1, kind: Pod, "
    + ", ".join(f"nodeNam{i}: 1" for i in range(45_000)) + "}",
    "json-bomb": "{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: "
    "{cni.projectcalico.org/ipAddrs: '" + "[" * 900_000 + "'}}}",
    "too-large": "#" * 10_000_001,
}
