"""Recordings of packets as JSON, for tests without a cluster; and the text of path traces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from calico_mn.kernel.capture import Frame
from calico_mn.kernel.read import DeviceFacts, Facts, NeighbourFacts
from calico_mn.kernel.route_get import Answer, Query
from calico_mn.state import FdbEntry
from calico_mn.trace.recording import Endpoint, Filtered, Mark, Probe, Recording
from calico_mn.trace.text import lines


def text(path, **options):
    """A path trace as a terminal shows it."""
    return "".join(f"{line}\n" for line in lines(path, **options))


def to_json(value):
    """A recording, or a part of one, as JSON's types."""
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: to_json(item) for key, item in value.items()}
        return [[to_json(key), to_json(item)] for key, item in value.items()]
    return [to_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def from_json(data):
    """The recording of which :func:`to_json` made ``data``."""
    mark = data["mark"]
    return Recording(
        Endpoint(**data["source"]), Endpoint(**data["destination"]), Probe(**data["probe"]),
        Mark(mark["identifier"], mark["sequence"], bytes.fromhex(mark["token"])),
        dict(data["kinds"]),
        {(a, b): (c, d) for (a, b), (c, d) in data["cables"]},
        {name: _facts(facts) for name, facts in data["before"].items()},
        {name: _facts(facts) for name, facts in data["after"].items()},
        tuple((name, Frame(**{**frame, "data": bytes.fromhex(frame["data"])}))
              for name, frame in data["frames"]),
        data["refused"], data["tunnel"],
        {(name, Query(**query)): Answer(**answer) for (name, query), answer in data["answers"]},
        tuple(Filtered(**item) for item in data["filters"]), tuple(data["differences"]),
        tuple((name, cidr, nat) for name, cidr, nat in data["pools"]), tuple(data["nodes"]),
        tuple((source, destination) for source, destination in data["addresses"]),
        tuple(data["remarks"]), data["unlearned"])


def _facts(data):
    return Facts(tuple(DeviceFacts(**device) for device in data["devices"]),
                 tuple((device, address) for device, address in data["addresses"]),
                 tuple(NeighbourFacts(**neighbour) for neighbour in data["neighbours"]),
                 dict(data["settings"]), dict(data["counters"]),
                 tuple(FdbEntry(**entry) for entry in data.get("fdb", ())))
