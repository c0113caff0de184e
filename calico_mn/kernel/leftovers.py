"""What runs that were killed left behind: their directories, and programs that they had started.

Only what provably belongs to a dead run is touched: a program carries its run's identity in its
environment, and a run is dead when its process is gone. Names of programs play no part.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

from calico_mn.kernel import processes, registry, runs
from calico_mn.kernel.netns import MARK


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed of one dead run: its name, its programs as (pid, command name)."""

    run: str
    identity: str
    programs: tuple[tuple[int, str], ...]


def remove_all() -> tuple[Removed, ...]:
    """Remove what every dead run left; what there was of each. Needs root."""
    dead = {run.identity: run for run in registry.runs() if run.status == registry.DEAD}
    programs = _orphans(dead)
    found = []
    for identity in dict.fromkeys([*dead, *programs]):
        for pid, _name in programs.get(identity, ()):
            processes.end_by_id(pid, partial(_carries, pid, identity))
        name = identity
        if identity in dead:
            name = dead[identity].name
            runs.remove(dead[identity].path)
        found.append(Removed(name, identity, tuple(programs.get(identity, ()))))
    return tuple(found)


def _orphans(dead: dict[str, registry.FoundRun]) -> dict[str, list[tuple[int, str]]]:
    """Programs of dead runs, also of those whose directory has gone: identity -> programs."""
    here = processes.pid_namespace()
    living = {run.identity for run in registry.runs()} - dead.keys()
    found: dict[str, list[tuple[int, str]]] = {}
    for pid in processes.all_pids():
        identity = _mark(pid)
        if (not registry.IDENTITY.fullmatch(identity) or identity in living
                or pid == os.getpid() or processes.pid_namespace(pid) != here):
            continue
        # Without a directory only the number tells whose it was: it must be nobody's today.
        keeper = int(identity.partition("-")[0])
        if identity in dead or processes.start_time(keeper) is None:
            found.setdefault(identity, []).append((pid, processes.name_of(pid)))
    return found


def _mark(pid: int) -> str:
    prefix = f"{MARK}=".encode()
    return next((variable[len(prefix):].decode("ascii", "replace")
                 for variable in processes.environment_of(pid)
                 if variable.startswith(prefix)), "")


def _carries(pid: int, identity: str) -> bool:
    return _mark(pid) == identity
