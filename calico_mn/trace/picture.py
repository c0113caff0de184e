"""A journey as a slide: namespaces from left to right, the way through their devices, the headers
as bars above it, and under each host the route that sent the packet on. Pure; SVG as text.

The outer header's bar begins above the tunl0 that put it on and ends above the one that took it
off. Where the packet died there is a red cross, and the reason below.
"""

from __future__ import annotations

from calico_mn.report.svg import MONO, SANS, element, fitted, polyline, text, width
from calico_mn.trace.journey import BACK, Journey, Leg, Neighbour, Routing
from calico_mn.trace.recording import SWITCH
from calico_mn.trace.stage import (
    HEIGHT,
    MARGIN,
    WIDTH,
    Bar,
    Column,
    Stage,
    enters,
    in_tunnel,
    leaves,
    reached,
    stage,
)
from calico_mn.trace.words import headline, short, verdict, way

_OUTER_TOP, _INNER_TOP, _BAR = 140.0, 216.0, 64.0
_CARD_TOP, _CARD_BOTTOM, _WAY = 312.0, 500.0, 436.0
_TUNNEL_TOP, _TUNNEL_HEIGHT = 378.0, 40.0
_NOTES_TOP, _NOTES_BOTTOM = 528.0, 784.0
_LEADING, _SMALLEST = 1.25, 12
_FOOT_TOP = 790.0

# Okabe and Ito's blue and vermilion: told apart with any colour vision.
_CSS = f"""
.journey text{{font-family:{SANS};fill:#1c2430}}
.journey .paper{{fill:#fff}}
.journey .title{{font-size:34px;font-weight:700}}
.journey .sub{{font-size:22px;fill:#4a5565}}
.journey .good{{font-size:22px;font-weight:600;fill:#1a7f4b}}
.journey .bad{{font-size:22px;font-weight:600;fill:#b3261e}}
.journey .card{{fill:#f3f5f8;stroke:#9aa6b5;stroke-width:2}}
.journey .host{{fill:#fff}}
.journey .never{{fill:none;stroke:#9aa6b5;stroke-width:2;stroke-dasharray:8 7}}
.journey .kind{{font-size:16px;fill:#5b6675}}
.journey .header{{fill:#d55e00;font-weight:600}}
.journey .stop{{fill:#c81e1e;font-weight:700}}
.journey .inner{{fill:#0072b2}}
.journey .outer{{fill:#d55e00}}
.journey .on{{font-weight:700;fill:#fff}}
.journey .chip{{fill:#fff}}
.journey .core{{fill:none;stroke:#0072b2;stroke-width:6;stroke-linejoin:round}}
.journey .tube{{fill:none;stroke:#d55e00;stroke-width:18;stroke-linejoin:round}}
.journey .bore{{fill:none;stroke:#fff;stroke-width:10;stroke-linejoin:round}}
.journey .guide{{stroke:#d55e00;stroke-width:2;stroke-dasharray:5 5}}
.journey .tunl0{{fill:#fff;stroke:#d55e00;stroke-width:3}}
.journey .port{{fill:#fff;stroke:#0072b2;stroke-width:3}}
.journey .cross{{stroke:#c81e1e;stroke-width:10;stroke-linecap:round}}
.journey .halo{{stroke:#fff;stroke-width:18;stroke-linecap:round}}
.journey .panel{{fill:#fdecea;stroke:#c81e1e;stroke-width:2}}
.journey .mono{{font-family:{MONO}}}
.journey .foot{{font-size:19px;fill:#4a5565}}
.journey .proof{{font-size:18px;fill:#5b6675}}
.journey .reason{{font-size:21px;fill:#7a1712}}
"""


