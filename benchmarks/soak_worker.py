"""One small cluster that prints each phase: ``soak_worker.py SIZE [trial]``; soak.py kills it.

Prints a line before each part, ``boot``, ``run``, ``trial`` (only if asked for: iperf3 and ping at
work, where iperf3 is installed), ``change``, ``stop``, and ``end`` at last. While it runs, programs
of every kind are at work in it, also such as outlive a killed parent.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clusters import Size, topology

from calico_mn import CalicoNet
from calico_mn.emulation.node import Pod
from calico_mn.errors import CalicoMnError
from calico_mn.packetmatch import CaptureFilter, PacketMatch

#: programs that are left when their parent is killed
SURVIVORS = 4


def say(word: str) -> None:
    """A line that is out before anything else happens."""
    os.write(1, f"{word}\n".encode())


def measure(pod: Pod, other: Pod) -> None:
    """A short transfer; then round trips beside another one."""
    from calico_mn.measure import iperf, ping

    if shutil.which("iperf3"):
        iperf.transfer(pod, other, duration=0.1, rate=2000)
        ping.round_trips_under_load(pod, other, count=20)


def live(size: Size, *, trial: bool) -> None:
    """Boot, run programs, measure if asked to, change, stop."""
    net = CalicoNet(topology(size))
    say("boot")
    with net:
        node, pod, other = net.nodes[0], net.pods[0], net.pods[-1]
        say("run")
        node.cmd("sleep 1000 &")
        pod.cmd("nohup setsid sleep 1000 >/dev/null 2>&1 &")
        held = [pod.popen(["sleep", "1000"]),
                other.popen(["env", "-i", "sleep", "1000"])]
        pod.pexec(["ping", "-c", "1", "-W", "1", other.ip])
        with net.capture(node.name, "eth0", CaptureFilter((PacketMatch.IPIP,))):
            pod.cmd("ip route")
        if trial:
            say("trial")
            measure(pod, other)
        say("change")
        for mode in ("CrossSubnet", "Never", "Always"):
            net.set_ipip_mode(mode)
            net.add_pod(name="late", node=node.name)
            net.set_pod_routes(mode == "Never")
            net.delete_pod("default/late")
        say("stop")
    for process in held:
        process.communicate()
    say("end")


if __name__ == "__main__":
    try:
        live(Size.parse(sys.argv[1]), trial="trial" in sys.argv[2:])
    except (CalicoMnError, ValueError) as error:
        sys.exit(f"soak_worker.py: {error}")
