"""What was captured of one probe: everything that a journey is made from, as values.

A recording can be written to a file and read again, so that what is made of it can be looked at
later, and tested, without a cluster. Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calico_mn.kernel.facts import DeviceFacts, Facts, NeighbourFacts
from calico_mn.kernel.lookup import Answer, Query
from calico_mn.kernel.sniffer import Frame

POD, NODE, SWITCH, ROUTER = "pod", "node", "switch", "router"

#: (namespace, device)
Port = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Probe:
    """The packet to send.

    ``protocol`` is ``icmp`` (an echo request), ``udp`` or ``tcp`` (a SYN), these to ``port``;
    ``size`` is the whole IPv4 packet in bytes (a SYN is always 40), ``df`` the flag "don't
    fragment", ``ttl`` the time to live.
    """

    protocol: str = "icmp"
    size: int = 84
    df: bool = True
    ttl: int = 64
    port: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells the probe from all other packets.

    ``identifier`` is ICMP's, or the source port; ``token`` begins the payload; ``sequence`` is
    ICMP's, or TCP's.
    """

    identifier: int
    sequence: int
    token: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An end of the journey; ``name`` is empty where nobody has the address."""

    name: str
    kind: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} {self.address}".strip() if self.name else f"{self.address} (nobody)"


@dataclass(frozen=True, slots=True)
class FilterCounter:
    """A rule of the packet filter that counts, with what it has counted: packets."""

    namespace: str
    rule: str
    packets: int


@dataclass(frozen=True, slots=True)
class Recording:
    """One probe. ``kinds`` tells what each namespace is; ``frames`` are in order of time.

    ``refused`` is the errno's name where the source's own kernel did not take the packet.
    ``answers`` are the kernel's on what the story asked, ``filters`` the filter's rules that
    counted a second packet. ``waited`` is in seconds.
    """

    source: Endpoint
    destination: Endpoint
    probe: Probe
    mark: Mark
    kinds: Mapping[str, str]
    cables: Mapping[Port, Port]
    before: Mapping[str, Facts]
    after: Mapping[str, Facts]
    frames: tuple[tuple[str, Frame], ...]
    refused: str = ""
    tunnel: str = ""
    waited: float = 0.0
    answers: dict[tuple[str, Query], Answer] = field(default_factory=dict)
    filters: tuple[FilterCounter, ...] = ()


def document(recording: Recording) -> dict[str, Any]:
    """A recording as JSON's types."""
    def plain(item: Any) -> Any:
        if isinstance(item, bytes):
            return item.hex()
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            return {f.name: plain(getattr(item, f.name)) for f in dataclasses.fields(item)}
        if isinstance(item, Mapping):
            if all(isinstance(key, str) for key in item):
                return {key: plain(value) for key, value in item.items()}
            return [[plain(key), plain(value)] for key, value in item.items()]
        if isinstance(item, (list, tuple)):
            return [plain(one) for one in item]
        return item
    return {name: plain(getattr(recording, name))
            for name in (f.name for f in dataclasses.fields(Recording))}


def restored(data: Mapping[str, Any]) -> Recording:
    """A recording from what :func:`document` gave."""
    def facts(item: Mapping[str, Any]) -> Facts:
        return Facts(tuple(DeviceFacts(**one) for one in item["devices"]),
                     tuple((a, b) for a, b in item["addresses"]),
                     tuple(NeighbourFacts(**one) for one in item["neighbours"]),
                     item["rp_filter"], dict(item["counters"]))
    mark = data["mark"]
    return Recording(
        Endpoint(**data["source"]), Endpoint(**data["destination"]), Probe(**data["probe"]),
        Mark(mark["identifier"], mark["sequence"], bytes.fromhex(mark["token"])),
        dict(data["kinds"]),
        {(a, b): (c, d) for (a, b), (c, d) in data["cables"]},
        {name: facts(item) for name, item in data["before"].items()},
        {name: facts(item) for name, item in data["after"].items()},
        tuple((name, Frame(**{**frame, "data": bytes.fromhex(frame["data"])}))
              for name, frame in data["frames"]),
        data["refused"], data["tunnel"], data["waited"],
        {(name, Query(**query)): Answer(**answer)
         for (name, query), answer in data["answers"]},
        tuple(FilterCounter(**one) for one in data["filters"]))
