"""Whether the cluster is as it should be: verify, repair, watch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from calico_mn.control.operations import Job, operation
from calico_mn.difference import Difference, line

#: how often the asker of a watch is told that nothing happened, and noticed to be gone, seconds
_HEARTBEAT_S = 1.0
_WAIT_S = 0.2


def facts(found: Iterable[Difference]) -> list[dict[str, Any]]:
    """Differences for JSON; ``wanted`` and ``present`` are lines of ``ip``, or None."""
    return [{"namespace": item.namespace, "kind": item.kind, "subject": item.subject,
             "wanted": line(item.wanted) if item.wanted is not None else None,
             "present": line(item.present) if item.present is not None else None,
             "failure": item.failure or None} for item in found]


def _names(job: Job, places: list[str] | None) -> list[str] | None:
    return [job.place(place).name for place in places] if places else None


@operation("verify")
def verify(job: Job, places: list[str] | None = None) -> list[dict[str, Any]]:
    """What differs, in these places or in all."""
    return facts(job.net.verify(_names(job, places)))


@operation("repair")
def repair(job: Job, places: list[str] | None = None) -> dict[str, Any]:
    """Bring these places back, or all: what was found, what was done, what is left and why."""
    done = job.net.repair(_names(job, places))
    return {"found": facts(done.found),
            "done": [{"namespace": step.namespace, "commands": list(step.commands)}
                     for step in done.done],
            "remaining": facts(done.remaining), "failures": list(done.failures)}


@operation("watch", alone=False)
def watch(job: Job, places: list[str] | None = None) -> None:
    """Tell what appears and disappears as progress, until the asker is gone or the run ends."""
    with job.turn():
        names = _names(job, places)
        watching = job.net.watch()
    with watching:
        told = 0.0
        while True:
            message: dict[str, Any] = {}
            if watching.wait(_WAIT_S):
                with job.turn():
                    change = watching.look()
                message = {
                    key: facts(item for item in items if names is None or item.namespace in names)
                    for key, items in (("appeared", change.appeared),
                                       ("disappeared", change.disappeared))}
            if any(message.values()) or time.monotonic() - told > _HEARTBEAT_S:
                job.progress(message)
                told = time.monotonic()
