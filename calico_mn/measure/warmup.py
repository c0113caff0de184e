"""A first, discarded transfer on each path, and the rate that it moved at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from calico_mn.measure import iperf
from calico_mn.measure.conditions import conditions
from calico_mn.measure.paths import Pair

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet


def warm_up(net: CalicoNet, pairs: Mapping[str, Pair], modes: Sequence[str],
            needs_pod_routes: Callable[[str, Pair], bool]) -> dict[str, float]:
    """Path class -> rate in Mbit/s, in the first mode that connects the path's pair.

    A path whose pair no mode connects, with or without pod routes, is left out.
    """
    rates: dict[str, float] = {}
    for path, pair in pairs.items():
        for mode in modes:
            with conditions(net, mode, pair, pod_routes=needs_pod_routes(mode, pair)) as seen:
                if seen.reachable:
                    rates[path] = iperf.warm_up(net[pair.source.name], net[pair.destination.name])
                    break
    return rates
