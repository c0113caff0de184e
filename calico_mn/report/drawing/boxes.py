"""The boxes of a drawing of a cluster, full of words, and how large those make them. Pure.

``describe`` makes the boxes, ``layout`` gives them places; all numbers are pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from calico_mn.report.graphics import width

#: pixels from a subnet's upper edge to the line that stands for its switch
BUS = 58.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PodBox:
    """A pod that is listed."""

    key: str
    address: str


@dataclass(slots=True, kw_only=True)
class Box:
    """A place: its upper left corner and its size, which ``layout`` finds."""

    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """Half way between left and right."""
        return self.x + self.width / 2


@dataclass(slots=True)
class NodeBox(Box):
    """A node: ``facts`` are (device or word, address) lines; ``folded`` pods are only counted.

    ``span`` is from where to where their addresses go. A ``busy`` node is an end of a way. ``row``
    and ``column`` count within its subnet.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    pods: tuple[PodBox, ...]
    folded: int = 0
    span: str = ""
    busy: bool = False
    row: int = 0
    column: int = 0

    def chip(self, position: int, sizes: Sizes) -> Box:
        """The place of a listed pod."""
        top = self.y + HEAD + LINE * len(self.facts) + 8
        return Box(x=self.x + sizes.left(self), y=top + position * (sizes.chip + CHIP_GAP),
                   width=sizes.room(self), height=sizes.chip)


@dataclass(slots=True)
class SubnetBox(Box):
    """A subnet with its nodes; ``more`` nodes are only counted.

    ``entries`` tells for each router where its cable meets the bus. ``row`` counts rows of subnets.
    """

    name: str
    facts: str
    nodes: tuple[NodeBox, ...]
    more: int = 0
    row: int = 0
    entries: dict[str, float] = field(default_factory=dict)

    @property
    def bus(self) -> float:
        """The height of the line that stands for the switch."""
        return self.y + BUS


@dataclass(slots=True)
class RouterBox(Box):
    """A router; ``interfaces`` are its (subnet, address) lines, ``subnets`` all that it is in.

    ``tier`` counts upwards; ``below`` and ``above`` tell where the cable of a subnet leaves.
    """

    name: str
    interfaces: tuple[tuple[str, str], ...]
    subnets: tuple[str, ...]
    pod_routes: bool
    more: int = 0
    tier: int = 0
    below: dict[str, float] = field(default_factory=dict)
    above: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Drawing:
    """All of it. ``transit`` are subnets between routers: (name, one router, the other router).

    ``layout`` finds the rest. ``cables`` are lines by (router, subnet); between routers, by the
    lower one and the transit subnet.
    """

    name: str
    subnets: dict[str, SubnetBox]
    routers: dict[str, RouterBox]
    transit: tuple[tuple[str, str, str], ...]
    summary: str
    width: float = 0.0
    height: float = 0.0
    cables: dict[tuple[str, str], list[Point]] = field(default_factory=dict)


# --- sizes

#: pixels
NAME, FACT, POD, ADDRESS = 14.0, 12.0, 12.0, 11.5
PAD = 12.0
LANE = 12.0
LINE = 17.0
LABEL = 46.0
CHIP, CHIP_TALL, CHIP_GAP, CHIP_PAD = 24.0, 39.0, 5.0, 9.0
DOT = 7.4
_MOST_DOT_ROWS = 4
_NARROWEST, _WIDEST = 168.0, 244.0
#: with so few nodes there is room for longer names
_FEW, _WIDEST_OF_FEW = 3, 300.0
HEAD = 28.0

