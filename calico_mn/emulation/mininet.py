"""Mininet's own classes and functions: the one place where the package imports Mininet.

Mininet compares versions of Open vSwitch by StrictVersion (mininet/node.py), which it imports from
distutils. Python 3.12 dropped distutils (PEP 632); setuptools carries it on, and where it is
installed its copy is what every Python imports: 0.3 s at each start, for a class that no cluster
uses. A stub takes its place while Mininet is imported, and is gone afterwards.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["CLI", "Host", "Intf", "Link", "Mininet", "Node", "error", "numCores", "output",
           "quietRun"]


class _StrictVersion(tuple[int, ...]):
    """A version's numbers, compared from the left: what Mininet does with it."""

    def __new__(cls, text: str) -> _StrictVersion:
        return super().__new__(cls, map(int, re.findall(r"\d+", text)))


@contextmanager
def _without_distutils() -> Iterator[None]:
    if "distutils" in sys.modules:
        yield
        return
    package, version = ModuleType("distutils"), ModuleType("distutils.version")
    vars(package)["version"] = version
    vars(version)["StrictVersion"] = _StrictVersion
    stubs = {module.__name__: module for module in (package, version)}
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            sys.modules.pop(name, None)


with _without_distutils():
    from mininet.cli import CLI
    from mininet.link import Intf, Link
    from mininet.log import error, output
    from mininet.net import Mininet
    from mininet.node import Host, Node
    from mininet.util import numCores, quietRun
