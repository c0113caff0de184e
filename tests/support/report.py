"""A whole report with numbers that a run could have, to look at how reports are shown."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from calico_mn.calico.cluster import Cluster
from calico_mn.report import matrix
from calico_mn.report.document import BAD, GOOD, Cell, Document, Figure, Table
from calico_mn.report.drawing import draw
from calico_mn.topology import load_topology

ROOT = Path(__file__).parents[2]
PODS = (("node31", "default/web-0"), ("node31", "default/client-a"),
        ("node32", "default/web-1"), ("node32", "default/client-b"),
        ("node33", "default/web-2"), ("node33", "default/client-c"))
MODES = {"Always": "##", "CrossSubnet": "=#", "Never": "=."}

_ROWS: tuple[tuple[Cell, ...], ...] = (
    ("Always", "same-node", False, 5, 26312.4, 0.97, None, "same packets"),
    ("CrossSubnet", "same-node", False, 5, 27705.1, 1.05, None, "same packets"),
    ("Never", "same-node", False, 5, 26711.9, None, None, "reference"),
    ("Always", "same-subnet", True, 5, 19533.0, 0.89, "0.72-0.95", "slower"),
    ("CrossSubnet", "same-subnet", False, 5, 23502.7, 1.04, None, "same packets"),
    ("Never", "same-subnet", False, 5, 22890.6, None, None, "reference"),
    ("Always", "cross-subnet", True, 5, 17044.2, 0.85, "0.82-0.95", "slower"),
    ("CrossSubnet", "cross-subnet", True, 5, 17786.3, 0.87, "0.82-0.92", "slower"),
    ("Never", "cross-subnet", False, 5, 19915.5, None, None, "reference"),
)

ENVIRONMENT: dict[str, Any] = {
    "date": "2026-11-22T15:47:02+00:00",
    "machine": {"kernel": "6.12.43", "architecture": "x86_64",
                "cpu": "AMD EPYC 7R13 Processor", "cpus": 2, "load_average": [0.37, 0.2, 0.11]},
    "versions": {"calico_mn": "0.1.0", "python": "3.11.7", "mininet": "2.3.0.dev6",
                 "iperf3": "iperf 3.12 (cJSON 1.7.15)",
                 "iproute2": "ip utility, iproute2-6.1.0, libbpf 1.1.0", "ping": None},
    "cluster": {"topology": "topologies/two-subnets.yaml", "topology_sha256": "5f1d" * 16,
                "nodes": 3, "pods": 6, "tunnel": "ebpf",
                "route_engine": "built-in BGP-like distributor (not BIRD)",
                "rp_filter": 0},
    "network": {"seen_at": {"node": "node31", "pod": "default/web-0"},
                "tcp_congestion_control": "cubic",
                "mtu": {"pod eth0": 1480, "node eth0": 1500, "node tunl0": 1480},
                "offloads": {"pod eth0": {"tso": True, "gso": True, "gro": False},
                             "node tunl0": {"tso": False, "gso": True, "gro": True},
                             "node cali": None}},
}


def document() -> Document:
    """The report of a comparison of modes on topologies/two-subnets.yaml."""
    return Document(
        experiment="ipip-modes",
        title="Calico's IPIP modes compared",
        question="What do Always, CrossSubnet and Never do to reachability, to packets, and to"
                 " speed?",
        method=(
            "One emulated cluster boots, and its mode is changed live. On the fabric as the"
            " topology describes it, every pod pings every other in each mode, while captures on"
            " the nodes' uplinks tell which pings crossed inside IPIP.",
            "One pair of pods stands for each class of path. Trials run in random order, in blocks"
            " that hold every combination once, after a warm-up that is discarded."),
        findings=(
            "Nodes in different subnets: Always and CrossSubnet encapsulate; Never does not, and"
            " connects none of 16 pairs on this fabric.",
            "Nodes in the same subnet: Always encapsulates; CrossSubnet and Never do not (as seen"
            " on the wire). Throughput as a ratio to Never: Always 0.89 [0.72-0.95], slower."
            " Round-trip time as a ratio to Never: Always 1.51 [1.32-1.55], slower.",
            "Pods on the same node: the packets never reach the wire, whatever the mode. No"
            " difference is expected; what the table shows is noise."),
        tables=(
            Table("throughput", "TCP throughput by mode and path",
                  ("mode", "path", "in IPIP", "n", "median, Mbit/s", "ratio to Never",
                   "interval", "verdict"),
                  _ROWS, note="Interval: of the median ratio, 94 % (so few repeats allow no more).",
                  tones=tuple(BAD if row[-1] == "slower" else "" for row in _ROWS)),
            Table("switching", "Time until every pod is reached in the new mode",
                  ("from", "to", "median, ms", "lost packets", "complete"),
                  (("Always", "Never", 1.271, 0, True), ("Never", "Always", 3.5, 2, True),
                   ("Always", "CrossSubnet", 0.96, 0, True)), tones=(GOOD, "", GOOD))),
        figures=(plot("throughput-plot", "TCP throughput", 19.5, 23.5, 22.9),
                 plot("latency-plot", "Round-trip time", 11.9, 8.1, 7.9)),
        caveats=("The pods' MTU is 1480 in every mode: it was set when they were created, as in a"
                 " real cluster. So Never sends packets of 1480 bytes where 1500 would fit.",
                 "All nodes share one machine's CPUs: the absolute speeds are this machine's."),
        reproduce=("git clone https://example.org/calico_mn && cd calico_mn",
                   "sudo ./install.sh",
                   "sudo .venv/bin/python experiments/ipip_modes.py --topology"
                   " topologies/two-subnets.yaml --repeats 5 --duration 1 --seed 1"),
        environment=ENVIRONMENT,
        date="2026-11-22",
        topology=topology(),
        matrices=matrices(),
    )


def topology(name: str = "two-subnets") -> Figure:
    """The drawing of a shipped topology."""
    drawn = draw(Cluster(load_topology(ROOT / "topologies" / f"{name}.yaml", {}), 0))
    return Figure("topology", f"The cluster {name}", drawn, f"The nodes and pods of {name}.")


def matrices() -> matrix.Matrices:
    """By pod, as the three modes are on that cluster."""
    grids = []
    for mode, (near, far) in MODES.items():
        cells = tuple(tuple(
            " " if one == other else "=" if one[0] == other[0]
            else far if "node33" in (one[0], other[0]) else near for other in PODS)
            for one in PODS)
        reached = sum(mark in "=#" for row in cells for mark in row)
        lines = ("", *("  ".join(row) for row in cells))
        grids.append(matrix.Grid(mode, reached, 30, lines, cells))
    return matrix.Matrices(tuple(f"{node} {pod}" for node, pod in PODS), tuple(grids),
                           matrix.LEGEND, PODS)


def plot(name: str, title: str, *values: float) -> Figure:
    """A picture by matplotlib; two of them share ids, as such pictures do."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(5.5, 2.6))
    axes = canvas.add_subplot()
    axes.barh(list(MODES), values, color=["#D55E00", "#0072B2", "#009E73"], hatch="//")
    axes.set_title(title)
    canvas.tight_layout()
    svg, png = io.StringIO(), io.BytesIO()
    canvas.savefig(svg, format="svg")
    canvas.savefig(png, format="png")
    return Figure(name, title, svg.getvalue(), f"Bars: {title} of the three modes.",
                  f"{title}: a bar is a median of five.", png.getvalue())


