"""Readers of single values: a scalar as written -> a typed value, or a reported problem.

Only what can be seen from the value alone is checked here; rules between values are in
:mod:`calico_mn.topology.validate`.
"""

from __future__ import annotations

import json
import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)

from calico_mn.text import is_label, is_subdomain
from calico_mn.topology.fields import Reader, describe
from calico_mn.topology.positions import Scalar, Tree
from calico_mn.topology.problems import Mark, Report, quote

NO_IPV6 = "IPv6 is not emulated yet"

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_HUGE = re.compile(r"-?[1-9][0-9]{18,}")
_CIDR = re.compile(r"([0-9.]{7,15})/(0|[1-9][0-9]?)")
_QUANTITY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")
_RATES = {"bit": 1e-6, "kbit": 1e-3, "mbit": 1.0, "gbit": 1e3}
_DELAYS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def text(report: Report, tree: Tree, label: str, hint: str = "write one value only") -> str | None:
    """Any scalar, as it is written: ``no`` and ``1:30`` are words here."""
    if isinstance(tree, Scalar):
        return tree.text
    report.add(f"{label} must be text, not {describe(tree)}", tree.mark, hint)
    return None


def integer(report: Report, tree: Tree, label: str) -> int | None:
    """A whole number in decimal."""
    if isinstance(tree, Scalar) and tree.plain and _INTEGER.fullmatch(tree.text):
        return int(tree.text)
    hint = "write decimal digits only, without leading zeros"
    if isinstance(tree, Scalar) and not tree.plain and _INTEGER.fullmatch(tree.text):
        hint = "remove the quotes"
    elif isinstance(tree, Scalar) and _HUGE.fullmatch(tree.text):
        hint = "no field takes a number of that size"
    report.add(f"{label} must be a whole number, not {describe(tree)}", tree.mark, hint)
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
    """A reader that takes one of ``choices``, spelled exactly so."""

    def read(report: Report, tree: Tree, label: str) -> str | None:
        if isinstance(tree, Scalar) and tree.text in choices:
            return tree.text
        guess = report.guess(tree.text, choices) if isinstance(tree, Scalar) else ""
        shown = ", ".join(filter(None, choices))
        report.add(f"{label} must be one of {shown}, not {describe(tree)}", tree.mark, guess)
        return None

    return read


def subdomain(report: Report, tree: Tree, label: str) -> str | None:
    """A name of a Kubernetes object (RFC 1123 subdomain, at most 253 characters)."""
    if isinstance(tree, Scalar) and is_subdomain(tree.text):
        return tree.text
    report.add(_no_name(tree, label), tree.mark,
               "a name has lower-case letters, digits, '-' and '.', begins and ends with a letter "
               "or digit, and is at most 253 characters long, 63 between dots")
    return None


def label_name(report: Report, tree: Tree, label: str) -> str | None:
    """A namespace, or a name in the underlay (RFC 1123 label, at most 63 characters)."""
    if isinstance(tree, Scalar) and is_label(tree.text):
        return tree.text
    report.add(_no_name(tree, label), tree.mark,
               "it has lower-case letters, digits and '-', begins and ends with a letter or "
               "digit, and is at most 63 characters long")
    return None


def _no_name(tree: Tree, label: str) -> str:
    if isinstance(tree, Scalar):
        return f"{label} {describe(tree)} is not a valid name"
    return f"{label} must be a name, not {describe(tree)}"


def address(report: Report, tree: Tree, label: str) -> IPv4Address | None:
    """An IPv4 address without a prefix length."""
    word = text(report, tree, label)
    if word is None:
        return None
    found = _address(word)
    if found is None:
        hint = "write it as 192.168.57.1"
        if _CIDR.fullmatch(word):
            hint = "leave out the prefix length; the subnet has it"
        report.add(f"{label} {quote(word)} is not an IPv4 address", tree.mark,
                   NO_IPV6 if _is_ipv6(word) else hint)
    return found


def interface(report: Report, tree: Tree, label: str) -> IPv4Interface | None:
    """A node's address with its prefix; without one it is a /32, as Calico takes it.

    Source: confd's ``network_v4``, libcalico-go
    ``lib/backend/syncersv1/updateprocessors/bgpnodeprocessor.go``.
    """
    word = text(report, tree, label)
    if word is None:
        return None
    host, _, length = word.partition("/")
    found = _address(host)
    valid = "/" not in word or (_CIDR.fullmatch(word) is not None and int(length) <= 32)
    if found is None or not valid:
        report.add(f"{label} {quote(word)} is not an IPv4 address with a prefix", tree.mark,
                   NO_IPV6 if _is_ipv6(host) else "write it as 192.168.57.31/24")
        return None
    return IPv4Interface(f"{found}/{length or 32}")


