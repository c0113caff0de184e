"""A path trace as JSON's types; ``docs/trace.md`` says what each field means. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from calico_mn.trace.path_trace import (
    FORWARD,
    Crossing,
    DropReason,
    Hop,
    Leg,
    Neighbour,
    PathTrace,
    Routing,
    Step,
)
from calico_mn.trace.text import verdict

#: rises when a field changes its meaning or goes
VERSION = 1


def document(trace: PathTrace) -> dict[str, Any]:
    """The path trace as JSON's types. Times in us, sizes and MTU in bytes."""
    return {
        "version": VERSION,
        "source": dataclasses.asdict(trace.source),
        "destination": dataclasses.asdict(trace.destination),
        "probe": dataclasses.asdict(trace.probe),
        "tunnel": trace.tunnel,
        "answered": trace.answered,
        "verdict": verdict(trace),
        "round_trip": trace.round_trip,
        "there": _leg(trace.forward),
        "back": _leg(trace.reply) if trace.reply else None,
        "errors": [_leg(error) for error in trace.errors],
        "death": _drop(trace.drop) if trace.drop else None,
    }


def _leg(leg: Leg) -> dict[str, Any]:
    return {"text": leg.text, "from": leg.sender, "to": leg.receiver, "origin": leg.origin,
            "arrived": leg.arrived, "encapsulated": leg.encapsulation is not None,
            **({"about": leg.about} if leg.about else {}),
            "copies": list(leg.copies), "hops": [_hop(hop) for hop in leg.hops]}


def _hop(hop: Hop) -> dict[str, Any]:
    return {"namespace": hop.namespace, "kind": hop.kind,
            "steps": [_step(step) for step in hop.steps]}


def _step(step: Step) -> dict[str, Any]:
    if isinstance(step, Crossing):
        return {"step": step.direction, "device": step.device, "mtu": step.mtu, "ttl": step.ttl,
                "macs": _macs(step.macs), "fragments": step.fragments, "time": round(step.time, 3),
                "headers": [dataclasses.asdict(layer.header) for layer in step.layers]}
    if isinstance(step, Routing):
        answer = dataclasses.asdict(step.answer)
        return {"step": "route", "asked": str(step.query), "outer": step.outer,
                "route": answer.pop("line"), **answer}
    if isinstance(step, Neighbour):
        by = step.answered_by
        return {"step": "neighbour", "device": step.device, "address": step.address,
                "mac": step.mac, "state": step.state, "arp_requests": step.requests,
                "asker": step.asker, "proxy": step.proxy, "heard_by": list(step.heard_by),
                "answered_by": {"namespace": by[0], "device": by[1]} if by else None}
    frame = {"vni": step.inner.vni, "macs": _macs(step.inner.macs)} if step.inner.macs else {}
    return {"step": "encapsulated" if step.added else "decapsulated",
            "outer": dataclasses.asdict(step.outer), **frame,
            "inner": dataclasses.asdict(step.inner.header)}


def _macs(macs: tuple[str, str] | None) -> dict[str, str] | None:
    return {"from": macs[0], "to": macs[1]} if macs else None


def _drop(drop: DropReason) -> dict[str, Any]:
    return {"leg": "there" if drop.leg == FORWARD else "back", "cause": drop.cause,
            "place": drop.namespace, "device": drop.device, "by": drop.by, "reason": drop.reason,
            "evidence": list(drop.evidence), "deduced": drop.deduced}
