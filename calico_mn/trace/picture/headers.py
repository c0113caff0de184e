"""Headers as bars above the way: from where one was put on to where it was taken off. Pure."""

from __future__ import annotations

from calico_mn.report.svg import element, fitted, text, width
from calico_mn.trace.picture import style
from calico_mn.trace.picture.layout import Bar, Stage


def bars(set_out: Stage) -> list[str]:
    """The outer headers' above the inner one's, with dotted lines down to where each ends."""
    found: list[str] = []
    for bar in set_out.outer:
        for x in (bar.left, bar.right):
            found.append(element("line", x1=x, y1=style.OUTER_TOP + style.BAR, x2=x,
                                 y2=style.CARD_TOP, class_="guide"))
    if set_out.inner is not None:
        found += _bar(set_out.inner, style.INNER_TOP, "inner", "")
    for bar in set_out.outer:
        found += _bar(bar, style.OUTER_TOP, "outer", "IPIP: ")
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
        element("rect", x=bar.left, y=top, width=max(bar.right - bar.left, 1),
                height=style.BAR, rx=8, class_=class_),
        text(middle, top + 25, chosen, "on", whole=longer, anchor="middle", size=size),
    ]
    for x, ttl in bar.ttls:
        words = f"TTL {ttl}"
        wide = width(words, 16, bold=True) + 14
        x = min(max(x, bar.left + wide / 2 + 4), bar.right - wide / 2 - 4)
        found += [
            element("rect", x=x - wide / 2, y=top + 34, width=wide, height=24, rx=12,
                    class_="chip"),
            text(x, top + 51.5, words, class_, anchor="middle", size=16, bold=True)]
    return found
