"""Which networks overlap, and which network holds an address, without comparing all with all."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Generic, TypeVar

T = TypeVar("T")

# Never the address of a host or a pod, or not beyond one link (RFC 6890); Calico itself refuses
# only 169.254.0.0/16, where its pods' gateway lives.
RESERVED = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local, where Calico's gateway 169.254.1.1 is",
    IPv4Network("224.0.0.0/3"): "multicast and reserved",
}


def reserved(network: IPv4Network) -> str:
    """Why ``network`` cannot be used for hosts, or an empty string."""
    return next(
        (f"{block} ({why})" for block, why in RESERVED.items() if network.overlaps(block)), ""
    )


def overlapping(items: Iterable[tuple[IPv4Network, T]]) -> list[tuple[T, T]]:
    """For each network that overlaps others, a pair of it and one other; n log n.

    Two prefixes overlap only when one holds the other, so a stack of open ones is enough.
    """
    pairs = []
    stack: list[tuple[IPv4Network, T]] = []
    for network, item in sorted(items, key=lambda entry: (entry[0].network_address, entry[0])):
        while stack and not network.subnet_of(stack[-1][0]):
            stack.pop()
        if stack:
            pairs.append((stack[-1][1], item))
        if not stack or network != stack[-1][0]:
            stack.append((network, item))
    return pairs


class NetworkIndex(Generic[T]):
    """Values by network; looks an address up with one probe per prefix length in use."""

    def __init__(self, items: Iterable[tuple[IPv4Network, T]] = ()) -> None:
        self._by_length: dict[int, dict[int, T]] = {}
        for network, value in items:
            slots = self._by_length.setdefault(network.prefixlen, {})
            slots.setdefault(int(network.network_address), value)

    def find(self, address: IPv4Address) -> T | None:
        """The value of the smallest network that holds ``address``, or None."""
        number = int(address)
        for length in sorted(self._by_length, reverse=True):
            value = self._by_length[length].get(number >> (32 - length) << (32 - length))
            if value is not None:
                return value
        return None
