"""The journey of one packet, from captures in every namespace."""

from __future__ import annotations

import reprlib
from dataclasses import replace
from typing import Any

from calico_mn.control.operations import Job, operation
from calico_mn.errors import ClusterError
from calico_mn.trace import document, picture, text
from calico_mn.trace.probe import trace as follow
from calico_mn.trace.recording import Probe


@operation("trace")
def trace(job: Job, source: str, destination: str, probe: dict[str, Any] | None = None,
          cold: bool = False, full: bool = False, drawing: bool = False) -> dict[str, Any]:
    """The journey as a document, as lines of text with their styles, and as SVG if asked for."""
    journey = follow(job.net, source, destination, _probe(probe or {}), cold=cold)
    return {"journey": document.document(journey),
            "lines": [[line.text, line.style] for line in text.lines(journey, full_reply=full)],
            "picture": picture.picture(journey) if drawing else ""}


def _probe(wanted: dict[str, Any]) -> Probe:
    usual = Probe()
    for name, value in wanted.items():
        if type(value) is not type(getattr(usual, name, None)):
            raise ClusterError(f"trace: a probe has no {name} like {reprlib.repr(value)}")
    return replace(usual, **wanted)
