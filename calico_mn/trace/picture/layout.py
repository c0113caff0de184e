"""Where everything stands in the picture of a way: columns, the stretches between them, its end.

Pure. A column is a namespace; switches change nothing and are narrow. Coordinates are pixels of
a slide of 1600 x 900.
"""

from __future__ import annotations

from dataclasses import dataclass

from calico_mn.kernel.packets import Header
from calico_mn.trace.path_trace import IN, OUT, THERE, Crossing, Death, Hop, Journey, Leg
from calico_mn.trace.recording import SWITCH

WIDTH, HEIGHT, MARGIN = 1600.0, 900.0, 36.0
_SWITCH_SHARE = 0.55
#: A longer way, as of a packet that goes in circles, is shown without its middle.
MOST_COLUMNS = 13


@dataclass(frozen=True, slots=True)
class Column:
    """A namespace's place; ``hop`` is None for one that the packet never reached."""

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
        """Where tunl0 stands."""
        return self.left + self.width / 2


@dataclass(frozen=True, slots=True)
class Bar:
    """A header from where it was put on to where it was taken off; ``ttls`` are (x, TTL)."""

    header: Header
    left: float
    right: float
    ttls: tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """A leg set out. ``end`` is the x of its death, None if it arrived."""

    leg: Leg
    columns: tuple[Column, ...]
    gap: float
    inner: Bar | None
    outer: tuple[Bar, ...]
    end: float | None
    death: Death | None
    omitted: int = 0


def stage(journey: Journey, leg: Leg) -> Stage:
    """Set a leg out on the slide."""
    death = journey.death if journey.death and journey.death.leg == leg.kind else None
    hops, omitted = list(leg.hops), 0
    if len(hops) > MOST_COLUMNS:
        omitted = len(hops) - MOST_COLUMNS
        half = MOST_COLUMNS // 2
        hops = hops[:MOST_COLUMNS - half] + hops[-half:]
    wanted: list[tuple[str, str, Hop | None]] = [(h.namespace, h.kind, h) for h in hops]
    if not leg.arrived:
        goal = journey.destination if leg.kind == THERE else journey.source
        if not hops or goal.name != hops[-1].namespace:
            wanted.append((goal.name or goal.address, goal.kind or "nobody", None))
    columns, gap = _columns(wanted)
    end = _end(columns, gap) if not leg.arrived else None
    return Stage(leg, columns, gap, _inner(columns, gap, end), _outer(columns, gap, end), end,
                 death, omitted)


def _columns(wanted: list[tuple[str, str, Hop | None]]) -> tuple[tuple[Column, ...], float]:
    gap = 46.0 if len(wanted) <= 6 else 40.0 if len(wanted) <= 8 else 26.0
    shares = [_SWITCH_SHARE if kind == SWITCH else 1.0 for _name, kind, _hop in wanted]
    room = WIDTH - 2 * MARGIN - gap * (len(wanted) - 1)
    unit = min(room / sum(shares), 360.0)
    left = (WIDTH - unit * sum(shares) - gap * (len(wanted) - 1)) / 2
    found = []
    for (name, kind, hop), share in zip(wanted, shares, strict=True):
        found.append(Column(name, kind, hop, left, unit * share))
        left += unit * share + gap
    return tuple(found), gap


def reached(columns: tuple[Column, ...]) -> list[tuple[Column, Hop]]:
    """The columns in which the packet was."""
    return [(column, column.hop) for column in columns if column.hop is not None]


def _end(columns: tuple[Column, ...], gap: float) -> float:
    column, hop = reached(columns)[-1]
    if hop.crossings and hop.crossings[-1].direction == OUT and hop.crossings[-1].macs:
        return column.right + gap / 2
    if hop.encapsulations or any(crossing.macs is None for crossing in hop.crossings):
        return column.left + column.width * 0.84
    return column.middle


def _last_out(hop: Hop) -> Crossing | None:
    return next((c for c in reversed(hop.crossings) if c.direction == OUT), None)


def _stretches(columns: tuple[Column, ...], gap: float) -> list[tuple[float, Crossing]]:
    """The x between two columns, and the packet as it was there."""
    found = []
    for column, hop in reached(columns):
        out = _last_out(hop)
        if out is not None and out.macs is not None:
            found.append((column.right + gap / 2, out))
    return found


def _inner(columns: tuple[Column, ...], gap: float, end: float | None) -> Bar | None:
    crossings = [c for _column, hop in reached(columns) for c in hop.crossings]
    if not crossings:
        return None
    ttls = tuple((x, out.headers[-1].ttl) for x, out in _stretches(columns, gap))
    first = columns[0]
    return Bar(crossings[0].headers[-1], first.left,
               reached(columns)[-1][0].right if end is None else max(end, first.left + 120), ttls)


def _outer(columns: tuple[Column, ...], gap: float, end: float | None) -> tuple[Bar, ...]:
    bars: list[Bar] = []
    begun: tuple[float, Header] | None = None
    stretches = _stretches(columns, gap)

    def bar(left: float, header: Header, right: float) -> Bar:
        return Bar(header, left, right, tuple(
            (x, out.headers[0].ttl) for x, out in stretches
            if left < x <= right and len(out.headers) > 1))

    for column, hop in reached(columns):
        for step in hop.encapsulations:
            if step.on:
                begun = (column.middle, step.outer)
            elif begun is not None:
                bars.append(bar(*begun, column.middle))
                begun = None
    if begun is not None:
        bars.append(bar(*begun, end if end is not None else columns[-1].right))
    return tuple(bars)


def enters(hop: Hop) -> Crossing | None:
    """By which device the packet came in."""
    return hop.crossings[0] if hop.crossings and hop.crossings[0].direction == IN else None


def leaves(hop: Hop) -> Crossing | None:
    """By which cable it left."""
    out = _last_out(hop)
    return out if out is not None and out.macs is not None else None


def in_tunnel(hop: Hop) -> bool:
    """Whether it went through tunl0 here."""
    return bool(hop.encapsulations) or any(c.macs is None for c in hop.crossings)
