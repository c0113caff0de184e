"""The verbs: what each takes and prints, a module per group of them.

To add a verb, write a module (or add to one) with a :class:`calico_mn.cli.verb.Verb` in its
``VERBS``, and name it in :data:`MODULES`.
"""

from __future__ import annotations

import importlib

from calico_mn.cli.verb import Verb

#: verb -> its module; the order is that of the help
MODULES = {
    "check": "machine", "validate": "files", "plan": "files", "graph": "graph",
    "up": "up", "list": "runs", "status": "runs", "down": "down", "cleanup": "runs",
    "nodes": "tables", "pods": "tables", "routes": "tables", "blocks": "tables", "bgp": "tables",
    "exec": "inside", "shell": "inside", "capture": "inside",
    "mode": "change", "pod": "change",
    "ping": "traffic", "pingall": "traffic", "trace": "trace",
    "verify": "verify",
    "walkthrough": "story",
    "completion": "completion", "_complete": "completion",
}


def verb(name: str) -> Verb | None:
    """A verb by its name."""
    if name not in MODULES:
        return None
    found: dict[str, Verb] = importlib.import_module(f"{__name__}.{MODULES[name]}").VERBS
    return found[name]
