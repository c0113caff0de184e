"""The running cluster as a picture, with the addresses that it has now."""

from __future__ import annotations

from calico_mn.control.operations import Job, operation
from calico_mn.report import graph as pictures


@operation("graph")
def graph(job: Job, form: str, mode: str | None = None) -> str:
    """The picture's text."""
    return pictures.graph(job.net.cluster, form, mode)
