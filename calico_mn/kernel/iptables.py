"""Which iptables writes a run's rules: nft or legacy, as Felix would find it on this machine.

In go the wish (``auto``, ``legacy``, ``nft``) and FelixConfiguration's ``iptablesBackend``; out
comes an :class:`Iptables` with its programs, its reason, and the directory that puts them first in
the PATH of a node. Felix's Auto takes the back end that holds kubelet's chain KUBE-IPTABLES-HINT
(felix ``environment/feature_detect.go``, ``DetectBackend``), and kubelet writes that with the
machine's own ``iptables``: so that program's back end is the first choice here, the other one the
second. Whether one works is tried in a scratch namespace, with all that the static chains use.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from calico_mn.errors import CalicoMnError, KernelError, ToolError, UnsupportedError
from calico_mn.kernel import processes, runtime_dir
from calico_mn.kernel.netns import NamespaceThread
from calico_mn.text import join

Result = TypeVar("Result")

NFT, LEGACY, NONE = "nft", "legacy", "none"
AUTO = "auto"
#: what ``--iptables`` takes
WISHES = (AUTO, LEGACY, NFT)
#: the address families' programs, and what each of them does by its name
_FAMILIES, _ROLES = ("iptables", "ip6tables"), ("", "-save", "-restore")
_PACKAGES = "./install.sh installs them, and so does 'apt-get install iptables ipset'"
_WITHOUT = "or boot without Felix's rules: --no-policy"
_TIMEOUT_S = 60
_SET = "cali4probe"

#: match or target -> (its module, the table, what it is tried with); those of the static chains
_STATIC: Mapping[str, tuple[str, str, str]] = {
    "match rpfilter": ("ipt_rpfilter", "raw", "-m rpfilter --validmark --invert -j DROP"),
    "match conntrack": ("xt_conntrack", "mangle", "-m conntrack --ctstate RELATED -j ACCEPT"),
    "match mark": ("xt_mark", "mangle", "-m mark --mark 0x1/0x1 -j ACCEPT"),
    "target MARK": ("xt_mark", "mangle", "-j MARK --set-mark 0x1/0x1"),
    "match addrtype": ("xt_addrtype", "nat",
                       "-m addrtype ! --src-type LOCAL --limit-iface-out -j ACCEPT"),
    "target MASQUERADE": ("xt_MASQUERADE", "nat", "-j MASQUERADE --random-fully"),
    "match comment": ("xt_comment", "filter", "-m comment --comment x -j ACCEPT"),
    "match set": ("xt_set", "filter", f"-m set --match-set {_SET} src -j ACCEPT"),
    "match multiport": ("xt_multiport", "filter",
                        "-p udp -m multiport --destination-ports 4789 -j DROP"),
}
#: those that only some policies use
_OF_POLICIES: Mapping[str, tuple[str, str, str]] = {
    "target LOG": ("xt_LOG", "filter", "-j LOG --log-prefix x"),
    "target NOTRACK": ("xt_CT", "raw", "-j NOTRACK"),
    "target REJECT": ("ipt_REJECT", "filter", "-j REJECT"),
}
_TRIED = {**_STATIC, **_OF_POLICIES}
_WORD = re.compile(r"(?:-m|-j|--jump|--match) (\w+)")


@dataclass(frozen=True)
class Iptables:
    """A back end: ``name`` is nft, legacy or none, ``reason`` why it is this one, in a sentence.

    ``programs`` are name in a node -> the program's path.
    """

    name: str
    reason: str
    programs: Mapping[str, str] = field(default_factory=dict, repr=False)

    def command(self, role: str) -> tuple[str, ...]:
        """The argv of ``iptables-restore`` or ``iptables-save``, for IPv4.

        Raises UnsupportedError where there is no back end.
        """
        if self.name == NONE:
            raise UnsupportedError(self.reason)
        return (self.programs[role],)

    @property
    def version(self) -> str | None:
        """Of the programs, such as 1.8.9; None where there are none."""
        return version(self.name)

    def link(self, directory: Path) -> None:
        """Make a directory for a node's PATH in which these are ``iptables`` and the like."""
        if self.programs:
            directory.mkdir()
            for name, path in self.programs.items():
                (directory / name).symlink_to(path)


