"""Where the files lie that come with the program: ``experiments/`` and ``topologies/``.

In a checkout they are beside the package, and a wheel has them inside it (setup.py).
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def directory(name: str) -> Path:
    """``experiments`` or ``topologies``."""
    inside = _PACKAGE / "files" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
