"""Packet filters on a running cluster: what a switch, router, node or pod loses on purpose."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from calico_mn.emulation.base import LightMininet
from calico_mn.emulation.node import NamespaceNode
from calico_mn.emulation.runtime import Runtime
from calico_mn.errors import CalicoMnError, ClusterError, UnsupportedError
from calico_mn.state import PROTOCOL_IPIP, Drop, Filter, Hook

#: one of the cluster's nodes, pods, routers or switches, or its name
Place = str | NamespaceNode
Places = Place | Iterable[Place]
Drops = Drop | Iterable[Drop]

EVERY_HOOK = frozenset(Hook)


class FilteringMininet(LightMininet):
    """The part of :class:`calico_mn.CalicoNet` that filters packets."""

    @property
    @abstractmethod
    def runtime(self) -> Runtime:
        """The run behind the cluster."""

    def set_filter(self, places: Places, drops: Drops = (), *,
                   hooks: Iterable[Hook | str] = EVERY_HOOK) -> None:
        """Let these places lose packets of these kinds, and no others; () lets all pass again.

        ``hooks`` narrows it to what enters a place (``input``), crosses it (``forward``) or is
        sent by it (``output``); a switch only ever has ``forward``. A kind that was lost there
        before at the same hooks goes on, and so does its counter.

        Raises ClusterError for an unknown place, UnsupportedError where nft or the kernel cannot
        do it. Then nothing has changed.
        """
        wanted = self._filter(drops, hooks)
        self._apply({name: wanted for name in self._names(places)})

    @contextmanager
    def dropping(self, places: Places, *drops: Drop, hooks: Iterable[Hook | str] = EVERY_HOOK
                 ) -> Iterator[None]:
        """Let places lose packets of these kinds as well, until the block ends."""
        before = {name: self._present(name) for name in self._names(places)}
        extra = self._filter(drops, hooks)
        self._apply({name: {**present, **extra} for name, present in before.items()})
        try:
            yield
        finally:
            if self.runtime.is_open:
                self._apply({name: present for name, present in before.items()
                             if name in self.runtime.states})

    def dropped(self, place: Place) -> dict[Drop, int]:
        """How many packets of each kind this place has lost since that filter was set."""
        (name,) = self._names(place)
        return self.runtime.dropped(name)

    def _present(self, name: str) -> Filter:
        return self.runtime.filters.get(name, {})

    def _filter(self, drops: Drops, hooks: Iterable[Hook | str]) -> Filter:
        try:
            wanted = frozenset(map(Hook, [hooks] if isinstance(hooks, str) else hooks))
        except ValueError as error:
            raise ClusterError(f"{error}; hooks: {', '.join(Hook)}") from None
        return {drop: wanted for drop in ([drops] if isinstance(drops, Drop) else drops)}

    def _names(self, places: Places) -> list[str]:
        items = [places] if isinstance(places, (str, NamespaceNode)) else places
        try:
            return [self[item].name if isinstance(item, str) else item.name for item in items]
        except KeyError as error:
            raise ClusterError(str(error.args[0])) from None

    def _apply(self, filters: Mapping[str, Filter]) -> None:
        before = {name: self._present(name) for name in filters}
        for name, wanted in filters.items():
            self._refuse_unseen(name, wanted)
        try:
            for name, wanted in filters.items():
                self.runtime.filter(name, wanted)
        except BaseException:
            for name, present in before.items():
                with suppress(CalicoMnError):
                    self.runtime.filter(name, present)
            raise

    def _refuse_unseen(self, name: str, wanted: Filter) -> None:
        """A filter that cannot see the packets that it is for would be a lie."""
        tunnelled = any(drop.protocol == PROTOCOL_IPIP for drop in wanted)
        if tunnelled and self.runtime.tunnel.name == "ebpf" and self.runtime.has_tunnel(name):
            raise UnsupportedError(
                f"{name}: with the ebpf tunnel a node's own IPIP packets pass none of its hooks;"
                " filter them in its switch or in a router")
