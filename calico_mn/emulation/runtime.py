"""A running cluster in the kernel: states written, programs started, everything ended again.

Knows namespaces and states, not Mininet and not Calico. :class:`Runtime` is what is left to
clean up after a Ctrl-C, so all that must end is known to it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from calico_mn.delta import Delta, delta, full_delta
from calico_mn.difference import Difference
from calico_mn.emulation.damage import damage
from calico_mn.errors import ClusterError, KernelError, UnsupportedError
from calico_mn.kernel import (
    cleanup,
    facts,
    flowhash,
    limits,
    packetfilter,
    processes,
    read,
    tunnel,
)
from calico_mn.kernel.capture import BulkCapture, Capture
from calico_mn.kernel.netns import NamespaceThread, environment
from calico_mn.kernel.reconcile import Reconciler
from calico_mn.kernel.runs import LogEntry, RunDirectory
from calico_mn.kernel.socketfilter import CaptureFilter
from calico_mn.kernel.write import KernelWriter
from calico_mn.present import Owned
from calico_mn.repair import Repair
from calico_mn.state import IPIP, Bridge, Drop, Filter, Namespace, Route, Tunnel

Result = TypeVar("Result")


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors of the kernel say in which namespace they arose."""
    try:
        yield
    except KernelError as error:
        raise KernelError(f"{name}: {error}") from error


