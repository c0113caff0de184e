"""What tools print on a real node -> a :class:`~calico_mn.present.Present`. Pure.

In go the texts of ``ip -j route``, ``ip -j addr``, ``iptables-save``, ``ipset save`` and ``sysctl
-a``, told apart by what they hold; :func:`comparable` gives what they say and what a node is to
hold the same form. Left out of both is what these tools do not tell (kinds of devices, shaping)
and what is the host's own business: how it came by its default route, and IPv6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from calico_mn import rules
from calico_mn.errors import ClusterError
from calico_mn.present import (
    Link,
    Present,
    expected_link,
    expected_qdiscs,
    expected_sysctls,
    on_devices,
)
from calico_mn.rules import RuleItem
from calico_mn.state import (
    PROTO_BOOT,
    PROTO_KERNEL,
    Address,
    Device,
    Namespace,
    NextHop,
    Route,
    Tunnel,
)

#: the commands whose output is read, by what the output is called here
COMMANDS = {"routes": "ip -j route", "addresses": "ip -j addr", "rules": "iptables-save",
            "sets": "ipset save", "sysctls": "sysctl -a"}
_SYSCTL = re.compile(r"(net[./][\w./-]+) = ?(-?\d+)\b", re.ASCII)
# ip prints these as numbers of an attribute; they are no part of a route's line.
_METRICS = ("advmss", "hoplimit", "initcwnd", "initrwnd", "window", "rto_min", "quickack")


@dataclass(frozen=True, slots=True)
class Outputs:
    """What was printed; None for a command whose output is not there.

    ``sysctls`` are by their paths with dots, since sysctl(8) prints them so.
    """

    routes: tuple[Route, ...] | None = None
    links: tuple[Link, ...] | None = None
    addresses: tuple[Address, ...] | None = None
    rules: tuple[RuleItem, ...] | None = None
    sets: tuple[RuleItem, ...] | None = None
    sysctls: Mapping[str, int] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The commands of which no output was given."""
        return tuple(command for name, command in COMMANDS.items() if getattr(self, name) is None)


def read(texts: Iterable[tuple[str, str]]) -> Outputs:
    """The outputs in files, by their names. Raises ClusterError for one that is none of them."""
    outputs = Outputs()
    for file, text in texts:
        try:
            parts = _read(text)
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
            parts = {}
        if not parts:
            raise ClusterError(f"{file} is no output of {', '.join(COMMANDS.values())}")
        outputs = replace(outputs, **parts)
    return outputs


def _read(text: str) -> dict[str, Any]:
    lines = text.splitlines()
    if text.lstrip().startswith("["):
        items = json.loads(text)
        if any("ifname" in item for item in items):
            return {"links": tuple(map(_link, items)), "addresses": tuple(
                Address(item["ifname"], f"{address['local']}/{address['prefixlen']}")
                for item in items for address in item.get("addr_info", ())
                if address["family"] == "inet")}
        return {"routes": tuple(map(_route, items))}
    if any(line.startswith(("*filter", "*nat", "*mangle", "*raw")) for line in lines):
        return {"rules": rules.read(lines, ())}
    if any(line.startswith("create ") for line in lines):
        return {"sets": rules.read((), filter(None, lines))}
    settings = {match[1].replace("/", "."): int(match[2])
                for line in lines if (match := _SYSCTL.match(line))}
    return {"sysctls": settings} if settings else {}


def _link(item: Mapping[str, Any]) -> Link:
    return Link(item["ifname"], item.get("linkinfo", {}).get("info_kind", ""), int(item["mtu"]),
                "UP" in item["flags"], int(item.get("txqlen", 0)), item.get("address", ""),
                item.get("master", ""), int(item["ifindex"]))


def _route(item: Mapping[str, Any]) -> Route:
    """A route of ``ip -j route``, which leaves out protocol boot and scope global."""
    metrics: Mapping[str, Any] = next(iter(item.get("metrics", ())), {})
    hops = tuple(NextHop(hop.get("gateway", ""), hop["dev"], int(hop.get("weight", 1)),
                         "onlink" in hop.get("flags", ())) for hop in item.get("nexthops", ()))
    protocol = str(item.get("protocol", PROTO_BOOT))
    route = Route(
        str(item["dst"]), item.get("gateway", ""), "" if hops else item.get("dev", ""), protocol,
        item.get("type", "unicast"), item.get("scope", "global"),
        "onlink" in item.get("flags", ()), int(metrics.get("mtu", 0)), hops,
        int(item.get("metric", 0)), item.get("prefsrc", ""),
        " ".join(f"{name} {metrics[name]}" for name in _METRICS if name in metrics))
    if route.destination == "default":
        return replace(route, protocol=PROTO_BOOT, metric=0, source="", extra="")
    # The host's own network, to which NetworkManager and the like give a metric.
    return replace(route, metric=0) if protocol == PROTO_KERNEL else route


# --- the same form for both

def comparable(state: Namespace, outputs: Outputs, uplink: str) -> tuple[Namespace, Present]:
    """What a node is to hold and what it holds, as far as the outputs tell.

    ``uplink`` is the device that has the node's address in ``state``; it gets the name that the
    device with that address has on the node.
    """
    own = next((item.address for item in state.addresses if item.device == uplink), "")
    nic = next((item.device for item in outputs.addresses or ()
                if item.address.partition("/")[0] == own.partition("/")[0]), uplink)
    state = _named(state, uplink, nic)
    links = outputs.links
    settings = [item for item in expected_sysctls(state) if item.family == "ipv4"
                and item.device not in ("all", "default", nic)]
    wanted = replace(
        state, devices=state.devices if links is not None else (),
        addresses=state.addresses if links is not None else (),
        routes=tuple(route for route in state.routes if route.table == "main")
        if outputs.routes is not None else (),
        sysctls=tuple(settings) if outputs.sysctls is not None else (), neighbours=(), fdb=(),
        firewall=replace(state.firewall, sets=state.firewall.sets if outputs.sets else {})
        if state.firewall is not None and outputs.rules is not None else None)
    devices = {device.name: device for device in state.devices}
    return wanted, Present(
        state.name, tuple(_as_told(link, devices.get(link.name)) for link in links or ()),
        tuple(item for device in state.devices for item in expected_qdiscs(device)),
        outputs.addresses or (),
        {item.path: value for item in settings
         if (value := (outputs.sysctls or {}).get(item.path.replace("/", "."))) is not None},
        outputs.routes or (), rules=(*(outputs.rules or ()), *(outputs.sets or ())))


def _as_told(link: Link, wanted: Device | None) -> Link:
    """A device with what ``ip -j addr`` does not tell as it should be; the NIC is the host's."""
    if wanted is None:
        return link
    expected = expected_link(wanted)
    return replace(link, kind=expected.kind, detail=expected.detail, master=expected.master)


def _named(state: Namespace, uplink: str, nic: str) -> Namespace:
    """The state of a node whose ``uplink`` is called ``nic``."""
    def name(device: str) -> str:
        return nic if device == uplink else device

    def called(device: Device) -> Device:
        if isinstance(device, Tunnel):
            return replace(device, uplink=name(device.uplink))
        return replace(device, name=name(device.name))

    if nic == uplink:
        return state
    return replace(
        state, devices=tuple(map(called, state.devices)),
        addresses=on_devices(state.addresses, name), routes=on_devices(state.routes, name),
        sysctls=on_devices(state.sysctls, name))
