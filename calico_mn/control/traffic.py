"""Traffic through a running cluster: reachability, one packet's path, and a picture."""

from __future__ import annotations

import reprlib
from dataclasses import replace
from typing import Any

from calico_mn.calico.encapsulation import named
from calico_mn.control.dispatcher import Job, operation
from calico_mn.errors import ClusterError
from calico_mn.measure import paths, reachability
from calico_mn.model import EncapsulationMode
from calico_mn.report import drawing
from calico_mn.text import plural
from calico_mn.trace import picture, text
from calico_mn.trace.probe import trace as follow
from calico_mn.trace.recording import Probe


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
    return {"pods": [{"name": pod.name, "ip": pod.ip, "node": pod.node, "subnet": pod.subnet}
                     for pod in pods], "pairs": rows}


@operation("trace")
def trace(job: Job, source: str, destination: str, probe: dict[str, Any] | None = None,
          cold: bool = False, full: bool = False, drawing: bool = False) -> dict[str, Any]:
    """The path trace as a document, as lines of text with their styles, and as SVG if asked for."""
    path = follow(job.net, source, destination, _probe(probe or {}), cold=cold)
    return {"path": text.document(path),
            "lines": [[line.text, line.style] for line in text.lines(path, full_reply=full)],
            "picture": picture.picture(path) if drawing else ""}


def _probe(wanted: dict[str, Any]) -> Probe:
    default = Probe()
    for name, value in wanted.items():
        if type(value) is not type(getattr(default, name, None)):
            raise ClusterError(f"trace: a probe has no {name} like {reprlib.repr(value)}")
    return replace(default, **wanted)


@operation("graph")
def graph(job: Job, form: str, mode: str | None = None, encapsulation: str | None = None) -> str:
    """The picture's text; a mode or an encapsulation adds the ways that packets then take."""
    if form not in drawing.FORMS:
        raise ClusterError(f"a picture is {', '.join(drawing.FORMS)}, not {form!r}")
    if mode is not None and mode not in list(EncapsulationMode):
        raise ClusterError(f"there is no mode {mode!r}")
    wanted = named(encapsulation) if encapsulation is not None else None
    return drawing.graph(job.net.cluster, form, EncapsulationMode(mode) if mode else None, wanted)
