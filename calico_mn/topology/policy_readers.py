"""Readers of what policies are made of: ports, protocols, actions, Kubernetes' selectors and peers.

As those of :mod:`calico_mn.topology.readers`. Kubernetes' label selectors become Calico's, and its
rules Calico's, in the order in which libcalico-go ``lib/backend/k8s/conversion/conversion.go``
makes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

from calico_mn.policy import PROTOCOLS, Action, EntityRule, Ports, ProtoPort, Rule
from calico_mn.selector import parse_selector
from calico_mn.text import join, quote
from calico_mn.topology import readers as r
from calico_mn.topology.address_readers import address_range, ipv4_network
from calico_mn.topology.problems import Report
from calico_mn.topology.schema import Field, Resource
from calico_mn.topology.yaml_tree import Mapping, Scalar, Sequence, Tree, describe

_PORT_HINT = "a number from 0 to 65535, a range such as 80:90, or the name of a container's port"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MAX_PORT = 65535
_LABEL = re.compile(r"[\w./-]{1,317}")
_SELECTOR_HINT = "write matchLabels: {app: web}, or leave it {} for all"

_read_action = r.one_of(*(action.value for action in Action))


def action(tree: Tree) -> Action:
    """A rule's action."""
    return Action(_read_action(tree))


def protocol(tree: Tree) -> str:
    """A protocol: one of Calico's names in any case, or a number; names come out in lower case."""
    word = r.text(tree).lower()
    if word in PROTOCOLS or re.fullmatch("[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]", word):
        return word
    raise r.InvalidValueError(f"{describe(tree)} is not a protocol", "use TCP, UDP, ICMP, ICMPv6, "
                              "SCTP, UDPLite or a number from 1 to 255")


_read_pod_protocol = r.one_of("TCP", "UDP", "SCTP")


def pod_protocol(tree: Tree) -> str:
    """The protocol of a Kubernetes port, in lower case (kubernetes ``pkg/apis/networking``)."""
    return _read_pod_protocol(tree).lower()


def port(tree: Tree) -> Ports:
    """A port, a range of ports or a port's name (api ``pkg/lib/numorstring/port.go``)."""
    word = r.text(tree)
    numbers = re.fullmatch("([0-9]{1,5})(?::([0-9]{1,5}))?", word)
    if numbers:
        low, high = int(numbers[1]), int(numbers[2] or numbers[1])
        if low <= high <= _MAX_PORT:
            return Ports(low, high)
    # 80-90 could be a name to Calico, but the name of a container's port has a letter.
    elif _NAME.fullmatch(word) and re.search("[a-zA-Z]", word):
        return Ports(name=word)
    raise r.InvalidValueError(f"{describe(tree)} is not a port", _PORT_HINT)


ports = r.list_of(port, "[80, '8080:8090', http]")
names = r.list_of(r.subdomain, "[web, shop]")
methods = r.list_of(r.text, "[GET, PUT]")
_read_types = r.list_of(r.one_of("Ingress", "Egress"), "[Ingress, Egress]")


def types(tree: Tree) -> tuple[str, ...]:
    """A policy's types, in the order that Calico prints."""
    given = _read_types(tree)
    return tuple(word for word in ("Ingress", "Egress") if word in given)


def order(tree: Tree) -> float:
    """A policy's order, which may be a fraction."""
    try:
        value = float(r.text(tree))
        if value - value == 0:  # neither infinite nor no number
            return value
    except ValueError:
        pass
    raise r.InvalidValueError(f"must be a number, not {describe(tree)}",
                              "the policy with the lowest order is asked first")


_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}")


def device(tree: Tree) -> str:
    """The interface of a HostEndpoint: the name of a device, or ``*`` for all of them."""
    word = r.text(tree)
    if word == "*" or _DEVICE.fullmatch(word):
        return word
    raise r.InvalidValueError(f"{describe(tree)} is not the name of an interface",
                              "write eth0, or '*' for all interfaces of the node")


def protocol_with_ports(tree: Tree) -> str:
    """TCP, UDP or SCTP, in any case; in lower case here."""
    word = r.text(tree).lower()
    if word in ("tcp", "udp", "sctp"):
        return word
    raise r.InvalidValueError(f"{describe(tree)} is not a protocol with ports",
                              "use TCP, UDP or SCTP")


def target_port(tree: Tree) -> int | str:
    """The port of a Service's pods: its number, or the name that they give it."""
    word = r.text(tree)
    return int(word) if re.fullmatch("[1-9][0-9]{0,4}", word) else word


def failsafes(tree: Tree) -> tuple[ProtoPort, ...]:
    """``tcp:22,udp:68`` or ``tcp:10.0.0.0/8:22`` as in Felix's environment, or ``none``.

    Without a protocol it is TCP (felix/config/param_types.go, ``PortListParam``).
    """
    word = r.text(tree).replace(" ", "")
    if word.lower() == "none":
        return ()
    ports = []
    for item in word.split(","):
        match = re.fullmatch(r"(?:(tcp|udp|sctp):)?(?:([0-9./]+):)?([0-9]{1,5})", item.lower())
        if not match or int(match[3]) > _MAX_PORT:
            raise r.InvalidValueError(f"{describe(tree)} is no list of ports",
                                      "write tcp:22,udp:68 or none")
        net = address_range(match[2]) if match[2] else None
        ports.append(ProtoPort(match[1] or "tcp", int(match[3]),
                               net if isinstance(net, IPv4Network) else None))
    return tuple(ports)


