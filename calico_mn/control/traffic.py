"""Traffic through a running cluster: reachability, throughput, one packet's path, a picture."""

from __future__ import annotations

import base64
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from calico_mn.calico.pools import wish
from calico_mn.control.dispatcher import Job, operation
from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ClusterError
from calico_mn.measure import paths, reachability
from calico_mn.measure.throughput import throughput
from calico_mn.model import EncapsulationMode
from calico_mn.report import drawing
from calico_mn.text import plural
from calico_mn.trace import analysis, journey, picture, text, wire
from calico_mn.trace.path_trace import PathTrace
from calico_mn.trace.probe import record
from calico_mn.trace.probe import trace as follow
from calico_mn.trace.recording import SWITCH, Probe


@operation("pingall")
def pingall(job: Job) -> dict[str, Any]:
    """Every pod pings every other. ``encapsulated``: None where no uplink saw the request."""
    if len(job.net.pods) < 2:
        waiting = len(job.net.cluster.admission.waiting)
        also = f", {plural(waiting, 'waits', 'wait')}" if waiting else ""
        raise ClusterError("pingall needs two pods that run: here "
                           f"{plural(len(job.net.pods), 'runs', 'run')}{also}")
    pods = paths.endpoints(job.net)
    pairs = paths.ordered_pairs(pods)
    rows = []
    for number, reached in enumerate(reachability.matrix(job.net, pairs), 1):
        rows.append({"source": reached.pair.source.name,
                     "destination": reached.pair.destination.name, "path": reached.pair.path,
                     "reached": reached.reached, "encapsulated": reached.encapsulated})
        job.progress({"done": number, "of": len(pairs)})
    return {"pods": list(map(asdict, pods)), "pairs": rows}


@operation("iperf", exclusive=False)
def iperf(job: Job, client: str, server: str, seconds: int = 5, streams: int = 1,
          udp: bool = False, rate: str = "", reverse: bool = False) -> dict[str, Any]:
    """A throughput; ``text`` is it in a line. Ends when the caller is gone."""
    with job.lock():
        ends = job.node(client), job.node(server)
    measured = throughput(
        job.net, *ends, seconds=seconds, streams=streams, use_udp=udp, rate=rate, reverse=reverse,
        lock=job.lock, tick=lambda gone: job.progress({"done": int(gone), "of": seconds}))
    return {**asdict(measured), "text": str(measured)}


@operation("trace")
def trace(job: Job, source: str, destination: str, probe: dict[str, Any] | None = None,
          cold: bool = False, full: bool = False, drawing: bool = False,
          packets: bool = False, stops: bool = False, modes: bool = False) -> dict[str, Any]:
    """The path trace as a document and as lines of text with their styles.

    If asked for, also as SVG, its packets as a pcapng file in base64, and as a journey from stop to
    stop; with ``modes`` there is a journey for each mode of encapsulation.
    """
    net = job.net
    packet = _probe(probe or {})
    recording = record(net, source, destination, packet, cold=cold)
    path = analysis.path_trace(recording)
    journeys = [_journey(net, path)] if stops and not modes else []
    if stops and modes:
        with _restoring_modes(net):
            for mode in EncapsulationMode:
                net.set_mode(mode)
                journeys.append(_journey(net, follow(net, source, destination, packet, cold=cold),
                                         mode))
    return {"path": text.document(path),
            "lines": [[line.text, line.style] for line in text.lines(path, full_reply=full)],
            "picture": picture.picture(path) if drawing else "",
            "packets": base64.b64encode(wire.pcapng(recording)).decode() if packets else "",
            "journeys": journeys}


def _journey(net: CalicoNet, path: PathTrace, title: str = "") -> dict[str, Any]:
    """A trace for a page, with the routing tables on its path as they are now."""
    places = {hop.namespace for leg in (path.forward, path.reply, *path.errors) if leg is not None
              for hop in leg.hops if hop.kind != SWITCH}
    return journey.journey(path, {name: list(map(str, net.kernel_routes(name)))
                                  for name in places}, title)


@contextmanager
def _restoring_modes(net: CalicoNet) -> Iterator[None]:
    """Give every pool and node its mode back. Raises ClusterError where changes do not arrive."""
    dead = [name for name in net.cluster.nodes if not net.distributor.is_alive(name)]
    if dead:
        raise ClusterError(f"the speaker of {', '.join(dead)} does not run, so a change of mode"
                           " would not reach all nodes: restart it, or trace in one mode")
    before = net.cluster
    try:
        yield
    finally:
        net.become(before)


def _probe(wanted: dict[str, Any]) -> Probe:
    default = Probe()
    for name, value in wanted.items():
        if type(value) is not type(getattr(default, name, None)):
            raise ClusterError(f"trace: a probe has no {name} like {reprlib.repr(value)}")
    return replace(default, **wanted)


@operation("graph")
def graph(job: Job, form: str, mode: str | None = None, encapsulation: str | None = None) -> str:
    """The picture's text; a mode or an encapsulation adds the ways that packets then take."""
    drawing.check_form(form)  # A wrong request is refused before the cluster is asked.
    ways = wish(mode, encapsulation)
    return drawing.graph(job.net.cluster, form, *ways)
