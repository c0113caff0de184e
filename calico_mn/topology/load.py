"""A topology file -> :class:`Topology`: the only module here that opens a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from calico_mn.model import Topology
from calico_mn.text import one_line
from calico_mn.topology.default_pool import add_default_pool
from calico_mn.topology.documents import read_resources
from calico_mn.topology.positions import MAX_BYTES, read_documents
from calico_mn.topology.problems import Report, TooManyProblemsError
from calico_mn.topology.validate import build_topology

_TOO_LARGE = f"is larger than {MAX_BYTES // 1_000_000} MB"
_NAME_HINT = "name a topology file, such as topologies/article.yaml"
_PIPE_HINT = "standard input is not read: write it to a file, and name that"
_SPLIT_HINT = "a topology is a few kB of text; is this another kind of file?"


def load_topology(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None
) -> Topology:
    """Read and check the topology file at ``path``.

    ``environ`` holds ``CALICO_IPV4POOL_*`` for a file without IPPool; None means the process's
    own environment. Raises :class:`calico_mn.errors.TopologyError` with all problems.
    """
    return read_topology(path, environ)[0]


def read_topology(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None
) -> tuple[Topology, str]:
    """As :func:`load_topology`; also the text that it was read from, whatever becomes of the file.
    """
    name = one_line(os.fspath(path))
    text = _read(path, Report(name))
    return parse_topology(text, name, os.environ if environ is None else environ), text


def parse_topology(
    text: str, file: str = "<string>", environ: Mapping[str, str] | None = None
) -> Topology:
    """Read and check a topology from ``text``; ``file`` is its name in messages.

    Pure: None for ``environ`` means no variables. Raises
    :class:`calico_mn.errors.TopologyError` with all problems.
    """
    text = text.removeprefix("\ufeff")
    report = Report(file, text)
    if len(text) > MAX_BYTES:
        report.add_for_file(f"the text {_TOO_LARGE}", _SPLIT_HINT)
        raise report.error()
    try:
        documents = read_documents(text, report)
    except TooManyProblemsError:
        documents = None
    if documents is None:
        raise report.error()
    if not documents:
        report.add_for_file("there is nothing in it",
                            "topologies/article.yaml is an example to start from")
        raise report.error()
    try:
        drafts = read_resources(report, documents)
        add_default_pool(report, drafts, environ or {})
        return build_topology(report, drafts)
    except TooManyProblemsError:
        raise report.error() from None


def _read(path: str | os.PathLike[str], report: Report) -> str:
    try:
        # Non-blocking, so that a FIFO without a writer doesn't hold us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            report.add_for_file(f"this is {_file_type(mode)}, not a file",
                                _NAME_HINT)
            raise report.error()
        with open(descriptor, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if _is_socket(path):
            report.add_for_file("this is a socket, not a file", _NAME_HINT)
        else:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            report.add_for_file(f"cannot be read: {why}", _PIPE_HINT if path == "-" else
                                "check the path; topologies/ has files to start from")
        raise report.error() from None
    if len(data) > MAX_BYTES:
        report.add_for_file(f"this file {_TOO_LARGE}", _SPLIT_HINT)
        raise report.error()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.add_for_file(f"line {line} is not UTF-8 text (byte 0x{data[error.start]:02x})",
                            "save the file as UTF-8")
        raise report.error() from None


def _is_socket(path: str | os.PathLike[str]) -> bool:
    """Sockets cannot be opened at all (open(2): ENXIO)."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _file_type(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a FIFO" if stat.S_ISFIFO(mode) else "a device or socket"
