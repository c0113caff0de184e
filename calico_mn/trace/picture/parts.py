"""The parts of a path's picture: header bars, nodes, the path, annotations, the cross. Pure.

Each function takes a Layout or one of its columns and gives SVG elements.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico_mn.report.graphics import element, fitted, polyline, text, width
from calico_mn.trace.path_trace import Neighbour, Routing
from calico_mn.trace.picture import layout as at
from calico_mn.trace.picture.layout import Bar, Column, Layout
from calico_mn.trace.scene import CAUSE_OF_KIND

#: sizes of annotations' letters in pixels, and the distance of lines as a share of them
_MIN_SIZE, _MAX_SIZE, _LEADING = 12, 19, 1.25
#: words of a route that stay on the line of their value
_PAIRED = ("via", "dev", "proto", "scope", "src", "metric", "mtu", "table", "local",
           *CAUSE_OF_KIND)
#: the errno of a route lookup in a word or two
_REFUSALS = {"ENETUNREACH": "no route", "EXDEV": "source refused", "EINVAL": "source refused",
             "EHOSTUNREACH": "unreachable", "EACCES": "prohibited"}


# --- header bars

def header_bars(layout: Layout) -> list[str]:
    """The outer headers' above the inner one's, with dotted lines down to where each ends."""
    elements = [element("line", x1=x, y1=at.OUTER_TOP + at.BAR_HEIGHT, x2=x, y2=at.CARD_TOP,
                        class_="guide") for bar in layout.outer for x in (bar.left, bar.right)]
    if layout.inner is not None:
        elements += _bar(layout.inner, at.INNER_TOP, "inner")
    for bar in layout.outer:
        elements += _bar(bar, at.OUTER_TOP, "outer")
    return elements


def _bar(bar: Bar, top: float, class_: str) -> Iterator[str]:
    header, size = bar.header, 19
    room = bar.right - bar.left - 24
    addresses = f"{bar.label}{header.source} \u2192 {header.destination}"
    whole = f"{addresses} \u00b7 {header.length} bytes{', DF' if header.dont_fragment else ''}"
    shown = whole if width(whole, size, bold=True) <= room else fitted(
        addresses, room, size, bold=True)
    yield element("rect", x=bar.left, y=top, width=max(bar.right - bar.left, 1),
                  height=at.BAR_HEIGHT, rx=8, class_=class_)
    yield text((bar.left + bar.right) / 2, top + 25, shown, "on", whole=whole, anchor="middle",
               size=size)
    for x, ttl in bar.ttls:
        label = f"TTL {ttl}"
        wide = width(label, 16, bold=True) + 14
        x = min(max(x, bar.left + wide / 2 + 4), bar.right - wide / 2 - 4)
        yield element("rect", x=x - wide / 2, y=top + 34, width=wide, height=24, rx=12,
                      class_="chip")
        yield text(x, top + 51.5, label, class_, anchor="middle", size=16, bold=True)


# --- nodes

def card(column: Column) -> str:
    """Grey for a switch, white for a host, a dashed frame for what was never reached.

    ``data-hop`` is the hop's number, by which a page finds it.
    """
    class_ = "card" if column.is_switch else "card host"
    return element("rect", x=column.left, y=at.CARD_TOP, width=column.width,
                   height=at.CARD_BOTTOM - at.CARD_TOP, rx=14,
                   class_=class_ if column.reached else "unreached",
                   data_hop=None if column.number is None else str(column.number))


def node(column: Column, size: int) -> Iterator[str]:
    """What is written in a card; devices in letters of ``size`` pixels."""
    room, name = column.width - 16, column.hop.namespace
    name_size = next((s for s in (22, 17) if width(name, s, bold=True) <= room), 14)
    yield text(column.middle, at.CARD_TOP + 28, fitted(name, room, name_size, bold=True),
               whole=name, anchor="middle", size=name_size, bold=True)
    kind, class_ = _kind(column)
    yield text(column.middle, at.CARD_TOP + 50, fitted(kind, room, 16), class_, whole=kind,
               anchor="middle")
    yield from _devices(column, size)
    if column.hop.tunnel is not None:
        yield from _tunnel(column, column.hop.tunnel.device)


def _kind(column: Column) -> tuple[str, str]:
    """What it is, and what it does with the outer header; and the style of that."""
    kind = column.hop.kind
    if not column.hop.header_changes:
        return kind if column.reached else f"{kind}, never reached", "kind"
    change = column.hop.header_changes[-1]
    for prefix in (f"{kind}: header ", "header "):
        # The longer word decides, so that both ends of a tunnel say it in the same form.
        if width(f"{prefix}removed", 16, bold=True) <= column.width - 16:
            return prefix + ("added" if change.added else "removed"), "kind header"
    return f"{change.encapsulation} {'on' if change.added else 'off'}", "kind header"


def _devices(column: Column, size: int) -> Iterator[str]:
    """Below the path: at the left the one it came by, at the right, lower, the one it left by."""
    room, hop = column.width - 24, column.hop
    if hop.entry is not None:
        device = hop.entry.device
        yield text(column.left + 12, at.PATH_Y + 30, fitted(device, room, size, mono=True),
                   "mono", whole=device, size=size)
    if hop.exit is not None:
        label = hop.exit.device
        if not column.is_switch:
            fragments = hop.exit.fragments
            extra = f"x{fragments} fragments" if fragments > 1 else f"MTU {hop.exit.mtu}"
            longer = f"{label} {extra}"
            label = longer if width(longer, size, mono=True) <= room else label
        yield text(column.right - 12, at.PATH_Y + 30 + size + 5,
                   fitted(label, room, size, mono=True), "mono", whole=label, anchor="end",
                   size=size)


def _tunnel(column: Column, device: str) -> Iterator[str]:
    room = width(device, 18, mono=True) + 20
    wide = min(max(92.0, room), column.width * 0.5 if room <= 92 else column.width - 16)
    yield element("rect", x=column.middle - wide / 2, y=at.TUNNEL_TOP, width=wide,
                  height=at.TUNNEL_HEIGHT, rx=8, class_="tunnel")
    yield text(column.middle, at.TUNNEL_TOP + 27, device, "mono", anchor="middle", size=18,
               bold=True)


# --- the path

def path(layout: Layout) -> list[str]:
    """The line of the path with its devices, in a tube where there is an outer header."""
    points, ports = _points(layout)
    if not points:
        return []
    elements = []
    for bar in layout.outer:
        tube = polyline([(bar.left, at.TUNNEL_BOTTOM), (bar.left, at.PATH_Y),
                         (bar.right, at.PATH_Y),
                         *([(bar.right, at.TUNNEL_BOTTOM)] if bar.right != layout.end else [])])
        elements += [element("path", d=tube, class_=class_) for class_ in ("tube", "bore")]
    elements.append(element("path", d=polyline(points), class_="core"))
    if layout.end is None:
        elements.append(element("circle", cx=layout.columns[-1].middle, cy=at.PATH_Y, r=11,
                                class_="inner"))
    return elements + [element("rect", x=x - 8, y=at.PATH_Y - 11, width=16, height=22, rx=3,
                               class_="port") for x in ports]


def _points(layout: Layout) -> tuple[list[tuple[float, float]], list[float]]:
    """The points of the line, and the x of the devices on it."""
    columns = [column for column in layout.columns if column.reached]
    points: list[tuple[float, float]] = []
    ports: list[float] = []
    for column in columns:
        hop = column.hop
        if hop.entry is not None:
            ports.append(column.left)
        points.append((column.middle if hop.entry is None else column.left, at.PATH_Y))
        if hop.tunnel is not None:
            points += [(column.middle, at.PATH_Y), (column.middle, at.TUNNEL_BOTTOM),
                       (column.middle, at.PATH_Y)]
        if hop.exit is not None:
            points.append((column.right, at.PATH_Y))
            ports.append(column.right)
        elif column is columns[-1]:
            points.append((column.middle if layout.end is None else layout.end, at.PATH_Y))
    if layout.end is not None and points and layout.end > points[-1][0]:
        points.append((layout.end, at.PATH_Y))
    return points, ports


def cross(x: float) -> list[str]:
    """Where the packet was dropped."""
    arm, y = 17.0, at.PATH_Y
    return [element("line", x1=x - arm, y1=y - sign * arm, x2=x + arm, y2=y + sign * arm,
                    class_=class_) for class_ in ("halo", "cross") for sign in (1, -1)]


# --- annotations: the routes by which the packet went on, and ARP

#: text, style, bold
_Note = tuple[str, str, bool]


def annotation_size(layout: Layout) -> int:
    """The largest letters, in pixels, in which the annotations of every column fit under it."""
    hosts = [column for column in layout.columns if not column.is_switch]
    narrowest = min((column.width for column in hosts), default=300)
    largest = max(_MIN_SIZE, min(_MAX_SIZE, int(narrowest / 12)))
    return next((size for size in range(largest, _MIN_SIZE, -1)
                 if all(len(_notes(column, size)) <= _max_lines(size) for column in hosts)),
                _MIN_SIZE)


def annotate(column: Column, size: int) -> list[str]:
    """A column's annotations; an ellipsis for what has no room."""
    notes, limit = _notes(column, size), _max_lines(size)
    if len(notes) > limit:
        notes = [note for note in notes if note[0]]
    if len(notes) > limit:
        notes = [*notes[:limit - 1], ("\u2026", "", False)]
    return [text(column.left, at.ANNOTATIONS_TOP + position * size * _LEADING,
                 fitted(line, column.width, size, bold=bold, mono=not bold),
                 f"{class_} {'' if bold else 'mono'}".strip() or None, size=size, bold=bold)
            for position, (line, class_, bold) in enumerate(notes)]


