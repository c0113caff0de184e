"""The shell's Tab, by argcomplete: the whole parser, and values that are looked up.

    shell --COMP_LINE--> autocomplete --> argcomplete --> candidates(kind, prefix)
                                                          files, runs, nodes, pods

argcomplete is imported on Tab only. Only root can see runs and what is in them: without root, names
come from ``sudo -n calico-mn _names``, if sudo needs no password at the moment.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from calico_mn.errors import UnsupportedError

#: kinds of words on a command line, besides an argument's choices
FILES, RUNS, NODES, PODS, PLACES = "files", "runs", "nodes", "pods", "places"
RESOURCES, NAMESPACES, IPPOOLS = "resources", "namespaces", "ippools"

_PATIENCE_S = 1.0
_SUDO_S = 2.0


def completes(action: argparse.Action, kind: str) -> None:
    """Set the kind of an argument's values."""
    def completer(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> Sequence[str]:
        words = getattr(parsed_args, "words", None) or []
        return candidates(kind, prefix, getattr(parsed_args, "run", None), words)

    action.completer = completer  # type: ignore[attr-defined]


def autocomplete(parser: argparse.ArgumentParser) -> NoReturn:
    """Print what the command line in COMP_LINE can go on with; exit."""
    import argcomplete
    from argcomplete.completers import SuppressCompleter

    # Without a completer, any value is possible: file names would only mislead.
    argcomplete.autocomplete(parser, always_complete_options=False,
                             default_completer=SuppressCompleter())
    raise SystemExit


def script(shell: str) -> str:
    """What ``shell`` (bash, zsh or fish) reads to complete calico-mn. Raises UnsupportedError."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        raise UnsupportedError("completion needs the Python package argcomplete; run ./install.sh"
                               " again") from None

    return shellcode(["calico-mn"], use_defaults=False, shell=shell)


def candidates(kind: str, prefix: str, run: str | None, words: Sequence[str] = ()
               ) -> Sequence[str]:
    """Values of a kind that begin with ``prefix``; none when an error occurs.

    ``words`` came before: after the name of a resource's kind, names of such resources.
    """
    with suppress(Exception):
        if kind == RESOURCES and not words:
            from calico_mn.topology.kinds import words as kinds

            return _beginning(kinds(), prefix)
        kind = words[0] if kind == RESOURCES else kind
        if kind == FILES:
            from argcomplete.completers import FilesCompleter

            return list(FilesCompleter(("yaml", "yml"))(prefix))
        names = list(_by_sudo(kind, run) if os.geteuid() else seen(kind, run))
        return _beginning(names, prefix) or _beginning(_bare(names), prefix)
    return []


def seen(kind: str, run: str | None) -> Iterable[str]:
    """Names of running runs, or of nodes, pods, everything or resources in a run. Needs root."""
    if kind == RUNS:
        from calico_mn.kernel import registry

        return [item.name for item in registry.runs() if item.status == registry.RUNNING]
    from calico_mn.control.session import remote

    session = remote(run, _PATIENCE_S)
    if kind not in (NODES, PODS, PLACES):
        return [item["document"]["metadata"]["name"]
                for item in session.ask("get", kinds=kind.split(","))]
    names: dict[str, list[str]] = session.ask("names")
    if kind in (NODES, PODS):
        return names[kind]
    return [name for group in names.values() for name in group]


def _by_sudo(kind: str, run: str | None) -> list[str]:
    """Ask as root, if that needs no password now; never where nothing runs."""
    import subprocess

    from calico_mn.kernel import runtime_dir

    if not runtime_dir.MACHINE.exists():
        return []
    command = ["sudo", "-n", sys.executable, "-P" if sys.version_info >= (3, 11) else "-s",
               os.path.abspath(sys.argv[0]), "_names", kind, *(["--run", run] if run else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SUDO_S,
                          stdin=subprocess.DEVNULL, check=False)
    return done.stdout.split()


def _bare(names: Iterable[str]) -> list[str]:
    """Pods' names without their namespaces, where that is unambiguous."""
    counts = Counter(name.partition("/")[2] for name in names if "/" in name)
    return [name for name, count in counts.items() if count == 1]


def _beginning(names: Iterable[str], prefix: str) -> list[str]:
    return [name for name in names if name.startswith(prefix)]
