"""Routes as ``ip route`` prints them on a node of a running cluster."""

from __future__ import annotations

from typing import Any

from support.patience import eventually


def routes(net: Any, name: str) -> list[str]:
    """All lines of the main table, without trailing blanks.

    The kernel tells of a carrier a little later than it is there; linkdown is waited out.
    """
    lines: list[str] = []

    def settled() -> bool:
        out, _err, _status = net[name].pexec(["ip", "route"])
        lines[:] = [line.strip() for line in out.splitlines()]
        return not any(line.endswith(" linkdown") for line in lines)

    eventually(settled)
    return lines


def route_to(net: Any, name: str, prefix: str) -> str:
    """The line about ``prefix`` (a host address without /32), or the empty text."""
    for line in routes(net, name):
        words = line.split()
        if prefix in words[:2]:
            return line
    return ""


def addresses(net: Any, name: str, device: str = "") -> list[str]:
    """The IPv4 addresses of a device, with their prefix lengths; else ``device: address`` of all.
    """
    out, _err, _status = net[name].pexec(["ip", "-4", "-o", "address"])
    lines = [line.split() for line in out.splitlines()]
    return [words[3] for words in lines if words[1] == device] if device else [
        f"{words[1]}: {words[3]}" for words in lines]


def link(net: Any, name: str, device: str) -> str:
    """The line of ``ip -o link`` about a device, or the empty text if there is none."""
    out, _err, _status = net[name].pexec(["ip", "-o", "link", "show", "dev", device])
    return str(out)


def mtu(net: Any, name: str, device: str) -> int:
    """A device's MTU in bytes."""
    words = link(net, name, device).split()
    return int(words[words.index("mtu") + 1])


def devices(net: Any, name: str) -> list[str]:
    """The names of all devices, in order of their indexes."""
    out, _err, _status = net[name].pexec(["ip", "-o", "link"])
    return [line.split()[1].rstrip(":").partition("@")[0] for line in out.splitlines()]