FAILSAFE_PORT: dict[str, Field] = {
    "protocol": Field(protocol_with_ports, "protocol", "add protocol: tcp or udp"),
    "port": Field(r.integer(0, _MAX_PORT, "a port"), "port", "add port: 22"),
    "net": Field(ipv4_network, "net"),
}


_SCOPED = "global() is for the namespaceSelector of a rule's source or destination, and alone there"


def selector(tree: Tree) -> str:
    """A selector of endpoints or of namespaces, in which ``global()`` has no place."""
    word = r.selector(tree)
    if "global()" in parse_selector(word).text:
        raise r.InvalidValueError("cannot have global()", _SCOPED)
    return word


def namespace_selector(tree: Tree) -> str:
    """A selector of namespaces, or ``global()`` for what is in none."""
    word = r.selector(tree)
    text = parse_selector(word).text
    if "global()" in text and text != "global()":
        raise r.InvalidValueError("cannot have global() beside anything else", _SCOPED)
    return word


# --- label selectors of Kubernetes

def label_selector(tree: Tree) -> str:
    """A label selector as one of Calico's; empty for one that selects everything."""
    if not isinstance(tree, Mapping):
        raise r.InvalidValueError(f"must be a selector, not {describe(tree)}", _SELECTOR_HINT)
    parts: list[str] = []
    for name, (_, value) in tree.entries.items():
        if name == "matchLabels":
            parts += [f"{_label(key)} == '{text}'" for key, text in sorted(r.string_map(value))]
        elif name == "matchExpressions":
            parts += map(_expression, r.items(value, "[{key: app, operator: Exists}]"))
        else:
            raise r.InvalidValueError(f"has the unknown field {quote(name)}", _SELECTOR_HINT)
    return " && ".join(parts)


def _label(key: str) -> str:
    if not _LABEL.fullmatch(key):
        raise r.InvalidValueError(f"has {quote(key)}, which is not a label", _SELECTOR_HINT)
    return key


def _expression(tree: Tree) -> str:
    given = tree.entries if isinstance(tree, Mapping) else {}
    key, operator = (value.text if isinstance(value, Scalar) else "" for value in (
        given[name][1] if name in given else None for name in ("key", "operator")))
    values = given["values"][1] if "values" in given else Sequence(tree.mark)
    quoted = "', '".join(r.text(item) for item in r.items(values, "[a, b]"))
    forms = {"In": f"{key} in {{ '{quoted}' }}", "NotIn": f"{key} not in {{ '{quoted}' }}",
             "Exists": f"has({key})", "DoesNotExist": f"! has({key})"}
    if operator not in forms or not key:
        raise r.InvalidValueError("has an expression without key or operator",
                                  f"write {{key: app, operator: {join(list(forms), 'or')}}}")
    _label(key)
    return forms[operator]


def pod_selector(selector: str) -> str:
    """A selector of pods alone: no host endpoint matches it."""
    return " && ".join(filter(None, ("projectcalico.org/orchestrator == 'k8s'", selector)))


# --- rules of Kubernetes

def kubernetes_rules(report: Report, rule: Resource[Any], direction: str) -> Iterator[Rule]:
    """Calico's rules for one of Kubernetes: one for each protocol and peer."""
    peers = [_entity(peer) for peer in rule.values.get("peers", [])] or [EntityRule()]
    by_protocol: dict[str, list[Ports]] = {}
    for item in rule.values.get("ports", []):
        name, given = item.get("protocol", "tcp"), _ports(report, item)
        known = by_protocol.get(name)
        if given is None:  # all ports of the protocol
            by_protocol[name] = []
        elif known is None:
            by_protocol[name] = [given]
        elif known:
            known.append(given)
    for protocol, ports in sorted(by_protocol.items()) or [("", [])]:
        for peer in peers:
            if peer is None:
                continue
            there = EntityRule(ports=simplified(ports))
            if direction == "ingress":
                yield Rule(protocol=protocol, source=peer, destination=there)
            else:
                yield Rule(protocol=protocol, destination=EntityRule(
                    peer.nets, peer.not_nets, peer.selector,
                    namespace_selector=peer.namespace_selector, ports=there.ports))


def _entity(peer: Resource[Any]) -> EntityRule | None:
    """A peer; None for a range of IPv6, which matches no packet here."""
    if "ipBlock" in peer.given:
        cidr = peer.get("cidr")
        return EntityRule((cidr,), peer.get("without", ())) if isinstance(
            cidr, IPv4Network) else None
    everywhere = peer.get("namespaces")
    return EntityRule(selector=pod_selector(peer.get("pods", "")),
                      namespace_selector="" if everywhere is None else everywhere or "all()")


def _ports(report: Report, item: Resource[Any]) -> Ports | None:
    port: Ports | None = item.get("port")
    if port is None or not item.has("last"):
        return port
    if port.name or item.get("last") < port.first:
        report.add(f"endPort {item.get('last')} needs a port number that is not above it",
                   item.at("last"), "write port: 8000 and endPort: 8010")
        return port
    return Ports(port.first, item.get("last"))


def simplified(ports: list[Ports]) -> tuple[Ports, ...]:
    """The fewest ranges that hold these ports, after those with names (``SimplifyPorts``)."""
    numbers = sorted((item.first, item.last) for item in ports if not item.name)
    if len(ports) <= 1 or sum(last - first + 1 for first, last in numbers) <= 1:
        return tuple(ports)
    ranges: list[tuple[int, int]] = []
    for first, last in numbers:
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], max(ranges[-1][1], last)
        else:
            ranges.append((first, last))
    return (*(item for item in ports if item.name), *(Ports(*item) for item in ranges))
