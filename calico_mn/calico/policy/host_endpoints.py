"""Which host endpoint governs which device of a node, and its policies by stage. Pure.

In go the HostEndpoints of a cluster and a node's devices with their addresses; out come those in
force. Of several for one device that with the first name counts, as in felix
``dataplane/linux/endpoint_mgr.go`` (``resolveHostEndpoints``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address

from calico_mn.calico.policy.active import PolicyIndex
from calico_mn.calico.policy.endpoint_chains import ANY_DEVICE
from calico_mn.calico.policy.node_chains import HostRules
from calico_mn.calico.policy.resolve import EGRESS, INGRESS
from calico_mn.policy import HostEndpoint, Policy, Stage

Devices = Mapping[str, Collection[IPv4Address]]


def governing(hosts: Iterable[HostEndpoint], devices: Devices) -> dict[str, HostEndpoint]:
    """The host endpoint of each device of one node, and that of ANY_DEVICE for ``*``.

    ``devices`` are those that lead to no pod. One whose HostEndpoint has a name is not looked for
    by address.
    """
    in_force: dict[str, HostEndpoint] = {}
    for host in sorted(hosts, key=lambda host: host.name):
        if host.interface == "*":
            in_force.setdefault(ANY_DEVICE, host)
        for device, addresses in devices.items():
            if host.interface == device or (
                    not host.interface and any(item in addresses for item in host.addresses)):
                in_force.setdefault(device, host)
    return dict(sorted(in_force.items()))


def host_rules(index: PolicyIndex, device: str, host: HostEndpoint) -> HostRules:
    """What a device's chains follow from."""
    seen = index.hosts[host.name]

    def by_stage(direction: str) -> dict[Stage, tuple[Policy, ...]]:
        return {stage: policies for stage in Stage
                if (policies := index.of(seen, direction, stage))}

    return HostRules(device, tuple(map(index.profile, seen.profiles)), by_stage(INGRESS),
                     by_stage(EGRESS))
