"""What the values of an experiment's options are: modes, numbers, names, addresses. Pure.

In goes a word of the command line, out comes its value; argparse.ArgumentTypeError says what is
wrong with it. Imports little, so that mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from calico_mn.calico.encapsulation import ENCAPSULATIONS, Encapsulation, named
from calico_mn.errors import ClusterError
from calico_mn.model import EncapsulationMode
from calico_mn.text import suggest

#: the level of ``--on`` for a real cluster
KUBERNETES = "kubernetes"
MODES = tuple(mode.value for mode in EncapsulationMode)
_LONGEST_S, _LONGEST_SETTLE_S = 3600, 600
_DECIMAL = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_MOST_REPEATS = 100_000


def mode_list(text: str) -> tuple[str, ...]:
    """Encapsulation modes, by commas."""
    modes = tuple(word.strip() for word in text.split(","))
    for mode in modes:
        if mode not in MODES:
            by_lower = {known.lower(): known for known in MODES}
            close = by_lower.get(suggest(mode.lower(), by_lower))
            hint = f"; did you mean {close}?" if close else ""
            raise argparse.ArgumentTypeError(
                f"there is no mode {mode!r} (modes: {', '.join(MODES)}){hint}")
    if len(set(modes)) < len(modes):
        raise argparse.ArgumentTypeError(f"a mode is named twice in {text!r}")
    return modes


def mode(text: str) -> str:
    """One encapsulation mode."""
    modes = mode_list(text)
    if len(modes) > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is more than one mode")
    return modes[0]


def pair_list(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of pods, ``A:B,C:D``."""
    pairs = tuple(tuple(name.strip() for name in word.split(":")) for word in text.split(","))
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of pairs: write POD:POD,POD:POD")
    return cast("tuple[tuple[str, str], ...]", pairs)


def word_list(text: str) -> tuple[str, ...]:
    """Names by commas, of lower-case letters, digits, - and _."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if not re.fullmatch("[a-z0-9_-]+", word):
            raise argparse.ArgumentTypeError(f"{word!r} is not a name")
    return words


def encapsulation(text: str) -> Encapsulation:
    """IPIP or VXLAN, in upper or lower case."""
    try:
        return named(text)
    except ClusterError:
        known = ", ".join(str(known).lower() for known in ENCAPSULATIONS)
        raise argparse.ArgumentTypeError(f"{text!r} is none of {known}") from None


def choice_list(*choices: str) -> Callable[[str], tuple[str, ...]]:
    """Some of the ``choices``, by commas."""

    def read(text: str) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
        for word in chosen:
            if word not in choices:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(choices)}")
        return chosen

    return read


def int_list(least: int, most: int, zero: str = "") -> Callable[[str], tuple[int, ...]]:
    """Numbers by commas; the word ``zero`` stands for 0."""

    def number(word: str) -> int:
        return 0 if zero and word == zero else _int(word, least, most, zero)

    return lambda text: tuple(dict.fromkeys(number(word.strip()) for word in text.split(",")))


def int_between(least: int, most: int) -> Callable[[str], int]:
    """One number."""
    return lambda text: _int(text, least, most)


def _int(text: str, least: int, most: int, zero: str = "") -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}"
                                         + (f", or {zero}" if zero else ""))
    return number


def positive_int(text: str) -> int:
    """A number of repeats."""
    return _int(text, 1, _MOST_REPEATS)


def place(text: str) -> str:
    """Where to measure: a Dask scheduler, or a real cluster."""
    return text if text == KUBERNETES else scheduler(text)


def scheduler(text: str) -> str:
    """A Dask scheduler's address: over TLS, or on this machine."""
    match = re.fullmatch(r"(tls|tcp)://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no address of a Dask scheduler: write"
                                         " tls://HOST:PORT")
    if match[1] == "tcp" and not _is_loopback(match[2].strip("[]")):
        raise argparse.ArgumentTypeError(
            f"{text}: over plain TCP, every machine that reaches a worker's port is root on it."
            " Use tls://, or --on-plain-tcp in a network that you trust")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False  # a name, which may be that of another machine


def path(text: str) -> Path:
    """A file or directory."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or directory is empty")
    return Path(text)


def seconds(text: str) -> float:
    """A time in seconds."""
    number = float(text) if _DECIMAL.fullmatch(text) else 0.0
    if not 0.05 <= number <= _LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0.05 to {_LONGEST_S}")
    return number


def namespace(text: str) -> str:
    """A name that Kubernetes takes for a namespace (RFC 1123, a label)."""
    if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a namespace: lower-case letters,"
                                         " digits and - in between, 63 at most")
    return text


def settle(text: str) -> float:
    """A time to wait after a change, in seconds."""
    number = float(text) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]+)?", text) else -1.0
    if not 0 <= number <= _LONGEST_SETTLE_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0 to {_LONGEST_SETTLE_S}")
    return number
