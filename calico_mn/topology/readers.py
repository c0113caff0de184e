"""Readers of single values: a scalar as written -> a typed value, or a reported problem and None.

Only what can be seen from the value alone is checked here. Rules inside one object are with its
schema, rules between objects in :mod:`calico_mn.topology.rules`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)
from typing import Any

from calico_mn.model import EncapsulationMode
from calico_mn.text import is_label, is_subdomain, quote
from calico_mn.topology.problems import Mark, Report
from calico_mn.topology.yaml_tree import Scalar, Tree, describe

# A reader turns a tree into a value, or reports why it cannot and returns None.
Reader = Callable[[Report, Tree, str], Any]

NO_IPV6 = "IPv6 is not emulated yet"
# RFC 791; the length of an IPv4 packet has 16 bits.
MIN_MTU, MAX_MTU = 68, 65535

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_HUGE = re.compile(r"-?[1-9][0-9]{18,}")
_CIDR = re.compile(r"([0-9.]{7,15})/(0|[1-9][0-9]?)")
_QUANTITY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")
_RATES = {"bit": 1e-6, "kbit": 1e-3, "mbit": 1.0, "gbit": 1e3}
_DELAYS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


# --- words, names and truth values

def text(report: Report, tree: Tree, label: str, hint: str = "write one value only") -> str | None:
    """Any scalar, as it is written: ``no`` and ``1:30`` are words here."""
    if isinstance(tree, Scalar):
        return tree.text
    report.add(f"{label} must be text, not {describe(tree)}", tree.mark, hint)
    return None


def boolean(report: Report, tree: Tree, label: str) -> bool | None:
    """``true`` or ``false``; the other spellings of YAML 1.1 are refused."""
    word = tree.text if isinstance(tree, Scalar) and tree.plain else ""
    if word in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return word.lower() == "true"
    report.add(f"{label} must be true or false, not {describe(tree)}", tree.mark,
               "write true or false, without quotes")
    return None


def boolean_or_text(report: Report, tree: Tree, label: str) -> bool | None:
    """As :func:`boolean`; also in quotes, as the ``crd.projectcalico.org`` API stores it."""
    if isinstance(tree, Scalar):
        tree = Scalar(tree.text, True, tree.mark)
    return boolean(report, tree, label)


def one_of(*choices: str) -> Reader:
    """A reader that accepts one of ``choices``, spelled exactly so."""

    def read(report: Report, tree: Tree, label: str) -> str | None:
        if isinstance(tree, Scalar) and tree.text in choices:
            return tree.text
        hint = report.did_you_mean(tree.text, choices) if isinstance(tree, Scalar) else ""
        report.add(f"{label} must be one of {', '.join(filter(None, choices))}, not "
                   f"{describe(tree)}", tree.mark, hint)
        return None

    return read


_read_mode = one_of(*(mode.value for mode in EncapsulationMode))


def mode(report: Report, tree: Tree, label: str) -> EncapsulationMode | None:
    """A pool's encapsulation mode."""
    word = _read_mode(report, tree, label)
    return None if word is None else EncapsulationMode(word)


def subdomain(report: Report, tree: Tree, label: str) -> str | None:
    """A name of a Kubernetes object (RFC 1123 subdomain, at most 253 characters)."""
    return _name(report, tree, label, is_subdomain,
                 "a name has lower-case letters, digits, '-' and '.', begins and ends with a "
                 "letter or digit, and is at most 253 characters long, 63 between dots")


def label_name(report: Report, tree: Tree, label: str) -> str | None:
    """A namespace, or a name in the underlay (RFC 1123 label, at most 63 characters)."""
    return _name(report, tree, label, is_label,
                 "it has lower-case letters, digits and '-', begins and ends with a letter or "
                 "digit, and is at most 63 characters long")


def _name(
    report: Report, tree: Tree, label: str, is_valid: Callable[[str], bool], hint: str
) -> str | None:
    if not isinstance(tree, Scalar):
        report.add(f"{label} must be a name, not {describe(tree)}", tree.mark, hint)
    elif is_valid(tree.text):
        return tree.text
    else:
        report.add(f"{label} {describe(tree)} is not a valid name", tree.mark, hint)
    return None


