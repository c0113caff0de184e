"""The neighbour table's limit, which all namespaces of a machine share and its owner sets.

Above ``gc_thresh3`` entries the kernel refuses new ones (neigh_alloc in net/core/neighbour.c), and
packets get lost. The limit is only read here, unless a run asks for it to be raised. Runs come, go
and are killed in any order, so they share a ledger of what each needs and what the machine's own
limit is::

    reserve(ledger, limit, run, need)  --> ledger with a target --> on disk --> limit written
    release(ledger, limit, living)     -->

The ledger is on disk, beside the runs' directories, before the limit is written, so that the next
start or clean-up after a kill can restore the limit. Runs with a /run of their own, as in other
containers, do not know of each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from calico_mn.errors import ClusterError, UnsupportedError
from calico_mn.kernel import registry, runtime_dir

SYSCTL = "net.ipv4.neigh.default.gc_thresh3"
PATH = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
#: the ledger's name in the directory of all runs
LEDGER = "neighbour-limit.json"
#: the option of the commands, for the warning
OPTION = "--raise-neighbour-limit"


@dataclass(frozen=True, slots=True)
class Ledger:
    """``own`` is the limit as the machine's owner set it; ``needs`` the entries by run.

    ``ours`` are the values that the limit can have unless another program has set it since: the
    one that was to be written and the one before, since a kill may come between the two writes.
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


def reserve(ledger: Ledger | None, limit: int, run: str, need: int, living: Collection[str]
            ) -> Ledger:
    """One more run needs entries; ``limit`` is what it is now, ``living`` has the other runs.

    Needs add up, since all namespaces share one table. The limit is never lowered by this, not
    below what its owner set, nor below what is there.
    """
    before = release(ledger, limit, living) if ledger else Ledger(limit, {}, (limit,))
    needs = {**before.needs, run: need}
    return _pending(before.own, needs, limit, max(limit, before.own, sum(needs.values())))


def release(ledger: Ledger, limit: int, living: Collection[str]) -> Ledger:
    """Only the living runs remain; the limit is not raised by this.

    What another program has set meanwhile is the machine's own limit from now on.
    """
    own = ledger.own if limit in ledger.ours else limit
    needs = {run: need for run, need in ledger.needs.items() if run in living}
    return _pending(own, needs, limit, min(limit, max(own, sum(needs.values()))))


def _pending(own: int, needs: Mapping[str, int], limit: int, target: int) -> Ledger:
    return Ledger(own, needs, (limit, target) if limit != target else (limit,))


def limit() -> int | None:
    """The limit now; None where it cannot be read."""
    try:
        return int(PATH.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def warning(needed: int) -> str | None:
    """What to tell the person if a cluster may need more entries than the limit allows."""
    allowed = limit()
    if allowed is None or needed <= allowed:
        return None
    return (f"if all talk to all, this cluster needs {needed:,} neighbour entries, and the machine"
            f" allows {allowed:,} in all namespaces together; beyond, packets get lost. To raise"
            f" it: sudo sysctl -w {SYSCTL}={2 * needed}; {OPTION} does so for the time of the run")


def raise_limit(needed: int, run: str) -> None:
    """Keep the limit at what this run needs besides others', until :func:`restore_limit`.

    Twice of what is ``needed`` is reserved. Raises UnsupportedError where the limit cannot be
    written.
    """
    with runtime_dir.locked():
        now = limit()
        if now is None:
            return
        before = _read()
        after = reserve(before, now, run, 2 * needed, _living() - {run})
        try:
            _write_limit(after, now)
        except OSError as error:
            with suppress(OSError):
                _save(before)
            raise UnsupportedError(f"{SYSCTL} cannot be raised from {now} to {after.target}:"
                                   f" {error.strerror}; leave out {OPTION} to go on without"
                                   ) from error


def restore_limit(run: str = "") -> tuple[int, int] | None:
    """Lower the limit to what the living runs need, less ``run``; what it was and what it is now.

    None if it stays. The last run restores the machine's own limit; one that another program has
    set meanwhile is left alone.
    """
    root = runtime_dir.find()
    if root is None or not (root / LEDGER).exists():
        return None
    with suppress(OSError, ClusterError, UnsupportedError), runtime_dir.locked():
        ledger, now = _read(), limit()
        if ledger is None or now is None:
            return None
        after = release(ledger, now, _living() - {run})
        if after != ledger:
            _write_limit(after, now)
        return (now, after.target) if after.target != now else None
    return None


def _write_limit(ledger: Ledger, now: int) -> None:
    """The ledger goes to disk first, then the limit is written."""
    if ledger.target != now:
        _save(ledger)
        PATH.write_text(f"{ledger.target}\n", encoding="ascii")
    _save(ledger.written())


def _living() -> set[str]:
    return {run.identity for run in registry.runs() if run.status != registry.DEAD}


def _path() -> Path:
    """Where the ledger is, once the directory of all runs is there."""
    return (runtime_dir.find() or runtime_dir.make()) / LEDGER


def _read() -> Ledger | None:
    """The ledger; None where there is none or it makes no sense."""
    try:
        record = json.loads(_path().read_text(encoding="utf-8"))
        return Ledger(
            int(record["own"]), {str(run): int(need) for run, need in record["needs"].items()},
            tuple(map(int, record["ours"])))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _save(ledger: Ledger | None) -> None:
    """Replace the ledger at once; remove it when there is nothing left to remember."""
    if ledger is None or ledger.is_settled:
        _path().unlink(missing_ok=True)
        return
    new = _path().with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(ledger)) + "\n")
    new.replace(_path())
