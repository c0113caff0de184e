"""Processes: programs are started, looked at, and ended by their ids, never by a name.

What they are comes from /proc (proc(5)). An error number that means a reached limit (of the
process, its user or the machine) is explained, with what to do about it.
"""

from __future__ import annotations

import errno
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from calico_mn.errors import KernelError

#: starts a program in the namespace of a place: (name, argv, Popen options)
Spawn = Callable[..., "subprocess.Popen[Any]"]

_GRACE_S = 1.0
_TERMINAL_GRACE_S = 0.5
_LOOK_S = 0.002
# Python itself ignores these; ``restore_signals`` of Popen resets them in the child.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_RESTORED = sum(1 << number - 1 for number in _IGNORED_BY_PYTHON)
_RESETTABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
#: error numbers of a limit that was reached, and what to do about it
_REMEDIES = {
    errno.EMFILE: "raise this shell's limit by 'ulimit -n 65536' (a namespace takes up to four)",
    errno.ENFILE: "the whole machine has too many files open: see /proc/sys/fs/file-nr",
    errno.EAGAIN: "no process or thread could be started: see 'ulimit -u' and the pids limit of"
                  " the container or service that this runs in",
    errno.ENOMEM: "end something else, or take a smaller cluster",
    errno.ENOSPC: "either a file system is full, or there are as many namespaces as"
                  " /proc/sys/user/max_net_namespaces and max_mnt_namespaces allow",
}
_INHERITED = re.compile(rb"^Sig(?:Blk|Ign):\t([0-9a-f]+)$", re.M)


def start(argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """``subprocess.Popen`` of a program that begins with every signal at its default and none
    blocked, as programs expect, also when this process ignores or blocks some.

    A program inherits both (signal(7)): a shell's background job has SIGINT ignored, one under
    nohup(1) SIGHUP. Only then the reset is needed, and only Python code between fork and exec can
    do it: that takes a few milliseconds, since vfork(2) cannot be used.
    """
    if _is_inherited():
        options["preexec_fn"] = _reset_signals
    return subprocess.Popen(argv, **options)


def program(name: str) -> str | None:
    """Where a program is, also where only root's PATH has it; None if nowhere."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def restore_signals() -> None:
    """Before this process becomes another program: reset the signals that Python itself ignores."""
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)


def _is_inherited() -> bool:
    """Whether a child of the calling thread would have signals blocked or ignored (proc(5))."""
    with open("/proc/thread-self/status", "rb") as file:
        return any(int(mask, 16) & ~_RESTORED for mask in _INHERITED.findall(file.read()))


def _reset_signals() -> None:
    for number in _RESETTABLE:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def proc_file(pid: int, name: str) -> str:
    """A file in /proc/PID (proc(5)), such as ``environ``; empty where it cannot be read."""
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def memory_kb(pid: int) -> int:
    """A process's memory in kB, shared pages by their share (Pss in smaps_rollup, proc(5)).

    0 for a process that has ended.
    """
    reading = re.search(r"^Pss: +(\d+) kB$", proc_file(pid, "smaps_rollup"), re.M)
    return int(reading[1]) if reading else 0


def name_of(pid: int) -> str:
    """A process's command name."""
    return proc_file(pid, "comm").strip()


def start_time(pid: int) -> int | None:
    """When a process started, in ticks since boot; None when there is none (or it is a zombie).

    With it a process is told from a later one of the same number (proc(5): field 22 of stat).
    """
    fields = _stat(pid)
    return None if not fields or fields[0] in "ZX" else int(fields[19])


def has_ended(pid: int) -> bool:
    """Whether no process has a number, or only a zombie; /proc may hide one that lives (hidepid).
    """
    fields = _stat(pid)
    if fields:
        return fields[0] in "ZX"
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on, which is the state; [] for no process."""
    return proc_file(pid, "stat").rpartition(")")[2].split()


def namespace(kind: str, pid: int | None = None) -> int | None:
    """The inode of a process's namespace, by default of this one's; None where that is not told.

    ``kind`` is a name in /proc/PID/ns (namespaces(7)): "pid" is whose numbers its id is one of,
    "user" where its powers end, "mnt" which mounts and "net" which network it sees.
    """
    try:
        return os.stat(f"/proc/{'self' if pid is None else pid}/ns/{kind}").st_ino
    except OSError:
        return None


def all_pids() -> list[int]:
    """Every process that can be seen from here."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def kill_by_id(still_right: Mapping[int, Callable[[], bool]]) -> None:
    """Kill processes that are not children of ours, unless a number went to another meanwhile.

    Each one's ``still_right`` looks at /proc again once a descriptor is held: if that is not the
    process's own, then the process has ended, and a signal by the descriptor reaches no process.
    Returns when all have ended, or after a second.
    """
    held: list[int] = []
    try:
        for pid, check in still_right.items():
            try:
                descriptor = os.pidfd_open(pid)
            except OSError:
                continue
            held.append(descriptor)
            if not check():
                held.remove(descriptor)
                os.close(descriptor)
                continue
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        deadline = time.monotonic() + _GRACE_S
        for descriptor in held:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    finally:
        for descriptor in held:
            os.close(descriptor)


def end(started: Iterable[subprocess.Popen[Any]], number: int = signal.SIGTERM,
        grace: float = _GRACE_S) -> None:
    """Ask children to end by a signal, and kill those that have not after ``grace`` seconds.

    Where one leads a process group of its own, as programs in nodes do, the whole group is asked,
    and what is left of it is killed. Nothing is done about those whose end was noted already.
    """
    running = [process for process in started if process.returncode is None]
    for process in running:
        _signal(process, number)
    deadline = time.monotonic() + grace
    while not all(map(is_finished, running)) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    for process in running:
        _signal(process, signal.SIGKILL)
    deadline = time.monotonic() + grace
    for process in running:
        # A program that the kernel itself keeps from ending is left to the end of the run.
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))


