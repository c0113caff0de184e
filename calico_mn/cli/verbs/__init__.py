"""The verbs, in the order of the help: a module per group of them.

To add a verb, add a :class:`calico_mn.cli.verb.Verb` to the ``VERBS`` of a module; what it asks a
run is one function, an operation of :mod:`calico_mn.control.dispatcher`.
"""

from __future__ import annotations

import importlib

from calico_mn.cli.verb import Verb

_MODULES = ("offline", "export", "init", "dumps", "up", "whatif", "runs", "get", "show",
            "web", "bgp", "inside", "change", "faults", "exercises", "traffic", "policy",
            "experiment", "results", "walkthrough")


def verb(name: str) -> Verb | None:
    """A verb by its name."""
    return next((verbs[name] for verbs in map(_of_module, _MODULES) if name in verbs), None)


def public() -> dict[str, Verb]:
    """Every verb that the help lists, by name."""
    return {name: verb for module in _MODULES for name, verb in _of_module(module).items()
            if not name.startswith("_")}


def _of_module(module: str) -> dict[str, Verb]:
    verbs: dict[str, Verb] = importlib.import_module(f"{__name__}.{module}").VERBS
    return verbs
