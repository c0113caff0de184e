"""Why no host answers an ARP request: what arp_process() in net/ipv4/arp.c asks for. Pure."""

from __future__ import annotations

from calico_mn.kernel.read import DeviceFacts
from calico_mn.kernel.route_get import Query
from calico_mn.trace.path_trace import Neighbour
from calico_mn.trace.recording import SWITCH
from calico_mn.trace.scene import Scene


def silence(s: Scene, neighbour: Neighbour) -> tuple[str, str]:
    """A clause that says why, and the setting, rule or route that decides, "" if there is none."""
    address, device = neighbour.address, neighbour.device
    far, _port, end = s.far_end(s.namespace, device)
    is_switch = s.recording.kinds.get(far) == SWITCH
    mine = [(name, at) for name, at in s.owners(address)
            if (s.far_end(name, at)[0] == far if is_switch else name == far)]
    if mine:
        name, at = mine[0]
        own = s.recording.device(name, at)
        return _owner(s, neighbour, name, own) if own else (f"{name} has no {at}", "")
    if end is not None and not is_switch:
        return _proxy(s, address, far, end)
    elsewhere = s.owners(address)
    if elsewhere:
        name, at = elsewhere[0]
        return f"{name} has it, on {at}, which is not on the same link as {device}", ""
    return "no host has this address", ""


def _owner(s: Scene, neighbour: Neighbour, name: str, device: DeviceFacts) -> tuple[str, str]:
    """Why the host that has the address is silent."""
    switch, port, end = s.far_end(name, device.name)
    at = f"{device.name} of {name}"
    for place, item in ((at, device), (f"{port} of {switch}", end)):
        if item is not None and not item.up:
            return f"{place} is down", f"{place} is down"
    if not device.arp:
        return f"ARP is off on {at}", f"arp off on {at}"
    ignore = s.recording.after[name].effective("arp_ignore", device.name)
    if ignore:
        setting = f"arp_ignore={ignore} on {device.name}"
        return f"{name} has it, but {setting} keeps it silent", setting
    lookup = Query(neighbour.address, neighbour.asker, device.name)
    answer = s.ask(name, lookup)
    if neighbour.asker and answer.error:
        return (f"{name} has it, but ignores requests from {neighbour.asker}: '{lookup}' answers"
                f" {answer.error}", str(lookup))
    heard = ("heard the request, which a filter of ARP may have dropped"
             if name in neighbour.heard_by else "did not hear the request")
    return f"{name} has it on {device.name}, and {heard}", ""


def _proxy(s: Scene, address: str, name: str, device: DeviceFacts) -> tuple[str, str]:
    """Why the host at the other end does not answer for an address that is not its own."""
    for setting, value in (("proxy_arp", device.proxy_arp), ("forwarding", device.forwarding)):
        if not value:
            words = f"net.ipv4.conf.{device.name}.{setting}=0"
            return (f"{name} answers for an address that is not its own only with proxy_arp and"
                    f" forwarding, and {setting} is 0 on {device.name}", words)
    query = Query(address)
    answer = s.ask(name, query)
    proxy = f"proxy ARP on {device.name} of {name} answers only for addresses to which {name} has"
    if not answer.line:
        return f"{proxy} a route, and it has none to {address}", f"'{query}' in {name}: no route"
    if answer.device == device.name:
        return (f"{proxy} a route by another device, and it has '{answer.line}'", answer.line)
    return f"{name} has '{answer.line}', and should answer", ""
