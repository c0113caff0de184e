"""Experiments started as a person starts them, on a small topology.

     node31  a, d     node32  b                node33  c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import SLOWNESS

from calico_mn.kernel import runtime_dir

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "experiments" / "ipip_modes.py"

TOPOLOGY = """\
apiVersion: calico-mn/v1
kind: Underlay
metadata: {name: small}
spec:
  subnets: [{name: rack-a, cidr: 192.168.57.0/24}, {name: rack-b, cidr: 192.168.58.0/24}]
  routers:
    - name: r1
      interfaces:
        - {subnet: rack-a, address: 192.168.57.1}
        - {subnet: rack-b, address: 192.168.58.1}
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node31},
 spec: {bgp: {ipv4Address: 192.168.57.31/24}}}
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node32},
 spec: {bgp: {ipv4Address: 192.168.57.32/24}}}
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node33},
 spec: {bgp: {ipv4Address: 192.168.58.33/24}}}
---
{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pool},
 spec: {cidr: 10.22.0.0/16, ipipMode: Always}}
"""
POD = """---
{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: {node}}}}}
"""


def topology(directory, rate="", **pods):
    """A file with the cluster above, links of ``rate``, and these pods: NAME=NODE."""
    path = directory / "small.yaml"
    cluster = TOPOLOGY.replace("spec:\n", f"spec:\n  link: {{rate: {rate}}}\n", 1 if rate else 0)
    path.write_text(cluster + "".join(POD.format(name=n, node=at) for n, at in pods.items()))
    return path


@pytest.fixture
def small(tmp_path):
    return topology(tmp_path, a="node31", b="node32", c="node33", d="node31")


def command(*arguments):
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run_script(script, *arguments, entering=(), **options):
    """Run an experiment to its end; its output as text. ``entering`` comes before the command."""
    return subprocess.run([*entering, sys.executable, str(script), *map(str, arguments)], text=True,
                          capture_output=True, timeout=300 * SLOWNESS, stdin=subprocess.DEVNULL,
                          **options)


def run(*arguments, **options):
    """Run the main experiment to its end; its output as text."""
    return run_script(SCRIPT, *arguments, **options)


def key_of(reading):
    """What there may be one reading of."""
    return reading.instrument, reading.repeat, tuple(sorted(reading.setting.items()))


def left_behind(pid):
    """What is left of the run of a process: its directory, and processes that carry its mark."""
    found = [str(path) for path in runtime_dir.MACHINE.glob(f"{pid}-*")]
    mark = f"CALICO_MN_RUN={pid}-".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            found += [entry for word in words if word.startswith(mark)]
    return found
