"""Readers of addresses and networks: a scalar as written -> an object of :mod:`ipaddress`.

As those of :mod:`calico_mn.topology.readers`. An IPv6 address where an IPv4 one may stand beside it
gives None; where it stands alone it is :class:`~calico_mn.topology.readers.InvalidValueError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)

from calico_mn.text import quote
from calico_mn.topology.readers import InvalidValueError, items, text
from calico_mn.topology.yaml_tree import Tree

NO_IPV6 = "IPv6 is not emulated yet"

_CIDR = re.compile(r"([0-9.]{7,15})/(0|[1-9][0-9]?)")


def address(tree: Tree) -> IPv4Address:
    """An IPv4 address without a prefix length."""
    word = text(tree)
    hint = "write it as 192.168.57.1"
    if _CIDR.fullmatch(word):
        hint = "leave out the prefix length; the subnet has it"
    return _require(ipv4_or_none(word), word, f"{quote(word)} is not an IPv4 address", hint)


def address_or_none(tree: Tree) -> IPv4Address | None:
    """As :func:`address`; None for an empty text, and for an IPv6 address."""
    word = text(tree)
    return address(tree) if word and not _is_ipv6(word) else None


def interface(tree: Tree) -> IPv4Interface:
    """A node's address with its prefix; without one it is a /32, as Calico reads it.

    Source: confd's ``network_v4``, libcalico-go
    ``lib/backend/syncersv1/updateprocessors/bgpnodeprocessor.go``.
    """
    word = text(tree)
    host, slash, length = word.partition("/")
    valid = not slash or (_CIDR.fullmatch(word) is not None and int(length) <= 32)
    value = _require(ipv4_or_none(host) if valid else None, host,
                     f"{quote(word)} is not an IPv4 address with a prefix",
                     "write it as 192.168.57.31/24")
    return IPv4Interface(f"{value}/{length or 32}")


def ip_addrs(tree: Tree) -> IPv4Address:
    """The annotation ``cni.projectcalico.org/ipAddrs``: a JSON list of one IPv4 address.

    Source: cni-plugin ``pkg/k8s/k8s.go``.
    """
    example = """'["10.22.151.11"]'"""
    listed = _json_texts(tree, example, "addresses")
    ipv4 = [item for item in listed if not _is_ipv6(item)]
    return _require(ipv4_or_none(ipv4[0]) if len(ipv4) == 1 and len(listed) <= 2 else None,
                    "" if ipv4 else next(iter(listed), ""),
                    f"{quote(text(tree))} must hold exactly one IPv4 address",
                    f"write it as {example}")


def _json_texts(tree: Tree, example: str, what: str) -> list[str]:
    hint = f"write it as {example}"
    word = text(tree, f"{hint}, in quotes: it is JSON inside a text")
    try:
        listed = json.loads(word) if len(word) <= 1000 else None
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise InvalidValueError(f"{quote(word)} is not a JSON list of {what}", hint)
    return listed


def pod_ip(tree: Tree) -> IPv4Address | None:
    """The annotation ``cni.projectcalico.org/podIP`` of a running pod, ``10.22.151.11/32``."""
    word = text(tree)
    if not word:
        return None  # Calico empties it when the pod has ended.
    host, _, length = word.partition("/")
    if _is_ipv6(host):
        return None
    return _require(ipv4_or_none(host) if length in ("", "32") else None, host,
                    f"{quote(word)} is not a pod's address", "write it as 10.22.151.11/32")


def network(tree: Tree) -> IPv4Network | IPv6Network:
    """A prefix with no host bits set."""
    return parse_network(text(tree))


def ipv4_network(tree: Tree) -> IPv4Network:
    """An IPv4 prefix with no host bits set."""
    value = network(tree)
    if isinstance(value, IPv6Network):
        raise InvalidValueError(f"{ipv6_text(value)} is an IPv6 prefix", NO_IPV6)
    return value


def ipv6_text(network: IPv6Network) -> str:
    """As Python from 3.13 on writes it: an IPv4 address that is mapped into IPv6 stays one."""
    mapped = network.network_address.ipv4_mapped
    return str(network) if mapped is None else f"::ffff:{mapped}/{network.prefixlen}"


@lru_cache(maxsize=100_000)  # An apply reads every resource of the cluster again.
def parse_network(word: str) -> IPv4Network | IPv6Network:
    """The prefix that ``word`` spells; raises :class:`InvalidValueError`."""
    match = _CIDR.fullmatch(word)
    try:
        if match and ipv4_or_none(match.group(1)) and int(match.group(2)) <= 32:
            value = IPv4Network(word, strict=False)
        elif _is_ipv6(word.partition("/")[0]) and "/" in word:
            return IPv6Network(word, strict=False)
        else:
            raise ValueError
    except ValueError:
        raise InvalidValueError(f"{quote(word)} is not an address range",
                                "write it as 10.22.0.0/16") from None
    if str(value.network_address) != word.partition("/")[0]:
        raise InvalidValueError(f"{word} has address bits set behind its prefix",
                                f"write {value}, or another prefix length")
    return value


def address_range(word: str) -> IPv4Network | IPv6Network:
    """As :func:`parse_network`; an IPv4 address stands for its /32."""
    return parse_network(word if "/" in word else f"{word}/32")


def _require(value: IPv4Address | None, word: str, what: str, hint: str) -> IPv4Address:
    """``value``, unless there is none; ``word`` may be an IPv6 address instead."""
    if value is None:
        raise InvalidValueError(what, NO_IPV6 if _is_ipv6(word) else hint)
    return value


def ipv4_or_none(word: str) -> IPv4Address | None:
    """The IPv4 address that ``word`` spells, or None."""
    try:
        return IPv4Address(word)
    except AddressValueError:
        return None


def _is_ipv6(word: str) -> bool:
    try:
        return len(word) < 64 and ":" in word and bool(IPv6Address(word).version)
    except AddressValueError:
        return False


def json_names(tree: Tree) -> tuple[str, ...]:
    """The annotation ``cni.projectcalico.org/ipv4pools``: a JSON list of names or networks."""
    return tuple(_json_texts(tree, """'["pool-1"]'""", "names"))


def ipv4_networks(tree: Tree) -> tuple[IPv4Network, ...]:
    """A list of IPv4 prefixes, in which an address stands for its /32; IPv6 ones are left out."""
    words = [text(item) for item in items(tree, "[10.22.0.0/28]")]
    return _ipv4_ranges(word for word in words if not _is_ipv6(word.partition("/")[0]))


def _ipv4_ranges(words: Iterable[str]) -> tuple[IPv4Network, ...]:
    return tuple(item for item in map(address_range, words) if isinstance(item, IPv4Network))


def ipv4_addresses(tree: Tree) -> tuple[IPv4Address, ...]:
    """A list of IPv4 addresses; IPv6 ones are left out."""
    return tuple(value for item in items(tree, "[192.168.57.31]")
                 if (value := address_or_none(item)) is not None)


def only_ipv4_networks(tree: Tree) -> tuple[IPv4Network, ...]:
    """As :func:`ipv4_networks`, without any of IPv6 (libcalico-go/lib/validator/v3)."""
    networks = ipv4_networks(tree)
    if len(networks) < len(items(tree, "")):
        raise InvalidValueError("has an address or a prefix of IPv6", NO_IPV6)
    return networks


def listed_networks(tree: Tree) -> tuple[IPv4Network, ...]:
    """Addresses and prefixes in a text, with commas between them (CIDRListParam of felix/config).
    """
    return _ipv4_ranges(word.strip() for word in text(tree).split(",") if word.strip())
