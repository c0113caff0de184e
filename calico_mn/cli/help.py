"""The help of the whole program; each verb's own is in its module."""

from __future__ import annotations

import difflib

from calico_mn.cli import verbs

_HEAD = """\
usage: calico-mn VERB [ARGUMENT]...

Calico's data plane on this machine: boot an emulated cluster from a topology file, look into it
from any terminal, change its IPIP mode while traffic flows, follow packets."""

_TAIL = """\
to begin with:
  calico-mn check                              can this machine do it?
  calico-mn plan topologies/two-subnets.yaml   every command that a boot amounts to
  calico-mn up topologies/two-subnets.yaml     boot it; Mininet's prompt appears
  calico-mn up --detach FILE                   boot it in the background

'calico-mn VERB --help' explains a verb, with examples. All about it: docs/cli.md.
exit status: 0 done; 1 it failed; 2 the request is wrong; 3 no such run, node or pod;
exec and shell: the program's own, 125 if it could not be started."""


def overview() -> str:
    """Every verb in a line, by groups."""
    groups: dict[str, list[str]] = {}
    for name in verbs.MODULES:
        verb = verbs.verb(name)
        if verb is not None and not name.startswith("_"):
            groups.setdefault(verb.group, []).append(f"  {name:13}{verb.summary}")
    middle = "\n\n".join("\n".join([f"{group}:", *lines]) for group, lines in groups.items())
    return f"{_HEAD}\n\n{middle}\n\n{_TAIL}"


def unknown(name: str) -> str:
    """What to say about a verb that there is not."""
    known = [verb for verb in verbs.MODULES if not verb.startswith("_")]
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"calico-mn: there is no verb {name!r}; {hint}('calico-mn --help' lists them all)"
