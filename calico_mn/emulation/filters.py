"""Packet filters on a running cluster: which packets a switch, router, node or pod drops.

In go places, kinds of packets and hooks; out come nftables rules in the places' namespaces, and how
many packets they lost. The net has one :class:`Filters` as ``net.filters``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from calico_mn.calico.encapsulation import ENCAPSULATIONS, Encapsulation
from calico_mn.emulation.base import LightMininet, Place, Places
from calico_mn.errors import CalicoMnError, ClusterError, UnsupportedError
from calico_mn.kernel import nftables
from calico_mn.packetmatch import Drop, Filter, Hook
from calico_mn.state import Bridge, Tunnel

Drops = Drop | Iterable[Drop]

EVERY_HOOK = frozenset(Hook)


class Filters:
    """The filters of a cluster. ``present`` is what is filtered now, by place that filters.

    ``on_change`` is told what began or ceased to be dropped anywhere.
    """

    def __init__(self, net: LightMininet, on_change: Callable[[Iterable[Drop]], None]) -> None:
        self._net = net
        self._on_change = on_change
        self.present: dict[str, Filter] = {}

    def set(self, places: Places, drops: Drops = (), *,
            hooks: Iterable[Hook | str] = EVERY_HOOK) -> None:
        """Drop packets of these kinds in these places, and no others; () lets all pass again.

        ``hooks`` narrows it to what enters a place (``input``), crosses it (``forward``) or is
        sent by it (``output``); a switch only ever has ``forward``. A kind that was lost there
        before at the same hooks goes on, and so does its counter.

        Raises ClusterError for an unknown place, UnsupportedError where nft or the kernel cannot
        do it. Then nothing has changed.
        """
        wanted = _filter(drops, hooks)
        self._apply(dict.fromkeys(self._net.names_of(places), wanted))

    def add(self, place: Place, drop: Drop) -> None:
        """Also drop packets of this kind in a place, at all hooks that see them.

        Raises as :meth:`set`.
        """
        (name,) = self._net.names_of(place)
        hooks = EVERY_HOOK - {Hook.OUTPUT} if self._unseen(name, drop) else EVERY_HOOK
        self._apply({name: {**self.present.get(name, {}), drop: hooks}})

    def hooks(self, name: str, drop: Drop) -> list[Hook]:
        """At which hooks a place drops packets of a kind now."""
        hooks = self.present.get(name, {}).get(drop, ())
        return [hook for hook in Hook if hook in hooks and (
            hook is Hook.FORWARD or not self._is_switch(name))]

    def remove(self, place: Place | None = None, drop: Drop | None = None) -> None:
        """Let packets of a kind, or of all kinds, pass again in a place, or in all places."""
        names = self._net.names_of(place) if place else [
            name for name in self.present if name in self._net.states]
        self._apply({name: {kind: hooks for kind, hooks in self.present.get(name, {}).items()
                            if drop not in (None, kind)} for name in names})

    @contextmanager
    def dropping(self, places: Places, *drops: Drop, hooks: Iterable[Hook | str] = EVERY_HOOK
                 ) -> Iterator[None]:
        """Also drop packets of these kinds in these places, until the block ends."""
        before = {name: self.present.get(name, {}) for name in self._net.names_of(places)}
        extra = _filter(drops, hooks)
        self._apply({name: {**present, **extra} for name, present in before.items()})
        try:
            yield
        finally:
            if self._net.runtime.is_open:
                self._apply({name: present for name, present in before.items()
                             if name in self._net.states})

    def dropped(self, place: Place) -> dict[Drop, int]:
        """How many packets of each kind this place has dropped since that filter was set."""
        (name,) = self._net.names_of(place)
        present = self.present.get(name)
        if not present:
            return {}
        return nftables.counts(self.nft(name, nftables.LIST_COUNTERS), present)

    def forget(self, names: Iterable[str]) -> None:
        """These namespaces are gone, and their filters with them."""
        for name in names:
            self.present.pop(name, None)

    def nft(self, name: str, command: Sequence[str], rules: str = "") -> str:
        """Run nft in a place; what it prints. Raises UnsupportedError, KernelError, ToolError."""
        nftables.require_nft()
        return self.run(name, command, rules)

    def change(self, name: str, lines: Sequence[str]) -> None:
        """Have nft carry out these lines in a place, and log them. Raises as :meth:`nft`."""
        self.nft(name, nftables.APPLY, "\n".join(lines) + "\n")
        logs = self._net.runtime.logs
        logs.note(name, [f"nft '{line}'" for line in lines])
        logs.flush()

    def run(self, name: str, command: Sequence[str], text: str = "") -> str:
        """Run a program of a packet filter in a place, as :meth:`nft` does."""
        return nftables.finish(name, self._net.runtime.spawn(
            name, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True, env={"LC_ALL": "C"}), text)

    def _apply(self, filters: Mapping[str, Filter]) -> None:
        before = {name: self.present.get(name, {}) for name in filters}
        for name, wanted in filters.items():
            self._refuse_unseen(name, wanted)
        try:
            for name, wanted in filters.items():
                self._write(name, wanted)
        except BaseException:
            for name, present in before.items():
                with suppress(CalicoMnError):
                    self._write(name, present)
            raise
        self._on_change({drop for name, wanted in filters.items()
                         for drop in {*wanted, *before[name]}
                         if wanted.get(drop) != before[name].get(drop)})

    def _write(self, name: str, wanted: Filter) -> None:
        """Drop packets in a namespace as ``wanted`` says, and no others.

        Raises UnsupportedError without nft or what it needs of the kernel, KernelError when the
        kernel refuses the rules; then all is as before.
        """
        lines = nftables.change(self.present.get(name, {}), wanted,
                                    is_switch=self._is_switch(name))
        if not lines:
            return
        self.change(name, lines)
        if wanted:
            self.present[name] = dict(wanted)
        else:
            del self.present[name]

    def _refuse_unseen(self, name: str, wanted: Filter) -> None:
        """A filter whose hook never sees its packets would count and drop none."""
        for drop, hooks in wanted.items():
            if Hook.OUTPUT in hooks and (unseen := self._unseen(name, drop)):
                raise UnsupportedError(
                    f"{name}: with the ebpf tunnel the {unseen} packets that a node sends do not"
                    " pass its OUTPUT hook; filter what it receives (hooks=[\"input\"]), or on its"
                    " switch or a router")

    def _unseen(self, name: str, drop: Drop) -> Encapsulation | None:
        """The encapsulation of which a place sends such packets past its OUTPUT hook."""
        runtime = self._net.runtime
        if runtime.tunnel.name != "ebpf" or not any(
                isinstance(device, Tunnel) and device.has_back_end
                for device in runtime.states[name].devices):
            return None
        return next((e for e in ENCAPSULATIONS if e.has_back_end
                     and drop.protocol == e.match.protocol), None)

    def _is_switch(self, name: str) -> bool:
        return any(isinstance(device, Bridge) for device in self._net.states[name].devices)


def _filter(drops: Drops, hooks: Iterable[Hook | str]) -> Filter:
    try:
        wanted = frozenset(map(Hook, [hooks] if isinstance(hooks, str) else hooks))
    except ValueError as error:
        raise ClusterError(f"{error}; hooks: {', '.join(Hook)}") from None
    return {drop: wanted for drop in ([drops] if isinstance(drops, Drop) else drops)}
