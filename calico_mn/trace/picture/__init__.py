"""A path trace as a slide in SVG: namespaces from left to right, and the path through them. Pure.

    title, verdict                                       captions (here)
    outer header   ======================                parts.header_bars
    inner header   ================================      parts.header_bars
    [pod] --- [node] === (switch) === [node] --- [pod]   parts.node, parts.path
    route, ARP     route              route              parts.annotate
    drop reason, or the other leg                        captions (here)

The outer header's bar begins above the tunnel device that added it and ends above the one that
removed it. Where the packet was dropped there is a red cross, and the reason below. ``layout`` has
where everything stands, ``parts`` what is drawn there.
"""

from __future__ import annotations

from html import escape

from calico_mn.report import graphics
from calico_mn.report.graphics import MONO, SANS, element, fitted, text, width
from calico_mn.text import plural, wrap
from calico_mn.trace.path_trace import REPLY, DropReason, Leg, PathTrace
from calico_mn.trace.picture import parts
from calico_mn.trace.picture.layout import FOOT_TOP, HEIGHT, MARGIN, WIDTH, Layout, arrange
from calico_mn.trace.text import encapsulation, headline, namespaces, packet, verdict

_ROOM = WIDTH - 2 * MARGIN
_INNER, _OUTER, _STOP = graphics.BLUE, graphics.VERMILION, "#c81e1e"

#: Every rule is about ``.path-trace``, so that none leaks into a page around the picture.
_CSS = f"""
.path-trace text{{font-family:{SANS};fill:#1c2430}}
.path-trace .paper{{fill:#fff}}
.path-trace .title{{font-size:34px;font-weight:700}}
.path-trace .sub{{font-size:22px;fill:#4a5565}}
.path-trace .good{{font-size:22px;font-weight:600;fill:#1a7f4b}}
.path-trace .bad{{font-size:22px;font-weight:600;fill:#b3261e}}
.path-trace .card{{fill:#f3f5f8;stroke:#9aa6b5;stroke-width:2}}
.path-trace .host{{fill:#fff}}
.path-trace .unreached{{fill:none;stroke:#9aa6b5;stroke-width:2;stroke-dasharray:8 7}}
.path-trace .kind{{font-size:16px;fill:#5b6675}}
.path-trace .header{{fill:{_OUTER};font-weight:600}}
.path-trace .stop{{fill:{_STOP};font-weight:700}}
.path-trace .inner{{fill:{_INNER}}}
.path-trace .outer{{fill:{_OUTER}}}
.path-trace .on{{font-weight:700;fill:#fff}}
.path-trace .chip{{fill:#fff}}
.path-trace .core{{fill:none;stroke:{_INNER};stroke-width:6;stroke-linejoin:round}}
.path-trace .tube{{fill:none;stroke:{_OUTER};stroke-width:18;stroke-linejoin:round}}
.path-trace .bore{{fill:none;stroke:#fff;stroke-width:10;stroke-linejoin:round}}
.path-trace .guide{{stroke:{_OUTER};stroke-width:2;stroke-dasharray:5 5}}
.path-trace .tunnel{{fill:#fff;stroke:{_OUTER};stroke-width:3}}
.path-trace .port{{fill:#fff;stroke:{_INNER};stroke-width:3}}
.path-trace .cross{{stroke:{_STOP};stroke-width:10;stroke-linecap:round}}
.path-trace .halo{{stroke:#fff;stroke-width:18;stroke-linecap:round}}
.path-trace .panel{{fill:#fdecea;stroke:{_STOP};stroke-width:2}}
.path-trace .mono{{font-family:{MONO}}}
.path-trace .foot{{font-size:19px;fill:#4a5565}}
.path-trace .evidence{{font-size:18px;fill:#5b6675}}
.path-trace .reason{{font-size:21px;fill:#7a1712}}
"""


