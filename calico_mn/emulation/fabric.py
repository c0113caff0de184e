"""The fabric of a running cluster, changed: its links, and which header fields its routers hash.

In go one end of a link and what it is to be (slower, with delay or loss, pulled out, plugged in
again); out come the states of the two namespaces at its ends, and nftables' random drop where the
kernel has no netem for a loss::

    node31 --eth0 ---- node31-- rack-a        web-0 --eth0 ---- cali1234-- node31
            its own end  the switch's                  its own end  the node's

A link is called by its own end, ``node31:eth0``. What is set holds for both directions, and is part
of the wanted state: ``verify`` does not report it, and ``repair`` keeps it. The net has one
:class:`Impairments` as ``net.impairments``, and one :class:`Multipath` as ``net.multipath`` for the
routers that choose between equal-cost routes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from calico_mn.calico.underlay import with_links
from calico_mn.delta import Delta
from calico_mn.emulation import plan
from calico_mn.emulation.base import Places
from calico_mn.emulation.mininet import DeviceIntf, DeviceLink
from calico_mn.errors import CalicoMnError, ClusterError, UnsupportedError
from calico_mn.kernel import nftables
from calico_mn.kernel.ebpf import program
from calico_mn.kernel.namespaces import lacks_netem
from calico_mn.model import Link, MultipathHash
from calico_mn.state import Namespace
from calico_mn.text import join, join_some, suggest

if TYPE_CHECKING:
    from calico_mn.emulation.membership import ClusterMininet

#: Mbit/s, ms and percent
_BOUNDS = {"rate": (1e-3, 1e6), "delay": (0, 1e4), "jitter": (0, 1e4), "loss": (0, 100),
           "reorder": (0, 100)}

#: place and device of a link's own end
End = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """A link: its own end, the switch's or node's (``far``), and what it is now.

    ``is_changed`` tells whether it was set after the boot, ``by_nftables`` what loses packets.
    """

    end: End
    far: End
    link: Link
    is_changed: bool
    by_nftables: bool


class Impairments:
    """What was changed of the links of the cluster of ``net`` since its boot."""

    def __init__(self, net: ClusterMininet) -> None:
        self._net = net
        #: as it was asked for; ``cluster.links`` has it less what nftables does
        self.present: dict[End, Link] = {}
        self._random: dict[End, float] = {}

    def set(self, end: str, other: str = "", /, **changes: float | bool | None
            ) -> tuple[Delta, ...]:
        """Change a link's fields of :class:`~calico_mn.model.Link`; the others stay.

        ``end`` is ``NODE:DEVICE`` at either end, or a place with one link of its own; ``other``
        is the place at the link's other end. Both directions change. Returns the changes that it
        took. Raises ClusterError for what is no link, UnsupportedError for a delay, a jitter or
        a reordering on a kernel without netem; then nothing has changed.
        """
        own, far = self._find(end, other)
        for name, (least, most) in _BOUNDS.items():
            value = changes.get(name)
            if value is not None and not least <= value <= most:
                raise ClusterError(f"{_name(own)}: {name} {value:g} is not between {least:g} and"
                                   f" {most:g}")
        link = replace(self._current(own, far), **changes)  # type: ignore[arg-type]
        lacking = ""
        if link.delay or link.jitter or link.reorder or link.loss:
            lacking = self._net.inside(far.node.name, lacks_netem)
        if lacking and (link.delay or link.jitter or link.reorder):
            names = [name for name in ("delay", "jitter", "reorder") if getattr(link, name)]
            raise UnsupportedError(
                f"{_name(own)}: no {join(names, 'and no')} here, because this kernel has no netem"
                f" (module sch_netem): {lacking}. A rate (tbf) and a loss (nftables) work")
        if link.reorder and not link.delay:
            raise ClusterError(f"{_name(own)}: reorder needs a delay, which some packets skip")
        return self._become({own: None if link == self._declared(far) else link}, lacking)

    def reset(self, end: str = "") -> tuple[Delta, ...]:
        """Let a link, or all of them, be as the topology says again."""
        ends = [self._find(end, "")[0]] if end else [
            own for own, _ in self._ends() if _end(own) in self.present]
        return self._become(dict.fromkeys(ends))

    def status(self, end: str, other: str = "") -> LinkStatus:
        """A link by an end, as :meth:`set` takes it."""
        return self._status(*self._find(end, other))

    def all(self) -> tuple[LinkStatus, ...]:
        """Every link, the underlay's first."""
        return tuple(self._status(own, far) for own, far in self._ends())

    def _status(self, own: DeviceIntf, far: DeviceIntf) -> LinkStatus:
        return LinkStatus(_end(own), _end(far), self._current(own, far), _end(own) in self.present,
                          self._random.get(_end(own), 0) > 0)

    def repaired(self) -> None:
        """Lose packets also where a repair made a device again: nftables' hooks go with it."""
        for own, far in self._ends():
            if percent := self._random.get(_end(own), 0):
                self._write_loss(far, percent)

    def forget(self, names: Collection[str]) -> None:
        """These namespaces are gone, and their links with them."""
        for end in [end for end in self.present if end[0] in names]:
            del self.present[end]
            self._net.cluster.links.pop(end, None)
            self._random.pop(end, None)

    def _become(self, links: dict[DeviceIntf, Link | None], lacking: str = ""
                ) -> tuple[Delta, ...]:
        """Set links; None is as the topology has it. ``lacking``: why there is no netem."""
        net, cluster = self._net, self._net.cluster
        before, losses = dict(cluster.links), dict(self._random)
        far_of = dict(self._ends())
        try:
            for own, link in links.items():
                cluster.links.pop(_end(own), None)
                if link is not None:
                    cluster.links[_end(own)] = replace(link, loss=None) if lacking else link
                self._lose(own, far_of[own], link.loss or 0 if link and lacking else 0)
            changes = net.runtime.writer.change(self._states(
                {intf.node.name for own in links for intf in (own, far_of[own])}))
        except BaseException:
            cluster.links = before
            for own in links:
                with suppress(CalicoMnError):
                    self._lose(own, far_of[own], losses.get(_end(own), 0))
            raise
        for own, link in links.items():
            self.present.pop(_end(own), None)
            if link is not None:
                self.present[_end(own)] = link
        net.follow_routes()
        return changes

    def _lose(self, own: DeviceIntf, far: DeviceIntf, percent: float) -> None:
        """Drop so many percent of the packets at random, in both directions, and no others."""
        if percent == self._random.get(_end(own), 0):
            return
        self._write_loss(far, percent)
        self._random[_end(own)] = percent

    def _write_loss(self, far: DeviceIntf, percent: float) -> None:
        self._net.filters.change(far.node.name, nftables.random_drop(far.name, percent))

    def _states(self, names: Collection[str]) -> list[Namespace]:
        """The wanted states of these places, with the links as they are to be."""
        net, cluster = self._net, self._net.cluster
        hosts = plan.announced_states(cluster, net.distributor, net.states)
        return [*(state for state in hosts if state.name in names),
                *(with_links(cluster.pod_state(key), cluster.links)
                  for key in cluster.endpoints if key in names)]

    def _current(self, own: DeviceIntf, far: DeviceIntf) -> Link:
        """What a link is: as it was set, or as the topology says."""
        return self.present.get(_end(own)) or self._declared(far)

    def _declared(self, far: DeviceIntf) -> Link:
        """What the topology says of a link: that of a pod has no settings there."""
        return next((subnet.link for subnet in self._net.topology.underlay.subnets
                     if subnet.name == far.node.name), Link())

    def _ends(self) -> Iterable[tuple[DeviceIntf, DeviceIntf]]:
        """Both ends of every link, the own one first, pods' links last."""
        pods = self._net.cluster.endpoints
        links: list[DeviceLink] = sorted(
            self._net.links, key=lambda link: link.intf1.node.name in pods)
        return [(link.intf1, link.intf2) for link in links]

    def _find(self, end: str, other: str) -> tuple[DeviceIntf, DeviceIntf]:
        """The link with this end. Raises ClusterError that names the links of the place."""
        place, _, device = end.rpartition(":") if ":" in end else (end, "", "")
        (name,) = self._net.names_of(place)
        of_place = [pair for pair in self._ends() if name in {intf.node.name for intf in pair}]
        if other:
            (peer,) = self._net.names_of(other.partition(":")[0])
            of_place = [pair for pair in of_place if peer in {intf.node.name for intf in pair}]
        matches = [pair for pair in of_place if any(
            (intf.node.name, intf.name) == (name, device) for intf in pair)] if device else [
            pair for pair in of_place if other or pair[0].node.name == name]
        if len(matches) == 1:
            return matches[0]
        names = [_name(intf) for pair in of_place for intf in pair if intf.node.name == name]
        if other and not matches:
            raise ClusterError(f"there is no link between {place} and {other}")
        near = suggest(f"{name}:{device}", names) if device else ""
        raise ClusterError(
            f"{end} has {len(matches)} links: say which of {join_some(names, 6)}" if matches else
            f"{name} has no link {device or 'of its own'}: "
            + (f"did you mean {near}?" if near else f"it has {join_some(names, 6) or 'none'}"))


