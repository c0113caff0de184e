"""Whether a running cluster still is what it should be, and bringing it back."""

from __future__ import annotations

from calico_mn.calico import ownership
from calico_mn.difference import Difference
from calico_mn.emulation.filters import Places
from calico_mn.emulation.multipath import MultipathMininet
from calico_mn.emulation.watch import Watch
from calico_mn.present import Owned
from calico_mn.repair import Repair

#: how many things of a place are named in a sentence
_CLAUSES = 3


class VerifyingMininet(MultipathMininet):
    """The part of :class:`calico_mn.CalicoNet` that compares the kernel with what is wanted."""

    def verify(self, places: Places | None = None) -> tuple[Difference, ...]:
        """What differs between the wanted state and the kernel's, in these places or in all.

        Empty when all is well. Raises ClusterError for an unknown place.
        """
        return self.runtime.verify(self._chosen(places), self._owned())

    def repair(self, places: Places | None = None) -> Repair:
        """Bring these places, or all, back to the wanted state; what that took.

        A veth has two ends: where one was lost, the place at the other end is repaired as well.
        What cannot be repaired does not stop the rest: see ``remaining`` and ``failures``.
        """
        return self.runtime.repair(self._chosen(places), self._owned())

    def changed_by_hand(self) -> tuple[str, ...]:
        """What is not as wanted, in a few words by place: ``node31: eth0 is down``.

        At most three things of a place, and of those the causes: routes go with their device.
        """
        by_place: dict[str, list[str]] = {}
        for difference in self.verify():
            by_place.setdefault(difference.namespace, []).append(difference.clause)
        return tuple(f"{place}: {', '.join((self.runtime.damage(place) or clauses)[:_CLAUSES])}"
                     for place, clauses in by_place.items())

    def watch(self) -> Watch:
        """Begin to follow the kernel's notifications; see :class:`.watch.Watch`."""
        return Watch(lambda: list(self.runtime.states), self.runtime.inside, self.verify)

    def _chosen(self, places: Places | None) -> list[str]:
        return list(self.runtime.states) if places is None else self._names(places)

    def _owned(self) -> dict[str, Owned]:
        return dict.fromkeys(self.cluster.nodes, ownership.of_node(self.topology.pools))