def picture(journey: Journey, *, back: bool | None = None) -> str:
    """The SVG of the way there, or with ``back`` of the reply's, where one was seen.

    Unless told, it is the one on which the packet died, else the way there.
    """
    if back is None:
        back = journey.death is not None and journey.death.leg == BACK
    leg = journey.back if back and journey.back is not None else journey.there
    set_out = stage(journey, leg)
    parts = [element("rect", width=WIDTH, height=HEIGHT, class_="paper"),
             *_title(journey, leg)]
    parts += _bars(set_out)
    parts += [_card(column) for column in set_out.columns]
    parts += _way(set_out)
    size = _note_size(set_out)
    for column in set_out.columns:
        parts += _labels(column, size)
        parts += _note_lines(column, size)
    if set_out.end is not None and set_out.leg.hops:
        parts += _cross(set_out.end)
    parts += _foot(journey, set_out)
    return element("svg", element("title", text_of_title(journey)), f"<style>{_CSS}</style>",
                   *parts, xmlns="http://www.w3.org/2000/svg", class_="journey",
                   viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", width=WIDTH, height=HEIGHT,
                   role="img") + "\n"


def text_of_title(journey: Journey) -> str:
    """For readers that do not see the picture."""
    return f"{headline(journey)}: {verdict(journey)}".replace("&", "&amp;").replace("<", "&lt;"
                                                                                   ).replace(
        ">", "&gt;")


def _title(journey: Journey, leg: Leg) -> list[str]:
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


# --- headers

def _bars(set_out: Stage) -> list[str]:
    found: list[str] = []
    for bar in set_out.outer:
        for x in (bar.left, bar.right):
            found.append(element("line", x1=x, y1=_OUTER_TOP + _BAR, x2=x, y2=_CARD_TOP,
                                 class_="guide"))
    if set_out.inner is not None:
        found += _bar(set_out.inner, _INNER_TOP, "inner", "")
    for bar in set_out.outer:
        found += _bar(bar, _OUTER_TOP, "outer", "IPIP: ")
    return found


def _bar(bar: Bar, top: float, class_: str, label: str) -> list[str]:
    header = bar.header
    room = bar.right - bar.left - 24
    words = f"{label}{header.source} \u2192 {header.destination}"
    longer = f"{words} \u00b7 {header.length} bytes{', DF' if header.dont_fragment else ''}"
    size = 19
    chosen = longer if width(longer, size, bold=True) <= room else fitted(
        words, room, size, bold=True)
    middle = (bar.left + bar.right) / 2
    found = [
        element("rect", x=bar.left, y=top, width=max(bar.right - bar.left, 1), height=_BAR, rx=8,
                class_=class_),
        element("text", chosen, x=middle, y=top + 25, class_="on", text_anchor="middle",
                font_size=size),
    ]
    for x, ttl in bar.ttls:
        words = f"TTL {ttl}"
        wide = width(words, 16, bold=True) + 14
        x = min(max(x, bar.left + wide / 2 + 4), bar.right - wide / 2 - 4)
        found += [
            element("rect", x=x - wide / 2, y=top + 34, width=wide, height=24, rx=12,
                    class_="chip"),
            element("text", words, x=x, y=top + 51.5, class_=class_, text_anchor="middle",
                    font_size=16, font_weight="700")]
    return found


# --- places

def _card(column: Column) -> str:
    class_ = "card" if column.kind == SWITCH else "card host"
    class_ = "never" if column.hop is None else class_
    return element("rect", x=column.left, y=_CARD_TOP, width=column.width,
                   height=_CARD_BOTTOM - _CARD_TOP, rx=14, class_=class_)


