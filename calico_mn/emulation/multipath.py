"""Equal ways through the fabric: what routers look at to choose one of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from calico_mn.calico.cluster import Cluster
from calico_mn.delta import Delta
from calico_mn.emulation.filters import FilteringMininet, Places
from calico_mn.errors import ClusterError
from calico_mn.model import OUTER_FIELDS, MultipathHash
from calico_mn.state import Namespace


class MultipathMininet(FilteringMininet):
    """The part of :class:`calico_mn.CalicoNet` that is about routers with several equal ways."""

    cluster: Cluster

    @abstractmethod
    def _router_states(self) -> list[Namespace]:
        """What the routers' namespaces should hold."""

    def set_multipath_hash(self, policy: int, fields: int = OUTER_FIELDS,
                           routers: Places | None = None) -> tuple[Delta, ...]:
        """Change what routers (all of them unless named) choose a way by, while traffic flows.

        ``policy`` and ``fields`` are as in :class:`calico_mn.model.MultipathHash`. Returns the
        changes that it took. Raises ClusterError for numbers that there are not, KernelError
        where the kernel is too old for them.
        """
        if policy not in range(4) or not 1 <= fields <= 0x0FFF:
            raise ClusterError(f"there is no multipath hash policy {policy} with fields"
                               f" {fields:#06x}: policies are 0 to 3, fields 1 to 0x0fff")
        chosen = self._router_names(routers)
        before = dict(self.cluster.multipath_hashes)
        self.cluster.multipath_hashes.update(
            dict.fromkeys(chosen, MultipathHash(policy, fields)))
        try:
            return self.runtime.change(self._router_states())
        except BaseException:
            self.cluster.multipath_hashes = before
            raise

    @contextmanager
    def forgetting_flow_hashes(self, routers: Places | None = None) -> Iterator[None]:
        """Let routers (all unless named) see packets as they would come from a real cable.

        Between namespaces a packet keeps the hash of the socket that sent it, through tunnels
        too, and policy 1 uses it: flows spread that look alike on the wire. Inside the block
        each router forgets it on receiving. Raises UnsupportedError where the kernel cannot.
        """
        erased: list[str] = []
        try:
            for name in self._router_names(routers):
                if name not in self.runtime.without_flow_hashes:
                    self.runtime.erase_flow_hashes(name, True)
                    erased.append(name)
            yield
        finally:
            if self.runtime.is_open:
                for name in erased:
                    self.runtime.erase_flow_hashes(name, False)

    def _router_names(self, routers: Places | None) -> list[str]:
        known = [router.name for router in self.routers]
        if routers is None:
            return known
        names = self._names(routers)
        for name in names:
            if name not in known:
                raise ClusterError(f"{name} is no router; routers: {', '.join(known) or 'none'}")
        return names
