"""Firewalls in the kernel: iptables-restore and ``ipset restore``, for what changes alone.

In goes a :class:`~calico_mn.rules.FirewallChange`; out come the lines for the two programs, which
:class:`FirewallWriter` runs in namespaces. Chains are ours by their names; those of others, and the
counters of chains that stay, are left alone (``--noflush``). Each table changes in one transaction.
A new namespace's rules can do without iptables-legacy (:mod:`calico_mn.kernel.legacy_tables`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from threading import Semaphore
from typing import TypeVar

from calico_mn import rules
from calico_mn.errors import KernelError, ToolError
from calico_mn.kernel import ipset, iptables, processes, runtime_dir
from calico_mn.kernel.iptables import Iptables
from calico_mn.kernel.legacy_tables import LegacyTables
from calico_mn.kernel.netns import LOCK, MARK, NamespaceThread, NetworkNamespace, lock_file
from calico_mn.rules import FirewallChange, RuleItem
from calico_mn.state import Firewall
from calico_mn.text import join

Result = TypeVar("Result")

_NOTHING = Firewall({}, {}, {})
# Programs at a time: what empties a chain mostly waits for RCU grace periods (nft_rcv_nl_event in
# net/netfilter/nf_tables_api.c), but new rules keep the processors busy.
_AT_A_TIME, _NEW_AT_A_TIME = 16, 2
_MAX_MEMBERS = 1048576  # FelixConfiguration's MaxIpsetSize


def restore_lines(change: FirewallChange) -> list[str]:
    """The lines for ``iptables-restore --noflush``, none where no chain changes."""
    before, wanted = change.before or _NOTHING, change.wanted or _NOTHING
    if (before.chains, before.hooks) == (wanted.chains, wanted.hooks):
        return []
    lines: list[str] = []
    for table in dict.fromkeys((*wanted.hooks, *before.hooks)):
        changed = {chain: rules for (of, chain), rules in wanted.chains.items()
                   if of == table and before.chains.get((of, chain)) != rules}
        gone = [chain for of, chain in before.chains if of == table
                and (of, chain) not in wanted.chains]
        had, has = before.hooks.get(table, ()), wanted.hooks.get(table, ())
        inside = [*(f":{chain} - -" for chain in (*changed, *gone)),
                  *(rule for rules in changed.values() for rule in rules),
                  *_hook_lines(had, has),
                  *(f"-X {chain}" for chain in gone)]
        lines += [f"*{table}", *inside, "COMMIT"] if inside else []
    return lines


def in_batches(lines: Sequence[str], most: int) -> list[str]:
    """The same lines for iptables-restore in transactions of at most ``most`` lines.

    A table's chains are declared in its first ones, which empties them, and filled in the next.
    """
    batched: list[str] = []
    table, inside = "", list[str]()
    for line in lines:
        if line.startswith("*"):
            table, inside = line, []
        elif line == "COMMIT":
            for start in range(0, len(inside), most):
                batched += [table, *inside[start:start + most], line]
        else:
            inside.append(line)
    return batched


def _hook_lines(had: Sequence[str], has: Sequence[str]) -> Iterator[str]:
    """The rules in a table's chains of the kernel; those of a chain that differs, as a whole."""
    for chain in dict.fromkeys(hook.split()[1] for hook in (*had, *has)):
        before, after = ([hook for hook in hooks if hook.split()[1] == chain]
                         for hooks in (had, has))
        if before != after:
            yield from (f"-D{hook[2:]}" for hook in before)
            yield from after


def set_lines(change: FirewallChange, *, removing: bool) -> list[str]:
    """The lines for ``ipset restore``: what comes, before the rules, or what goes, after them."""
    before, wanted = change.before or _NOTHING, change.wanted or _NOTHING
    # A set that stays is mostly the same object, and not compared member by member.
    changed = {name: members for name, members in wanted.sets.items()
               if before.sets.get(name) is not members}
    if removing:
        return [*(f"del {name} {member}" for name, members in changed.items()
                  for member in sorted(before.sets.get(name, frozenset()) - members)),
                *(f"destroy {name}" for name in before.sets if name not in wanted.sets)]
    return [line for name, members in changed.items()
            for line in (*_created(name, before),
                         *(f"add {name} {member}" for member in
                           sorted(members - before.sets.get(name, frozenset()))))]


def _created(name: str, before: Firewall) -> Iterator[str]:
    if name not in before.sets:
        kind = "hash:ip,port" if name.startswith(("cali40n:", "cali40svc:")) else "hash:net"
        yield f"create {name} {kind} family inet maxelem {_MAX_MEMBERS}"


