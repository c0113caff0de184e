"""Removes what killed runs left behind: their directories, and programs that they had started.

Namespaces, devices, mounts and eBPF programs need no removal: the kernel ends them with the last
process that holds them. Only what provably belongs to a dead run is touched, and a run is dead when
its process is gone. A neighbour-table limit that it had raised is given back. A program belongs to
a run if it has the run's logs among its mounts, as no other program has; or, since a program can
change its mounts, if the environment that it was started with names the run. The environment counts
only outside the machine's own network: people set the same variable in a terminal to choose a run,
and programs that they start there are theirs. Names of programs and the content of ``run.json``
play no part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from calico_mn.kernel import neighbour_quota, processes, registry, runtime_dir
from calico_mn.kernel.mounts import LOGS_SEEN
from calico_mn.kernel.netns import MARK

# Programs may start others while they are being ended, and one that ends by itself during a search
# may have started another that the search missed. So two searches without a result end it.
_ROUNDS = 8
_EMPTY_ROUNDS = 2
# proc(5), mountinfo: the mounted directory within its file system, and where it is mounted.
_LOGS = re.compile(
    rf"^\d+ \d+ \S+ \S*/calico-mn(?:-runs-\w+)?/({registry.IDENTITY.pattern})/logs/\S+"
    rf" {LOGS_SEEN} ", re.M)


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed of one dead run: its name, its programs as (pid, command name).

    ``neighbour_limit`` is the machine's neighbour-table limit before and after, if it was given
    back for dead runs; it is in the last one's entry. ``failure`` is why the directory could not
    be removed, or empty.
    """

    run: str
    identity: str
    programs: tuple[tuple[int, str], ...]
    neighbour_limit: tuple[int, int] | None = None
    failure: str = ""


def remove_before_start() -> tuple[Removed, ...]:
    """As :func:`remove_all` if a dead run's directory is there; else it takes next to no time."""
    if any(run.status == registry.DEAD for run in registry.runs()):
        return remove_all()
    neighbour_quota.restore_limit()
    return ()


def remove_all() -> tuple[Removed, ...]:
    """Remove what dead runs left behind; what was removed of each. Needs root.

    Directories go last: if this process is killed before, the next clean-up finds them.
    """
    ended: dict[str, list[tuple[int, str]]] = {}
    empty = 0
    for _ in range(_ROUNDS):
        dead = _dead()
        programs = _orphans(dead)
        for identity, orphans in programs.items():
            ended.setdefault(identity, []).extend(orphans)
        empty = 0 if programs else empty + 1
        if empty == _EMPTY_ROUNDS:
            break
        processes.kill_by_id({pid: partial(_belongs_to, pid, identity)
                              for identity, orphans in programs.items()
                              for pid, _name in orphans})
    given_back = neighbour_quota.restore_limit()
    names = {identity: run.name for identity, run in dead.items()}
    failures = {identity: remove_dead(identity) for identity in dead}
    removed = [Removed(names.get(identity, identity), identity,
                       tuple(dict.fromkeys(ended.get(identity, ()))),
                       failure=failures.get(identity, ""))
               for identity in dict.fromkeys([*dead, *ended])]
    if given_back and removed:
        removed[-1] = replace(removed[-1], neighbour_limit=given_back)
    return tuple(removed)


def remove_dead(identity: str) -> str:
    """Delete a dead run's directory, and the common one if no other run uses it.

    Does nothing if it is not dead any more: another process may have got its number. Why it
    could not be deleted, or ``""``.
    """
    try:
        with runtime_dir.locked():
            for run in registry.runs():
                if run.identity == identity and run.status == registry.DEAD:
                    registry.delete(run.path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _dead() -> dict[str, registry.FoundRun]:
    """The dead runs, read while no other process is creating a run's directory."""
    root = runtime_dir.find()
    if root is None or not root.exists():
        return {}
    with runtime_dir.locked():
        existing = registry.runs()
    return {run.identity: run for run in existing if run.status == registry.DEAD}


def _orphans(dead: Mapping[str, registry.FoundRun]) -> dict[str, list[tuple[int, str]]]:
    """Programs of dead runs, also of those whose directory has gone: identity -> programs."""
    numbering, own_users = processes.namespace("pid"), processes.namespace("user")
    living = [run for run in registry.runs() if run.status != registry.DEAD]
    spared = {run.identity for run in living}
    # Started from inside another run, a process carries that run's mark and keeps its own run.
    keepers = {run.pid for run in living} | {os.getpid()}
    orphans: dict[str, list[tuple[int, str]]] = {}
    for pid in processes.all_pids():
        if pid in keepers:
            continue
        identity = _run_of(pid)
        if not identity or identity in spared or processes.namespace("pid", pid) != numbering:
            continue
        # Without a directory only the process number tells the run: no process may have it now.
        # And a process of ours may have the number of a run in another user namespace, whose
        # directory is elsewhere.
        keeper = int(identity.partition("-")[0])
        is_free = processes.has_ended(keeper)
        if is_free or (identity in dead and processes.namespace("user", keeper) == own_users):
            orphans.setdefault(identity, []).append((pid, processes.name_of(pid)))
    return orphans


def _run_of(pid: int) -> str:
    """The run that a process belongs to, or ``""``.

    People's own programs have our mounts, and the network of ours or of process 1.
    """
    if processes.namespace("mnt", pid) not in (None, processes.namespace("mnt")):
        # A run that was started inside another one sees the logs of both: the later mount counts.
        logs = _LOGS.findall(processes.proc_file(pid, "mountinfo"))
        if logs:
            return str(logs[-1][0])
    if processes.namespace("net", pid) in (
            None, processes.namespace("net"), processes.namespace("net", 1)):
        return ""
    for variable in processes.proc_file(pid, "environ").split("\0"):
        name, _, identity = variable.partition("=")
        if name == MARK:
            return identity if registry.IDENTITY.fullmatch(identity) else ""
    return ""


def _belongs_to(pid: int, identity: str) -> bool:
    return _run_of(pid) == identity
