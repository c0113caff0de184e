"""What is written above and below: who sent what to whom, how it ended, and why. Pure."""

from __future__ import annotations

from calico_mn.report.svg import element, fitted, text, width
from calico_mn.trace.path_trace import BACK, Journey, Leg
from calico_mn.trace.picture import style
from calico_mn.trace.picture.layout import HEIGHT, MARGIN, WIDTH, Stage
from calico_mn.trace.words import short, verdict, way


def title(journey: Journey, leg: Leg) -> list[str]:
    """Two lines: from whom to whom and what, and how it ended."""
    ends = (journey.source, journey.destination)
    one, other = reversed(ends) if leg.kind == BACK else ends
    names = f"{one.name or one.address} \u2192 {other.name or other.address}"
    room = WIDTH - 2 * MARGIN
    probe = journey.probe
    what = (f"{leg.text}, {probe.size} bytes, {'DF' if probe.df else 'no DF'}, TTL {probe.ttl}"
            if leg is journey.there else leg.text)
    shown = fitted(names, room * 0.6, 34, bold=True)
    said = verdict(journey)
    return [text(MARGIN, 54, shown, "title", whole=names),
            text(WIDTH - MARGIN, 54, fitted(what, room * 0.39, 22), "sub", whole=what,
                 anchor="end"),
            text(MARGIN, 96, fitted(said, room, 22, bold=True),
                 "good" if journey.answered else "bad", whole=said)]


def foot(journey: Journey, set_out: Stage) -> list[str]:
    """Why it died and what shows that; else the other leg, and how all this is known."""
    room = WIDTH - 2 * MARGIN
    silent = journey.death if journey.back is None else None
    death = set_out.death or silent
    if death is not None:
        lines = [(line, "reason") for line in _broken(death.reason, room - 40, 21)]
        lines += [(fitted(line, room - 40, 18), "proof") for line in death.evidence[1:]]
        return [
            element("rect", x=MARGIN, y=style.FOOT_TOP, width=room,
                    height=HEIGHT - style.FOOT_TOP - 14, rx=12, class_="panel"),
            *(text(MARGIN + 20, style.FOOT_TOP + 31 + 27 * position, line, class_)
              for position, (line, class_) in enumerate(lines[:3]))]
    words = []
    other = journey.there if set_out.leg is journey.back else journey.back
    if other is not None:
        name = "There" if other is journey.there else "Back"
        words.append(f"{name}, {way(other)}: {short(other)}")
    if set_out.omitted:
        words.append(f"{set_out.omitted} places in the middle of the way are left out.")
    words.append("Seen by captures in every namespace; routes are the kernel's answers right"
                 f" after the packet. tunl0: {journey.tunnel}.")
    return [text(MARGIN, style.FOOT_TOP + 34 + 30 * position, fitted(line, room, 19), "foot",
                 whole=line) for position, line in enumerate(words)]


def _broken(words: str, room: float, size: float) -> list[str]:
    """Lines that fit."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
