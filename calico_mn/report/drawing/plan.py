"""What a laid out drawing is: boxes in pixels for subnets, nodes and routers, lines for cables.

Only what it is, and the distances that several parts keep. Who puts what where: ``columns``
(subnets and nodes), ``tiers`` (routers), ``cables``, and ``layout`` over them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from calico_mn.report.drawing import cards
from calico_mn.report.drawing.cards import Sizes
from calico_mn.report.drawing.scene import NodeBox, RouterBox, SubnetBox

#: pixels, around everything
MARGIN = 20.0
#: pixels from a subnet's upper edge to the line that stands for its switch
BUS = 58.0
#: pixels between the lines that join two routers of one tier
ARC = 13.0

Point = tuple[float, float]


@dataclass(slots=True)
class Box:
    """A place: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float

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
class NodePlace:
    """A node's card; ``row`` and ``column`` count within its subnet."""

    node: NodeBox
    box: Box
    row: int
    column: int

    def chip(self, position: int, found: Sizes) -> Box:
        """The place of a listed pod."""
        top = self.box.y + cards.HEAD + cards.LINE * len(self.node.facts) + 8
        return Box(self.box.x + found.left(self.node),
                   top + position * (found.chip + cards.CHIP_GAP), found.room(self.node),
                   found.chip)


@dataclass(slots=True)
class SubnetPlace:
    """A subnet; ``entries`` tells for each router where its cable meets the bus."""

    subnet: SubnetBox
    box: Box
    row: int
    nodes: list[NodePlace]
    entries: dict[str, float] = field(default_factory=dict)

    @property
    def bus(self) -> float:
        """The height of the line that stands for the switch."""
        return self.box.y + BUS


@dataclass(slots=True)
class RouterPlace:
    """A router's card; ``below`` and ``above`` tell where the cable of a subnet leaves it."""

    router: RouterBox
    box: Box
    tier: int
    below: dict[str, float] = field(default_factory=dict)
    above: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """The whole drawing.

    ``cables`` are lines by (router, subnet); between routers, by the lower one and the transit
    subnet.
    """

    sizes: Sizes
    width: float
    height: float
    subnets: dict[str, SubnetPlace]
    routers: dict[str, RouterPlace]
    cables: dict[tuple[str, str], list[Point]]