KNOWS, KNOWS_NOT = "knows the pods\u2019 routes", "knows no pods"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What all cards of a drawing share.

    ``inner`` is the room for words beside ``gutter``, the room for ways at their left; a node
    where no way begins or ends has both for words. ``tall`` chips have the address below the name.
    """

    inner: float
    gutter: float
    tall: bool

    def left(self, node: NodeBox) -> float:
        """Where a node's words begin, from its card's edge."""
        return PAD + (self.gutter if node.busy else 0)

    def room(self, node: NodeBox) -> float:
        """How wide a node's words may be."""
        return self.card - PAD - self.left(node)

    @property
    def card(self) -> float:
        """A node's width."""
        return self.inner + self.gutter + 2 * PAD

    @property
    def chip(self) -> float:
        """A pod's height."""
        return CHIP_TALL if self.tall else CHIP


def sizes(drawing: Drawing, lanes: int) -> Sizes:
    """One width for all nodes: what the longest words need, within limits."""
    nodes = [node for subnet in drawing.subnets.values() for node in subnet.nodes]
    pods = [pod for node in nodes for pod in node.pods]
    pad = 2 * CHIP_PAD + (4 if lanes else 0)
    beside = max((width(pod.key, POD) + 12 + width(pod.address, ADDRESS, mono=True) + pad
                  for pod in pods), default=0)
    widest = _WIDEST_OF_FEW if len(nodes) <= _FEW else _WIDEST
    tall = beside > widest
    needed = [_NARROWEST, *(_words(node) for node in nodes)]
    needed += [width(pod.key, POD) + pad for pod in pods] if tall else [beside]
    return Sizes(min(widest, max(needed)), lanes * LANE if lanes else 0, tall)


def _words(node: NodeBox) -> float:
    return max(width(node.name, NAME, bold=True),
               *(LABEL + width(value, FACT, mono=True) for _, value in node.facts),
               width(node.span, ADDRESS, mono=True) + 2 * CHIP_PAD)


def node_height(node: NodeBox, sizes: Sizes) -> float:
    """The height of a node's card."""
    height = HEAD + LINE * len(node.facts) + 8
    height += len(node.pods) * (sizes.chip + CHIP_GAP)
    return height + folded_height(node, sizes) + (PAD - CHIP_GAP if node.pods or node.folded else 4)


def folded_height(node: NodeBox, sizes: Sizes) -> float:
    """The height of the place that stands for the pods that are not listed."""
    if not node.folded:
        return 0
    rows = dot_rows(node, sizes)
    return 24 + rows * DOT + (5 if rows else 0) + (LINE if node.span else 4) + CHIP_GAP


def dot_columns(sizes: Sizes) -> int:
    """How many dots stand beside each other: tens, which are easy to count."""
    return int((sizes.inner - 2 * CHIP_PAD) / DOT) // 10 * 10


def dot_rows(node: NodeBox, sizes: Sizes) -> int:
    """Rows of dots for a node's folded pods; 0 when they are too many to be drawn."""
    rows = -(-node.folded // dot_columns(sizes))
    return rows if rows <= _MOST_DOT_ROWS else 0


def subnet_words(subnet: SubnetBox) -> float:
    """The width of a subnet's name and facts."""
    return max(width(subnet.name, NAME, bold=True), width(subnet.facts, FACT))


def router_size(router: RouterBox) -> tuple[float, float]:
    """Width and height of a router's card."""
    wide = max(_all(router)) + 2 * PAD
    lines = len(router.interfaces) + (1 if router.more else 0)
    return max(150.0, wide), HEAD + LINE * (lines + 1) + 8


def interface_column(router: RouterBox) -> float:
    """Where the names of the subnets begin, after the addresses."""
    return 10 + max((width(address, FACT, mono=True) for _, address in router.interfaces),
                    default=0)


def more(router: RouterBox) -> str:
    """What stands for the interfaces that are not listed."""
    return f"and {router.more} more interfaces"


def _all(router: RouterBox) -> Iterable[float]:
    yield width(router.name, NAME, bold=True)
    yield width(KNOWS if router.pod_routes else KNOWS_NOT, ADDRESS) + 16
    if router.more:
        yield width(more(router), ADDRESS + 0.5)
    column = interface_column(router)
    yield from (column + min(120.0, width(subnet, FACT)) for subnet, _ in router.interfaces)