class Runtime:
    """One run: its namespaces, its programs, its directory, its tunnel back end."""

    def __init__(self, tunnel_wanted: str, description: Mapping[str, object], name: str = "", *,
                 needs_tunnel: bool = True) -> None:
        if os.geteuid() != 0:
            raise UnsupportedError("making network namespaces needs root: run this with sudo")
        with ExitStack() as undo, limits.told("the run cannot begin"):
            #: what runs that were killed had left, and this one removed before it began
            self.removed = cleanup.remove_before_start()
            # Ending a run takes a descriptor, also after a boot that failed for want of one.
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, self._reserve)
            self.tunnel = tunnel.choose(tunnel_wanted, is_needed=needs_tunnel)
            undo.callback(self.tunnel.close)
            self.directory = RunDirectory({
                **description, "tunnel": self.tunnel.name,
                "removed": [run.identity for run in self.removed]}, name)
            undo.pop_all()
        self._thread = NamespaceThread()
        self._log_of: dict[str, str] = {}
        self._unwritten: dict[str, list[LogEntry]] = {}
        self._writer = KernelWriter(self._thread, self.tunnel, self._journal)
        self._reconciler = Reconciler(self._thread, self._writer, self.tunnel)
        # Held from a change in the kernel until the states say so too: who verifies meanwhile,
        # in another thread, would see a difference that is none.
        self._changing = threading.RLock()
        self.states: dict[str, Namespace] = {}
        self.filters: dict[str, Filter] = {}
        #: what failed in places that are behind, oldest first
        self._missed: dict[str, tuple[Delta, ...]] = {}
        self.without_flow_hashes: set[str] = set()
        self.is_open = True

    def create(self, states: Sequence[Namespace], log_of: Mapping[str, str] | None = None
               ) -> None:
        """Begin to make empty namespaces; what fails is raised by the next call.

        ``log_of`` names whose log tells of a namespace (a pod's node).
        """
        logs = {}
        for state in states:
            owner = (log_of or {}).get(state.name, state.name)
            self._log_of[state.name] = owner
            logs[state.name] = self.directory.log_directory(owner)
        self._writer.create(states, logs)

    def fill(self, states: Sequence[Namespace]) -> None:
        """Put what the states say into namespaces that were just created."""
        with self._changing:
            try:
                self._writer.fill(states)
            finally:
                self._write_logs()
            self.states.update((state.name, state) for state in states)

    def change(self, states: Iterable[Namespace]) -> tuple[Delta, ...]:
        """Bring filled namespaces to new states, all or none; the changes that it took."""
        wanted = list(states)
        with self._changing:
            changes = tuple(change for state in wanted
                            if (change := delta(self.states[state.name], state)))
            try:
                self._writer.apply(changes)
            except BaseException:
                self._undo(wanted)
                raise
            finally:
                self._write_logs()
            self.states.update((state.name, state) for state in wanted)
        return changes

    def verify(self, names: Collection[str], owned: Mapping[str, Owned]) -> tuple[Difference, ...]:
        """What differs in these namespaces from what they should hold."""
        with self._changing:
            return self._reconciler.differences(self.states, names, owned)

    def repair(self, names: Collection[str], owned: Mapping[str, Owned]) -> Repair:
        """Bring these namespaces back to what they should hold, as far as the kernel lets us."""
        with self._changing:
            try:
                done = self._reconciler.repair(self.states, names, owned)
            finally:
                self._write_logs()
            for name in {*names} - {difference.namespace for difference in done.remaining}:
                self._missed.pop(name, None)
            return done

    def follow(self, states: Iterable[Namespace]) -> tuple[Delta, ...]:
        """As :meth:`change`, but a place that fails holds up no other, and is behind from then on.

        The states count as wanted everywhere. A place that is behind is written as a whole at
        its next change here. Raises KernelError at the end, for all that failed.
        """
        wanted = {state.name: state for state in states}
        with self._changing:
            behind = self._missed.keys() & wanted.keys()
            changes = {name: change for name, state in wanted.items()
                       if (change := delta(self.states[name], state)) or name in behind}
            due = {name: change if name not in behind
                   else full_delta(change, wanted[name], self._missed[name])
                   for name, change in changes.items()}
            try:
                failures = self._writer.apply_best_effort(due.values(), behind)
            finally:
                self._write_logs()
            self.states.update(wanted)
            for name in due:
                missed = self._missed.pop(name, ())
                if name in failures:
                    self._missed[name] = (*missed, changes[name])
        if failures:
            raise KernelError(self._told(failures))
        return tuple(due.values())

    def _told(self, failures: Mapping[str, KernelError]) -> str:
        """What happened to whom, what is broken there, and what to do."""
        lines = []
        for name, error in failures.items():
            broken = self.damage(name)
            lines.append(f"{error}" + (f" ({', '.join(broken)})" if broken else ""))
        lines.append(f"Everything else is up to date. To mend {', '.join(failures)}: calico-mn"
                     " verify --repair (net.repair() in Python); or mend it by hand and ask for the"
                     " same again.")
        return "\n".join(lines)

    def damage(self, name: str) -> list[str]:
        """What a person broke in a namespace, in a few words; see :mod:`.damage`."""
        return damage(self.inside(name, facts.read), self.states[name])

    def _undo(self, wanted: Iterable[Namespace]) -> None:
        """Take back a change that failed half-way, as far as the kernel lets us."""
        for state in wanted:
            with suppress(KernelError):
                self._writer.apply([delta(state, self.states[state.name])])

    def discard(self, names: Sequence[str]) -> None:
        """End namespaces and the programs in them."""
        inodes = {self._writer.namespaces[name].inode for name in names
                  if name in self._writer.namespaces}
        with self._changing:
            for name in names:
                self.states.pop(name, None)
                self.filters.pop(name, None)
                self._missed.pop(name, None)
        processes.end_in_namespaces(inodes)
        self._writer.discard(names)

    def spawn(self, name: str, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in a namespace. Raises ToolError, or ClusterError if it is gone."""
        namespace = self._writer.namespaces.get(name)
        if not self.is_open or namespace is None:
            raise ClusterError(f"{name} is not running")
        directory = options.pop("cwd", None) or os.getcwd()
        marked = environment(self.directory.identity, options.pop("env", None))
        return self._thread.call(
            self._thread.spawn, namespace, command, directory, env=marked, **options)

    def open(self, name: str) -> tuple[int, int]:
        """New descriptors of a namespace and its mounts; whoever gets them closes them."""
        namespace = self._writer.namespaces.get(name)
        if not self.is_open or namespace is None:
            raise ClusterError(f"{name} is not running")
        return self._thread.call(self._thread.open, namespace)

    def capture(self, name: str, device: str, wanted: CaptureFilter) -> Capture:
        """Begin to capture a namespace's packets that match, on one device."""
        with _named(name):
            return self.inside(name, Capture, wanted, device)

    def capture_bulk(self, name: str, device: str, wanted: CaptureFilter) -> BulkCapture:
        """Begin to capture the headers of very many packets that match, on one device."""
        with _named(name):
            capture = self.inside(name, BulkCapture, wanted, device)
        capture.start()
        return capture

    def inside(self, name: str, job: Callable[..., Result], *args: Any) -> Result:
        """Run ``job(*args)`` in a thread that is inside a namespace; its result or exception.

        Sockets that it opens belong to the namespace, and /proc/thread-self/net is its own.
        Raises ClusterError if the namespace is gone.
        """
        namespace = self._writer.namespaces.get(name)
        if not self.is_open or namespace is None:
            raise ClusterError(f"{name} is not running")

        def entered() -> Result:
            self._thread.enter(namespace)
            return job(*args)

        return self._thread.call(entered)

    def filter(self, name: str, wanted: Filter) -> None:
        """Lose packets in a namespace as ``wanted`` says, and no others.

        Raises UnsupportedError without nft or what it needs of the kernel, KernelError when the
        kernel refuses the rules; then all is as before.
        """
        is_switch = any(isinstance(device, Bridge) for device in self.states[name].devices)
        lines = packetfilter.change(self.filters.get(name, {}), wanted, is_switch=is_switch)
        if not lines:
            return
        self._nft(name, packetfilter.APPLY, "\n".join(lines) + "\n")
        self.filters[name] = dict(wanted)
        self._journal(name, [f"nft '{line}'" for line in lines])
        self._write_logs()

    def dropped(self, name: str) -> dict[Drop, int]:
        """How many packets of each kind a namespace's filter has lost."""
        present = self.filters.get(name)
        if not present:
            return {}
        return packetfilter.counts(self._nft(name, packetfilter.LIST_COUNTERS), present)

    def erase_flow_hashes(self, name: str, erase: bool) -> None:
        """Let a namespace's devices forget flow hashes, or keep them again; see kernel.flowhash.

        Only for a namespace without programs of the tunnel's. Raises UnsupportedError.
        """
        namespace = self._writer.namespaces[name]
        devices = [device.name for device in self.states[name].devices]
        indexes = [namespace.index(device) for device in devices]

        def job() -> None:
            self._thread.enter(namespace)
            (flowhash.forget if erase else flowhash.remember)(indexes)

        self._thread.call(job)
        (self.without_flow_hashes.add if erase else self.without_flow_hashes.discard)(name)
        program = "ingress bpf da forget/flow_hash" if erase else ""
        self._journal(name, [line for device in devices for line in (
            [f"tc qdisc add dev {device} clsact", f"tc filter add dev {device} {program}"]
            if erase else [f"tc qdisc del dev {device} clsact"])])
        self._write_logs()

    def kernel_routes(self, name: str) -> tuple[Route, ...]:
        """The main routing table of a namespace as the kernel has it now."""
        return self.inside(name, read.main_table)

    def has_tunnel(self, name: str) -> bool:
        """Whether there is a tunl0 of ours in a namespace."""
        return any(isinstance(device, Tunnel) and device.kind == IPIP
                   for device in self.states[name].devices)

    def _nft(self, name: str, command: Sequence[str], rules: str = "") -> str:
        packetfilter.require_nft()
        return packetfilter.finish(name, self.spawn(
            name, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True, env={"LC_ALL": "C"}), rules)

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
        inodes = {n.inode for n in self._writer.namespaces.values()}
        with ExitStack() as last_to_first:
            # Each is done whatever becomes of those before it.
            last_to_first.callback(self.directory.remove)
            last_to_first.callback(self._thread.close)
            last_to_first.callback(self._thread.call, self.tunnel.close)
            last_to_first.callback(self._writer.close)
            last_to_first.callback(processes.end_in_namespaces, inodes)
            last_to_first.callback(processes.end, self._thread.processes)
            last_to_first.callback(os.close, self._reserve)
            last_to_first.callback(self._await_jobs)

    def _await_jobs(self) -> None:
        """Jobs that still wait in the thread would take the descriptor that was kept for ending."""
        with suppress(KernelError):
            self._thread.call(os.getpid)

    def _journal(self, name: str, commands: Sequence[str]) -> None:
        self._unwritten.setdefault(self._log_of[name], []).append(
            LogEntry(name, commands))

    def _write_logs(self) -> None:
        """Append what happened to the logs, one file after the other."""
        entries, self._unwritten = self._unwritten, {}
        for owner, items in entries.items():
            with suppress(OSError):
                self.directory.write(owner, items)
