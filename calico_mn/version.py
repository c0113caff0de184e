"""Which code this is: the version, a digest of the package's files, and where those beside it lie.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

VERSION = "0.1.0"

_PACKAGE = Path(__file__).resolve().parent
_KINDS = {".py", ".o", ".c"}
_DIGITS = 12


def shipped(name: str) -> Path:
    """The directory ``experiments`` or ``topologies`` that comes with the program.

    In a checkout they are beside the package, and a wheel has them inside it (setup.py).
    """
    inside = _PACKAGE / "files" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def digest(root: Path | None = None) -> str:
    """The first twelve hexadecimal digits of a SHA-256 over the package's code.

    It covers the name below the package and the bytes of each Python file and of the eBPF program,
    by name, so that equal digests mean equal code, wherever it lies. Other files do not count, nor
    do the experiments that a wheel has inside the package.
    """
    root = root or _PACKAGE
    checksum = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in _KINDS
                       and not path.is_relative_to(root / "files")):
        content = path.read_bytes()
        checksum.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        checksum.update(content)
    return checksum.hexdigest()[:_DIGITS]
