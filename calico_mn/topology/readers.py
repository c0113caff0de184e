"""Readers of single values: a scalar as written -> a typed value, or :class:`InvalidValueError`.

Only what can be seen from the value alone is checked here. Rules inside one object are with its
schema, rules between objects in :mod:`calico_mn.topology.rules`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from calico_mn.model import EncapsulationMode
from calico_mn.selector import parse_selector
from calico_mn.text import is_label, is_subdomain, join, quote, suggest
from calico_mn.topology.yaml_tree import Mapping, Scalar, Sequence, Tree, describe

# RFC 791; the length of an IPv4 packet has 16 bits.
MIN_MTU, MAX_MTU = 68, 65535

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_HUGE = re.compile(r"-?[1-9][0-9]{18,}")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_QUANTITY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([A-Za-z]*|%)")

Reader = Callable[[Tree], Any]
T = TypeVar("T")


class InvalidValueError(Exception):
    """A value that its field cannot have. ``what`` follows the field's name in the message."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


# --- words, names and truth values

def text(tree: Tree, hint: str = "write one value only") -> str:
    """Any scalar, as it is written: ``no`` and ``1:30`` are words here."""
    if isinstance(tree, Scalar):
        return tree.text
    raise InvalidValueError(f"must be text, not {describe(tree)}", hint)


def scalars(tree: Tree) -> dict[str, Scalar]:
    """A mapping of single values, each as it is written and where."""
    if isinstance(tree, Mapping):
        for name, (_, value) in tree.entries.items():
            if not isinstance(value, Scalar):
                raise InvalidValueError(f"has {name}, which must be text, not {describe(value)}",
                                        "write one value only")
        return {name: value for name, (_, value) in tree.entries.items()
                if isinstance(value, Scalar)}
    raise InvalidValueError(f"must be a mapping of fields, not {describe(tree)}",
                            "write its fields as name: value")


def string_map(tree: Tree) -> tuple[tuple[str, str], ...]:
    """Names with texts, such as labels."""
    if isinstance(tree, Mapping) and all(
            isinstance(value, Scalar) for _, value in tree.entries.values()):
        return tuple((name, value.text) for name, (_, value) in tree.entries.items()
                     if isinstance(value, Scalar))
    raise InvalidValueError(f"must be names with texts, not {describe(tree)}",
                            "write them as name: value")


def items(tree: Tree, example: str) -> list[Tree]:
    """The entries of a list, which is written as ``example``."""
    if isinstance(tree, Sequence):
        return tree.items
    raise InvalidValueError(f"must be a list, not {describe(tree)}", f"write {example}")


def list_of(read: Callable[[Tree], T], example: str) -> Callable[[Tree], tuple[T, ...]]:
    """A reader of a list whose entries ``read`` reads."""
    return lambda tree: tuple(map(read, items(tree, example)))


def boolean(tree: Tree) -> bool:
    """``true`` or ``false``; the other spellings of YAML 1.1 are refused."""
    if isinstance(tree, Scalar) and tree.plain and tree.text in (
            "true", "True", "TRUE", "false", "False", "FALSE"):
        return tree.text.lower() == "true"
    raise InvalidValueError(f"must be true or false, not {describe(tree)}",
                            "write true or false, without quotes")


def boolean_or_text(tree: Tree) -> bool | None:
    """As :func:`boolean`; also in quotes or empty, as ``crd.projectcalico.org`` stores it."""
    if isinstance(tree, Scalar) and not tree.text:
        return None
    return boolean(Scalar(tree.text, True, tree.mark) if isinstance(tree, Scalar) else tree)


def one_of(*choices: str) -> Callable[[Tree], str]:
    """A reader that accepts one of ``choices``, spelled exactly so."""

    def read(tree: Tree) -> str:
        if isinstance(tree, Scalar) and tree.text in choices:
            return tree.text
        close = suggest(tree.text, choices, cutoff=0.7) if isinstance(tree, Scalar) else ""
        raise InvalidValueError(
            f"must be one of {', '.join(filter(None, choices))}, not {describe(tree)}",
            f"did you mean {quote(close)}?" if close else "")

    return read


