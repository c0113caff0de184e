"""Programs without any privilege, also where the tests run as root and only root may read them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest


@functools.cache
def prefix() -> list[str]:
    """What goes before a command so that it runs without privilege; skips where that can't be.

    A new user namespace into which nobody is mapped: the user id is 65534 and no capability is
    left after exec, but files of root are still its own, such as a Python below /root.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare (util-linux) to run something without root")
    refused = subprocess.run(["unshare", "-U", "true"], capture_output=True, text=True,
                             timeout=60, check=False).stderr.strip()
    if refused:
        pytest.skip(f"this machine allows no user namespaces: {refused}")
    return ["unshare", "-U"]