def is_finished(process: subprocess.Popen[Any]) -> bool:
    """Whether a child has ended. It is not reaped: its number and its group's stay taken."""
    with suppress(ChildProcessError):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return True


def _signal(process: subprocess.Popen[Any], number: int) -> None:
    """To the program, and to its children where it leads a group of its own."""
    with suppress(ProcessLookupError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)


def end_in_namespaces(inodes: Collection[int]) -> None:
    """Kill what still runs in network namespaces of ours, such as a shell's background jobs.

    What has a terminal is asked first: a shell that is killed leaves its terminal without echo.
    """
    if not inodes:
        return
    at_terminals = [pid for pid in _inside(inodes) if _has_terminal(pid)]
    for number in (signal.SIGHUP, signal.SIGCONT):
        for pid in at_terminals:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    deadline = time.monotonic() + _TERMINAL_GRACE_S
    while time.monotonic() < deadline and any(start_time(pid) is not None for pid in at_terminals):
        time.sleep(0.01)
    # A program may have started another one since the last look.
    deadline = time.monotonic() + _GRACE_S
    while (running := _inside(inodes)) and time.monotonic() < deadline:
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_LOOK_S)


def _has_terminal(pid: int) -> bool:
    """Whether a process has a controlling terminal (proc(5): field 7 of stat)."""
    fields = _stat(pid)
    return bool(fields) and fields[4] != "0"


def _inside(inodes: Collection[int]) -> list[int]:
    """The processes whose network namespace is one of ``inodes``, other than ourselves."""
    return [pid for pid in all_pids() if pid != os.getpid() and namespace("net", pid) in inodes]


def is_limit(number: int | None) -> bool:
    """Whether an error number means that a limit was reached, not that the request was wrong."""
    return number in _REMEDIES


def explain(number: int | None) -> str:
    """The kernel's text for an error number, and what to do where it means a reached limit."""
    remedy = _REMEDIES.get(number or 0, "")
    return os.strerror(number or 0) + (f"; {remedy}" if remedy else "")


@contextmanager
def limits_explained(action: str) -> Iterator[None]:
    """Raise KernelError, which names ``action``, for a limit that is reached inside."""
    try:
        yield
    except OSError as error:
        if not is_limit(error.errno):
            raise
        raise KernelError(f"{action}: {explain(error.errno)}") from error
    except RuntimeError as error:
        # Only its text tells the one that threading raises from others.
        if "start new thread" not in str(error):
            raise
        raise KernelError(f"{action}: {explain(errno.EAGAIN)}") from error
