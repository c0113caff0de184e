"""Equal-cost routes: which header fields the routers hash to choose a path.

The net has one :class:`Multipath` as ``net.multipath``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from calico_mn.delta import Delta
from calico_mn.emulation.base import Places
from calico_mn.emulation.membership import ClusterMininet
from calico_mn.errors import ClusterError
from calico_mn.kernel.ebpf import program
from calico_mn.model import MultipathHash
from calico_mn.state import Namespace


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