# --- numbers

def integer(low: int, high: int, hint: str) -> Reader:
    """A reader of an integer from ``low`` to ``high``."""

    def read(report: Report, tree: Tree, label: str) -> int | None:
        value = _decimal(report, tree, label)
        if value is None or low <= value <= high:
            return value
        report.add(f"{label} {value} is not between {low} and {high}", tree.mark, hint)
        return None

    return read


def mtu(automatic: str) -> Reader:
    """A reader of an MTU in bytes; 0 stands for the automatic choice, which the hint explains."""

    def read(report: Report, tree: Tree, label: str) -> int | None:
        value = _decimal(report, tree, label)
        if value is None or value == 0 or MIN_MTU <= value <= MAX_MTU:
            return value
        report.add(f"{label} {value} is not an MTU", tree.mark,
                   f"bytes from {MIN_MTU} to {MAX_MTU}, or 0 for the automatic choice: {automatic}")
        return None

    return read


def mtu_text(report: Report, tree: Tree, label: str) -> int | None:
    """``veth_mtu``: a number of bytes in a ConfigMap's string; 0 means automatic."""
    word = text(report, tree, label)
    if word is None:
        return None
    if _INTEGER.fullmatch(word) and (int(word) == 0 or MIN_MTU <= int(word) <= MAX_MTU):
        return int(word)
    report.add(f"{label} {quote(word)} is not an MTU", tree.mark,
               f'bytes from {MIN_MTU} to {MAX_MTU} as text, or "0" for the automatic choice')
    return None


def rate(report: Report, tree: Tree, label: str) -> float | None:
    """A bit rate such as ``100Mbit``, in Mbit/s."""
    return _quantity(report, tree, label, _RATES, (1e-3, 1e6), "a rate such as 100Mbit",
                     "a number and bit, Kbit, Mbit or Gbit, between 1Kbit and 1000Gbit")


def delay(report: Report, tree: Tree, label: str) -> float | None:
    """A time such as ``1ms``, in milliseconds."""
    return _quantity(report, tree, label, _DELAYS, (1e-3, 1e4), "a delay such as 1ms",
                     "a number and us, ms or s, between 1us and 10s; leave it out for none")


def _decimal(report: Report, tree: Tree, label: str) -> int | None:
    hint = "write decimal digits only, without leading zeros"
    if isinstance(tree, Scalar) and _INTEGER.fullmatch(tree.text):
        if tree.plain:
            return int(tree.text)
        hint = "remove the quotes"
    elif isinstance(tree, Scalar) and _HUGE.fullmatch(tree.text):
        hint = "no field takes a number of that size"
    report.add(f"{label} must be a whole number, not {describe(tree)}", tree.mark, hint)
    return None


def _quantity(
    report: Report, tree: Tree, label: str, units: dict[str, float],
    bounds: tuple[float, float], what: str, hint: str,
) -> float | None:
    match = _QUANTITY.fullmatch(tree.text) if isinstance(tree, Scalar) else None
    if match and match.group(2).lower() in units:
        value = round(float(match.group(1)) * units[match.group(2).lower()], 9)
        if bounds[0] <= value <= bounds[1]:
            return value
    report.add(f"{label} must be {what}, not {describe(tree)}", tree.mark, hint)
    return None


# --- addresses

def address(report: Report, tree: Tree, label: str) -> IPv4Address | None:
    """An IPv4 address without a prefix length."""
    word = text(report, tree, label)
    if word is None:
        return None
    value = _address(word)
    if value is None:
        hint = "write it as 192.168.57.1"
        if _CIDR.fullmatch(word):
            hint = "leave out the prefix length; the subnet has it"
        report.add(f"{label} {quote(word)} is not an IPv4 address", tree.mark,
                   NO_IPV6 if _is_ipv6(word) else hint)
    return value


