"""Who is meant by a name or an address on the command line, and what every namespace is."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from calico_mn.errors import ClusterError
from calico_mn.trace.recording import NODE, POD, ROUTER, SWITCH, Endpoint, Port

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet


def kinds(net: CalicoNet) -> dict[str, str]:
    """Each namespace's name and what it is, pods last."""
    found = {node.name: NODE for node in net.nodes}
    found.update((switch.name, SWITCH) for switch in net.switches)
    found.update((router.name, ROUTER) for router in net.routers)
    found.update((pod.name, POD) for pod in net.pods)
    return found


def cables(net: CalicoNet) -> dict[Port, Port]:
    """Each veth's ends, in both directions."""
    found: dict[Port, Port] = {}
    for link in net.links:
        one, other = ((intf.node.name, intf.name) for intf in (link.intf1, link.intf2))
        found[one], found[other] = other, one
    return found


def endpoint(net: CalicoNet, text: str) -> Endpoint:
    """A pod, node or router by its name, whoever has an address, or an address of nobody.

    Raises ClusterError for a name that nobody has, and for a switch, which has no address.
    """
    try:
        address = str(IPv4Address(text))
    except AddressValueError:
        return _named(net, text)
    known = kinds(net)
    for name, state in net.runtime.states.items():
        if any(own.address.partition("/")[0] == address for own in state.addresses):
            return Endpoint(name, known.get(name, ""), address)
    return Endpoint("", "", address)


def _named(net: CalicoNet, text: str) -> Endpoint:
    if text not in net:
        raise ClusterError(f"no pod, node or router is called {text!r}; those there are:"
                           f" {', '.join(sorted(n for n, k in kinds(net).items() if k != SWITCH))}")
    name = net[text].name
    kind = kinds(net)[name]
    for node in net.nodes:
        if node.name == name:
            return Endpoint(name, kind, node.address)
    addresses = net.runtime.states[name].addresses
    if not addresses:
        raise ClusterError(f"{name} is a {kind} and has no address")
    return Endpoint(name, kind, addresses[0].address.partition("/")[0])
