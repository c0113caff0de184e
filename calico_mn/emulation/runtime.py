"""A running cluster in the kernel: its namespaces, programs and directory, ended again together.

Knows namespaces and states, not Mininet and not Calico. :class:`Runtime` is what is left to
clean up after a Ctrl-C, so all that must end is known to it. What the namespaces hold is its
``writer``'s to change and its ``reconciler``'s to verify and repair.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from calico_mn.errors import ClusterError, KernelError, UnsupportedError
from calico_mn.kernel import bird, cleanup, mounts, processes, tunnel
from calico_mn.kernel.firewall import FirewallWriter
from calico_mn.kernel.iptables import NO_RULES, Iptables
from calico_mn.kernel.netns import PROGRAMS, NamespaceThread, NetworkNamespace, environment
from calico_mn.kernel.reconcile import Reconciler
from calico_mn.kernel.registry import RunDirectory, utc_now
from calico_mn.kernel.write import KernelWriter
from calico_mn.rules import OuterWay
from calico_mn.state import Namespace

Result = TypeVar("Result")

_COMMANDS_AT_A_TIME = 5_000


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A boot or a change makes many objects that stay: a collection would free nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class NodeLogs:
    """What was done in each namespace, as commands, in the log of its node.

    Implements :class:`calico_mn.kernel.write.Journal`.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory, self._logs = directory, directory.logs
        self._log_of: dict[str, str] = {}
        self._unwritten: dict[str, list[str]] = {}
        self._commands = 0

    def directory_of(self, name: str, owner: str) -> Path:
        """Where the log of ``name`` is, that of ``owner`` (a pod's node)."""
        self._log_of[name] = owner
        return self._logs / owner

    def note(self, name: str, commands: Sequence[str]) -> None:
        """Remember what was done in a namespace just now.

        Much is written at once: at a boot the kernel is busy meanwhile.
        """
        if not commands:
            return
        head = f"{utc_now()} [{name}] "
        self._unwritten.setdefault(self._log_of[name], []).append(
            head + f"\n{head}".join(commands) + "\n")
        self._commands += len(commands)
        if self._commands > _COMMANDS_AT_A_TIME:
            self.flush()

    def flush(self) -> None:
        """Append what was noted to the logs, one file after the other."""
        unwritten, self._unwritten, self._commands = self._unwritten, {}, 0
        for owner, lines in unwritten.items():
            with suppress(OSError):
                self._directory.write_log(owner, "".join(lines))


