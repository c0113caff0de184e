"""A journey as a slide: namespaces from left to right, the way through their devices, the headers
as bars above it, and under each host the route that sent the packet on. Pure; SVG as text.

The outer header's bar begins above the tunl0 that put it on and ends above the one that took it
off. Where the packet died there is a red cross, and the reason below. Where things stand:
``stage`` (from left to right) and ``style`` (from top to bottom); the parts: ``captions``,
``headers``, ``places``, ``way``, ``notes``.
"""

from __future__ import annotations

from html import escape

from calico_mn.report.svg import element
from calico_mn.trace.path_trace import BACK, Journey
from calico_mn.trace.picture import captions, headers, notes, parts, style, way
from calico_mn.trace.picture.layout import HEIGHT, WIDTH, stage
from calico_mn.trace.words import headline, verdict


def picture(journey: Journey, *, back: bool | None = None) -> str:
    """The SVG of the way there, or with ``back`` of the reply's, where one was seen.

    Unless told, it is the one on which the packet died, else the way there.
    """
    if back is None:
        back = journey.death is not None and journey.death.leg == BACK
    leg = journey.back if back and journey.back is not None else journey.there
    set_out = stage(journey, leg)
    spoken = f"{headline(journey)}: {verdict(journey)}"
    elements = [element("rect", width=WIDTH, height=HEIGHT, class_="paper"),
                *captions.title(journey, leg)]
    elements += headers.bars(set_out)
    elements += [parts.card(column) for column in set_out.columns]
    elements += way.line(set_out)
    size = notes.size(set_out)
    for column in set_out.columns:
        elements += parts.labels(column, size)
        elements += notes.lines(column, size)
    if set_out.end is not None and set_out.leg.hops:
        elements += way.cross(set_out.end)
    elements += captions.foot(journey, set_out)
    return element("svg", element("title", escape(spoken, quote=False)),
                   element("style", style.CSS), *elements, xmlns="http://www.w3.org/2000/svg",
                   class_="journey", viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", width=WIDTH,
                   height=HEIGHT, role="img") + "\n"
