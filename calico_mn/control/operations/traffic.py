"""Traffic through a running cluster: who reaches whom."""

from __future__ import annotations

from typing import Any

from calico_mn.control.operations import Job, operation
from calico_mn.measure import paths, reachability


@operation("pingall")
def pingall(job: Job) -> dict[str, Any]:
    """Every pod pings every other. ``encapsulated``: None where no uplink saw the request."""
    pods = paths.endpoints(job.net)
    pairs = paths.ordered_pairs(pods)
    found = []
    for number, reached in enumerate(reachability.matrix(job.net, pairs), 1):
        found.append({"source": reached.pair.source.name,
                      "destination": reached.pair.destination.name, "path": reached.pair.path,
                      "reached": reached.reached, "encapsulated": reached.encapsulated})
        job.progress({"done": number, "of": len(pairs)})
    return {"pods": [{"name": pod.name, "ip": pod.ip, "node": pod.node, "subnet": pod.subnet}
                     for pod in pods], "pairs": found}
