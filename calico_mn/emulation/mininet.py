"""Mininet's own classes and functions, and interfaces and links over devices that exist already.

This is the one place where the package imports Mininet, which compares versions of Open vSwitch by
StrictVersion (mininet/node.py) of distutils. Python 3.12 dropped distutils (PEP 632); setuptools
carries it on, and where it is installed its copy is what every Python imports: 0.3 s at each start,
for a class that no cluster uses. A stub takes its place while Mininet is imported, and is gone
afterwards.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from calico_mn.errors import ClusterError

if TYPE_CHECKING:
    from calico_mn.emulation.node import NamespaceNode

__all__ = ["CLI", "DeviceIntf", "DeviceLink", "Host", "Intf", "Link", "Mininet", "Node", "error",
           "numCores", "output", "quietRun"]


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


# --- over devices that exist already


class DeviceIntf(Intf):
    """A device of a namespace. Asks ``ip``, where Mininet asks ``ifconfig``."""

    def __init__(self, name: str, node: NamespaceNode, ip: str = "", prefix_length: int = 32
                 ) -> None:
        # Mininet's constructor would configure the device by commands.
        self.name = name
        self.node = node
        self.link: DeviceLink | None = None
        self.mac: str | None = None
        self.ip: str | None = ip or None
        self.prefixLen = prefix_length
        self.params: dict[str, Any] = {}
        port = node.newPort()
        node.intfs[port] = self
        node.ports[self] = port
        node.nameToIntf[name] = self

    def _run(self, *words: str) -> str:
        out, err, _status = self.node.pexec(*words)
        return f"{out}{err}"

    def ifconfig(self, *args: str) -> str:
        """``up`` and ``down`` as commands; without arguments what ``ip address`` shows."""
        if args in (("up",), ("down",)):
            return self._run("ip", "link", "set", "dev", self.name, args[0])
        return self._run("ip", "address", "show", "dev", self.name)

    def isUp(self, setUp: bool = False) -> bool:
        """Whether the device is up; with ``setUp`` it is brought up first."""
        if setUp:
            self.ifconfig("up")
        return ",UP" in self._run("ip", "link", "show", "dev", self.name)

    def updateIP(self) -> str | None:
        """The address, which only the topology decides."""
        return self.ip

    def updateMAC(self) -> str | None:
        """Read the MAC address from the kernel."""
        fields = self._run("ip", "-o", "link", "show", "dev", self.name).split()
        self.mac = fields[fields.index("link/ether") + 1] if "link/ether" in fields else None
        return self.mac

    def MAC(self) -> str | None:
        """The MAC address."""
        return self.mac or self.updateMAC()

    def setIP(self, *_args: Any) -> str:
        """Refused: addresses follow from the topology."""
        raise ClusterError(f"{self.node.name}: addresses follow from the topology, and change by"
                           " net.apply")

    def config(self, up: bool = True, **params: Any) -> dict[str, Any]:
        """Bring the device up. Raises ClusterError for what Mininet's TCIntf would set."""
        if params:
            raise ClusterError(
                f"{self.node.name}:{self.name}: {', '.join(params)} cannot be set by config();"
                f" net.impairments.set({f'{self.node.name}:{self.name}'!r}, ...) changes a link's"
                " rate, delay and loss")
        return {"up": self.isUp(setUp=up)}

    def delete(self) -> None:
        """Devices end with their namespace."""


class DeviceLink(Link):
    """A veth between two nodes, as Mininet's ``net`` and ``links`` show it."""

    def __init__(self, intf1: DeviceIntf, intf2: DeviceIntf) -> None:
        self.intf1, self.intf2 = intf1, intf2
        intf1.link = intf2.link = self

    def __str__(self) -> str:
        """Both ends with their nodes: many devices are called eth0."""
        return "<->".join(f"{intf.node.name}:{intf.name}" for intf in (self.intf1, self.intf2))

    def delete(self) -> None:
        """Links end with their namespaces."""

    def stop(self) -> None:
        """Links end with their namespaces."""

    def detach(self) -> None:
        """Take both interfaces out of their nodes' tables."""
        for intf in (self.intf1, self.intf2):
            intf.node.delIntf(intf)
