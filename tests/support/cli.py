"""Mininet's command line, driven by a script as a person would type it."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from mininet.cli import CLI
from mininet.log import lg


def typed(net: Any, directory: Path, *lines: str) -> str:
    """What the command line prints for ``lines``."""
    script = directory / "script"
    script.write_text("".join(f"{line}\n" for line in (*lines, "exit")), encoding="utf-8")
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for handler in lg.handlers:
            patch.setattr(handler, "stream", output)
        # A standard input on which nothing is ever typed.
        reading, writing = os.pipe()
        with os.fdopen(reading) as silence, os.fdopen(writing, "w"):
            CLI(net, stdin=silence, script=str(script))
    return output.getvalue()
