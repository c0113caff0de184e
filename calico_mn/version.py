"""Which code this is: the version, and a digest of the package's own files."""

from __future__ import annotations

import hashlib
from pathlib import Path

VERSION = "0.1.0"

_KINDS = {".py", ".o", ".c"}
_DIGITS = 12


def digest(root: Path | None = None) -> str:
    """The first twelve hexadecimal digits of a SHA-256 over the package's code.

    It covers the name below the package and the bytes of each Python file and of the eBPF program,
    by name, so that equal digests mean equal code, wherever it lies. Other files do not count, nor
    do the experiments that a wheel has inside the package.
    """
    root = root or Path(__file__).parent
    checksum = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in _KINDS
                       and not path.is_relative_to(root / "files")):
        content = path.read_bytes()
        checksum.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        checksum.update(content)
    return checksum.hexdigest()[:_DIGITS]
