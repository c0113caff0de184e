"""The verbs: a module per group of them, or for several groups.

To add a verb, add a :class:`calico_mn.cli.verb.Verb` to the ``VERBS`` of a module; what it asks a
run is one function, an operation of :mod:`calico_mn.control.dispatcher`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from calico_mn.cli.verb import Group, Verb

_MODULES = ("offline", "export", "dumps", "up", "runs", "get", "show", "inside", "change", "faults",
            "traffic", "policy", "experiments", "learn")


def verb(name: str) -> Verb | None:
    """A verb by its name."""
    return next((verb for verb in _verbs() if verb.name == name), None)


def public() -> dict[str, Verb]:
    """Every verb that the help lists, by name, in the order of their groups."""
    return {verb.name: verb for group in Group for verb in _verbs()
            if verb.group is group and not verb.name.startswith("_")}


def _verbs() -> Iterator[Verb]:
    for module in _MODULES:
        yield from importlib.import_module(f"{__name__}.{module}").VERBS