def _end(intf: DeviceIntf) -> End:
    return intf.node.name, intf.name


def _name(intf: DeviceIntf) -> str:
    return ":".join(_end(intf))


# --- routers with several equal ways


class Multipath:
    """The routers with several equal ways. ``router_states`` says what they should hold."""

    def __init__(self, net: ClusterMininet, router_states: Callable[[], list[Namespace]]) -> None:
        self._net = net
        self._router_states = router_states
        self._without_flow_hashes: set[str] = set()

    def set_hash(self, policy: int, fields: int, routers: Places | None) -> tuple[Delta, ...]:
        """Change what routers (all of them unless named) choose a way by, while traffic flows.

        ``policy`` and ``fields`` are as in :class:`calico_mn.model.MultipathHash`. Returns the
        changes that it took. Raises ClusterError for numbers out of range, KernelError
        where the kernel is too old for them.
        """
        if policy not in range(4) or not 1 <= fields <= 0x0FFF:
            raise ClusterError(f"there is no multipath hash policy {policy} with fields"
                               f" {fields:#06x}: policies are 0 to 3, fields 1 to 0x0fff")
        chosen = self._router_names(routers)
        before = dict(self._net.cluster.multipath_hashes)
        self._net.cluster.multipath_hashes.update(
            dict.fromkeys(chosen, MultipathHash(policy, fields)))
        try:
            return self._net.runtime.writer.change(self._router_states())
        except BaseException:
            self._net.cluster.multipath_hashes = before
            raise

    @contextmanager
    def without_flow_hashes(self, routers: Places | None) -> Iterator[None]:
        """Let routers (all unless named) see packets as they would come from a real cable.

        Between namespaces a packet keeps the hash of the socket that sent it, through tunnels
        too, and policy 1 uses it: flows spread that look alike on the wire. Inside the block
        each router forgets it on receiving. Raises UnsupportedError where the kernel cannot.
        """
        cleared: list[str] = []
        try:
            for name in self._router_names(routers):
                if name not in self._without_flow_hashes:
                    self._clear_flow_hashes(name, True)
                    cleared.append(name)
            yield
        finally:
            if self._net.runtime.is_open:
                for name in cleared:
                    self._clear_flow_hashes(name, False)

    def _clear_flow_hashes(self, name: str, clear: bool) -> None:
        """Let a router's devices clear flow hashes, or keep them; see kernel.ebpf.program."""
        runtime = self._net.runtime
        namespace = runtime.namespace(name)
        devices = [device.name for device in runtime.states[name].devices]
        indexes = [namespace.index(device) for device in devices]
        runtime.inside(name, program.clear_flow_hashes if clear
                       else program.keep_flow_hashes, indexes)
        (self._without_flow_hashes.add if clear else self._without_flow_hashes.discard)(name)
        hook = "ingress bpf da forget/flow_hash"
        runtime.logs.note(name, [line for device in devices for line in (
            [f"tc qdisc add dev {device} clsact", f"tc filter add dev {device} {hook}"]
            if clear else [f"tc qdisc del dev {device} clsact"])])
        runtime.logs.flush()

    def _router_names(self, routers: Places | None) -> list[str]:
        known = [router.name for router in self._net.routers]
        if routers is None:
            return known
        names = self._net.names_of(routers)
        for name in names:
            if name not in known:
                raise ClusterError(f"{name} is no router; routers: {', '.join(known) or 'none'}")
        return names