def picture(trace: PathTrace, *, reply: bool | None = None) -> str:
    """The SVG of the forward path, or with ``reply`` of the reply's, where one was seen.

    By default it is the path on which the packet was dropped, else the forward one.
    """
    if reply is None:
        reply = trace.drop is not None and trace.drop.leg == REPLY
    leg = trace.reply if reply and trace.reply is not None else trace.forward
    layout = arrange(trace, leg)
    elements = [element("rect", width=WIDTH, height=HEIGHT, class_="paper"), *_title(trace, leg),
                *parts.header_bars(layout), *map(parts.card, layout.columns), *parts.path(layout)]
    size = parts.annotation_size(layout)
    for column in layout.columns:
        elements += parts.node(column, size)
        elements += parts.annotate(column, size)
    if layout.end is not None and layout.leg.hops:
        elements += parts.cross(layout.end)
    elements += _foot(trace, layout)
    title = escape(f"{headline(trace)}: {verdict(trace)}", quote=False)
    return element("svg", element("title", title), element("style", _CSS), *elements,
                   xmlns="http://www.w3.org/2000/svg", class_="path-trace",
                   viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", width=WIDTH, height=HEIGHT,
                   role="img") + "\n"


def _title(trace: PathTrace, leg: Leg) -> list[str]:
    """Two lines: the two ends and the packet, and how it ended."""
    source, destination = (end.name or end.address for end in (trace.source, trace.destination))
    ends = (f"{destination} \u2192 {source}" if leg.kind == REPLY
            else f"{source} \u2192 {destination}")
    content = packet(trace) if leg is trace.forward else leg.text
    result = verdict(trace)
    return [text(MARGIN, 54, fitted(ends, _ROOM * 0.6, 34, bold=True), "title", whole=ends),
            text(WIDTH - MARGIN, 54, fitted(content, _ROOM * 0.39, 22), "sub", whole=content,
                 anchor="end"),
            text(MARGIN, 96, fitted(result, _ROOM, 22, bold=True),
                 "good" if trace.answered else "bad", whole=result)]


def _foot(trace: PathTrace, layout: Layout) -> list[str]:
    """Why it was dropped and what shows that; else the other leg, and how all this is known."""
    drop = layout.drop or (trace.drop if trace.reply is None else None)
    if drop is not None:
        return _drop(drop)
    sentences = []
    other = trace.forward if layout.leg is trace.reply else trace.reply
    if other is not None:
        name = "Forward" if other is trace.forward else "Reply"
        sentences.append(f"{name}, {encapsulation(other)}: {namespaces(other)}")
    if layout.omitted:
        sentences.append(
            f"Left out in the middle of the path: {plural(layout.omitted, 'namespace')}.")
    device = next((crossing.device for hop in layout.leg.hops for crossing in hop.crossings
                   if crossing.tunnel and crossing.macs is None), "")
    sentences.append("Seen by captures in every namespace; routes are the kernel's answers right"
                     " after the packet." + (f" {device}: {trace.tunnel}." if device else ""))
    return [text(MARGIN, FOOT_TOP + 34 + 30 * position, fitted(line, _ROOM, 19), "foot",
                 whole=line) for position, line in enumerate(sentences)]


def _drop(drop: DropReason) -> list[str]:
    """A panel with the reason and the evidence; the first piece is the last sighting, drawn."""
    room = _ROOM - 40
    lines = [(line, "reason") for line in wrap(drop.reason, room,
                                               measure=lambda line: width(line, 21))]
    lines += [(fitted(line, room, 18), "evidence") for line in drop.evidence[1:]]
    return [element("rect", x=MARGIN, y=FOOT_TOP, width=_ROOM, height=HEIGHT - FOOT_TOP - 14,
                    rx=12, class_="panel"),
            *(text(MARGIN + 20, FOOT_TOP + 31 + 27 * position, line, class_)
              for position, (line, class_) in enumerate(lines[:3]))]
