"""Which runs need a higher neighbour-table limit, and what the machine's own is. Pure.

The limit is one number for the whole machine, and runs come, go and are killed in any order. So
the runs share a ledger; what the limit should be follows from it. Where it is kept, and the limit
itself, are :mod:`calico_mn.kernel.neighbour_table`'s business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Ledger:
    """``own`` is the limit as the machine's owner set it; ``needs`` the entries by run.

    ``ours`` are the values that the limit can have unless somebody else has set it since: the one
    that was to be written and the one before, since a kill may strike between note and deed.
    """

    own: int
    needs: Mapping[str, int]
    ours: tuple[int, ...]

    @property
    def target(self) -> int:
        """What the limit is to be; written after the ledger is."""
        return self.ours[-1]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to be done or remembered."""
        return not self.needs and self.ours == (self.own,)

    def written(self) -> Ledger:
        """After the target was written."""
        return replace(self, ours=(self.target,))


def joined(ledger: Ledger | None, limit: int, run: str, need: int, living: Collection[str]
           ) -> Ledger:
    """One more run needs entries; ``limit`` is what it is now, ``living`` has the other runs.

    Needs add up, since all namespaces share one table. The limit is never lowered by this, not
    below what its owner set, nor below what is there.
    """
    before = left(ledger, limit, living) if ledger else Ledger(limit, {}, (limit,))
    needs = {**before.needs, run: need}
    return _going(before.own, needs, limit, max(limit, before.own, sum(needs.values())))


def left(ledger: Ledger, limit: int, living: Collection[str]) -> Ledger:
    """Only the living runs remain; the limit is not raised by this.

    What somebody else has set meanwhile is the machine's own limit from now on.
    """
    own = ledger.own if limit in ledger.ours else limit
    needs = {run: need for run, need in ledger.needs.items() if run in living}
    return _going(own, needs, limit, min(limit, max(own, sum(needs.values()))))


def _going(own: int, needs: Mapping[str, int], limit: int, target: int) -> Ledger:
    return Ledger(own, needs, (limit, target) if limit != target else (limit,))
