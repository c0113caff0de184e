"""Topology files: YAML documents with positions -> :class:`calico_mn.model.Topology`.

Kubernetes and Calico resources under their own names, plus the kind ``Underlay`` for the physical
network. Nothing here touches the kernel; only :func:`load_topology` and :func:`read_topology`
open a file.
"""

from calico_mn.topology.load import load_topology, read_topology
from calico_mn.topology.parse import parse_topology

__all__ = ["load_topology", "parse_topology", "read_topology"]