#: what a name in a file from the internet might be
NASTY = "</script><img src=x onerror=alert(1)>\"'&amp;<b>"


def hostile() -> Document:
    """A report in which every text wants to be markup."""
    picture = (f'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50" onload="alert(1)">'
               "<script>alert(1)</script><style>@import url(http://example.org/x.css);</style>"
               '<a href="javascript:alert(1)"><text>x</text></a>'
               '<image href="http://example.org/x.png"/><g id="a" onclick="alert(1)"/>'
               '<rect fill="url(http://example.org/y)"/><use href="http://example.org/z#b"/>'
               f"<title>{'&lt;img src=x onerror=alert(1)&gt;'}</title></svg>")
    cells = ((" ", "#"), ("#", " "))
    return replace(
        document(), experiment=NASTY, title=NASTY, question=NASTY, method=(NASTY,),
        findings=(NASTY,), caveats=(NASTY,), reproduce=(NASTY,), failures=(NASTY,),
        cut_short=NASTY, date=NASTY, environment={NASTY: {NASTY: [NASTY, {NASTY: NASTY}]}},
        tables=(Table("x", NASTY, (NASTY,), ((NASTY,),), NASTY, (NASTY,)),),
        figures=(Figure("y", NASTY, picture, NASTY, NASTY),),
        matrices=matrix.Matrices((NASTY,) * 2, (matrix.Grid(NASTY, 2, 2, (), cells),), NASTY,
                                 ((NASTY, NASTY), ("b", NASTY))))
