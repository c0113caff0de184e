"""A path trace as lines of text and as JSON, and the sentences that these and the picture share.

Pure, and without colour codes: each line names a style, to which a terminal gives a colour.
``docs/trace.md`` says what each field of the JSON means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from calico_mn.calico.encapsulation import ENCAPSULATIONS
from calico_mn.kernel.packets import ICMP, TCP, UDP, Header
from calico_mn.trace.path_trace import (
    FORWARD,
    OUT,
    REPLY,
    Crossing,
    DropReason,
    HeaderChange,
    Hop,
    Leg,
    Neighbour,
    PathTrace,
    Routing,
    Step,
    Translation,
)
from calico_mn.trace.recording import SWITCH

#: the JSON's; rises when a field changes its meaning or goes
VERSION = 1
#: what a line is about; a terminal may give each its own colour
TITLE, GOOD, BAD, PLACE, OUTER, PLAIN, FAINT = (
    "title", "good", "bad", "place", "outer", "plain", "faint")

_LABEL_WIDTH = 10
_MAX_NAMES = 4
_PROTOCOLS = {ICMP: "ICMP", TCP: "TCP", UDP: "UDP"} | {
    e.match.protocol: e.name for e in ENCAPSULATIONS if e.match.port is None}


@dataclass(frozen=True, slots=True)
class Line:
    """A line and its style, one of those above."""

    text: str
    style: str = PLAIN

    def __str__(self) -> str:
        return self.text


# --- sentences

def packet(trace: PathTrace) -> str:
    """What was sent."""
    probe = trace.probe
    return (f"{trace.forward.text}, {probe.size} bytes, {'DF' if probe.df else 'no DF'},"
            f" TTL {probe.ttl}")


def headline(trace: PathTrace) -> str:
    """What was sent, from where and where to."""
    return f"{trace.source} -> {trace.destination}: {packet(trace)}"


def encapsulation(leg: Leg) -> str:
    """How a packet travelled."""
    return f"inside {leg.encapsulation}" if leg.encapsulation else "without encapsulation"


def verdict(trace: PathTrace) -> str:
    """How it ended, in one line."""
    forward, reply, drop = trace.forward, trace.reply, trace.drop
    if trace.answered and reply is not None:
        both = (f"{encapsulation(forward)}, both ways"
                if forward.encapsulation == reply.encapsulation else
                f"forward {encapsulation(forward)}, reply {encapsulation(reply)}:"
                " the two ways differ")
        return f"answered after {trace.round_trip:.0f} us, {both}"
    if drop is None:
        return "not answered"
    if drop.leg == REPLY:
        lost = ("the reply was dropped in" if reply is not None else "no reply left")
        return f"arrived {encapsulation(forward)}, but {lost} {drop.namespace}: {drop.cause}"
    return f"dropped in {drop.namespace}: {drop.cause}"


def namespaces(leg: Leg) -> str:
    """A path in a line: namespaces, with ((...)) around the stretch with an outer header."""
    names: list[str] = []
    for hop in leg.hops:
        name = hop.namespace
        if hop.header_changes and hop.header_changes[-1].added:
            name += " (("
        elif hop.header_changes:
            name = f")) {name}"
        names.append(name)
    return " > ".join(names).replace("(( > ", "(( ").replace(" > ))", " ))")


# --- lines

def lines(trace: PathTrace, *, full_reply: bool = False) -> list[Line]:
    """The path trace line by line. ``full_reply`` shows every step of the reply, too."""
    drop, reply = trace.drop, trace.reply
    result = [Line(headline(trace), TITLE),
              Line(verdict(trace), GOOD if trace.answered else BAD), Line("")]
    result += _leg(trace.forward, drop)
    if reply is not None:
        result.append(Line(""))
        dropped = drop is not None and drop.leg == REPLY
        result += _leg(reply, drop) if full_reply or dropped else _short_leg(reply)
    for error in trace.errors:
        result.append(Line(""))
        result += _short_leg(error)
    if drop is not None:
        result.append(Line(""))
        result += drop_lines(drop)
    result += (Line(f"NOTE  {note}", FAINT) for note in trace.notes)
    return result


def hops(leg: Leg) -> Iterator[tuple[Hop, list[Line]]]:
    """Each hop of a leg, and what happened there."""
    ttl = None
    for hop in leg.hops:
        yield hop, [_switch(hop)] if hop.kind == SWITCH else list(_steps(hop, ttl))
        if hop.kind != SWITCH and hop.crossings:
            ttl = hop.crossings[-1].ttl


def _leg(leg: Leg, drop: DropReason | None) -> Iterator[Line]:
    yield Line(f"{leg.kind.upper()}  {leg.text}, {leg.sender} > {leg.receiver}", TITLE)
    for hop, its_lines in hops(leg):
        yield Line(f"  {hop.namespace}  ({hop.kind})", PLACE)
        yield from its_lines
    if leg.copies:
        yield Line(f"  copies by a flooding switch, ignored there: {', '.join(leg.copies)}", FAINT)
    if drop is not None and drop.leg == leg.kind:
        yield Line(f"  X  dropped here: {drop.cause}", BAD)


def _short_leg(leg: Leg) -> Iterator[Line]:
    about = ", about the outer header" if leg.about == "outer" else ""
    yield Line(f"{leg.kind.upper()}  {leg.text}, {leg.sender} > {leg.receiver}{about}", TITLE)
    yield Line(f"  {namespaces(leg)}", OUTER if leg.encapsulation else PLAIN)
    if not leg.arrived:
        yield Line(f"  it did not reach {leg.receiver}", BAD)


def _switch(hop: Hop) -> Line:
    """A switch changes nothing."""
    ports = "  ".join(f"{crossing.direction} {crossing.device}" for crossing in hop.crossings)
    outer = next((c.encapsulation for c in hop.crossings if c.encapsulation), None)
    return Line(f"    {ports}   [{outer}]" if outer else f"    {ports}", OUTER if outer else PLAIN)


def _steps(hop: Hop, ttl: int | None) -> Iterator[Line]:
    """``ttl`` is what the packet had when it left the last host."""
    for step in hop.steps:
        if isinstance(step, Crossing):
            yield _crossing(step, ttl)
            ttl = step.ttl
        elif isinstance(step, Routing):
            yield _routing(step)
        elif isinstance(step, Neighbour):
            yield from _neighbour(step)
        elif isinstance(step, Translation):
            yield _labelled("NAT", str(step))
        else:
            yield from _header_change(step)
            ttl = step.outer.ttl if step.added else step.inner.header.ttl


def _labelled(label: str, text: str, style: str = PLAIN) -> Line:
    return Line(f"    {label:<{_LABEL_WIDTH}}{text}", style)


def _crossing(step: Crossing, before: int | None) -> Line:
    fell = before is not None and step.direction == OUT and step.ttl < before
    columns = [f"{step.device:<16}", f"TTL {before} -> {step.ttl}" if fell else f"TTL {step.ttl}"]
    if step.direction == OUT:
        columns.append(f"MTU {step.mtu}")
    if step.fragments > 1:
        columns.append(f"in {step.fragments} fragments")
    if step.macs and step.direction == OUT:
        columns.append(f"{step.macs[0]} > {step.macs[1]}")
    if step.encapsulation:
        columns.append(f"[{step.encapsulation}]")
    return _labelled(step.direction, "  ".join(columns), OUTER if step.encapsulation else PLAIN)


def _routing(step: Routing) -> Line:
    answer = step.answer
    subject = f"{step.query.destination}: " if step.outer else ""
    route = answer.line or "none"
    if answer.error and not answer.line:
        route = {"ENETUNREACH": "none: network unreachable",
                 "EXDEV": "refused: the source is not valid on this device",
                 }.get(answer.error, f"none: {answer.error}")
    elif answer.error in ("EXDEV", "EINVAL") and answer.kind in ("unicast", "local"):
        route = f"{route}   REFUSED: the source is not valid on this device"
    if answer.rule:
        route += f"   by rule '{answer.rule}'"
    extra = f"   source {answer.source}" if answer.source and not step.query.device else ""
    if answer.learned:
        extra += f"   path MTU now {answer.mtu}, learned from an ICMP error"
    return _labelled("route", f"{subject}{route}{extra}", BAD if answer.error else PLAIN)


def _neighbour(step: Neighbour) -> Iterator[Line]:
    if not step.requests:
        state = f"known: {step.mac} {step.state}".rstrip() if step.mac else (
            step.state or "not known, and not asked for")
        yield _labelled("neighbour", f"{step.address} {state}", PLAIN if step.mac else BAD)
        return
    times = "" if step.requests == 1 else f" ({step.requests} times)"
    others = (", ".join(step.heard_by) if len(step.heard_by) <= _MAX_NAMES
              else f"{len(step.heard_by)} others")
    heard = f"   heard also by {others}" if step.heard_by else ""
    yield _labelled("ARP", f"who has {step.address}? tell {step.asker}{times}{heard}")
    if step.answered_by is None:
        yield _labelled("", f"no answer; the entry is {step.state or 'gone'}", BAD)
        return
    name, device = step.answered_by
    proxy = f"   proxy ARP: {step.address} is not {name}'s own" if step.proxy else ""
    yield _labelled("", f"{name} answers from {device}: {step.mac}{proxy}")


def _header_change(step: HeaderChange) -> Iterator[Line]:
    yield _labelled(str(step.encapsulation), "an outer header is added" if step.added
                    else "the outer header is removed", OUTER)
    yield _labelled("", f"outer  {header(step.outer)}", OUTER)
    if step.inner.macs is not None:
        yield _labelled("", f"VNI {step.inner.vni}  {' > '.join(step.inner.macs)}", OUTER)
    yield _labelled("", f"inner  {header(step.inner.header)}", OUTER)


def header(header: Header) -> str:
    """An IPv4 header in a line."""
    flags = "DF" if header.dont_fragment else "no DF"
    if header.is_fragment:
        flags = f"fragment at {header.offset}"
    return (f"{header.source} > {header.destination}  TTL {header.ttl}  {flags}  proto"
            f" {header.protocol} ({_PROTOCOLS.get(header.protocol, '?')})  {header.length} bytes")


def drop_lines(drop: DropReason) -> Iterator[Line]:
    """Where a packet was dropped, by what, and what shows it."""
    where = "on the forward path" if drop.leg == FORWARD else "on the reply path"
    yield Line(f"DROPPED {where} in {drop.namespace}: {drop.cause}", BAD)
    yield Line(f"  {drop.reason}", BAD)
    if drop.by:
        yield Line(f"  by        {drop.by}")
    for position, evidence in enumerate(drop.evidence):
        yield Line(f"  {'' if position else 'evidence':<10}{evidence}")
    if drop.deduced:
        yield Line(f"  deduced   {drop.deduced}", FAINT)


# --- JSON

def document(trace: PathTrace) -> dict[str, Any]:
    """The path trace as JSON's types. Times in us, sizes and MTU in bytes."""
    drop = trace.drop
    return {
        "version": VERSION,
        "source": asdict(trace.source),
        "destination": asdict(trace.destination),
        "probe": asdict(trace.probe),
        "tunnel": trace.tunnel,
        "answered": trace.answered,
        "verdict": verdict(trace),
        "round_trip": trace.round_trip,
        "notes": list(trace.notes),
        "there": _leg_fields(trace.forward),
        "back": _leg_fields(trace.reply) if trace.reply else None,
        "errors": [_leg_fields(error) for error in trace.errors],
        "death": {
            "leg": "there" if drop.leg == FORWARD else "back", "cause": drop.cause,
            "place": drop.namespace, "device": drop.device, "by": drop.by, "reason": drop.reason,
            "evidence": list(drop.evidence), "deduced": drop.deduced} if drop else None,
    }


