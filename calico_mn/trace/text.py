"""A journey as lines of text, with the meaning of each piece so that a terminal can colour it.

Pure, and without colour codes: whoever prints decides (:func:`lines` gives styles' names).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from calico_mn.kernel.packets import ICMP, IPIP, TCP, UDP, Header
from calico_mn.trace.path_trace import (
    BACK,
    OUT,
    THERE,
    Crossing,
    Death,
    Encapsulation,
    Hop,
    Journey,
    Leg,
    Neighbour,
    Routing,
)
from calico_mn.trace.words import headline, short, verdict

#: what a line is about; a terminal may give each its own colour
TITLE, GOOD, BAD, PLACE, OUTER, PLAIN, FAINT = (
    "title", "good", "bad", "place", "outer", "plain", "faint")

_LABEL = 10
_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class Line:
    """A line and its style, one of those above."""

    text: str
    style: str = PLAIN


def text(journey: Journey, *, full_reply: bool = False) -> str:
    """The journey as text, ending with a newline. ``full_reply`` tells the way back in full."""
    return "".join(f"{line.text}\n" for line in lines(journey, full_reply=full_reply))


def lines(journey: Journey, *, full_reply: bool = False) -> list[Line]:
    """The journey line by line."""
    found = [Line(headline(journey), TITLE),
             Line(verdict(journey), GOOD if journey.answered else BAD), Line("")]
    found += _leg(journey.there, journey.death)
    back = journey.back
    if back is not None:
        found.append(Line(""))
        died = journey.death is not None and journey.death.leg == BACK
        found += (_leg(back, journey.death) if full_reply or died else _leg_in_short(back))
    for error in journey.errors:
        found.append(Line(""))
        found += _leg_in_short(error)
    if journey.death is not None:
        found.append(Line(""))
        found += _death(journey.death)
    return found


# --- legs

def _leg(leg: Leg, death: Death | None) -> Iterator[Line]:
    yield Line(f"{leg.kind.upper()}  {leg.text}, {leg.sender} > {leg.receiver}", TITLE)
    ttl = None
    for hop in leg.hops:
        yield Line(f"  {hop.namespace}  ({hop.kind})", PLACE)
        if all(isinstance(step, Crossing) for step in hop.steps) and hop.crossings:
            yield _through(hop)
        else:
            yield from _steps(hop, ttl)
            ttl = hop.crossings[-1].ttl if hop.crossings else ttl
    if leg.copies:
        yield Line(f"  copies by a flooding switch, ignored there: {', '.join(leg.copies)}", FAINT)
    if death is not None and death.leg == leg.kind:
        yield Line(f"  X  it ends here: {death.cause}", BAD)


def _through(hop: Hop) -> Line:
    """A switch changes nothing."""
    ports = [f"{crossing.direction} {crossing.device}" for crossing in hop.crossings]
    outer = any(len(crossing.headers) > 1 for crossing in hop.crossings)
    return Line(f"    {'  '.join(ports)}{'   [IPIP]' if outer else ''}", OUTER if outer else PLAIN)


def _steps(hop: Hop, ttl: int | None) -> Iterator[Line]:
    for step in hop.steps:
        if isinstance(step, Crossing):
            yield _crossing(step, ttl)
            ttl = step.ttl
        elif isinstance(step, Routing):
            yield _routing(step)
        elif isinstance(step, Neighbour):
            yield from _neighbour(step)
        else:
            yield from _encapsulation(step)
            ttl = step.outer.ttl if step.on else step.inner.ttl


def _labelled(label: str, words: str, style: str = PLAIN) -> Line:
    return Line(f"    {label:<{_LABEL}}{words}", style)


def _crossing(step: Crossing, before: int | None) -> Line:
    fell = before is not None and step.direction == OUT and step.ttl < before
    words = [f"{step.device:<16}", f"TTL {before} -> {step.ttl}" if fell else f"TTL {step.ttl}"]
    if step.direction == OUT:
        words.append(f"MTU {step.mtu}")
    if step.fragments > 1:
        words.append(f"in {step.fragments} fragments")
    if step.macs and step.direction == OUT:
        words.append(f"{step.macs[0]} > {step.macs[1]}")
    if len(step.headers) > 1:
        words.append("[IPIP]")
    return _labelled(step.direction, "  ".join(words),
                     OUTER if len(step.headers) > 1 else PLAIN)


def _routing(step: Routing) -> Line:
    answer = step.answer
    what = f"{step.query.destination}: " if step.outer else ""
    line = answer.line or "none"
    if answer.error and not answer.line:
        line = {"ENETUNREACH": "none: network unreachable",
                "EXDEV": "refused: the source is not valid on this device",
                }.get(answer.error, f"none: {answer.error}")
    elif answer.error in ("EXDEV", "EINVAL") and answer.kind in ("unicast", "local"):
        line = f"{line}   REFUSED: the source is not valid on this device"
    extra = f"   source {answer.source}" if answer.source and not step.query.device else ""
    if answer.learned:
        extra += f"   path MTU now {answer.mtu}, learned from an ICMP error"
    return _labelled("route", f"{what}{line}{extra}", BAD if answer.error else PLAIN)


def _neighbour(step: Neighbour) -> Iterator[Line]:
    if not step.asked:
        state = f"known: {step.mac} {step.state}".rstrip() if step.mac else (
            step.state or "not known, and nobody was asked")
        yield _labelled("neighbour", f"{step.address} {state}", PLAIN if step.mac else BAD)
        return
    times = "" if step.asked == 1 else f" ({step.asked} times)"
    others = (", ".join(step.heard_by) if len(step.heard_by) <= _MOST_NAMED
              else f"{len(step.heard_by)} others")
    yield _labelled("ARP", f"who has {step.address}? tell {step.asker}{times}"
                    + (f"   heard also by {others}" if step.heard_by else ""))
    if step.answered_by is None:
        yield _labelled("", f"nobody answers; the entry is {step.state or 'gone'}", BAD)
        return
    name, device = step.answered_by
    proxy = f"   proxy ARP: {step.address} is not {name}'s own" if step.proxy else ""
    yield _labelled("", f"{name} answers from {device}: {step.mac}{proxy}")


def _encapsulation(step: Encapsulation) -> Iterator[Line]:
    yield _labelled("IPIP", "an outer header is put on" if step.on
                    else "the outer header is taken off", OUTER)
    yield _labelled("", f"outer  {describe(step.outer)}", OUTER)
    yield _labelled("", f"inner  {describe(step.inner)}", OUTER)


def describe(header: Header) -> str:
    """An IPv4 header in a line."""
    names = {ICMP: "ICMP", IPIP: "IPIP", TCP: "TCP", UDP: "UDP"}
    flags = "DF" if header.dont_fragment else "no DF"
    if header.is_fragment:
        flags = f"fragment at {header.offset}"
    return (f"{header.source} > {header.destination}  TTL {header.ttl}  {flags}"
            f"  proto {header.protocol} ({names.get(header.protocol, '?')})  {header.length} bytes")


def _leg_in_short(leg: Leg) -> Iterator[Line]:
    words = f"{leg.kind.upper()}  {leg.text}, {leg.sender} > {leg.receiver}"
    if leg.about == "outer":
        words += ", about the outer header"
    yield Line(words, TITLE)
    yield Line(f"  {short(leg)}", OUTER if leg.encapsulated else PLAIN)
    if not leg.arrived:
        yield Line(f"  it did not reach {leg.receiver}", BAD)


def _death(death: Death) -> Iterator[Line]:
    where = {THERE: "on the way there", BACK: "on the way back"}.get(death.leg, "")
    yield Line(f"DIED {where} in {death.place}: {death.cause}", BAD)
    yield Line(f"  {death.reason}", BAD)
    if death.by:
        yield Line(f"  by        {death.by}")
    for position, evidence in enumerate(death.evidence):
        yield Line(f"  {'evidence' if not position else '':<10}{evidence}")
    if death.deduced:
        yield Line(f"  deduced   {death.deduced}", FAINT)