NO_RULES = Iptables(NONE, "this cluster boots without Felix's rules: --no-policy")


def choose(wanted: str = AUTO, felix: str = "Auto") -> Iptables:
    """The back end for ``auto``, ``legacy`` or ``nft``; for ``auto`` what Felix's field says.

    ``felix`` is FelixConfiguration's ``iptablesBackend``: Auto, Legacy or NFT. Raises
    UnsupportedError, with what is missing, where it cannot be had.
    """
    if wanted not in WISHES:
        raise UnsupportedError(f"unknown iptables back end {wanted!r}: say auto, legacy or nft")
    origin = "it was asked for"
    if wanted == AUTO and felix.lower() in (LEGACY, NFT):
        wanted, origin = felix.lower(), "FelixConfiguration's iptablesBackend says so"
    if wanted != AUTO:
        reason = why_not(wanted)
        if reason:
            raise UnsupportedError(f"no rules by iptables-{wanted}: {reason}; {_WITHOUT}")
        return _backend(wanted, origin)
    first = machines_own()
    reason = why_not(first)
    if reason is None:
        return _backend(first, f"this machine's own iptables is {first}")
    other = LEGACY if first == NFT else NFT
    reason_of_other = why_not(other)
    if reason_of_other is None:
        return _backend(other, f"iptables-{first} does not work here: {reason}")
    if reason == reason_of_other:
        raise UnsupportedError(f"Felix's rules cannot be written: {reason}; {_WITHOUT}")
    raise UnsupportedError("Felix's rules cannot be written."
                           f" By iptables-{first}: {reason}. By iptables-{other}:"
                           f" {reason_of_other}; {_WITHOUT}")


def _backend(name: str, reason: str) -> Iptables:
    if _attempt(name)[2]:
        reason += "; to try it loaded the kernel's module ip_tables"
    return Iptables(name, reason, _programs(name)[0])


def machines_own() -> str:
    """The back end of the machine's own ``iptables``, nft where there is none."""
    path = processes.program("iptables")
    if path is None:
        return NFT
    # Debian's alternatives lead to xtables-nft-multi or xtables-legacy-multi.
    name = Path(os.path.realpath(path)).name
    said = name if NFT in name or LEGACY in name else run((path, "--version"))[1]
    return NFT if NFT in said or "nf_tables" in said else LEGACY


@functools.cache
def version(name: str) -> str | None:
    """The version of a back end's programs, such as 1.8.9; None where there are none."""
    path = processes.program(f"iptables-{name}")
    if path is None:
        return None
    match = re.search(r"v(\d[\w.]*)", run((path, "--version"))[1])
    return match[1] if match else None


def _programs(name: str) -> tuple[dict[str, str], list[str]]:
    """Name in a node -> path, and the names of those that are not installed."""
    wanted = {f"{family}{role}": f"{family}-{name}{role}"
              for family in _FAMILIES for role in _ROLES}
    paths = {short: processes.program(long) for short, long in wanted.items()}
    missing = [wanted[short] for short in ("iptables", "iptables-restore", "iptables-save")
               if paths[short] is None]
    return {short: path for short, path in paths.items() if path is not None}, missing


# --- what works here, tried in a scratch namespace

def why_not(name: str) -> str | None:
    """Why a back end cannot be used, in a sentence; None where it can. Tried once."""
    _, absent = _programs(name)
    absent += ["ipset"] if processes.program("ipset") is None else []
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        return f"{join(absent)} {verb} not installed: {_PACKAGES}"
    lacking, said, _ = _attempt(name)
    if lacking:
        return f"this kernel lacks {join(_named(lacking))}, which Felix's rules use"
    if said and name == LEGACY and runtime_dir.is_user_namespace():
        return f"{said} ('sudo modprobe ip_tables' on the machine helps, where its kernel has it)"
    return said or None