def _leg_fields(leg: Leg) -> dict[str, Any]:
    return {"text": leg.text, "from": leg.sender, "to": leg.receiver, "origin": leg.origin,
            "arrived": leg.arrived, "encapsulated": leg.encapsulation is not None,
            **({"about": leg.about} if leg.about else {}), "copies": list(leg.copies),
            "hops": [{"namespace": hop.namespace, "kind": hop.kind,
                      "steps": [_step_fields(step) for step in hop.steps]} for hop in leg.hops]}


def _step_fields(step: Step) -> dict[str, Any]:
    if isinstance(step, Crossing):
        return {"step": step.direction, "device": step.device, "mtu": step.mtu, "ttl": step.ttl,
                "macs": _mac_fields(step.macs), "fragments": step.fragments,
                "time": round(step.time, 3),
                "headers": [asdict(layer.header) for layer in step.layers]}
    if isinstance(step, Routing):
        answer = asdict(step.answer)
        return {"step": "route", "asked": str(step.query), "outer": step.outer,
                "route": answer.pop("line"), **answer}
    if isinstance(step, Neighbour):
        by = step.answered_by
        return {"step": "neighbour", "device": step.device, "address": step.address,
                "mac": step.mac, "state": step.state, "arp_requests": step.requests,
                "asker": step.asker, "proxy": step.proxy, "heard_by": list(step.heard_by),
                "answered_by": {"namespace": by[0], "device": by[1]} if by else None}
    if isinstance(step, Translation):
        return {"step": "nat", "before": asdict(step.before), "after": asdict(step.after)}
    inner = step.inner
    frame = {"vni": inner.vni, "macs": _mac_fields(inner.macs)} if inner.macs else {}
    return {"step": "encapsulated" if step.added else "decapsulated",
            "outer": asdict(step.outer), **frame, "inner": asdict(inner.header)}


def _mac_fields(macs: tuple[str, str] | None) -> dict[str, str] | None:
    return {"from": macs[0], "to": macs[1]} if macs else None
