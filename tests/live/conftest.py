"""Servers of a test's own, found as kubectl would find them, and experiments with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from experiment.conftest import topology
from support.api_server import ApiServer
from support.live_cluster import LiveCluster
from support.measuring import Measuring

from calico_mn import CalicoNet, load_topology

Start = Callable[..., ApiServer]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """start(DOCUMENTS, ...) -> a server that $KUBECONFIG leads to."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with ExitStack() as running:
        def start(*documents: dict[str, Any], **options: Any) -> ApiServer:
            server = running.enter_context(ApiServer(documents, **options))
            monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
            return server

        yield start


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with CalicoNet(load_topology(topology(tmp_path_factory.mktemp("net")))) as net:
        yield net


@pytest.fixture
def cluster(net, tmp_path, monkeypatch):
    """The API server, to which $KUBECONFIG leads; its pool has the mode Always."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with LiveCluster(net, tmp_path) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        yield server
    net.set_mode("Always")


@pytest.fixture
def measure(tmp_path):
    """measure(ARGUMENTS) -> the experiment, on kubernetes; it is ended after the test."""
    started = []

    def start(*arguments, **options):
        begun = Measuring(tmp_path / "out", "--on", "kubernetes", "--output", tmp_path / "out",
                          *arguments, **options)
        started.append(begun.process)
        return begun

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)
