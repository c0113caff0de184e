"""What in a node's namespace is Calico's to remove, even if another program put it there."""

from __future__ import annotations

from collections.abc import Iterable

from calico_mn.calico.encapsulation import DELETED_WHEN_OFF, ENCAPSULATIONS
from calico_mn.model import IPPool
from calico_mn.present import Owned
from calico_mn.state import ALLOWED_SOURCES, PROTO_BIRD, PROTO_FELIX

#: FELIX_INTERFACEPREFIX
WORKLOAD_PREFIX = "cali"


def of_node(pools: Iterable[IPPool]) -> Owned:
    """Routes on workload devices (felix/routetable/route_table.go), tunl0's addresses but one.

    The latter is felix/dataplane/linux/ipip_mgr.go; routes of BIRD's protocol number belong to
    its kernel protocol, those of number 80 to Felix, and so does what is inside the pools as a
    blackhole. Devices with the workloads' prefix are the CNI plug-in's, which removes one that
    is in its way; vxlan.calico and all that is on it is Felix's (vxlan_mgr.go), which deletes it
    when VXLAN is off. The table of allowed sources is the eBPF tunnel's.
    """
    return Owned((WORKLOAD_PREFIX, *(encapsulation.device for encapsulation in DELETED_WHEN_OFF)),
                 frozenset(encapsulation.device for encapsulation in ENCAPSULATIONS),
                 frozenset({PROTO_BIRD, PROTO_FELIX}), tuple(str(pool.cidr) for pool in pools),
                 frozenset({ALLOWED_SOURCES}))


#: a router's routes of protocol bird are its BIRD's
OF_ROUTER = Owned((), frozenset(), frozenset({PROTO_BIRD}), (), frozenset())
