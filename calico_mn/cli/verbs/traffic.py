"""``ping`` and ``pingall``: who reaches whom."""

from __future__ import annotations

import argparse
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from calico_mn.cli.output import Progress, paint, print_json, say
from calico_mn.cli.verb import FAILED, OK, PLACES, Verb, completes, whole
from calico_mn.cli.verbs.inside import add_place, become
from calico_mn.errors import NotFoundError

if TYPE_CHECKING:
    from calico_mn.control.session import Session

GROUP = "traffic"


# --- ping

def _add_ping(parser: argparse.ArgumentParser) -> None:
    add_place(parser, "who sends: a node, pod or router")
    completes(parser.add_argument("target", metavar="TARGET",
                                  help="who answers: a node, pod or router, or an address"), PLACES)
    parser.add_argument("-c", dest="count", metavar="N", type=whole, default=3,
                        help="packets (default: 3)")
    parser.add_argument("-s", dest="size", metavar="BYTES", type=whole,
                        help="of payload, to which 28 bytes of headers come (default: 56)")


def _ping(options: argparse.Namespace, session: Session) -> int:
    try:
        address = str(IPv4Address(options.target))
    except AddressValueError:
        address = session.ask("address", place=options.target)
    if not address:
        raise NotFoundError(f"{options.target} has no address")
    size = [] if options.size is None else ["-s", str(options.size)]
    become(session, options.place,
           ["ping", "-n", "-c", str(options.count), "-W", "1", *size, address])


# --- pingall

def _add_pingall(_parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def _pingall(options: argparse.Namespace, session: Session) -> int:
    with Progress("pings") as progress:
        found = session.ask("pingall", progress=progress)
    reached = sum(pair["reached"] for pair in found["pairs"])
    if options.json:
        print_json({**found, "reached": reached})
    else:
        from calico_mn.measure.paths import Endpoint
        from calico_mn.report import matrix

        marks = {(pair["source"], pair["destination"]):
                 matrix.mark(pair["reached"], pair["encapsulated"])
                 for pair in found["pairs"]}
        drawn = matrix.drawn({"": marks}, [Endpoint(**pod) for pod in found["pods"]])
        width = max(map(len, drawn.labels))
        say(f"{paint(drawn.legend, 'faint')}   (rows send)")
        for label, line in zip(["", *drawn.labels], drawn.grids[0].lines, strict=True):
            say(f"{paint(label.ljust(width), 'faint')}   {line}".rstrip())
        say(f"{reached} of {len(found['pairs'])} pairs")
    return OK if reached == len(found["pairs"]) else FAILED


VERBS = {
    "ping": Verb(
        "ping", GROUP, "ping from one node or pod to another",
        "Runs ping in a node, pod or router, to the address of another.",
        _add_ping, ask=_ping,
        examples=(("calico-mn ping default/web-0 default/web-2", "pod to pod"),
                  ("calico-mn ping node31 192.168.57.1", "to an address"),
                  ("calico-mn ping web-0 web-2 -s 1452 -c 1", "a full packet, with MTU 1480")),
        status="ping's: 0 answered, 1 no answer"),
    "pingall": Verb(
        "pingall", GROUP, "every pod pings every other, and how the packets crossed",
        "Every pod pings every other, many at a time; captures on the nodes' uplinks tell whether "
        "a request crossed inside IPIP. An unanswered pair is tried twice.",
        _add_pingall, ask=_pingall, json=True,
        status="0 all answered, 1 a pair did not"),
}
