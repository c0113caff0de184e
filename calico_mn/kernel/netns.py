"""Network namespaces as open descriptors, and the threads that enter them.

A namespace here is neither a process nor a name in /run/netns: it lives as long as its
descriptor, so that nothing of it survives this process, however that ends. Only a thread of
:class:`NamespaceThread` ever leaves the machine's own namespace (and that of the eBPF tunnel's
attendant); an exception or a Ctrl-C in the caller's thread therefore cannot leave the caller in the
wrong one. A run has two: one makes namespaces, the other one does all else.

What is put into a namespace is :mod:`calico_mn.kernel.write`'s business.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from calico_mn.errors import KernelError, ToolError
from calico_mn.kernel import bird, mounts, processes, runtime_dir

Result = TypeVar("Result")

_CLONE_FS, _CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWNET = 0x200, 0x20000, 0x4000000, 0x40000000
_SIOCGSKNS = 0x894C  # linux/sockios.h: a descriptor of the socket's namespace

#: the variable that names the run in the environment of its programs
MARK = "CALICO_MN_RUN"
#: the variable that names the file which iptables-legacy locks (xtables_lock() in iptables): by
#: default one for all namespaces of the machine
LOCK = "XTABLES_LOCKFILE"
#: the directory of a run with programs that its nodes use: iptables, birdc
PROGRAMS = "bin"
# kubelet's longest host name (truncatePodHostnameIfNeeded in kubelet_pods.go)
_LONGEST_HOST_NAME = 63

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, action: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise KernelError(f"{action}: {processes.explain(number)}")


def _unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def _setns(descriptor: int, kind: int) -> None:
    _check(_libc.setns(descriptor, kind), "setns")


@contextmanager
def new_network() -> Iterator[None]:
    """Inside, the calling thread is in a network namespace that was just made."""
    with _back_again():
        _unshare(_CLONE_NEWNET)
        yield


@contextmanager
def network_of(sock: socket.socket) -> Iterator[None]:
    """Inside, the calling thread is in the network namespace of a socket."""
    descriptor = fcntl.ioctl(sock, _SIOCGSKNS)
    try:
        with _back_again():
            _setns(descriptor, _CLONE_NEWNET)
            yield
    finally:
        os.close(descriptor)


@contextmanager
def _back_again() -> Iterator[None]:
    with open("/proc/thread-self/ns/net", "rb") as before:
        try:
            yield
        finally:
            _setns(before.fileno(), _CLONE_NEWNET)


@dataclass(slots=True)
class NetworkNamespace:
    """A handle on one network namespace.

    ``indexes`` maps the names of the devices that we made to their indexes. What programs in the
    namespace see of ``logs`` and of ``run``, the run's directory, is in :mod:`.mounts`. ``held``
    keeps descriptors that must stay open as long as the namespace lives.
    """

    name: str
    descriptor: int
    inode: int
    logs: Path | None = None
    run: Path | None = None
    indexes: dict[str, int] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)
    mounts: int = -1

    def index(self, device: str) -> int:
        """The index of ``device``, 0 for the empty name. Raises KernelError if unknown."""
        if not device:
            return 0
        try:
            return self.indexes[device]
        except KeyError:
            raise KernelError(f"{self.name}: there is no device {device}") from None


class NamespaceThread:
    """Runs jobs one after the other in a thread that may enter any namespace.

    Or, with several ``workers``, as many at a time.
    """

    def __init__(self, workers: int = 1) -> None:
        self._pool = ThreadPoolExecutor(
            max_workers=workers, thread_name_prefix="netns", initializer=self._start)
        self._home_mounts = -1
        self.processes: list[subprocess.Popen[Any]] = []

    def _start(self) -> None:
        # setns() into a mount namespace is refused while the root and current directory are
        # shared with other threads.
        _unshare(_CLONE_FS)
        if runtime_dir.is_user_namespace():
            _own_mounts()

    def call(self, job: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run ``job`` in the thread; its result, or its exception, is the caller's.

        A KeyboardInterrupt in the caller does not interrupt the job: it is finished, and what
        it made is known to the clean-up.
        """
        return self.submit(job, *args, **kwargs).result()

    def inside(self, namespace: NetworkNamespace, job: Callable[..., Result], *args: Any) -> Result:
        """As :meth:`call`, with the thread in a namespace; sockets that ``job`` opens are in it."""
        def entered() -> Result:
            self.enter(namespace)
            return job(*args)

        return self.call(entered)

    def submit(self, job: Callable[..., Result], *args: Any, **kwargs: Any) -> Future[Result]:
        """Have ``job`` run in the thread after those that wait there, without waiting for it."""
        with processes.limits_explained("the run's thread cannot be started"):
            return self._pool.submit(_within_limits, job, *args, **kwargs)

    def close(self, *, cancel: bool = False) -> None:
        """End the thread after the jobs that are waiting, or without these."""
        self._pool.shutdown(wait=True, cancel_futures=cancel)
        if self._home_mounts >= 0:
            os.close(self._home_mounts)
            self._home_mounts = -1

    # Jobs: what follows runs inside the thread.

    def create(self, name: str) -> NetworkNamespace:
        """Make a namespace and stay in it."""
        _unshare(_CLONE_NEWNET)
        descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        return NetworkNamespace(name, descriptor, os.fstat(descriptor).st_ino)

    def enter(self, namespace: NetworkNamespace) -> None:
        """Go into ``namespace``."""
        _setns(namespace.descriptor, _CLONE_NEWNET)

    @contextmanager
    def visiting(self, namespace: NetworkNamespace) -> Iterator[None]:
        """Inside, the thread is in ``namespace``; then where it was, if it can go there."""
        with open("/proc/thread-self/ns/net", "rb") as before:
            self.enter(namespace)
            try:
                yield
            finally:
                # Back from a user namespace there is no way to the network of its maker.
                with suppress(KernelError):
                    _setns(before.fileno(), _CLONE_NEWNET)

    def discard(self, namespace: NetworkNamespace) -> None:
        """Let go of a namespace: the kernel ends it when its last process has ended."""
        self.release(namespace)
        for descriptor in (namespace.mounts, namespace.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        namespace.mounts = namespace.descriptor = -1

    def release(self, namespace: NetworkNamespace) -> None:
        """Close what is held with a namespace, and so end its tunl0."""
        for descriptor in namespace.held:
            os.close(descriptor)
        namespace.held.clear()

    def spawn(self, namespace: NetworkNamespace, command: Sequence[str], directory: str,
              **options: Any) -> subprocess.Popen[Any]:
        """Start a program in ``namespace``, with its own host name, /sys, hosts file and logs.

        ``directory`` is its current directory. Raises ToolError when it cannot be started.

        It outlives this process if that is killed, until the next start or clean-up on this
        machine (:mod:`calico_mn.kernel.cleanup`). PR_SET_PDEATHSIG (prctl(2)) would be no
        remedy: only the program itself could ask for it, before it is run. Python's preexec_fn,
        which does so, copies this process's page tables where vfork(2) does not, and takes ten
        times as long; and what a program has started in turn, as a shell has its jobs, would
        not be reached.
        """
        self.enter(namespace)
        self._enter_mounts(namespace)
        try:
            _be_called(namespace.name)
            process = processes.start(command, cwd=directory, **options)
        except OSError as error:
            raise ToolError(
                f"{namespace.name}: cannot run {command[0]}: {processes.explain(error.errno)}"
                ) from error
        finally:
            _setns(self._home_mounts, _CLONE_NEWNS)
        self.processes = [p for p in self.processes if p.returncode is None]
        self.processes.append(process)
        return process

    def open(self, namespace: NetworkNamespace) -> tuple[int, int]:
        """New descriptors of ``namespace`` and of its mounts, for another process to enter."""
        self.enter(namespace)
        self._enter_mounts(namespace)
        _setns(self._home_mounts, _CLONE_NEWNS)
        network = fcntl.fcntl(namespace.descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
        try:
            return network, fcntl.fcntl(namespace.mounts, fcntl.F_DUPFD_CLOEXEC, 0)
        except OSError:
            os.close(network)
            raise

    def _enter_mounts(self, namespace: NetworkNamespace) -> None:
        """A mount namespace per network namespace, made when the first program needs it.

        The machine's /sys shows the machine's own devices; /sys/class/net/eth0/iflink of a pod
        needs a sysfs that was mounted inside.
        """
        if self._home_mounts < 0:
            self._home_mounts = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        if namespace.mounts >= 0:
            _setns(namespace.mounts, _CLONE_NEWNS)
            return
        _unshare(_CLONE_NEWNS)
        mounts.arrange(namespace.name, namespace.run, namespace.logs)
        namespace.mounts = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _own_mounts() -> None:
    """See that this thread can come back to its mounts, which it can to those of its own users.

    After ``unshare -Ur`` without ``-m`` they are still the machine's.
    """
    descriptor = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(descriptor, _CLONE_NEWNS)
    except KernelError:
        _unshare(_CLONE_NEWNS)
    finally:
        os.close(descriptor)


def _be_called(place: str) -> None:
    """Have a host name of one's own: a pod is called as in Kubernetes, without its namespace."""
    name = place.rpartition("/")[2][:_LONGEST_HOST_NAME].rstrip("-.").encode()
    _unshare(_CLONE_NEWUTS)
    _check(_libc.sethostname(name, ctypes.c_size_t(len(name))), f"sethostname {name.decode()}")


def _within_limits(job: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    with processes.limits_explained("the kernel gives no more"):
        return job(*args, **kwargs)


def become(place: str, network: int, mounts: int, command: Sequence[str],
           env: Mapping[str, str]) -> None:
    """Turn this process into a program in a place, whose namespaces the descriptors stand for.

    Only for a process with a single thread: setns(2) refuses mounts otherwise. Returns never.
    Raises KernelError, or OSError when the program cannot be run.
    """
    directory = os.getcwd()
    _setns(network, _CLONE_NEWNET)
    _setns(mounts, _CLONE_NEWNS)
    _be_called(place)
    os.chdir(directory)
    processes.restore_signals()
    os.execvpe(command[0], list(command), dict(env))


def environment(run: Path, place: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of programs in a place of a run, whose directory is ``run``.

    The caller's, with a mark that tells whose they are, the run's iptables and birdc first in PATH,
    a lock file for iptables and the socket of BIRD of their own.
    """
    environ = {**os.environ, **(extra or {})}
    path = f"{run / PROGRAMS}{os.pathsep}{environ.get('PATH', os.defpath)}"
    return {**environ, "PATH": path, MARK: run.name, LOCK: str(lock_file(run, place)),
            bird.SOCKET: str(bird.control_socket(run, place))}


def lock_file(run: Path, place: str) -> Path:
    """The file that iptables-legacy locks in a place."""
    return run / "locks" / place.replace("/", "_")