def missing(name: str, lines: Iterable[str]) -> list[str]:
    """Which matches and targets of these rules this kernel lacks, as far as they can be tried."""
    words = {word for line in lines for word in _WORD.findall(line)}
    return _named(_in_scratch(lambda: _lacking(
        name, [item for item in _TRIED if item.partition(" ")[2] in words])))


def _named(items: Iterable[str]) -> list[str]:
    return [f"the {item} (module {_TRIED[item][0]})" for item in items]


@functools.cache
def _attempt(name: str) -> tuple[list[str], str, bool]:
    """What of ``_STATIC`` is missing, what else failed, and whether ip_tables was loaded by it."""
    before = _has_ip_tables()
    try:
        lacking, said = _in_scratch(lambda: _try(name))
    except CalicoMnError as error:
        lacking, said = [], str(error)
    return lacking, said, not before and _has_ip_tables()


def _has_ip_tables() -> bool:
    return Path("/sys/module/ip_tables").exists()


def _in_scratch(job: Callable[[], Result]) -> Result:
    """The result of a job in a network namespace that ends with it; it has an IP set."""
    def work() -> Result:
        namespace = thread.create("scratch")
        try:
            status, said = run(("ipset", "restore"), [f"create {_SET} hash:net family inet"])
            if status:
                raise KernelError(f"this kernel makes no IP sets (module ip_set): {first(said)}")
            return job()
        finally:
            thread.discard(namespace)

    thread = NamespaceThread()
    try:
        return thread.call(work)
    finally:
        thread.close()


def _try(name: str) -> tuple[list[str], str]:
    status, _ = _restore(name, _STATIC)
    if not status:
        return [], ""
    status, said = _restore(name, {})
    return ([], first(said)) if status else (_lacking(name, _STATIC), "")


def _lacking(name: str, items: Iterable[str]) -> list[str]:
    return [item for item in items if _restore(name, [item])[0]]


def _restore(name: str, items: Collection[str]) -> tuple[int, str]:
    lines = ["*filter", ":cali-probe - -", "COMMIT"]
    for item in items:
        _, table, text = _TRIED[item]
        lines += [f"*{table}", ":cali-probe - -", f"-A cali-probe {text}", "COMMIT"]
    # The lock file is this program's own input, for which no other program waits.
    return run((f"iptables-{name}-restore", "--noflush"), lines,
               XTABLES_LOCKFILE="/proc/self/fd/0")


# --- running them

def run(command: Sequence[str], lines: Iterable[str] = (), **environment: str) -> tuple[int, str]:
    """Run a program with these lines as its input, in the namespace that this thread is in.

    Its exit status, and what it printed, or complained of. Raises ToolError when it cannot run or
    hangs.
    """
    path = processes.program(command[0])
    # The program's input is a file in memory: no thread need feed a pipe.
    source = os.memfd_create(command[0].rpartition("/")[2])
    try:
        os.write(source, "".join(f"{line}\n" for line in lines).encode())
        os.lseek(source, 0, os.SEEK_SET)
        # Our descriptors are closed by exec: to close thousands one by one takes milliseconds.
        process = processes.start(
            [path or command[0], *command[1:]], stdin=source, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True, close_fds=False,
            env={**os.environ, "LC_ALL": "C", **environment})
    except OSError as error:
        raise ToolError(f"cannot run {command[0]}: {processes.explain(error.errno)}") from error
    finally:
        os.close(source)
    try:
        # iptables-nft-save warns of legacy tables amid its lines: the two are kept apart.
        said, complaints = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_TIMEOUT_S)
        raise ToolError(f"{command[0]} did not end within {_TIMEOUT_S} s") from None
    return process.returncode, (complaints or said) if process.returncode else said


def first(said: str) -> str:
    """The first line of a complaint that says something, without the program's name."""
    lines = (re.sub(r"^ip(6?tables[\w-]*|set) v[\d.]+( \([\w ]+\))?:\s*", "", line).strip()
             for line in said.splitlines())
    return next(filter(None, lines), "no reason given")
