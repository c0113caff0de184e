"""Sentences about a journey that its text and its picture share. Pure."""

from __future__ import annotations

from calico_mn.trace.path_trace import BACK, Journey, Leg


def headline(journey: Journey) -> str:
    """What was sent, from whom to whom."""
    probe = journey.probe
    flag = "DF" if probe.df else "no DF"
    return (f"{journey.source} -> {journey.destination}: {journey.there.text}, {probe.size} bytes,"
            f" {flag}, TTL {probe.ttl}")


def way(leg: Leg) -> str:
    """How a packet travelled."""
    return "inside IPIP" if leg.encapsulated else "without IPIP"


def verdict(journey: Journey) -> str:
    """How it ended, in one line."""
    there, back = journey.there, journey.back
    if journey.answered and back is not None:
        both = (f"{way(there)}, both ways" if there.encapsulated == back.encapsulated
                else f"{way(there)} there, {way(back)} back: the two ways differ")
        return f"answered after {journey.round_trip:.0f} us, {both}"
    death = journey.death
    if death is None:
        return "not answered"
    if death.leg == BACK:
        began = "the reply" if back is not None else "no reply: it"
        return f"arrived {way(there)}, but {began} died in {death.place}: {death.cause}"
    return f"died in {death.place}: {death.cause}"


def short(leg: Leg) -> str:
    """A way in a line: namespaces, with ((...)) around the stretch inside IPIP."""
    parts: list[str] = []
    for hop in leg.hops:
        name = hop.namespace
        if hop.encapsulations and hop.encapsulations[-1].on:
            name += " (("
        elif hop.encapsulations:
            name = f")) {name}"
        parts.append(name)
    return " > ".join(parts).replace("(( > ", "(( ").replace(" > ))", " ))")
