"""The running cluster as a picture, with the addresses that it has now."""

from __future__ import annotations

from calico_mn.control.operations import Job, operation
from calico_mn.errors import ClusterError
from calico_mn.model import EncapsulationMode
from calico_mn.report import graph as pictures


@operation("graph")
def graph(job: Job, form: str, mode: str | None = None) -> str:
    """The picture's text."""
    if form not in pictures.FORMS:
        raise ClusterError(f"a picture is {', '.join(pictures.FORMS)}, not {form!r}")
    if mode is not None and mode not in list(EncapsulationMode):
        raise ClusterError(f"there is no IPIP mode {mode!r}")
    return pictures.graph(job.net.cluster, form, mode)