def interface(report: Report, tree: Tree, label: str) -> IPv4Interface | None:
    """A node's address with its prefix; without one it is a /32, as Calico reads it.

    Source: confd's ``network_v4``, libcalico-go
    ``lib/backend/syncersv1/updateprocessors/bgpnodeprocessor.go``.
    """
    word = text(report, tree, label)
    if word is None:
        return None
    host, _, length = word.partition("/")
    value = _address(host)
    valid = "/" not in word or (_CIDR.fullmatch(word) is not None and int(length) <= 32)
    if value is None or not valid:
        report.add(f"{label} {quote(word)} is not an IPv4 address with a prefix", tree.mark,
                   NO_IPV6 if _is_ipv6(host) else "write it as 192.168.57.31/24")
        return None
    return IPv4Interface(f"{value}/{length or 32}")


def network(report: Report, tree: Tree, label: str) -> IPv4Network | IPv6Network | None:
    """A prefix with no host bits set."""
    word = text(report, tree, label)
    return None if word is None else parse_network(report, word, tree.mark, label)


def ipv4_network(report: Report, tree: Tree, label: str) -> IPv4Network | None:
    """An IPv4 prefix with no host bits set."""
    value = network(report, tree, label)
    if isinstance(value, IPv6Network):
        report.add(f"{label} {ipv6_text(value)} is an IPv6 prefix", tree.mark, NO_IPV6)
        return None
    return value


def ipv6_text(network: IPv6Network) -> str:
    """As Python from 3.13 on writes it: an IPv4 address that is mapped into IPv6 stays one."""
    mapped = network.network_address.ipv4_mapped
    return str(network) if mapped is None else f"::ffff:{mapped}/{network.prefixlen}"


def parse_network(
    report: Report, word: str, mark: Mark, label: str
) -> IPv4Network | IPv6Network | None:
    """The prefix that ``word`` at ``mark`` spells."""
    value: IPv4Network | IPv6Network
    match = _CIDR.fullmatch(word)
    try:
        if match and _address(match.group(1)) and int(match.group(2)) <= 32:
            value = IPv4Network(word, strict=False)
        elif _is_ipv6(word.partition("/")[0]) and "/" in word:
            value = IPv6Network(word, strict=False)
        else:
            raise ValueError
    except ValueError:
        report.add(f"{label} {quote(word)} is not an address range", mark,
                   "write it as 10.22.0.0/16")
        return None
    if str(value.network_address) != word.partition("/")[0] and value.version == 4:
        report.add(f"{label} {word} has address bits set behind its prefix", mark,
                   f"write {value}, or another prefix length")
        return None
    return value


def ip_addrs(report: Report, tree: Tree, label: str) -> IPv4Address | None:
    """The annotation ``cni.projectcalico.org/ipAddrs``: a JSON list of one IPv4 address.

    Source: cni-plugin ``pkg/k8s/k8s.go``.
    """
    hint = """write it as '["10.22.151.11"]'"""
    word = text(report, tree, label, f"{hint}, in quotes: it is JSON inside a text")
    if word is None:
        return None
    try:
        items = json.loads(word) if len(word) <= 1000 else None
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        report.add(f"{label} {quote(word)} is not a JSON list of addresses", tree.mark, hint)
        return None
    value = _address(items[0]) if len(items) == 1 else None
    if value is None:
        report.add(f"{label} {quote(word)} must hold exactly one IPv4 address", tree.mark,
                   NO_IPV6 if any(map(_is_ipv6, items)) else hint)
    return value


def pod_ip(report: Report, tree: Tree, label: str) -> IPv4Address | None:
    """The annotation ``cni.projectcalico.org/podIP`` of a running pod, ``10.22.151.11/32``."""
    word = text(report, tree, label)
    if not word:
        return None  # Calico empties it when the pod has ended.
    host, _, length = word.partition("/")
    value = _address(host)
    if value is None or length not in ("", "32"):
        report.add(f"{label} {quote(word)} is not a pod's address", tree.mark,
                   NO_IPV6 if _is_ipv6(host) else "write it as 10.22.151.11/32")
        return None
    return value


def _address(word: str) -> IPv4Address | None:
    try:
        return IPv4Address(word)
    except AddressValueError:
        return None


def _is_ipv6(word: str) -> bool:
    try:
        return len(word) < 64 and ":" in word and bool(IPv6Address(word).version)
    except AddressValueError:
        return False
