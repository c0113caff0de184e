"""Topology files -> :class:`Topology`: the only module here that opens a file.

In go paths, of which ``-`` is standard input; out comes the topology that they make together. What
is no file, too large or not UTF-8 is a :class:`calico_mn.errors.TopologyError`.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping

from calico_mn.model import Topology
from calico_mn.text import join, one_line
from calico_mn.topology import dump
from calico_mn.topology.parse import SPLIT_HINT, parse_topologies
from calico_mn.topology.problems import Report
from calico_mn.topology.yaml_tree import MAX_BYTES
from calico_mn.version import shipped

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


def called(path: Path | str) -> str:
    """The name of a file in messages."""
    return "standard input" if path == STANDARD_INPUT else one_line(os.fspath(path))


def dumped_files(paths: Iterable[str], endings: tuple[str, ...] = (".yaml", ".yml", ".json")
                 ) -> Iterator[tuple[str, str]]:
    """The files of dumps by their names in messages, one by one, and those below directories.

    Of a directory those count that have one of the endings.
    Raises :class:`calico_mn.errors.TopologyError` for one that cannot be read.
    """
    for path in paths:
        below = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path)
                       for name in names if name.endswith(endings))
        if os.path.isdir(path) and not below:
            report = Report(one_line(path))
            report.add_for_file(f"no file is in it{' that ends in' * any(endings)}"
                                f" {join(endings, 'or')}".rstrip(),
                                "name the directory or the files of a dump")
            raise report.error()
        for file in below or [path]:
            yield _read_file(file, dump.MAX_BYTES)


def _read_file(path: Path, limit: int = MAX_BYTES) -> tuple[str, str]:
    """The name of a file in messages, and its text."""
    name = called(path)
    return name, _decoded(_bytes(path, Report(name), limit), Report(name), limit)


def _bytes(path: Path, report: Report, limit: int) -> bytes:
    try:
        if path == STANDARD_INPUT:
            return sys.stdin.buffer.read(limit + 1)
        # Non-blocking, so that a FIFO without a writer doesn't hold us.
        descriptor = os.open(_shipped(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
                             | os.O_NOCTTY)
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            report.add_for_file(f"this is {_file_type(mode)}, not a file", _NAME_HINT)
            raise report.error()
        with open(descriptor, "rb") as stream:
            return stream.read(limit + 1)
    except (OSError, ValueError) as error:
        if _is_socket(path):
            report.add_for_file("this is a socket, not a file", _NAME_HINT)
        else:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            report.add_for_file(f"cannot be read: {why}",
                                "check the path; topologies/ has files to start from")
        raise report.error() from None


def _decoded(data: bytes, report: Report, limit: int) -> str:
    if len(data) > limit:
        report.add_for_file(f"this file is larger than {limit // 1_000_000} MB", SPLIT_HINT)
        raise report.error()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.add_for_file(f"line {line} is not UTF-8 text (byte 0x{data[error.start]:02x})",
                            "save the file as UTF-8")
        raise report.error() from None


def _shipped(path: Path) -> Path:
    """The path; of ``topologies/NAME``, where that is not there, the file of the program's own."""
    name = os.path.basename(path)
    own = shipped("topologies") / os.fsdecode(name)
    is_ours = os.fspath(path) == f"topologies/{os.fsdecode(name)}" and own.is_file()
    return own if is_ours and not os.path.lexists(path) else path


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
