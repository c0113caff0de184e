"""The neighbour table's limit, which all namespaces of a machine share and its owner sets.

Above ``gc_thresh3`` entries the kernel refuses new ones (neigh_alloc in net/core/neighbour.c), and
packets get lost. It is only read here, unless somebody asks for it to be raised.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from calico_mn.errors import UnsupportedError
from calico_mn.model import Topology

SYSCTL = "net.ipv4.neigh.default.gc_thresh3"
PATH = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")


def expected(topology: Topology) -> int:
    """The entries of a cluster in which everybody talks to everybody.

    Two for each pod (it knows its gateway, its node knows it), and on each subnet one for each pair
    of nodes or routers, in either direction.
    """
    count = 2 * len(topology.pods)
    for subnet in topology.underlay.subnets:
        members = sum(node.address.ip in subnet.cidr for node in topology.nodes) + sum(
            foot.subnet == subnet.name for router in topology.underlay.routers
            for foot in router.interfaces)
        count += members * (members - 1)
    return count


def limit(path: Path = PATH) -> int | None:
    """The limit now; None where it cannot be read."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def warning(topology: Topology, path: Path = PATH) -> str | None:
    """What to tell the person if the cluster may need more entries than the limit allows."""
    allowed, needed = limit(path), expected(topology)
    if allowed is None or needed <= allowed:
        return None
    return (f"if all talk to all, this cluster needs {needed:,} neighbour entries, and the machine"
            f" allows {allowed:,} in all namespaces together; beyond, packets get lost. To raise"
            f" it: sysctl -w {SYSCTL}={2 * needed}")


class Raised:
    """The limit raised to what a cluster may need, until :meth:`restore`.

    Raises UnsupportedError where it cannot be written.
    """

    def __init__(self, topology: Topology, path: Path = PATH) -> None:
        self._path = path
        self._before = limit(path)
        self._value: int | None = None
        needed = 2 * expected(topology)
        if self._before is None or self._before >= needed:
            return
        try:
            path.write_text(f"{needed}\n", encoding="ascii")
        except OSError as error:
            raise UnsupportedError(f"{SYSCTL} cannot be raised: {error.strerror}") from error
        self._value = needed

    def restore(self) -> None:
        """Give back the value from before, unless somebody else has set another one since."""
        if self._value is not None and limit(self._path) == self._value:
            with suppress(OSError):
                self._path.write_text(f"{self._before}\n", encoding="ascii")
        self._value = None