def commands(change: FirewallChange) -> list[str]:
    """The change as commands that a person would type, in order."""
    lines = [f"ipset {line}" for line in set_lines(change, removing=False)]
    table = start = ""
    for line in restore_lines(change):
        if line[0] == "-":
            lines.append(start + line)
        elif line[0] == "*":
            table = line[1:]
            start = f"iptables -t {table} "
        elif line[0] == ":":
            chain = line[1:].split()[0]
            known = change.before is not None and (table, chain) in change.before.chains
            lines.append(f"{start}{'-F' if known else '-N'} {chain}")
    return [*lines, *(f"ipset {line}" for line in set_lines(change, removing=True))]


class FirewallWriter:
    """Writes and reads the firewalls of a run's namespaces, a few at a time, in its own threads.

    A namespace is all that it takes: its devices may come later.
    """

    def __init__(self, backend: Iptables, directory: Path) -> None:
        self.backend = backend
        self._directory = directory
        self._ipset = processes.program("ipset") or "ipset"
        # nft sends a transaction as one message, of some 700 bytes a rule; outside of a user
        # namespace it may be larger than net.core.wmem_max, of 208 kB (SO_SNDBUFFORCE).
        self._most_lines = 200 if (backend.name == iptables.NFT
                                   and runtime_dir.is_user_namespace()) else 0
        self._threads = NamespaceThread(_AT_A_TIME)
        self._new = Semaphore(_NEW_AT_A_TIME)
        self._legacy = LegacyTables() if backend.name == iptables.LEGACY else None

    def begin(self, made: Callable[[], NetworkNamespace], change: FirewallChange) -> Future[None]:
        """Write, in the background, into the namespace that ``made`` waits for.

        The future raises KernelError.
        """
        def write() -> None:
            namespace = made()
            with self._new if change.before is None else nullcontext():
                self._write(namespace, change)

        return self._threads.submit(write)

    def read(self, namespace: NetworkNamespace) -> tuple[RuleItem, ...]:
        """What is there of ours. Raises KernelError where it cannot be read."""
        return self._threads.call(lambda: rules.read(*(
            self._run(namespace, command, ()).splitlines()
            for command in (self.backend.command("iptables-save"), (self._ipset, "save")))))

    def close(self) -> None:
        """End the threads; what was begun is finished, the rest is not begun."""
        self._threads.close(cancel=True)

    def _write(self, namespace: NetworkNamespace, change: FirewallChange) -> None:
        """The sets come before the rules that name them, and go after them."""
        self._write_sets(namespace, set_lines(change, removing=False))
        new = change.wanted if change.before is None else None
        if self._legacy is None or new is None:
            self._write_rules(namespace, change)
        elif not self._inside(namespace, self._legacy.write, new):
            self._write_rules(namespace, change)
            self._inside(namespace, self._legacy.learn, new)
        self._write_sets(namespace, set_lines(change, removing=True))

    def _inside(self, namespace: NetworkNamespace, job: Callable[[Firewall], Result],
                firewall: Firewall) -> Result:
        with self._threads.visiting(namespace):
            return job(firewall)

    def _write_rules(self, namespace: NetworkNamespace, change: FirewallChange) -> None:
        lines = restore_lines(change)
        if self._most_lines:
            lines = in_batches(lines, self._most_lines)
        if lines:
            self._run(namespace, (*self.backend.command("iptables-restore"), "--noflush"), lines)

    def _write_sets(self, namespace: NetworkNamespace, lines: Sequence[str]) -> None:
        """By netlink; what the kernel refuses is tried again by ipset, whose messages say more."""
        if not lines:
            return
        try:
            with self._threads.visiting(namespace):
                ipset.send(lines)
        except (KernelError, ValueError, OSError):
            self._run(namespace, (self._ipset, "-exist", "restore"), lines)

    def _run(self, namespace: NetworkNamespace, command: Sequence[str], lines: Sequence[str]
             ) -> str:
        environment = {MARK: self._directory.name,
                       LOCK: str(lock_file(self._directory, namespace.name))}
        try:
            with self._threads.visiting(namespace):
                status, said = iptables.run(command, lines, **environment)
        except ToolError as error:
            raise KernelError(f"{namespace.name}: {error}") from error
        if not status:
            return said
        program = command[0].rpartition("/")[2]
        lacking = iptables.missing(self.backend.name, lines) if "-restore" in program else []
        raise KernelError(f"{namespace.name}: {program}: {iptables.first(said)}" + (
            f"; this kernel lacks {join(lacking)}" if lacking else ""))
