"""What a half-typed command line can go on with."""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from calico_mn.cli import verb as kinds
from calico_mn.cli import verbs

#: the answer that lets the shell complete files itself
FILES = ":files"
_KEEPER_S = 1.0
_SUDO_S = 2.0


def candidates(words: Sequence[str]) -> list[str]:
    """Words that the last one of ``words`` can become; these begin after the program's name."""
    *before, current = words or [""]
    if not before:
        return _beginning([*(n for n in verbs.MODULES if not n.startswith("_")), "--help",
                           "--version"], current)
    verb = verbs.verb(before[0])
    if verb is None or "--" in before:
        return []
    parser, rest = _inner(verb.parser(), before[1:])
    expected = _expected(parser, rest)
    if current.startswith("-") and not isinstance(expected, str):
        return _beginning([s for s in parser._option_string_actions if s.startswith("--")],
                          current)
    if expected == "":
        return []
    return _values(expected, current, _run(before))


def _inner(parser: argparse.ArgumentParser, words: list[str]
           ) -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser of ``pod add``, once ``add`` is typed."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for number, word in enumerate(words):
                if word in action.choices:
                    return action.choices[word], words[number + 1:]
    return parser, words


def _expected(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Action | str:
    """The argument that comes next, "" for a value or a position that nothing is known of."""
    positionals = [action for action in parser._actions if not action.option_strings]
    position = 0
    waiting: argparse.Action | None = None
    for word in words:
        if waiting is not None:
            waiting = None
        elif word.startswith("-") and word != "-":
            action = parser._option_string_actions.get(word)
            waiting = action if action is not None and action.nargs != 0 else None
        elif position < len(positionals) and positionals[position].nargs in ("*", "+"):
            continue
        else:
            position += 1
    if waiting is not None:
        return waiting if _known(waiting) else ""
    if position < len(positionals):
        return positionals[position]
    return argparse.Action([], "")


def _known(action: argparse.Action) -> bool:
    return bool(action.choices) or hasattr(action, "completes")


def _values(expected: argparse.Action | str, current: str, run: str) -> list[str]:
    assert isinstance(expected, argparse.Action)
    if expected.choices:
        return _beginning(map(str, expected.choices), current)
    what = getattr(expected, "completes", "")
    if what == kinds.FILES:
        return [FILES]
    if what == kinds.RUNS:
        return _beginning(_runs(), current)
    if what in (kinds.NODES, kinds.PODS, kinds.PLACES):
        names = _names(what, run)
        return _beginning(names, current) or _beginning(_bare(names), current)
    return []


def _bare(names: Iterable[str]) -> list[str]:
    """Pods' names without their namespaces, where that is unambiguous."""
    counts = Counter(name.partition("/")[2] for name in names if "/" in name)
    return [name for name, count in counts.items() if count == 1]


def _run(words: Sequence[str]) -> str:
    for one, other in itertools.pairwise(words):
        if one == "--run":
            return other
    return os.environ.get("CALICO_MN_RUN", "")


def _runs() -> list[str]:
    if os.geteuid() != 0:
        return _by_sudo(["down", ""])
    from calico_mn.kernel import registry

    return [run.name for run in registry.runs() if run.status == registry.RUNNING]


def _names(what: str, run: str) -> list[str]:
    if os.geteuid() != 0:
        verb = {kinds.NODES: ["bgp"], kinds.PODS: ["pod", "delete"]}.get(what, ["exec"])
        return _by_sudo([*verb, *(["--run", run] if run and verb[0] != "pod" else []), ""])
    from calico_mn.control.session import RemoteSession
    from calico_mn.kernel import registry

    found = RemoteSession(registry.find(run), patience=_KEEPER_S).ask("names")
    if what == kinds.NODES:
        return list(found["nodes"])
    if what == kinds.PODS:
        return list(found["pods"])
    return [name for names in found.values() for name in names]


def _by_sudo(words: list[str]) -> list[str]:
    """Ask as root, if that needs no password now; never where nothing runs."""
    from calico_mn.kernel import place

    if not place.MACHINE.exists():
        return []
    command = ["sudo", "-n", sys.executable, "-P" if sys.version_info >= (3, 11) else "-s",
               os.path.abspath(sys.argv[0]), "_complete", "--", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SUDO_S,
                          stdin=subprocess.DEVNULL, check=False)
    return done.stdout.split()


def _beginning(words: Iterable[str], current: str) -> list[str]:
    return [word for word in words if word.startswith(current)]
