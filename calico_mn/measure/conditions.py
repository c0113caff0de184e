"""The conditions of one trial: mode and fabric, set on the running cluster and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calico_mn.measure import ping
from calico_mn.measure.paths import Pair
from calico_mn.measure.readings import PLAIN, POD_ROUTES
from calico_mn.measure.wire import Wire

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet


@dataclass(frozen=True, slots=True)
class Conditions:
    """What held during a trial: the fabric, an answer to ping, what the wire showed of it."""

    fabric: str
    reachable: bool
    encapsulated: bool | None


@contextmanager
def conditions(net: CalicoNet, mode: str, pair: Pair, *, pod_routes: bool
               ) -> Iterator[Conditions]:
    """Set the mode, and the pods' routes in the fabric if asked for; look before measuring.

    The fabric is as the topology says again afterwards. The captures are closed before the
    trial begins: they would cost it time.
    """
    if pod_routes:
        net.set_pod_routes(True)
    try:
        net.set_ipip_mode(mode)
        with Wire(net, [pair.source.node]) as wire:
            reachable = ping.answers(net[pair.source.name], pair.destination.ip)
            wire.drain()
            encapsulated = wire.encapsulated(pair)
        yield Conditions(POD_ROUTES if pod_routes else PLAIN, reachable, encapsulated)
    finally:
        if pod_routes:
            net.set_pod_routes(False)
