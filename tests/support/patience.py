"""How long tests wait: inside User-Mode Linux everything is several times slower."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

#: by how much waiting is stretched
SLOWNESS = 6 if os.environ.get("IN_UML") else 1


#: for what is certain to come: a busy machine may take its time, and a quiet one loses none
PATIENCE_S = 60.0


def eventually(check: Callable[[], bool], seconds: float = PATIENCE_S, pause: float = 0.02) -> bool:
    """Whether ``check`` comes true within ``seconds`` (of a machine of normal speed)."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
