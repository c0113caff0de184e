"""Where everything stands in the picture of a path: bands, columns, header bars, the end. Pure.

A column is a namespace; switches change nothing and are narrow. In goes one leg of a path trace,
out comes a Layout; coordinates are pixels of a slide of 1600 x 900.
"""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn.kernel.packets import Header
from calico_mn.trace.path_trace import FORWARD, Crossing, DropReason, Hop, Leg, PathTrace
from calico_mn.trace.recording import SWITCH

WIDTH, HEIGHT, MARGIN = 1600.0, 900.0, 36.0
#: header bars: where the outer's and the inner's begin, and how high they are
OUTER_TOP, INNER_TOP, BAR_HEIGHT = 140.0, 216.0, 64.0
#: cards of namespaces, and the line of the path through them
CARD_TOP, CARD_BOTTOM, PATH_Y = 312.0, 500.0, 436.0
TUNNEL_TOP, TUNNEL_HEIGHT = 378.0, 40.0
TUNNEL_BOTTOM = TUNNEL_TOP + TUNNEL_HEIGHT
#: routes and ARP under each host
ANNOTATIONS_TOP, ANNOTATIONS_BOTTOM = 528.0, 784.0
#: why the packet was dropped, or the other leg
FOOT_TOP = 790.0

_SWITCH_SHARE, _MAX_CARD_WIDTH = 0.55, 360.0
#: A longer path, as of a packet in a routing loop, is shown without its middle.
MAX_COLUMNS = 13


@dataclass(frozen=True, slots=True)
class Column:
    """A namespace; ``hop`` is None for one that the packet never reached."""

    name: str
    kind: str
    hop: Hop | None
    left: float
    width: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width

    @property
    def middle(self) -> float:
        """Where the tunnel device stands."""
        return self.left + self.width / 2


@dataclass(frozen=True, slots=True)
class Bar:
    """A header from where it was added to where it was removed; ``ttls`` are (x, TTL)."""

    header: Header
    label: str
    left: float
    right: float
    ttls: tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A leg on the slide. ``end`` is the x at which it was dropped, None if it arrived."""

    leg: Leg
    columns: tuple[Column, ...]
    inner: Bar | None
    outer: tuple[Bar, ...]
    end: float | None
    drop: DropReason | None
    omitted: int = 0


def arrange(trace: PathTrace, leg: Leg) -> Layout:
    """Lay a leg out on the slide."""
    drop = trace.drop if trace.drop and trace.drop.leg == leg.kind else None
    hops, omitted = list(leg.hops), max(0, len(leg.hops) - MAX_COLUMNS)
    if omitted:
        half = MAX_COLUMNS // 2
        hops = hops[:MAX_COLUMNS - half] + hops[-half:]
    contents: list[tuple[str, str, Hop | None]] = [(h.namespace, h.kind, h) for h in hops]
    if not leg.arrived:
        goal = trace.destination if leg.kind == FORWARD else trace.source
        if not hops or goal.name != hops[-1].namespace:
            contents.append((goal.name or goal.address, goal.kind or "unassigned", None))
    columns, gap = _columns(contents)
    end = _end(columns, gap) if not leg.arrived else None
    return Layout(leg, columns, _inner(columns, gap, end), _outer(columns, gap, end), end, drop,
                  omitted)


def _columns(contents: list[tuple[str, str, Hop | None]]) -> tuple[tuple[Column, ...], float]:
    """The columns, and the gap between two of them."""
    gap = 46.0 if len(contents) <= 6 else 40.0 if len(contents) <= 8 else 26.0
    shares = [_SWITCH_SHARE if kind == SWITCH else 1.0 for _name, kind, _hop in contents]
    room = WIDTH - 2 * MARGIN - gap * (len(contents) - 1)
    unit = min(room / sum(shares), _MAX_CARD_WIDTH)
    left = (WIDTH - unit * sum(shares) - gap * (len(contents) - 1)) / 2
    columns = []
    for (name, kind, hop), share in zip(contents, shares, strict=True):
        columns.append(Column(name, kind, hop, left, unit * share))
        left += unit * share + gap
    return tuple(columns), gap


def reached(columns: tuple[Column, ...]) -> list[tuple[Column, Hop]]:
    """The columns in which the packet was."""
    return [(column, column.hop) for column in columns if column.hop is not None]


def _end(columns: tuple[Column, ...], gap: float) -> float:
    column, hop = reached(columns)[-1]
    if hop.crossings and hop.crossings[-1] == hop.exit:
        return column.right + gap / 2
    return column.left + column.width * 0.84 if hop.tunnel else column.middle


def _between(columns: tuple[Column, ...], gap: float) -> list[tuple[float, Crossing]]:
    """The x between two columns, and the packet as it was there."""
    return [(column.right + gap / 2, hop.exit) for column, hop in reached(columns)
            if hop.exit is not None]


def _inner(columns: tuple[Column, ...], gap: float, end: float | None) -> Bar | None:
    crossings = [c for _column, hop in reached(columns) for c in hop.crossings]
    if not crossings:
        return None
    ttls = tuple((x, crossing.layers[-1].header.ttl) for x, crossing in _between(columns, gap))
    left = columns[0].left
    right = reached(columns)[-1][0].right if end is None else max(end, left + 120)
    return Bar(crossings[0].layers[-1].header, "", left, right, ttls)


def _outer(columns: tuple[Column, ...], gap: float, end: float | None) -> tuple[Bar, ...]:
    crossings = _between(columns, gap)

    def bar(label: str, header: Header, left: float, right: float) -> Bar:
        return Bar(header, label, left, right, tuple(
            (x, crossing.ttl) for x, crossing in crossings
            if left < x <= right and crossing.encapsulation))

    bars: list[Bar] = []
    added: tuple[str, Header, float] | None = None
    for column, hop in reached(columns):
        for change in hop.header_changes:
            if change.added:
                vni = f", VNI {change.inner.vni}" if change.inner.vni is not None else ""
                added = (f"{change.encapsulation}{vni}: ", change.outer, column.middle)
            elif added is not None:
                bars.append(bar(*added, column.middle))
                added = None
    if added is not None:
        bars.append(bar(*added, end if end is not None else columns[-1].right))
    return tuple(bars)
