"""What the programs of a place see of the machine's files, by mounts of the place's own.

In go a place's name, the directory of its run and its log directory; then the calling thread,
which has just got a mount namespace of its own, sees, and what it starts::

    /sys                       the devices of the place's network namespace
    /var/log/calico/cni        the log of the place's node
    /etc/hosts and beside it   the run's
    /var/run/calico/bird.ctl   the control socket of its BIRD, where the run has BIRDs

Names of hosts (:mod:`calico_mn.calico.snapshot`) are in /etc/hosts alone: one that is not there is
unknown at once. No place has a way to a name server, and waiting for one takes ten seconds.
"""

from __future__ import annotations

import ctypes
import os
import re
from contextlib import suppress
from pathlib import Path

from calico_mn.errors import KernelError
from calico_mn.kernel import bird, processes, runtime_dir

#: where programs see their node's log
LOGS_SEEN = "/var/log/calico/cni"
# The directory for sockets of calico-node's hostPath volume var-run-calico.
_CALICO = "calico"
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000
_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_MNT_DETACH = 2
#: the directory of a run with the files that stand for those of the machine
ETC = "etc"
_MACHINE = Path("/etc")
# With no name server a program asks 127.0.0.1 (resolv.conf(5)), which refuses at once.
_RESOLV = "# Names are in /etc/hosts; there is no name server here.\n"

_libc = ctypes.CDLL(None, use_errno=True)


def arrange(place: str, run: Path | None, logs: Path | None) -> None:
    """Mount all this. Raises KernelError, and OSError where a link cannot be made."""
    try:
        _mount("none", "/", None, _MS_REC | _MS_SLAVE)
    except KernelError as error:
        # Going on would let the mounts below reach the machine's own mount namespace.
        raise KernelError(
            f"{place}: programs need mounts of their own, and {error}; in a chroot"
            " that cannot be had: use a container or a virtual machine") from error
    _libc.umount2(b"/sys", _MNT_DETACH)
    _mount_sys()
    if logs is not None:
        _mount("tmpfs", "/var/log", "tmpfs", _MS_NOSUID_NODEV_NOEXEC)
        os.makedirs(LOGS_SEEN)
        _mount(str(logs), LOGS_SEEN, None, _MS_BIND)
    if run is not None:
        for file, seen in _shown(run / ETC):
            _mount(str(file), str(seen), None, _MS_BIND)
        if bird.has_birds(run) and "/" not in place:
            _show_socket(bird.control_socket(run, place))


def _show_socket(control: Path) -> None:
    """Have the socket under its path in calico-node.

    The machine's /run has no directory calico, and gets none: a /run of the place's own has one,
    and beside it all that is in the machine's now.
    """
    own = Path("/var/run").resolve()
    before = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _mount("tmpfs", str(own), "tmpfs", _MS_NOSUID_NODEV_NOEXEC)
        own.chmod(0o755)
        for entry in os.scandir(before):
            seen, source = own / entry.name, f"/proc/thread-self/fd/{before}/{entry.name}"
            if entry.name == _CALICO:
                continue
            if entry.is_symlink():
                seen.symlink_to(os.readlink(source))
                continue
            seen.mkdir() if entry.is_dir() else seen.touch()
            # What the machine removes meanwhile is not there.
            with suppress(KernelError):
                _mount(source, str(seen), None, _MS_BIND | _MS_REC)
    finally:
        os.close(before)
    (own / _CALICO).mkdir()
    (own / _CALICO / "bird.ctl").symlink_to(control)


def _mount_sys() -> None:
    """A /sys of the network namespace that the thread is in.

    A user namespace gets none where parts of the one before are hidden, as in many containers
    (mount_too_revealing() in fs/namespace.c): then it is empty, rather than the machine's.
    """
    try:
        _mount("sysfs", "/sys", "sysfs", _MS_NOSUID_NODEV_NOEXEC)
    except KernelError as error:
        if not runtime_dir.is_user_namespace():
            raise
        _mount("tmpfs", "/sys", "tmpfs", _MS_NOSUID_NODEV_NOEXEC)
        Path("/sys/WHY-EMPTY").write_text(f"calico-mn: {error}: in this user namespace\n",
                                          encoding="ascii")


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    if _libc.mount(source.encode(), target.encode(), kind.encode() if kind else None,
                   ctypes.c_ulong(flags), None):
        raise KernelError(f"mount {target}: {processes.explain(ctypes.get_errno())}")


def make_etc(directory: Path) -> None:
    """Write the files of a run, with no names of hosts yet. Raises OSError."""
    directory.mkdir()
    switch = ""
    with suppress(OSError):
        switch = (_MACHINE / "nsswitch.conf").read_text(encoding="utf-8", errors="replace")
    # nsswitch.conf(5): names of hosts from /etc/hosts alone.
    switch = re.sub(r"(?m)^\s*hosts:.*\n?", "", switch)
    for name, text in (("hosts", ""), ("resolv.conf", _RESOLV),
                       ("nsswitch.conf", f"{switch.rstrip()}\nhosts: files\n".lstrip())):
        (directory / name).write_text(text, encoding="utf-8")


def write_hosts(directory: Path, text: str) -> None:
    """Let all places see another hosts file, which stays the same file for their mounts."""
    with open(directory / "hosts", "r+", encoding="utf-8") as file:
        file.write(text)
        file.truncate()


def _shown(directory: Path) -> list[tuple[Path, Path]]:
    """Each file with the one of this machine whose place it takes, where there is one."""
    return [(file, seen) for file in sorted(directory.iterdir())
            if (seen := _MACHINE / file.name).is_file()]
