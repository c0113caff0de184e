"""Namespaces as cards, with the devices by which the packet came and went. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from calico_mn.report.svg import element, fitted, text, width
from calico_mn.trace.path_trace import Hop
from calico_mn.trace.picture import style
from calico_mn.trace.picture.layout import Column, enters, in_tunnel, leaves
from calico_mn.trace.recording import SWITCH


def card(column: Column) -> str:
    """Grey for a switch, white for a host, a dashed frame for what was never reached."""
    class_ = "card" if column.kind == SWITCH else "card host"
    class_ = "never" if column.hop is None else class_
    return element("rect", x=column.left, y=style.CARD_TOP, width=column.width,
                   height=style.CARD_BOTTOM - style.CARD_TOP, rx=14, class_=class_)


def labels(column: Column, small: int) -> list[str]:
    """What is written in a card; devices in letters of ``small`` pixels."""
    room = column.width - 16
    size = next((size for size in (22, 17) if width(column.name, size, bold=True) <= room), 14)
    kind, class_ = _kind(column)
    found = [
        text(column.middle, style.CARD_TOP + 28, fitted(column.name, room, size, bold=True),
             whole=column.name, anchor="middle", size=size, bold=True),
        text(column.middle, style.CARD_TOP + 50, fitted(kind, room, 16), class_, whole=kind,
             anchor="middle")]
    if column.hop is None:
        return found
    found += _devices(column, column.hop, small)
    return [*found, *_tunnel(column)] if in_tunnel(column.hop) else found


def _devices(column: Column, hop: Hop, size: int) -> Iterator[str]:
    """Below the way: at the left the one it came by, at the right, lower, the one it left by."""
    entry, out = enters(hop), leaves(hop)
    room = column.width - 24
    if entry is not None:
        yield text(column.left + 12, style.WAY + 30, fitted(entry.device, room, size, mono=True),
                   "mono", whole=entry.device, size=size)
    if out is not None:
        words = out.device
        if column.kind != SWITCH:
            more = f"x{out.fragments} fragments" if out.fragments > 1 else f"MTU {out.mtu}"
            longer = f"{words} {more}"
            words = longer if width(longer, size, mono=True) <= room else words
        yield text(column.right - 12, style.WAY + 30 + size + 5,
                   fitted(words, room, size, mono=True), "mono", whole=words, anchor="end",
                   size=size)


def _tunnel(column: Column) -> Iterator[str]:
    wide = min(92.0, column.width * 0.5)
    yield element("rect", x=column.middle - wide / 2, y=style.TUNNEL_TOP, width=wide,
                  height=style.TUNNEL_HEIGHT, rx=8, class_="tunl0")
    yield text(column.middle, style.TUNNEL_TOP + 27, "tunl0", "mono", anchor="middle", size=18,
               bold=True)


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
