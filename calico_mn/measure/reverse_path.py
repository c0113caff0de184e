"""The nodes' reverse path filter: what it drops, and what it should drop in a mixed cluster.

In goes a change of the encapsulation mode by one node alone; out comes what stays of a pair's
traffic by the rules of Linux and Felix, or of the packets that were lost in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from calico_mn.calico.encapsulation import DEFAULT, DELETED_WHEN_OFF, Encapsulation
from calico_mn.errors import ToolError
from calico_mn.kernel.read import protocol_counters
from calico_mn.measure import flows
from calico_mn.measure.paths import CROSS_SUBNET, PATHS
from calico_mn.measure.readings import Measurement, Reading, by_factors, by_repeat, metric
from calico_mn.model import EncapsulationMode

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

RP_DROPPED = metric("rp_dropped", "packets",
                    "packets that a node's reverse path filter dropped", more_is_better=False)
FILTERS = {0: "off", 1: "strict", 2: "loose"}
#: what becomes of a pair of pods for good: both directions go on, none does, or one of them, seen
#: from the node that follows alone; or some packets are lost for good
LIVES, DIES, ONLY_FROM, ONLY_TO, PARTLY = "lives", "dies", "only from", "only to", "loses some"

#: in place of a verdict: repeats do not agree
VARIES = "varies"

_RP_FILTER = "TcpExt.IPReversePathFilter"
#: shares of packets lost long after the change that count as none and as all
_NONE, _ALL = 0.01, 0.99
ALWAYS, CROSS, NEVER = (mode.value for mode in EncapsulationMode)


def drops(net: CalicoNet, name: str) -> int:
    """Packets since a namespace was made that failed its reverse path filter (rp_filter).

    The counter is LINUX_MIB_IPRPFILTER (net/ipv4/route.c, net/ipv4/ip_input.c); a namespace has
    its own. Raises ToolError when the kernel does not show it.
    """
    counters = net.inside(name, protocol_counters)
    if _RP_FILTER not in counters:
        raise ToolError(f"{name}: /proc/net/netstat shows no {_RP_FILTER}")
    return counters[_RP_FILTER]


class Drops:
    """The nodes' counts at this moment, and what each filter drops from then on."""

    def __init__(self, net: CalicoNet) -> None:
        self._net = net
        self._before = {node.name: drops(net, node.name) for node in net.nodes}

    def since(self) -> dict[str, Measurement]:
        """Node -> its packets since then. Raises ToolError as :func:`drops` does."""
        return {name: Measurement({RP_DROPPED: drops(self._net, name) - before})
                for name, before in self._before.items()}


def verdict(out: float, back: float) -> str:
    """A word for the shares that are lost of what a node that changed alone sends, and gets."""
    if not all(share <= _NONE or share >= _ALL for share in (out, back)):
        return PARTLY
    return {(False, False): LIVES, (True, True): DIES, (False, True): ONLY_FROM,
            (True, False): ONLY_TO}[out >= _ALL, back >= _ALL]


def expected(before: str, after: str, rp_filter: int, path: str,
             encapsulation: Encapsulation = DEFAULT) -> str:
    """What stays of a pair's traffic when one end's node alone goes from ``before`` to ``after``.

    By fib_validate_source() in Linux' net/ipv4/fib_frontend.c: the strict filter wants the way
    back to leave by the device that the packet came by. The loose one is content with any way
    back, but where the device has no address it falls through to the strict answer; Felix takes
    tunl0's address away in Never (felix/dataplane/linux/ipip_mgr.go). With VXLAN a node in Never
    has no VTEP, and no other node a route to it by its tunnel (vxlan_mgr.go): the default route
    takes the packets to routers that know the pods.
    """
    out, back = (mode == ALWAYS or (mode == CROSS and path == CROSS_SUBNET)
                 for mode in (after, before))
    if out == back or rp_filter == 0 or (
            encapsulation in DELETED_WHEN_OFF and NEVER in (before, after)):
        return LIVES
    if rp_filter == 1:
        return DIES
    if out and before == NEVER:
        return ONLY_TO
    return ONLY_FROM if back and after == NEVER else LIVES


#: the mode before and after, who follows, and the reverse path filter
Key = tuple[str, str, str, int]
#: the readings of what filters dropped
Counted = Mapping[Key, Sequence[Reading]]


@dataclass(frozen=True)
class Case:
    """What a path saw of a change of mode by ``followers``: the readings of its streams.

    Where one node follows alone, it is ``node``, and ``source`` is its pod.
    """

    readings: tuple[Reading, ...]
    node: str
    source: str
    before: str
    after: str
    followers: str
    rp_filter: int
    path: str

    @property
    def key(self) -> Key:
        """What other paths have in common with this one."""
        return self.before, self.after, self.followers, self.rp_filter

    @property
    def change(self) -> str:
        """``Always to Never``."""
        return f"{self.before} to {self.after}"

    @property
    def lost(self) -> list[int]:
        """Packets lost in both directions, a number for each repeat."""
        return [*map(int, by_repeat(self.readings, flows.LOST).values())]

    @cached_property
    def verdict(self) -> str:
        """What stays of the traffic, by the lasting loss of both directions in each repeat."""
        shares = [by_repeat([reading for reading in self.readings if is_out is (
            reading.setting["source"] == self.source)], flows.LASTING_LOSS)
            for is_out in (True, False)]
        words = {verdict(*(each.get(repeat, 0.0) for each in shares))
                 for repeat in {reading.repeat for reading in self.readings}}
        return VARIES if len(words) > 1 else words.pop()

    @property
    def words(self) -> str:
        """The verdict, with the node's name where it needs one: ``only from node31``."""
        is_one_way = self.verdict in (ONLY_FROM, ONLY_TO)
        return f"{self.verdict} {self.node}" if is_one_way else self.verdict

    def is_expected(self, encapsulation: Encapsulation) -> bool:
        """Whether that is what the rules say of a node that changes alone."""
        return self.verdict == expected(self.before, self.after, self.rp_filter, self.path,
                                        encapsulation)


def cases(readings: Iterable[Reading], node: str, pairs: Mapping[str, Sequence[str]]
          ) -> list[Case]:
    """The streams' readings by change, path and filter. ``pairs``: path -> pods, node's first."""
    groups = by_factors(readings, "before", "after", "followers", "rp_filter", "path")
    return sorted((Case(some, node, pairs[levels[-1]][0], *levels)
                   for levels, some in groups.items()),
                  key=lambda case: (case.change, PATHS.index(case.path), case.rp_filter))


def rule(rp_filter: int, encapsulation: Encapsulation) -> str:
    """Why a node that changes alone loses what it loses."""
    is_deleted = encapsulation in DELETED_WHEN_OFF
    if rp_filter == 0:
        return "no packet is refused"
    if rp_filter == 1:
        return ("a packet is refused if the way back to its sender leaves by another device, so"
                " both directions die where one end tunnels and the other does not"
                + (f"; a node in Never has no {encapsulation.device}, and no node tunnels to it"
                   if is_deleted else ""))
    if is_deleted:
        return (f"a packet is refused only if it comes in by a device that has no address, and"
                f" {encapsulation.device} has one as long as it is there")
    return ("a packet is refused only if it comes in by a device that has no address, as"
            f" {encapsulation.device} has none on a node in Never, so what is tunnelled to such a"
            " node dies")
