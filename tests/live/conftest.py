"""A kubeconfig of a server of the test's own, which the program finds as kubectl would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.api_server import ApiServer

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
