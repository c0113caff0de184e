"""The endpoints of a Service that a rule names: pods that it selects, or what is listed. Pure.

In goes a :class:`~calico_mn.policy.Service`; out come a selector of pods, their ports that it leads
to, and the addresses that its EndpointSlices list (felix ``serviceindex/service_index.go``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from calico_mn.calico.policy.resolve import NAMESPACE, ORCHESTRATOR
from calico_mn.policy import Service
from calico_mn.selector import Selector


def service_selector(service: Service | None) -> Selector:
    """What selects the pods of a Service; one without a selector has none by itself."""
    if service is None or not service.selector:
        return Selector("", lambda labels: False)
    wanted = {**dict(service.selector), NAMESPACE: service.namespace, ORCHESTRATOR: "k8s"}
    return Selector("", lambda labels: all(
        labels.get(name) == value for name, value in wanted.items()))


def target_ports(service: Service, ports: Iterable[tuple[str, str, int]]
                 ) -> Iterator[tuple[str, int]]:
    """Where a pod with these named ports answers for a Service: (protocol, number)."""
    for port in service.ports:
        if isinstance(port.target, int):
            yield port.protocol, port.target
        else:
            yield from ((protocol, number) for name, protocol, number in ports
                        if (name, protocol) == (port.target, port.protocol))


def listed(service: Service) -> tuple[frozenset[IPv4Address],
                                      frozenset[tuple[IPv4Address, str, int]]]:
    """The addresses that its EndpointSlices list, and these with protocols and ports."""
    return (frozenset(address for address, _ in service.addresses),
            frozenset((address, protocol, port) for address, ports in service.addresses
                      for protocol, port in ports))
