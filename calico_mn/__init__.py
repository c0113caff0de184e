"""Calico's data plane on one machine: an emulated Kubernetes cluster network, as a Mininet.

    from calico_mn import CalicoNet, load_topology

    with CalicoNet(load_topology("topologies/two-subnets.yaml")) as net:
        print(net.get("node31").cmd("ip route"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from calico_mn.version import VERSION

if TYPE_CHECKING:
    from calico_mn.net import CalicoNet
    from calico_mn.packetmatch import Drop
    from calico_mn.topology import load_topology

__version__ = VERSION

__all__ = ["CalicoNet", "Drop", "__version__", "load_topology"]

# Loaded when first used: reading a topology needs no Mininet, and the model needs neither.
_HOMES = {"CalicoNet": "calico_mn.net", "Drop": "calico_mn.packetmatch",
          "load_topology": "calico_mn.topology"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