def _max_lines(size: int) -> int:
    return int((at.ANNOTATIONS_BOTTOM - at.ANNOTATIONS_TOP) / (size * _LEADING)) + 1


def _notes(column: Column, size: int) -> list[_Note]:
    notes: list[_Note] = []
    for step in column.hop.steps:
        if isinstance(step, Routing):
            if notes:
                notes.append(("", "", False))
            notes += _routing(step, column.width, size)
        elif isinstance(step, Neighbour):
            notes += [(line, "", False) for line in _wrapped(_arp(step), column.width, size)]
    return notes


def _routing(step: Routing, room: float, size: int) -> Iterator[_Note]:
    class_ = "outer" if step.outer else "inner"
    label, shorter = f"route to {step.query.destination}", f"to {step.query.destination}"
    yield label if width(label, size, bold=True) <= room else shorter, class_, True
    for line in _wrapped(step.answer.line, room, size):
        yield line, class_, False
    error = step.answer.error
    if error:
        dropped = step.answer.kind in CAUSE_OF_KIND
        yield "dropped" if dropped else _REFUSALS.get(error, error), "stop", True


def _arp(step: Neighbour) -> str:
    if step.answered_by is not None:
        return f"{'proxy ARP' if step.proxy else 'ARP'}: {step.answered_by[0]} is {step.mac}"
    if not step.mac:
        return "ARP: no answer" if step.requests else f"neighbour {step.state or 'unknown'}"
    return f"MAC known: {step.mac}"


def _wrapped(line: str, room: float, size: float) -> list[str]:
    """Lines that fit; a word stays with its value (``via ADDRESS``)."""
    pieces: list[str] = []
    for word in line.split():
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
