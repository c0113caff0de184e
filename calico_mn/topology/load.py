"""A topology file -> :class:`Topology`: the only module here that opens a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any

from calico_mn.model import Topology
from calico_mn.text import one_line
from calico_mn.topology.calico_kinds import NODE
from calico_mn.topology.default_pool import add_default_pool
from calico_mn.topology.documents import KINDS, read_resources
from calico_mn.topology.kubernetes_kinds import CONFIG_MAP, DEPLOYMENT, POD
from calico_mn.topology.placement import place_pods
from calico_mn.topology.problems import Report, TooManyProblemsError
from calico_mn.topology.rules import check_all
from calico_mn.topology.schema import Resources
from calico_mn.topology.underlay import ROUTERS, SUBNETS, UNDERLAY, assume_underlay
from calico_mn.topology.yaml_tree import MAX_BYTES, read_documents

# Each is a namespace, and each node has a route to each other node's blocks.
MAX_HOSTS = 2_000

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
    """As :func:`load_topology`; also the text, because the file may change afterwards."""
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
        if not documents:
            report.add_for_file("there is nothing in it",
                                "topologies/article.yaml is an example to start from")
            raise report.error()
        resources = Resources()
        read_resources(report, documents, resources)
        add_default_pool(report, resources, environ or {})
        return _build(report, resources)
    except TooManyProblemsError:
        raise report.error() from None


def _build(report: Report, resources: Resources) -> Topology:
    """Check everything; raises :class:`TopologyError` with all problems."""
    nodes, underlay = resources.of(NODE), resources.single(UNDERLAY)
    if not nodes and not report.failed:
        report.add_for_file(
            "there is no Node",
            "add at least one of apiVersion projectcalico.org/v3; calicoctl get node -o yaml "
            "prints them",
        )
    hosts = len(nodes)
    if underlay:
        hosts += len(underlay.entries(SUBNETS)) + len(underlay.entries(ROUTERS))
    if hosts > MAX_HOSTS:
        report.add_for_file(f"{hosts} nodes, subnets and routers are more than the {MAX_HOSTS} "
                            "that one machine can hold", "use fewer of them")
        raise report.error()
    underlay = underlay or assume_underlay(report, nodes)
    workloads = [pod for pod in resources.of(POD, DEPLOYMENT) if pod.has("name")]
    pods = place_pods(report, workloads, nodes)
    check_all(report, resources, underlay, workloads, len(pods))
    if report.failed:
        raise report.error()
    config = resources.single(CONFIG_MAP)
    attributes: dict[str, Any] = {}
    for kind in KINDS.values():
        models = tuple(resource.model for resource in resources.of(kind))
        if kind.topology and not kind.single:
            attributes[kind.topology] = models
        elif kind.topology and models:
            attributes[kind.topology] = models[0]
    return Topology(
        underlay=underlay.model, pods=tuple(pods),
        veth_mtu=config.get("veth_mtu") if config else 0,
        warnings=report.warnings(), source=report.file, **attributes)


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
