"""A journey as JSON; ``docs/trace.md`` says what each field means. Pure."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from calico_mn.kernel.packets import Header
from calico_mn.trace.path_trace import (
    Crossing,
    Death,
    Hop,
    Journey,
    Leg,
    Neighbour,
    Routing,
    Step,
)
from calico_mn.trace.words import verdict

#: rises when a field changes its meaning or goes
VERSION = 1


def dumps(journey: Journey) -> str:
    """The document as text, ending with a newline."""
    return json.dumps(document(journey), indent=2) + "\n"


def document(journey: Journey) -> dict[str, Any]:
    """The journey as JSON's types. Times in us, sizes and MTU in bytes."""
    return {
        "version": VERSION,
        "source": dataclasses.asdict(journey.source),
        "destination": dataclasses.asdict(journey.destination),
        "probe": dataclasses.asdict(journey.probe),
        "tunnel": journey.tunnel,
        "answered": journey.answered,
        "verdict": verdict(journey),
        "round_trip": journey.round_trip,
        "there": _leg(journey.there),
        "back": _leg(journey.back) if journey.back else None,
        "errors": [_leg(error) for error in journey.errors],
        "death": _death(journey.death) if journey.death else None,
    }


def _leg(leg: Leg) -> dict[str, Any]:
    return {"text": leg.text, "from": leg.sender, "to": leg.receiver, "origin": leg.origin,
            "arrived": leg.arrived, "encapsulated": leg.encapsulated,
            **({"about": leg.about} if leg.about else {}),
            "copies": list(leg.copies), "hops": [_hop(hop) for hop in leg.hops]}


def _hop(hop: Hop) -> dict[str, Any]:
    return {"namespace": hop.namespace, "kind": hop.kind,
            "steps": [_step(step) for step in hop.steps]}


def _step(step: Step) -> dict[str, Any]:
    if isinstance(step, Crossing):
        macs = {"from": step.macs[0], "to": step.macs[1]} if step.macs else None
        return {"step": step.direction, "device": step.device, "mtu": step.mtu, "ttl": step.ttl,
                "macs": macs, "fragments": step.fragments, "time": round(step.time, 3),
                "headers": [_header(header) for header in step.headers]}
    if isinstance(step, Routing):
        answer = dataclasses.asdict(step.answer)
        return {"step": "route", "asked": str(step.query), "outer": step.outer,
                "route": answer.pop("line"), **answer}
    if isinstance(step, Neighbour):
        by = step.answered_by
        return {"step": "neighbour", "device": step.device, "address": step.address,
                "mac": step.mac, "state": step.state, "arp_requests": step.asked,
                "asker": step.asker, "proxy": step.proxy, "heard_by": list(step.heard_by),
                "answered_by": {"namespace": by[0], "device": by[1]} if by else None}
    return {"step": "encapsulated" if step.on else "decapsulated",
            "outer": _header(step.outer), "inner": _header(step.inner)}


def _header(header: Header) -> dict[str, Any]:
    return dataclasses.asdict(header)


def _death(death: Death) -> dict[str, Any]:
    return {**dataclasses.asdict(death), "evidence": list(death.evidence)}


