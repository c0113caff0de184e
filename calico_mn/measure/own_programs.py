"""Programs of our own that run in a pod: how they are called, and the port that a server says.

They lie beside this module, and need nothing but Python's own library.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from calico_mn.errors import ToolError
from calico_mn.measure.programs import Host

_HERE = Path(__file__).parent
_START_TIMEOUT_S = 5.0


def argv(name: str, *arguments: str) -> list[str]:
    """The command for the program in the file ``name``."""
    # -I -S: neither the environment nor installed packages change what runs as root here.
    return [sys.executable, "-I", "-S", str(_HERE / name), *arguments]


def port(host: Host, listener: subprocess.Popen[Any], name: str) -> int:
    """The port that a server of ours prints when it listens. Raises ToolError if it does not."""
    assert listener.stdout is not None and listener.stderr is not None
    output = listener.stdout.fileno()
    deadline = time.monotonic() + _START_TIMEOUT_S
    said = b""
    while not said.endswith(b"\n"):
        if not select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise ToolError(f"{host.name}: {name} did not start to listen within"
                            f" {_START_TIMEOUT_S:g} s")
        part = os.read(output, 64)
        if not part:
            raise ToolError(f"{host.name}: {name} ended: {listener.stderr.read().strip()}")
        said += part
    return int(said)