def network(report: Report, tree: Tree, label: str) -> IPv4Network | IPv6Network | None:
    """A prefix with no host bits set."""
    word = text(report, tree, label)
    return None if word is None else parse_network(report, word, tree.mark, label)


def ipv4_network(report: Report, tree: Tree, label: str) -> IPv4Network | None:
    """An IPv4 prefix with no host bits set."""
    found = network(report, tree, label)
    if isinstance(found, IPv6Network):
        report.add(f"{label} {ipv6_text(found)} is an IPv6 prefix", tree.mark, NO_IPV6)
        return None
    return found


def ipv6_text(network: IPv6Network) -> str:
    """As Python from 3.13 on writes it: an IPv4 address that is mapped into IPv6 stays one."""
    mapped = network.network_address.ipv4_mapped
    return str(network) if mapped is None else f"::ffff:{mapped}/{network.prefixlen}"


def parse_network(
    report: Report, word: str, mark: Mark, label: str
) -> IPv4Network | IPv6Network | None:
    """The prefix that ``word`` at ``mark`` spells."""
    found: IPv4Network | IPv6Network
    match = _CIDR.fullmatch(word)
    try:
        if match and _address(match.group(1)) and int(match.group(2)) <= 32:
            found = IPv4Network(word, strict=False)
        elif _is_ipv6(word.partition("/")[0]) and "/" in word:
            found = IPv6Network(word, strict=False)
        else:
            raise ValueError
    except ValueError:
        report.add(f"{label} {quote(word)} is not an address range", mark,
                   "write it as 10.22.0.0/16")
        return None
    if str(found.network_address) != word.partition("/")[0] and found.version == 4:
        report.add(f"{label} {word} has address bits set behind its prefix", mark,
                   f"write {found}, or another prefix length")
        return None
    return found


def rate(report: Report, tree: Tree, label: str) -> float | None:
    """A bit rate such as ``100Mbit``, in Mbit/s."""
    return _quantity(report, tree, label, _RATES, (1e-3, 1e6), "a rate such as 100Mbit",
                     "a number and bit, Kbit, Mbit or Gbit, between 1Kbit and 1000Gbit")


def delay(report: Report, tree: Tree, label: str) -> float | None:
    """A time such as ``1ms``, in milliseconds."""
    return _quantity(report, tree, label, _DELAYS, (1e-3, 1e4), "a delay such as 1ms",
                     "a number and us, ms or s, between 1us and 10s; leave it out for none")


def ip_addrs(report: Report, tree: Tree, label: str) -> IPv4Address | None:
    """The annotation ``cni.projectcalico.org/ipAddrs``: a JSON list of one IPv4 address.

    Source: cni-plugin ``pkg/k8s/k8s.go``.
    """
    hint = """write it as '["10.22.151.11"]'"""
    word = text(report, tree, label, f"{hint}, in quotes: it is JSON inside a text")
    if word is None:
        return None
    try:
        listed = json.loads(word) if len(word) <= 1000 else None
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        report.add(f"{label} {quote(word)} is not a JSON list of addresses", tree.mark, hint)
        return None
    found = [_address(item) for item in listed]
    if len(found) == 1 and found[0] is not None:
        return found[0]
    ipv6 = any(_is_ipv6(item) for item in listed)
    report.add(f"{label} {quote(word)} must hold exactly one IPv4 address", tree.mark,
               NO_IPV6 if ipv6 else hint)
    return None


def pod_ip(report: Report, tree: Tree, label: str) -> IPv4Address | None:
    """The annotation ``cni.projectcalico.org/podIP`` of a running pod, ``10.22.151.11/32``."""
    word = text(report, tree, label)
    if not word:
        return None  # Calico empties it when the pod has ended.
    host, _, length = word.partition("/")
    found = _address(host)
    if found is None or length not in ("", "32"):
        report.add(f"{label} {quote(word)} is not a pod's address", tree.mark,
                   NO_IPV6 if _is_ipv6(host) else "write it as 10.22.151.11/32")
        return None
    return found


def mtu_text(report: Report, tree: Tree, label: str) -> int | None:
    """``veth_mtu``: a number of bytes in a ConfigMap's string; 0 means automatic."""
    word = text(report, tree, label)
    if word is None:
        return None
    if not _INTEGER.fullmatch(word) or not (int(word) == 0 or 68 <= int(word) <= 65535):
        report.add(f"{label} {quote(word)} is not an MTU", tree.mark,
                   'bytes from 68 to 65535 as text, or "0" for the automatic choice')
        return None
    return int(word)


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
