"""A TCP connection between two pods that a test keeps alive while it changes something."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.patience import PATIENCE_S, eventually

ECHO = str(Path(__file__).with_name("echo.py"))


class Stream:
    """Counts the echoes that came back on one connection."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.echoed = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.echoed = int(line)

    def goes_on(self, echoes: int = 3, seconds: float = PATIENCE_S) -> bool:
        """Whether more echoes arrive, on the connection that was made at the beginning."""
        goal = self.echoed + echoes
        return eventually(lambda: self.echoed >= goal, seconds)


@contextmanager
def established(net: Any, client: str, server: str) -> Iterator[Stream]:
    """A connection from pod to pod over which bytes go to and fro while the block runs."""
    address = net[server].ip
    serving = net[server].popen([sys.executable, ECHO, "serve", address], text=True)
    assert serving.stdout.readline() == "ready\n", serving.stderr.read()
    talking = net[client].popen([sys.executable, ECHO, "talk", address], text=True)
    try:
        stream = Stream(talking)
        assert stream.goes_on(), "no connection"
        yield stream
    finally:
        for process in (talking, serving):
            process.kill()
            process.wait()