_read_mode = one_of(*(mode.value for mode in EncapsulationMode))


def mode(tree: Tree) -> EncapsulationMode:
    """A pool's encapsulation mode; an empty one is Never (libcalico-go lib/clientv3/ippool.go)."""
    if isinstance(tree, Scalar) and not tree.text:
        return EncapsulationMode.NEVER
    return EncapsulationMode(_read_mode(tree))


def selector(tree: Tree) -> str:
    """A selector of labels, in Calico's language."""
    word = text(tree)
    try:
        parse_selector(word)
    except ValueError as error:
        raise InvalidValueError(f"{quote(word)} is not a selector: {error}",
                                "write it as rack == 'r1' && has(ssd)") from None
    return word


_read_uses = list_of(one_of("Workload", "Tunnel", "LoadBalancer"), "[Workload, Tunnel]")


def uses(tree: Tree) -> tuple[str, ...] | None:
    """A pool's allowedUses; none are the default ones."""
    return _read_uses(tree) or None


def has_values(tree: Tree) -> bool:
    """Whether a list has anything but nulls, as an IPAMBlock's allocations."""
    return not isinstance(tree, Sequence) or not all(
        isinstance(item, Scalar) and item.is_null for item in tree.items)


def in_any_case(*choices: str) -> Callable[[Tree], str]:
    """A reader of one of Felix's words in any case; it is spelled as in ``choices``."""
    known = {choice.lower(): choice for choice in choices}

    def read(tree: Tree) -> str:
        word = text(tree)
        if word.lower() in known:
            return known[word.lower()]
        raise InvalidValueError(f"must be {join(list(choices), 'or')}, not {describe(tree)}", "")

    return read


_read_action = in_any_case("Accept", "Drop", "Return")


def to_host(tree: Tree) -> str:
    """Felix's DefaultEndpointToHostAction, in any case, as iptables spells it."""
    return _read_action(tree).upper()


_DURATION = re.compile(r"0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+")


def duration(tree: Tree) -> str:
    """A time as Go writes it, such as ``90s`` or ``1m30s``."""
    word = text(tree)
    if _DURATION.fullmatch(word):
        return word
    raise InvalidValueError(f"must be a time, not {describe(tree)}", "write it as 90s or 1m30s")


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(tree: Tree) -> int:
    """A time as Go writes it, in whole seconds."""
    return round(sum(float(number) * _UNITS[unit] for number, unit in re.findall(
        r"([\d.]+)([a-zµ]+)", duration(tree))))


def node_of_affinity(tree: Tree) -> str | None:
    """An IPAMBlock's affinity, ``host:NODE``; None where no node has the block."""
    kind, _, node = text(tree).partition(":")
    return node if kind == "host" and node else None


def subdomain(tree: Tree) -> str:
    """A name of a Kubernetes object (RFC 1123 subdomain, at most 253 characters)."""
    return _name(tree, is_subdomain,
                 "a name has lower-case letters, digits, '-' and '.', begins and ends with a "
                 "letter or digit, and is at most 253 characters long, 63 between dots")


def label(tree: Tree) -> str:
    """A namespace, or a name in the underlay (RFC 1123 label, at most 63 characters)."""
    return _name(tree, is_label,
                 "it has lower-case letters, digits and '-', begins and ends with a letter or "
                 "digit, and is at most 63 characters long")


def _name(tree: Tree, is_valid: Callable[[str], bool], hint: str) -> str:
    if not isinstance(tree, Scalar):
        raise InvalidValueError(f"must be a name, not {describe(tree)}", hint)
    if not is_valid(tree.text):
        raise InvalidValueError(f"{describe(tree)} is not a valid name", hint)
    return tree.text


def mac(tree: Tree) -> str:
    """The MAC address of a device: six bytes, not those of a group, in lower case."""
    word = text(tree)
    if _MAC.fullmatch(word) and not int(word[:2], 16) & 1 and word.strip("0:"):
        return word.lower()
    raise InvalidValueError(f"{quote(word)} is not a device's MAC address",
                            "write it as 66:4e:3b:22:0a:91; the first byte is even")


