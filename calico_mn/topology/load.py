"""Topology files -> :class:`Topology`: the only module here that opens a file.

In go paths, of which ``-`` is standard input; out comes the topology that they make together. What
is no file, too large or not UTF-8 is a :class:`calico_mn.errors.TopologyError`.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Mapping

from calico_mn.model import Topology
from calico_mn.text import one_line
from calico_mn.topology.parse import SPLIT_HINT, TOO_LARGE, parse_topologies
from calico_mn.topology.problems import Report
from calico_mn.topology.yaml_tree import MAX_BYTES

STANDARD_INPUT = "-"

_NAME_HINT = "name a topology file, such as topologies/article.yaml"

Path = str | os.PathLike[str]


def load_topology(
    path: Path | Iterable[Path], environ: Mapping[str, str] | None = None
) -> Topology:
    """Read and check the topology file at ``path``; several files make one topology.

    The path ``-`` is standard input. ``environ`` holds ``CALICO_IPV4POOL_*`` for a topology
    without IPPool; None means the process's own environment. Raises
    :class:`calico_mn.errors.TopologyError` with all problems.
    """
    return read_topology(path, environ)[0]


def read_topology(
    path: Path | Iterable[Path], environ: Mapping[str, str] | None = None
) -> tuple[Topology, str]:
    """As :func:`load_topology`; also the text, because the files may change afterwards."""
    sources = read_files(path)
    texts = list(sources.values())
    text = texts[0] if len(texts) == 1 else "\n---\n".join(
        text.removeprefix("\ufeff") for text in texts)
    return parse_topologies(sources, os.environ if environ is None else environ), text


def read_files(path: Path | Iterable[Path]) -> dict[str, str]:
    """The texts of files by their names in messages."""
    paths = [path] if isinstance(path, (str, os.PathLike)) else path
    return dict(map(_read_file, paths))


def _read_file(path: Path) -> tuple[str, str]:
    """The name of a file in messages, and its text."""
    name = "standard input" if path == STANDARD_INPUT else one_line(os.fspath(path))
    return name, _decoded(_bytes(path, Report(name)), Report(name))


def _bytes(path: Path, report: Report) -> bytes:
    try:
        if path == STANDARD_INPUT:
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        # Non-blocking, so that a FIFO without a writer doesn't hold us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            report.add_for_file(f"this is {_file_type(mode)}, not a file", _NAME_HINT)
            raise report.error()
        with open(descriptor, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if _is_socket(path):
            report.add_for_file("this is a socket, not a file", _NAME_HINT)
        else:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            report.add_for_file(f"cannot be read: {why}",
                                "check the path; topologies/ has files to start from")
        raise report.error() from None


def _decoded(data: bytes, report: Report) -> str:
    if len(data) > MAX_BYTES:
        report.add_for_file(f"this file {TOO_LARGE}", SPLIT_HINT)
        raise report.error()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.add_for_file(f"line {line} is not UTF-8 text (byte 0x{data[error.start]:02x})",
                            "save the file as UTF-8")
        raise report.error() from None


def _is_socket(path: Path) -> bool:
    """Sockets cannot be opened at all (open(2): ENXIO)."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _file_type(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a FIFO" if stat.S_ISFIFO(mode) else "a device or socket"
