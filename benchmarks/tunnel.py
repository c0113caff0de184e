#!/usr/bin/env python3
"""What the tunnel costs: TCP throughput and round trips through tunl0 against plain routing.

    sudo .venv/bin/python benchmarks/tunnel.py [--rounds 8] [--duration 3]
        [--latency-rounds 40] [--pings 300]
        [--tunnel auto|kernel|ebpf] [--json FILE]

    pod a -- node0 --+-- rack0 (a bridge) --+-- node1 -- pod b

One cluster, two nodes in one subnet, a pod on each. A round measures the pods' path twice, in
mode Always (through tunl0) and in mode Never (plain routing), the one to begin with changing
from round to round; the mode is changed on the running cluster. Both have the same MTU in the
pods, 1480, because a pod keeps the MTU that it began with. TCP is one iperf3 stream.

Then come short rounds of pings, sent back to back (ping -A), in Never, in Always, through the
kernel's VXLAN, and in Always where the nodes have a rule in INPUT, which the ebpf tunnel's packets
then pass. A round trip is the median within ping's step of 1 us. Ratios are formed within each
round. Figures are medians, with the smallest and largest value behind them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, median_grouped
from typing import Any

try:
    import figures
    import machine
    from clusters import Size, topology
    from rich.console import Console

    from calico_mn import CalicoNet, Drop
    from calico_mn.errors import CalicoMnError, ToolError
    from calico_mn.experiment.options import int_between, positive_int
    from calico_mn.model import EncapsulationMode
except ImportError as error:
    sys.exit(f"{error}; run ./install.sh, then: sudo .venv/bin/python benchmarks/tunnel.py")

ALWAYS, NEVER = EncapsulationMode.ALWAYS, EncapsulationMode.NEVER
NEVER_PATH, TUNL0_PATH, VXLAN_PATH = "Never", "Always (tunl0)", "VXLAN, Always"
RULES_PATH = "Always, a rule in INPUT"
_CLIENT, _SERVER = "default/p0", "default/p1"
_PORT = 5201
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Sample:
    """One transfer in one mode."""

    round: int
    mode: str
    gbit_per_s: float
    retransmits: int
    congestion_control: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    if os.geteuid() != 0:
        sys.exit("tunnel.py: making network namespaces needs root: run this with sudo")
    missing = [p for p in ("iperf3", "ping") if shutil.which(p) is None]
    if missing:
        sys.exit(f"tunnel.py: {' and '.join(missing)} not found; run ./install.sh")
    machine.interrupt_by(signal.SIGTERM)
    out, about = figures.console(), figures.environment()
    out.print(figures.heading("tunnel", about))
    samples: list[Sample] = []
    latencies: dict[str, list[float]] = {}
    status = 0
    try:
        with CalicoNet(topology(Size(2, 1), racks=1), tunnel=options.tunnel) as net:
            about["tunnel"] = net.tunnel
            out.print(f"tunnel back end: {net.tunnel}")
            measure(out, net, options, samples)
            round_trips(net, options, latencies)
    except KeyboardInterrupt:
        out.print("interrupted: what follows was measured until then")
        status = 130
    except CalicoMnError as error:
        out.print(f"tunnel.py: {error}", style="red", markup=False)
        status = 1
    summary = evaluate(samples, latencies)
    show(out, samples, latencies)
    if options.json:
        figures.write_json(options.json, {
            "environment": about, "samples": [asdict(sample) for sample in samples],
            "latencies_us": latencies, "summary": summary})
    return status


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = figures.Parser(__doc__)
    parser.add_argument("--rounds", type=positive_int, default=8, help="both modes in each (8)")
    parser.add_argument("--duration", type=int_between(1, 3600), default=3, metavar="S",
                        help="seconds of each iperf3 (3)")
    parser.add_argument("--latency-rounds", type=positive_int, default=40,
                        help="rounds of pings (40)")
    parser.add_argument("--pings", type=positive_int, default=300,
                        help="round trips of each ping (300)")
    parser.add_argument("--tunnel", choices=("auto", "kernel", "ebpf"), default="auto")
    return parser.parse_args(argv)


# ---------------------------------------------------------------- measuring


def measure(out: Console, net: CalicoNet, options: argparse.Namespace, samples: list[Sample]
            ) -> None:
    """All rounds; each sample is in ``samples`` at once."""
    server = net.get(_SERVER).popen(
        ["iperf3", "-s", "-p", str(_PORT)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_server(net)
        for number in range(options.rounds):
            for mode in (ALWAYS, NEVER) if number % 2 == 0 else (NEVER, ALWAYS):
                net.set_ipip_mode(mode)
                latency_us(net, 5)  # fills the neighbour tables
                samples.append(Sample(number, str(mode), **iperf3(net, options.duration)))
                out.print(f"  {number + 1}/{options.rounds} {mode!s:<7}"
                          f" {samples[-1].gbit_per_s:6.2f} Gbit/s")
    finally:
        server.terminate()
        server.wait(_PATIENCE_S)


def _await_server(net: CalicoNet) -> None:
    """Until the server listens: its port shows up in its own /proc/net/tcp."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        text = _output(net, _SERVER, ["cat", "/proc/net/tcp", "/proc/net/tcp6"], _PATIENCE_S)
        if re.search(rf":{_PORT:04X} [0-9A-F]+:0000 0A ", text):
            return
        time.sleep(0.05)
    raise ToolError(f"iperf3 did not listen in {_SERVER} within {_PATIENCE_S:.0f} s")


