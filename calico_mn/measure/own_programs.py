"""Programs of our own that run in a pod: how they are called, and what they say when they work.

They lie beside this module, and need nothing but Python's own library.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from calico_mn.errors import ToolError
from calico_mn.measure.programs import Host, last_words, readable

_HERE = Path(__file__).parent
_START_TIMEOUT_S = 5.0


def argv(name: str, *arguments: str) -> list[str]:
    """The command for the program in the file ``name``."""
    # -I -S: neither the environment nor installed packages change what runs as root here.
    return [sys.executable, "-I", "-S", str(_HERE / name), *arguments]


def first_line(host: Host, process: subprocess.Popen[Any], name: str) -> str:
    """What a program of ours prints when it is at work. Raises ToolError if it does not.

    The program must say no more until it ends.
    """
    assert process.stdout is not None and process.stderr is not None
    output = process.stdout.fileno()
    deadline = time.monotonic() + _START_TIMEOUT_S
    said = b""
    while not said.endswith(b"\n") and len(said) < 4096:
        if time.monotonic() > deadline or not readable([output], deadline - time.monotonic()):
            raise ToolError(f"{host.name}: {name} was not at work within {_START_TIMEOUT_S:g} s")
        part = os.read(output, 64)
        if not part:
            raise ToolError(f"{host.name}: {name} ended: {last_words(process)}")
        said += part
    return said.decode().strip()


def port(host: Host, listener: subprocess.Popen[Any], name: str) -> int:
    """The port that a server of ours prints when it listens. Raises ToolError if it does not."""
    return int(first_line(host, listener, name))
