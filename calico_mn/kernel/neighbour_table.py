"""The neighbour table's limit, which all namespaces of a machine share and its owner sets.

Above ``gc_thresh3`` entries the kernel refuses new ones (neigh_alloc in net/core/neighbour.c), and
packets get lost. It is only read here, unless somebody asks for it to be raised: then what it was
is on disk before it is written, beside the runs' directories, so that whoever comes after a run
that was killed can give it back. Runs with a /run of their own, as in other containers, do not
know of each other.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from calico_mn.errors import ClusterError, UnsupportedError
from calico_mn.kernel import neighbour_ledger, registry, runtime_dir
from calico_mn.kernel.neighbour_ledger import Ledger
from calico_mn.model import Topology

SYSCTL = "net.ipv4.neigh.default.gc_thresh3"
PATH = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
#: the ledger's name in the directory of all runs
LEDGER = "neighbour-limit.json"
#: the option of the commands, for the warning
OPTION = "--raise-neighbour-limit"


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


def limit() -> int | None:
    """The limit now; None where it cannot be read."""
    try:
        return int(PATH.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def warning(topology: Topology) -> str | None:
    """What to tell the person if the cluster may need more entries than the limit allows."""
    allowed, needed = limit(), expected(topology)
    if allowed is None or needed <= allowed:
        return None
    return (f"if all talk to all, this cluster needs {needed:,} neighbour entries, and the machine"
            f" allows {allowed:,} in all namespaces together; beyond, packets get lost. To raise"
            f" it: sudo sysctl -w {SYSCTL}={2 * needed}; {OPTION} does so for the time of the run")


def raise_limit(topology: Topology, run: str) -> None:
    """Have the limit at what this run's cluster may need besides others', until :func:`give_back`.

    Raises UnsupportedError where it cannot be written.
    """
    with runtime_dir.locked():
        now = limit()
        if now is None:
            return
        before = _read()
        after = neighbour_ledger.joined(before, now, run, 2 * expected(topology),
                                        _living() - {run})
        try:
            _carry_out(after, now)
        except OSError as error:
            with suppress(OSError):
                _note(before)
            raise UnsupportedError(f"{SYSCTL} cannot be raised from {now} to {after.target}:"
                                   f" {error.strerror}; leave out {OPTION} to go on without"
                                   ) from error


def give_back(run: str = "") -> tuple[int, int] | None:
    """Lower the limit to what the living runs need, less ``run``; what it was and what it is now.

    None if it stays. The last one gives back the machine's own; what somebody else has set
    meanwhile is left alone.
    """
    root = runtime_dir.find()
    if root is None or not (root / LEDGER).exists():
        return None
    with suppress(OSError, ClusterError, UnsupportedError), runtime_dir.locked():
        ledger, now = _read(), limit()
        if ledger is None or now is None:
            return None
        after = neighbour_ledger.left(ledger, now, _living() - {run})
        if after != ledger:
            _carry_out(after, now)
        return (now, after.target) if after.target != now else None
    return None


def _carry_out(ledger: Ledger, now: int) -> None:
    """First the note, then the deed."""
    if ledger.target != now:
        _note(ledger)
        PATH.write_text(f"{ledger.target}\n", encoding="ascii")
    _note(ledger.written())


def _living() -> set[str]:
    return {run.identity for run in registry.runs() if run.status != registry.DEAD}


def _path() -> Path:
    """Where the ledger is, once the place for runs is there."""
    return (runtime_dir.find() or runtime_dir.make()) / LEDGER


def _read() -> Ledger | None:
    """The ledger; None where there is none or it makes no sense."""
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
        return Ledger(int(found["own"]), {str(run): int(need) for run, need in
                                          found["needs"].items()}, tuple(map(int, found["ours"])))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _note(ledger: Ledger | None) -> None:
    """Replace the ledger at once; one that nobody needs any longer goes."""
    if ledger is None or ledger.is_settled:
        _path().unlink(missing_ok=True)
        return
    beside = _path().with_suffix(".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(ledger)) + "\n")
    beside.replace(_path())
