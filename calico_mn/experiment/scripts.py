"""The experiments' scripts, by the experiment's name: to be run, or imported for their reports."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

from calico_mn.errors import NotFoundError
from calico_mn.text import suggest
from calico_mn.version import shipped

DIRECTORY = shipped("experiments")


def scripts() -> dict[str, Path]:
    """Every script by its experiment's name. Raises NotFoundError where there are none."""
    by_name = {path.stem.replace("_", "-"): path for path in sorted(DIRECTORY.glob("*.py"))}
    if not by_name:
        raise NotFoundError(f"{DIRECTORY} is missing: it has the scripts of experiments")
    return by_name


def script(name: str) -> Path:
    """The script of an experiment. Raises NotFoundError."""
    by_name = scripts()
    if name.replace("_", "-") not in by_name:
        similar = suggest(name, by_name)
        raise NotFoundError(f"there is no experiment {name!r} in {DIRECTORY}"
                            + (f": did you mean {similar}?" if similar else ""))
    return by_name[name.replace("_", "-")]


def sentence(path: Path) -> str:
    """What a script is about: the first line of its docstring. Nothing of it is run."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def load(name: str) -> Any:
    """The module of the script, imported: ``experiment``, ``measure``, ``report``.

    Raises NotFoundError when there is no such script.
    """
    path = script(name)
    spec = importlib.util.spec_from_file_location(f"experiments.{path.stem}", path)
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
