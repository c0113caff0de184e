"""Names and ways in: what there is to enter, and the descriptors for entering it."""

from __future__ import annotations

import os
import signal
from typing import Any

from calico_mn.control.operations import Job, operation


@operation("names")
def names(job: Job) -> dict[str, list[str]]:
    """Everything that has a name, by kind."""
    net = job.net
    return {"nodes": [node.name for node in net.nodes], "pods": [pod.name for pod in net.pods],
            "routers": [router.name for router in net.routers],
            "subnets": [switch.name for switch in net.switches]}


@operation("enter")
def enter(job: Job, place: str) -> dict[str, Any]:
    """Descriptors of a place's network and mount namespaces, and what its programs must carry."""
    node = job.place(place)
    job.descriptors += job.net.runtime.open(node.name)
    return {"name": node.name, "run": job.net.runtime.directory.identity}


@operation("devices")
def devices(job: Job, place: str) -> list[str]:
    """The devices that a place has, as the bookkeeping has them."""
    state = job.net.runtime.states[job.place(place).name]
    return [device.name for device in state.devices]


@operation("address")
def address(job: Job, place: str) -> str:
    """The address by which others reach a place: a pod's, a node's, a router's first."""
    return str(job.place(place).IP() or "")


@operation("down")
def down(job: Job) -> dict[str, Any]:
    """End the run once the asker knows."""
    def end() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    job.then = end
    return {"pid": os.getpid()}
