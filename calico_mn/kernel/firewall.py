"""Firewalls in the kernel: iptables-restore and ``ipset restore``, for what changes alone.

In goes a :class:`~calico_mn.rules.FirewallChange`; out come the lines for the two programs, and
:func:`write` runs them in namespaces. Chains are ours by their names; those of others, and the
counters of chains that stay, are left alone (``--noflush``). Each table changes in one transaction.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from calico_mn import rules
from calico_mn.errors import KernelError, ToolError, UnsupportedError
from calico_mn.kernel import processes
from calico_mn.kernel.netns import NamespaceThread, NetworkNamespace
from calico_mn.rules import FirewallChange, RuleItem
from calico_mn.state import Firewall

RESTORE, IPSET = ("iptables-nft-restore", "--noflush"), ("ipset", "-exist", "restore")
SAVE, IPSET_SAVE = ("iptables-nft-save",), ("ipset", "save")
_NOTHING = Firewall({}, {}, {})
_TIMEOUT_S = 60
_AT_A_TIME = 4
_MAX_MEMBERS = 1048576  # FelixConfiguration's MaxIpsetSize


def restore_lines(change: FirewallChange) -> list[str]:
    """The lines for ``iptables-restore --noflush``, none where no chain changes."""
    before, wanted = change.before or _NOTHING, change.wanted or _NOTHING
    lines: list[str] = []
    for table in dict.fromkeys((*wanted.hooks, *before.hooks)):
        changed = {chain: rules for (of, chain), rules in wanted.chains.items()
                   if of == table and before.chains.get((of, chain)) != rules}
        gone = [chain for of, chain in before.chains if of == table
                and (of, chain) not in wanted.chains]
        had, has = before.hooks.get(table, ()), wanted.hooks.get(table, ())
        inside = [*(f":{chain} - -" for chain in (*changed, *gone)),
                  *(rule for rules in changed.values() for rule in rules),
                  *(_deleted(hook) for hook in had if hook not in has),
                  *(hook for hook in has if hook not in had),
                  *(f"-X {chain}" for chain in gone)]
        lines += [f"*{table}", *inside, "COMMIT"] if inside else []
    return lines


def _deleted(hook: str) -> str:
    return f"-D{hook[2:]}"


def set_lines(change: FirewallChange, *, removing: bool) -> list[str]:
    """The lines for ``ipset restore``: what comes, before the rules, or what goes, after them."""
    before, wanted = change.before or _NOTHING, change.wanted or _NOTHING
    if removing:
        return [*(f"del {name} {member}" for name, members in wanted.sets.items()
                  for member in sorted(before.sets.get(name, frozenset()) - members)),
                *(f"destroy {name}" for name in before.sets if name not in wanted.sets)]
    return [line for name, members in wanted.sets.items()
            for line in (*_created(name, before),
                         *(f"add {name} {member}" for member in
                           sorted(members - before.sets.get(name, frozenset()))))]


def _created(name: str, before: Firewall) -> Iterator[str]:
    if name not in before.sets:
        kind = "hash:ip,port" if name.startswith("cali40n:") else "hash:net"
        yield f"create {name} {kind} family inet maxelem {_MAX_MEMBERS}"


def commands(change: FirewallChange) -> list[str]:
    """The change as commands that a person would type, in order."""
    lines = [f"ipset {line}" for line in set_lines(change, removing=False)]
    table = ""
    for line in restore_lines(change):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chain = line[1:].split()[0]
            known = change.before is not None and (table, chain) in change.before.chains
            lines.append(f"iptables -t {table} {'-F' if known else '-N'} {chain}")
        elif line != "COMMIT":
            lines.append(f"iptables -t {table} {line}")
    return [*lines, *(f"ipset {line}" for line in set_lines(change, removing=True))]


def require_programs() -> None:
    """Raises UnsupportedError, with the packages' names, where a program is missing."""
    missing = [name for name in (RESTORE[0], IPSET[0]) if shutil.which(name) is None]
    if missing:
        raise UnsupportedError(
            f"network policies need {' and '.join(missing)}, not installed here: ./install.sh"
            " installs them, and so does 'apt-get install iptables ipset'; or boot without"
            " policies: --no-policy")


def read(name: str) -> tuple[RuleItem, ...]:
    """What is there of ours in the namespace that the calling thread is in.

    Raises KernelError and ToolError where it cannot be read.
    """
    texts = []
    for command in (SAVE, IPSET_SAVE):
        said, failure = _finish(name, command, _start(name, command, ()))
        if failure is not None:
            raise failure
        texts.append(said.splitlines())
    return rules.read(*texts)


def write(thread: NamespaceThread, changes: Sequence[tuple[NetworkNamespace, FirewallChange]]
          ) -> list[KernelError | None]:
    """Carry out changes, a few namespaces at a time; what each of them failed with.

    To be called in the namespace thread. The sets come before the rules that name them.
    """
    errors: list[KernelError | None] = [None] * len(changes)
    for command, lines_of in (
            (IPSET, partial(set_lines, removing=False)), (RESTORE, restore_lines),
            (IPSET, partial(set_lines, removing=True))):
        running: deque[tuple[int, subprocess.Popen[str]]] = deque()
        for number, (namespace, change) in enumerate(changes):
            lines = lines_of(change) if errors[number] is None else []
            if lines:
                thread.enter(namespace)
                running.append((number, _start(namespace.name, command, lines)))
            while running and (len(running) >= _AT_A_TIME or number == len(changes) - 1):
                due, process = running.popleft()
                _, errors[due] = _finish(changes[due][0].name, command, process)
    return errors


def _start(name: str, command: Sequence[str], lines: Iterable[str]) -> subprocess.Popen[str]:
    # The program's input is a file in memory: no thread need feed a pipe.
    source = os.memfd_create(command[0])
    try:
        os.write(source, "".join(f"{line}\n" for line in lines).encode())
        os.lseek(source, 0, os.SEEK_SET)
        return processes.start(command, stdin=source, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True,
                               env={**os.environ, "LC_ALL": "C"})
    except OSError as error:
        raise ToolError(f"{name}: cannot run {command[0]}:"
                        f" {processes.explain(error.errno)}") from error
    finally:
        os.close(source)


def _finish(name: str, command: Sequence[str], process: subprocess.Popen[str]
            ) -> tuple[str, KernelError | None]:
    """What a program printed, and what it failed with. Raises ToolError when it hangs."""
    try:
        # iptables-nft-save warns of legacy tables amid its lines: the two are kept apart.
        said, complaints = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_TIMEOUT_S)
        raise ToolError(f"{name}: {command[0]} did not end within {_TIMEOUT_S} s") from None
    if not process.returncode:
        return said, None
    reason = next(iter((complaints or said).splitlines()),
                  f"exit status {process.returncode}")
    return said, KernelError(f"{name}: {command[0]}: {reason}")
