"""The verbs: what each takes and prints, a module per group of them.

To add a verb, write a module (or add to one) with a :class:`calico_mn.cli.verb.Verb` in its
``VERBS``, and name it in :data:`MODULES`.
"""

from __future__ import annotations

import importlib

from calico_mn.cli.verb import Verb

#: verb -> its module; the order is that of the help
MODULES = {
    "validate": "files", "plan": "files",
    "up": "up", "list": "runs", "status": "runs", "down": "runs", "cleanup": "runs",
    "exec": "inside", "shell": "inside", "capture": "inside",
    "verify": "verify",
    "walkthrough": "story",
}


def verb(name: str) -> Verb | None:
    """A verb by its name."""
    if name not in MODULES:
        return None
    found: dict[str, Verb] = importlib.import_module(f"{__name__}.{MODULES[name]}").VERBS
    return found[name]