# --- numbers

def integer(low: int, high: int, hint: str) -> Callable[[Tree], int]:
    """A reader of an integer from ``low`` to ``high``."""

    def read(tree: Tree) -> int:
        value = _decimal(tree)
        if low <= value <= high:
            return value
        raise InvalidValueError(f"{value} is not between {low} and {high}", hint)

    return read


_read_block_size = integer(20, 32, "Calico's default is 26: blocks of 64 addresses")


def block_size(tree: Tree) -> int | None:
    """A pool's block size; 0 is the default (libcalico-go lib/clientv3/ippool.go).

    One of an IPv6 pool, from 116 to 128, is for the rules of the pool.
    """
    if isinstance(tree, Scalar) and tree.plain and tree.text == "0":
        return None
    if isinstance(tree, Scalar) and tree.plain and tree.text in map(str, range(116, 129)):
        return int(tree.text)
    return _read_block_size(tree)


def mtu(automatic: str) -> Callable[[Tree], int]:
    """A reader of an MTU in bytes; 0 is the automatic choice, which the hint explains."""

    def read(tree: Tree) -> int:
        value = _decimal(tree)
        if value == 0 or MIN_MTU <= value <= MAX_MTU:
            return value
        raise InvalidValueError(f"{value} is not an MTU", f"bytes from {MIN_MTU} to {MAX_MTU}, or "
                                f"0 for the automatic choice: {automatic}")

    return read


def mtu_text(tree: Tree) -> int:
    """``veth_mtu``: a number of bytes in a ConfigMap's string; 0 is the automatic choice."""
    word = text(tree)
    if _INTEGER.fullmatch(word) and (int(word) == 0 or MIN_MTU <= int(word) <= MAX_MTU):
        return int(word)
    raise InvalidValueError(f"{quote(word)} is not an MTU", f"bytes from {MIN_MTU} to {MAX_MTU} as "
                            'text, or "0" for the automatic choice')


def _decimal(tree: Tree) -> int:
    hint = "write decimal digits only, without leading zeros"
    if isinstance(tree, Scalar) and _INTEGER.fullmatch(tree.text):
        if tree.plain:
            return int(tree.text)
        hint = "remove the quotes"
    elif isinstance(tree, Scalar) and _HUGE.fullmatch(tree.text):
        hint = "no field takes a number of that size"
    raise InvalidValueError(f"must be a whole number, not {describe(tree)}", hint)


def rate(tree: Tree) -> float:
    """A bit rate such as ``100Mbit``, in Mbit/s."""
    return _quantity(tree, {"bit": 1e-6, "kbit": 1e-3, "mbit": 1.0, "gbit": 1e3}, (1e-3, 1e6),
                     "a rate such as 100Mbit",
                     "a number and bit, Kbit, Mbit or Gbit, between 1Kbit and 1000Gbit")


def delay(tree: Tree) -> float:
    """A time such as ``1ms``, in milliseconds."""
    return _quantity(tree, {"us": 1e-3, "ms": 1.0, "s": 1e3}, (1e-3, 1e4), "a delay such as 1ms",
                     "a number and us, ms or s, between 1us and 10s; leave it out for none")


def loss(tree: Tree) -> float:
    """A share of packets such as ``1%``, in percent."""
    return _quantity(tree, {"%": 1}, (0, 100), "a share such as 1%",
                     "a number and %, at most 100%; leave it out for none")


def _quantity(
    tree: Tree, units: dict[str, float], bounds: tuple[float, float], what: str, hint: str
) -> float:
    match = _QUANTITY.fullmatch(tree.text) if isinstance(tree, Scalar) else None
    if match and match.group(2).lower() in units:
        value = round(float(match.group(1)) * units[match.group(2).lower()], 9)
        if bounds[0] <= value <= bounds[1]:
            return value
    raise InvalidValueError(f"must be {what}, not {describe(tree)}", hint)
