"""The ways of packets over a drawing: lines, tunnels around them, ends, and the legend. Pure."""

from __future__ import annotations

from calico_mn.report import palette, svg
from calico_mn.report.drawing.tracks import Track
from calico_mn.report.drawing.ways import Way
from calico_mn.report.svg import element, polyline, text

#: for what is none of the three modes
_OTHER = "#767676"


def line(one: Way, track: Track) -> str:
    """A way, in a tube where a tunnel surrounds it."""
    colour = _colour(one.mode)
    parts = [element("path", class_="way", stroke=colour, d=polyline(list(part), 5))
             for part in (track.head, track.tail) if part]
    if track.middle:
        middle = polyline(list(track.middle), 5)
        if one.tunnelled:
            parts += [element("path", class_="tube", stroke=colour, d=middle),
                      element("path", class_="bore", d=middle)]
        parts.append(element("path", class_="way", stroke=colour, d=middle))
    start = track.head[0]
    parts.append(element("circle", fill=colour, cx=start[0], cy=start[1], r=3.0))
    return element("g", *parts)


def mark(one: Way, track: Track, number: int) -> str:
    """Its number where it ends, beside a cross where the packets are lost."""
    colour = _colour(one.mode)
    x, y = track.end
    if one.lost_at:
        return _cross(x, y) + _badge(x + 18, y, number, colour)
    return _badge(x, y, number, colour)


def _colour(mode: str) -> str:
    return palette.MODES.get(mode, _OTHER)


def _cross(x: float, y: float) -> str:
    d = "".join(f"M{svg.number(x - 5 * side)} {svg.number(y - 5)}"
                f"L{svg.number(x + 5 * side)} {svg.number(y + 5)}" for side in (1, -1))
    return element("circle", class_="paper", cx=x, cy=y, r=8.0) + element("path", class_="lost",
                                                                         d=d)


def _badge(x: float, y: float, number: int, colour: str) -> str:
    return (element("circle", fill=colour, cx=x, cy=y, r=8.0)
            + element("text", str(number), class_="badge", x=x, y=y + 4, text_anchor="middle"))


def legend(y: float, number: int, mode: str, note: str) -> str:
    """A line below the drawing that says what the way of this number is."""
    colour = _colour(mode)
    return _badge(28, y, number, colour) + text(44, y + 4, note, "fact")