def iperf3(net: CalicoNet, duration: int) -> dict[str, Any]:
    """One TCP stream from client to server: what arrived."""
    text = _output(net, _CLIENT, ["iperf3", "-c", net.get(_SERVER).ip, "-p", str(_PORT),
                                  "-t", str(duration), "-J"], duration + _PATIENCE_S)
    try:
        end = json.loads(text)["end"]
        return {"gbit_per_s": end["sum_received"]["bits_per_second"] / 1e9,
                "retransmits": int(end["sum_sent"].get("retransmits", 0)),
                "congestion_control": str(end.get("sender_tcp_congestion", ""))}
    except (ValueError, KeyError) as error:
        raise ToolError(f"iperf3 gave no result: {text.strip()[:300]}") from error


def round_trips(net: CalicoNet, options: argparse.Namespace, latencies: dict[str, list[float]]
                ) -> None:
    """Short rounds of pings on every path; each round's medians are in ``latencies`` at once."""
    paths = [NEVER_PATH, TUNL0_PATH, RULES_PATH, VXLAN_PATH]
    for number in range(options.latency_rounds):
        for path in paths if number % 2 == 0 else paths[::-1]:
            _use(net, path)
            latency_us(net, 5)  # fills the neighbour tables
            latencies.setdefault(path, []).append(latency_us(net, options.pings))


def _use(net: CalicoNet, path: str) -> None:
    rule = Drop(253)  # for experiments (RFC 3692): no packet has it
    net.set_filter([node.name for node in net.nodes], rule if path == RULES_PATH else (),
                   hooks=["input"])
    if path == VXLAN_PATH:
        net.set_ipip_mode(NEVER)
        net.set_vxlan_mode(ALWAYS)
        return
    net.set_vxlan_mode(NEVER)
    net.set_ipip_mode(NEVER if path == NEVER_PATH else ALWAYS)


def latency_us(net: CalicoNet, count: int) -> float:
    """The median round trip of ``count`` pings, sent back to back."""
    text = _output(net, _CLIENT, ["ping", "-n", "-A", "-c", str(count), "-W", "2",
                                  net.get(_SERVER).ip], count * 0.1 + _PATIENCE_S)
    times = [float(time) * 1e3 for time in re.findall(r"time=([0-9.]+) ms", text)]
    if not times:
        raise ToolError(f"no answer to any of {count} pings: {text.strip()[:300]}")
    return median_grouped(times, 1)


def _output(net: CalicoNet, pod: str, command: Sequence[str], timeout: float) -> str:
    process = net.get(pod).popen(list(command), stderr=subprocess.STDOUT)
    try:
        text: str = process.communicate(timeout=timeout)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        raise ToolError(f"{pod}: {command[0]} was not done after {timeout:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return text


# ---------------------------------------------------------------- results


def ratios(samples: Sequence[Sample]) -> list[float]:
    """Throughput in Always / Never of each round that has both."""
    by_round = [{s.mode: s.gbit_per_s for s in samples if s.round == number}
                for number in dict.fromkeys(sample.round for sample in samples)]
    return [modes[str(ALWAYS)] / modes[str(NEVER)] for modes in by_round if len(modes) == 2]


def latency_ratios(latencies: Mapping[str, Sequence[float]], path: str) -> list[float]:
    """A path's round trip / Never's, round by round."""
    return [time / plain for time, plain in zip(latencies[path], latencies[NEVER_PATH],
                                                strict=False)]


def evaluate(samples: Sequence[Sample], latencies: Mapping[str, Sequence[float]]
             ) -> dict[str, object]:
    """Medians and ratios as data."""
    return {
        "gbit_per_s": {
            **{str(mode): figures.summary([s.gbit_per_s for s in samples if s.mode == str(mode)])
               for mode in (ALWAYS, NEVER)},
            "ratio": figures.summary(ratios(samples))},
        "latency_us": {path: {"us": figures.summary(times),
                              "ratio": figures.summary(latency_ratios(latencies, path))}
                       for path, times in latencies.items()}}


def show(out: Console, samples: Sequence[Sample], latencies: Mapping[str, Sequence[float]]
         ) -> None:
    """The tables."""
    by_mode = {mode: [s.gbit_per_s for s in samples if s.mode == str(mode)]
               for mode in (ALWAYS, NEVER)}
    if all(by_mode.values()):
        out.print(figures.table(
            "Median (smallest-largest)",
            ("", "Always (tunl0)", "Never", "ratio of medians", "ratio within a round"),
            [("TCP, Gbit/s", *(figures.spread(v, 2) for v in by_mode.values()),
              f"{median(by_mode[ALWAYS]) / median(by_mode[NEVER]):.2f}",
              figures.spread(ratios(samples)))]))
    out.print(figures.table(
        "Round trips, back to back: median (smallest-largest)",
        ("", "us", "by Never's, within a round"),
        [(path, figures.spread(times, 1), figures.spread(latency_ratios(latencies, path)))
         for path, times in latencies.items()]))
    used = sorted({s.congestion_control for s in samples if s.congestion_control})
    if used:
        out.print(f"TCP congestion control: {', '.join(used)}")


if __name__ == "__main__":
    sys.exit(main())