def _labels(column: Column, small: int) -> list[str]:
    room = column.width - 16
    size = next((size for size in (22, 17) if width(column.name, size, bold=True) <= room), 14)
    kind, class_ = _kind(column)
    shown = fitted(column.name, room, size, bold=True)
    found = [
        element("text", element("title", column.name) if shown != column.name else "", shown,
                x=column.middle, y=_CARD_TOP + 28, text_anchor="middle", font_size=size,
                font_weight="700"),
        text(column.middle, _CARD_TOP + 50, fitted(kind, room, 16), class_, whole=kind,
             anchor="middle")]
    hop = column.hop
    if hop is None:
        return found
    entry, out = enters(hop), leaves(hop)
    for crossing, x, y, anchor in ((entry, column.left + 12, _WAY + 30, None),
                                   (out, column.right - 12, _WAY + 30 + small + 5, "end")):
        if crossing is None:
            continue
        words = crossing.device
        if crossing is out and column.kind != SWITCH:
            longer = f"{words} MTU {crossing.mtu}"
            if crossing.fragments > 1:
                longer = f"{words} x{crossing.fragments} fragments"
            words = longer if width(longer, small, mono=True) <= room - 8 else words
        shown = fitted(words, room - 8, small, mono=True)
        found.append(element("text", shown, x=x, y=y, class_="mono", text_anchor=anchor,
                             font_size=small))
    if in_tunnel(hop):
        wide = min(92.0, column.width * 0.5)
        found += [element("rect", x=column.middle - wide / 2, y=_TUNNEL_TOP, width=wide,
                          height=_TUNNEL_HEIGHT, rx=8, class_="tunl0"),
                  element("text", "tunl0", x=column.middle, y=_TUNNEL_TOP + 27, class_="mono",
                          text_anchor="middle", font_size=18, font_weight="700")]
    return found


def _kind(column: Column) -> tuple[str, str]:
    """What it is, and what it does with the outer header; and the style of that."""
    if column.hop is None:
        return f"{column.kind}, never reached", "kind"
    for step in column.hop.encapsulations[-1:]:
        wordings = ((f"{column.kind}: header put on", "header put on", "IPIP on") if step.on else
                    (f"{column.kind}: header taken off", "header taken off", "IPIP off"))
        fit = (w for w in wordings if width(w, 16, bold=True) <= column.width - 16)
        return next(fit, wordings[-1]), "kind header"
    return column.kind, "kind"


def _way(set_out: Stage) -> list[str]:
    """The line through the devices, in a tube where it is inside IPIP."""
    columns = reached(set_out.columns)
    points: list[tuple[float, float]] = []
    ports: list[str] = []
    mouth = _TUNNEL_TOP + _TUNNEL_HEIGHT
    for position, (column, hop) in enumerate(columns):
        entry, out = enters(hop), leaves(hop)
        if entry is not None:
            points.append((column.left, _WAY))
            ports.append(_port(column.left))
        else:
            points.append((column.middle, _WAY))
        if in_tunnel(hop):
            points += [(column.middle, _WAY), (column.middle, mouth), (column.middle, _WAY)]
        if out is not None:
            points.append((column.right, _WAY))
            ports.append(_port(column.right))
        elif position == len(columns) - 1:
            points.append((set_out.end if set_out.end is not None else column.middle, _WAY))
    if set_out.end is not None and points and set_out.end > points[-1][0]:
        points.append((set_out.end, _WAY))
    if not points:
        return []
    found = []
    for bar in set_out.outer:
        tube = polyline([(bar.left, mouth), (bar.left, _WAY), (bar.right, _WAY),
                         *([(bar.right, mouth)] if bar.right != set_out.end else [])])
        found += [element("path", d=tube, class_="tube"), element("path", d=tube, class_="bore")]
    found.append(element("path", d=polyline(points), class_="core"))
    last = columns[-1]
    if set_out.end is None:
        found.append(element("circle", cx=last[0].middle, cy=_WAY, r=11, class_="inner"))
    return [*found, *ports]


def _port(x: float) -> str:
    return element("rect", x=x - 8, y=_WAY - 11, width=16, height=22, rx=3, class_="port")


def _cross(x: float) -> list[str]:
    arm = 17.0
    return [element("line", x1=x - arm, y1=_WAY - sign * arm, x2=x + arm, y2=_WAY + sign * arm,
                    class_=class_) for class_ in ("halo", "cross") for sign in (1, -1)]


# --- notes

def _note_size(set_out: Stage) -> int:
    """The largest letters in which the notes of every column fit under it."""
    hosts = [column for column in set_out.columns if column.kind != SWITCH]
    size = max(_SMALLEST, min(19, int(min((c.width for c in hosts), default=300) / 12)))
    while size > _SMALLEST and any(len(_notes(c, size)) > _most(size) for c in hosts):
        size -= 1
    return size