class Runtime:
    """One run: its namespaces, its programs, its directory, its tunnel back end."""

    def __init__(self, tunnel_wanted: str, description: Mapping[str, object], name: str = "", *,
                 needs_tunnel: bool = True, iptables: Iptables = NO_RULES,
                 way: OuterWay | None = None) -> None:
        if os.geteuid() != 0:
            raise UnsupportedError("making network namespaces needs root: run this with sudo")
        with ExitStack() as undo, processes.limits_explained("the run cannot begin"):
            #: what this run removed before it began: the remains of runs that were killed
            self.removed = cleanup.remove_before_start()
            # Ending a run needs a descriptor, even after a boot that failed because none was left.
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, self._reserve)
            self.tunnel = tunnel.choose(tunnel_wanted, is_needed=needs_tunnel, way=way)
            undo.callback(self.tunnel.close)
            self.iptables = iptables
            self.directory = RunDirectory({
                **description, "tunnel": self.tunnel.name, "iptables": iptables.name,
                "removed": [run.identity for run in self.removed]}, name)
            undo.callback(self.directory.remove)
            iptables.link(self.directory.path / PROGRAMS)
            bird.link(self.directory.path, self.directory.path / PROGRAMS)
            mounts.make_etc(self.directory.path / mounts.ETC)
            self._thread = NamespaceThread()
            self.logs = NodeLogs(self.directory)
            self.writer = KernelWriter(self._thread, self.tunnel, self.logs,
                                       FirewallWriter(iptables, self.directory.path),
                                       self.directory.path)
            self.reconciler = Reconciler(self._thread, self.writer, self.tunnel)
            self.is_open = True
            undo.pop_all()

    @property
    def states(self) -> Mapping[str, Namespace]:
        """What each namespace should hold."""
        return self.writer.states

    def create(self, states: Sequence[Namespace], log_of: Mapping[str, str] | None = None
               ) -> None:
        """Begin to make empty namespaces; what fails is raised by the next call.

        ``log_of`` names the node whose log records a namespace's changes (a pod's node).
        """
        self.writer.create(states, {
            state.name: self.logs.directory_of(
                state.name, (log_of or {}).get(state.name, state.name)) for state in states})

    def discard(self, names: Sequence[str]) -> None:
        """End namespaces and the programs in them."""
        processes.end_in_namespaces({self.writer.namespaces[name].inode for name in names
                                     if name in self.writer.namespaces})
        self.writer.discard(names)

    def namespace(self, name: str) -> NetworkNamespace:
        """A namespace's handle. Raises ClusterError if it is gone."""
        namespace = self.writer.namespaces.get(name)
        if not self.is_open or namespace is None:
            raise ClusterError(f"{name} is not running")
        return namespace

    def spawn(self, name: str, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in a namespace. Raises ToolError, or ClusterError if it is gone."""
        namespace = self.namespace(name)
        directory = options.pop("cwd", None) or os.getcwd()
        marked = environment(self.directory.path, name, options.pop("env", None))
        return self._thread.call(
            self._thread.spawn, namespace, command, directory, env=marked, **options)

    def open(self, name: str) -> tuple[int, int]:
        """New descriptors of a namespace and its mounts; the caller closes them."""
        namespace = self.namespace(name)
        return self._thread.call(self._thread.open, namespace)

    def inside(self, name: str, job: Callable[..., Result], *args: Any) -> Result:
        """Run ``job(*args)`` in a thread that is inside a namespace; its result or exception.

        Sockets that it opens belong to the namespace, and /proc/thread-self/net is its own.
        Raises ClusterError if the namespace is gone.
        """
        return self._thread.inside(self.namespace(name), job, *args)

    def write_hosts(self, text: str) -> None:
        """Let programs in all places see this as /etc/hosts. Raises KernelError."""
        try:
            mounts.write_hosts(self.directory.path / mounts.ETC, text)
        except OSError as error:
            raise KernelError(f"the cluster's /etc/hosts: {processes.explain(error.errno)}"
                              ) from error

    def save_logs(self, directory: Path) -> None:
        """Copy the nodes' logs, which disappear with the run. Raises KernelError if it cannot."""
        try:
            shutil.copytree(self.directory.logs, directory, dirs_exist_ok=True)
        except shutil.Error as error:
            # One entry per file: source, target, reason.
            raise KernelError(f"the nodes' logs cannot be kept: {error.args[0][0][2]}") from None

    def close(self) -> None:
        """End everything. Closing twice does no harm."""
        if not self.is_open:
            return
        self.is_open = False
        inodes = {n.inode for n in list(self.writer.namespaces.values())}
        with ExitStack() as last_to_first:
            # Each is done even if one before it fails.
            last_to_first.callback(self.directory.remove)
            last_to_first.callback(self._thread.close)
            last_to_first.callback(self._thread.call, self.tunnel.close)
            last_to_first.callback(self.writer.close)
            last_to_first.callback(processes.end_in_namespaces, inodes)
            last_to_first.callback(processes.end, self._thread.processes)
            last_to_first.callback(os.close, self._reserve)
            last_to_first.callback(self._await_jobs)

    def _await_jobs(self) -> None:
        """Jobs still queued in the thread would take the descriptor that is reserved for ending."""
        self.writer.abandon()
        with suppress(KernelError):
            self._thread.call(os.getpid)
