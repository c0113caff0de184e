"""Routers in tiers above the subnets, each over what it joins. Pure arithmetic.

Those with a leg in a drawn subnet stand lowest, above them those that only other routers reach.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from calico_mn.report.drawing import cards
from calico_mn.report.drawing.plan import Box, RouterPlace, SubnetPlace
from calico_mn.report.drawing.scene import Scene

_ROUTERS_APART = 36.0


def place(scene: Scene, subnets: dict[str, SubnetPlace]) -> dict[str, RouterPlace]:
    """Routers by name, from the lowest tier upwards: tier, x and size; no height yet."""
    tiers = _tiers(scene, subnets)
    places: dict[str, RouterPlace] = {}
    middle = max((place.box.right for place in subnets.values()), default=0) / 2
    for tier in sorted(set(tiers.values())):
        wanted = []
        for router in scene.routers:
            if tiers[router.name] != tier:
                continue
            below = [subnets[name].box.middle for name in router.subnets if name in subnets]
            below += [places[other].box.middle for other in _neighbours(scene, router.name)
                      if other in places and places[other].tier < tier]
            wanted.append((sum(below) / len(below) if below else middle, router))
        wanted.sort(key=lambda pair: pair[0])
        sized = [(x, *cards.router_size(router)) for x, router in wanted]
        for x, (_, router), (_, wide, high) in zip(_apart(sized), wanted, sized, strict=True):
            places[router.name] = RouterPlace(router, Box(x, 0, wide, high), tier)
    return places


def _tiers(scene: Scene, subnets: dict[str, SubnetPlace]) -> dict[str, int]:
    """0 for a router in a drawn subnet, else one more than the nearest neighbour's."""
    tiers = {router.name: 0 for router in scene.routers
             if any(name in subnets for name in router.subnets)}
    queue = deque(tiers)
    while queue:
        here = queue.popleft()
        for other in _neighbours(scene, here):
            if other not in tiers:
                tiers[other] = tiers[here] + 1
                queue.append(other)
    return {router.name: tiers.get(router.name, 0) for router in scene.routers}


def _neighbours(scene: Scene, router: str) -> list[str]:
    return [two if one == router else one for _, one, two in scene.cables if router in (one, two)]


def _apart(sized: Sequence[tuple[float, float, float]]) -> list[float]:
    """Left edges near the wanted middles, without overlap: half way between two sweeps."""
    rightwards, edge = [], float("-inf")
    for x, wide, _ in sized:
        rightwards.append(max(x - wide / 2, edge))
        edge = rightwards[-1] + wide + _ROUTERS_APART
    leftwards, edge = [], float("inf")
    for x, wide, _ in reversed(sized):
        leftwards.append(min(x - wide / 2, edge - wide))
        edge = leftwards[-1] - _ROUTERS_APART
    return [(one + other) / 2 for one, other in zip(rightwards, reversed(leftwards), strict=True)]
