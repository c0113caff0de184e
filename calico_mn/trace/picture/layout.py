"""Where everything stands in the picture of a path: bands, columns, header bars, the end. Pure.

A column is a namespace; switches change nothing and are narrow. In goes one leg of a path trace,
out comes a Layout; coordinates are pixels of a slide of 1600 x 900.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """A namespace; a destination that the packet never ``reached`` is a hop without steps.

    ``number`` is the hop's in its leg, None for that destination.
    """

    hop: Hop
    left: float
    width: float
    number: int | None

    @property
    def reached(self) -> bool:
        """Whether the packet was here."""
        return self.number is not None

    @property
    def is_switch(self) -> bool:
        """Whether it is narrow, and has no annotations."""
        return self.hop.kind == SWITCH

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
    hops: list[tuple[int | None, Hop]] = list(enumerate(leg.hops))
    omitted = max(0, len(hops) - MAX_COLUMNS)
    if omitted:
        half = MAX_COLUMNS // 2
        hops = hops[:MAX_COLUMNS - half] + hops[-half:]
    goal = trace.destination if leg.kind == FORWARD else trace.source
    count = len(hops)
    if not leg.arrived and (not hops or goal.name != hops[-1][1].namespace):
        hops.append((None, Hop(goal.name or goal.address, goal.kind or "unassigned", ())))
    columns, gap = _columns(hops)
    reached = columns[:count]
    end = _end(reached[-1], gap) if not leg.arrived else None
    stretches = [(column.right + gap / 2, column.hop.exit) for column in reached
                 if column.hop.exit is not None]
    return Layout(leg, columns, _inner(reached, stretches, end), _outer(reached, stretches, end),
                  end, drop, omitted)


def _columns(hops: Sequence[tuple[int | None, Hop]]) -> tuple[tuple[Column, ...], float]:
    """The columns, and the gap between two of them."""
    gap = 46.0 if len(hops) <= 6 else 40.0 if len(hops) <= 8 else 26.0
    shares = [_SWITCH_SHARE if hop.kind == SWITCH else 1.0 for _, hop in hops]
    room = WIDTH - 2 * MARGIN - gap * (len(hops) - 1)
    unit = min(room / sum(shares), _MAX_CARD_WIDTH)
    left = (WIDTH - unit * sum(shares) - gap * (len(hops) - 1)) / 2
    columns: list[Column] = []
    for (number, hop), share in zip(hops, shares, strict=True):
        columns.append(Column(hop, left, unit * share, number))
        left += unit * share + gap
    return tuple(columns), gap


def _end(last: Column, gap: float) -> float:
    hop = last.hop
    if hop.crossings and hop.crossings[-1] == hop.exit:
        return last.right + gap / 2
    return last.left + last.width * 0.84 if hop.tunnel else last.middle


#: the x between two columns, and the packet as it was there
_Stretch = tuple[float, Crossing]


def _inner(reached: Sequence[Column], stretches: Sequence[_Stretch], end: float | None
           ) -> Bar | None:
    crossings = [crossing for column in reached for crossing in column.hop.crossings]
    if not crossings:
        return None
    ttls = tuple((x, crossing.layers[-1].header.ttl) for x, crossing in stretches)
    left = reached[0].left
    right = reached[-1].right if end is None else max(end, left + 120)
    return Bar(crossings[0].layers[-1].header, "", left, right, ttls)


def _outer(reached: Sequence[Column], stretches: Sequence[_Stretch], end: float | None
           ) -> tuple[Bar, ...]:
    def bar(label: str, header: Header, left: float, right: float) -> Bar:
        return Bar(header, label, left, right, tuple(
            (x, crossing.ttl) for x, crossing in stretches
            if left < x <= right and crossing.encapsulation))

    bars: list[Bar] = []
    added: tuple[str, Header, float] | None = None
    for column in reached:
        for change in column.hop.header_changes:
            if change.added:
                vni = f", VNI {change.inner.vni}" if change.inner.vni is not None else ""
                added = (f"{change.encapsulation}{vni}: ", change.outer, column.middle)
            elif added is not None:
                bars.append(bar(*added, column.middle))
                added = None
    if added is not None:
        bars.append(bar(*added, end if end is not None else reached[-1].right))
    return tuple(bars)