def _most(size: int) -> int:
    return int((_NOTES_BOTTOM - _NOTES_TOP) / (size * _LEADING)) + 1


def _notes(column: Column, size: int) -> list[tuple[str, str, bool]]:
    """The routes by which the packet went on, and who answered ARP: text, style, bold."""
    if column.hop is None or column.kind == SWITCH:
        return []
    lines: list[tuple[str, str, bool]] = []
    for step in column.hop.steps:
        if isinstance(step, Routing):
            if lines:
                lines.append(("", "", False))
            class_ = "outer" if step.outer else "inner"
            label = f"route to {step.query.destination}"
            if width(label, size, bold=True) > column.width:
                label = f"to {step.query.destination}"
            lines.append((label, class_, True))
            lines += [(line, class_, False)
                      for line in _wrapped(step.answer.line, column.width, size)]
            if step.answer.error:
                lines.append((_REFUSALS.get(step.answer.error, step.answer.error)
                              if step.answer.kind not in _ENDS else "dropped", "stop", True))
        elif isinstance(step, Neighbour):
            lines += [(line, "", False)
                      for line in _wrapped(_arp(step), column.width, size)]
    return lines


def _note_lines(column: Column, size: int) -> list[str]:
    lines = _notes(column, size)
    if len(lines) > _most(size):
        lines = [line for line in lines if line[0]]
    if len(lines) > _most(size):
        lines = [*lines[:_most(size) - 1], ("\u2026", "", False)]
    found = []
    for position, (words, class_, bold) in enumerate(lines):
        shown = fitted(words, column.width, size, bold=bold, mono=not bold)
        found.append(element(
            "text", shown, x=column.left, y=_NOTES_TOP + position * size * _LEADING,
            class_=f"{class_} {'' if bold else 'mono'}".strip() or None, font_size=size,
            font_weight="700" if bold else None))
    return found


def _arp(step: Neighbour) -> str:
    if step.answered_by is not None:
        kind = "proxy ARP" if step.proxy else "ARP"
        return f"{kind}: {step.answered_by[0]} is {step.mac}"
    if not step.mac:
        return "ARP: nobody answers" if step.asked else f"neighbour {step.state or 'unknown'}"
    return f"MAC known: {step.mac}"


_REFUSALS = {"ENETUNREACH": "no route", "EXDEV": "source refused", "EINVAL": "source refused",
             "EHOSTUNREACH": "unreachable", "EACCES": "prohibited"}
_ENDS = ("blackhole", "unreachable", "prohibit")

_PAIRED = ("via", "dev", "proto", "scope", "src", "metric", "mtu", "table", "blackhole", "local",
           "unreachable", "prohibit")


def _wrapped(words: str, room: float, size: float) -> list[str]:
    """Lines that fit; a word stays with its value (``via ADDRESS``)."""
    pieces: list[str] = []
    for word in words.split():
        if pieces and pieces[-1] in _PAIRED:
            pieces[-1] += f" {word}"
        else:
            pieces.append(word)
    lines: list[str] = []
    for piece in pieces:
        if width(piece, size, mono=True) > room:
            lines += piece.split()
        elif lines and width(f"{lines[-1]} {piece}", size, mono=True) <= room:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines


def _foot(journey: Journey, set_out: Stage) -> list[str]:
    room = WIDTH - 2 * MARGIN
    silent = journey.death if journey.back is None else None
    death = set_out.death or silent
    if death is not None:
        lines = [(line, "reason") for line in _broken(death.reason, room - 40, 21)]
        lines += [(fitted(line, room - 40, 18), "proof") for line in death.evidence[1:]]
        return [
            element("rect", x=MARGIN, y=_FOOT_TOP, width=room, height=HEIGHT - _FOOT_TOP - 14,
                    rx=12, class_="panel"),
            *(text(MARGIN + 20, _FOOT_TOP + 31 + 27 * position, line, class_)
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
    return [text(MARGIN, _FOOT_TOP + 34 + 30 * position, fitted(line, room, 19), "foot",
                 whole=line) for position, line in enumerate(words)]


def _broken(words: str, room: float, size: float) -> list[str]:
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
