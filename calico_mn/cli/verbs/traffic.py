"""``ping``, ``pingall`` and ``trace``: who reaches whom, and how a packet gets there."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from calico_mn.cli.complete import PLACES, completes
from calico_mn.cli.output import Progress, paint, print_json, say, write_file
from calico_mn.cli.verb import OK, Verb, nothing, whole
from calico_mn.cli.verbs.inside import add_place, become
from calico_mn.errors import FAILED, NotFoundError

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
    from ipaddress import AddressValueError, IPv4Address

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

def _pingall(options: argparse.Namespace, session: Session) -> int:
    with Progress("pings") as progress:
        answer = session.ask("pingall", progress=progress)
    reached = sum(pair["reached"] for pair in answer["pairs"])
    if options.json:
        print_json({**answer, "reached": reached})
    else:
        from calico_mn.measure.paths import Endpoint
        from calico_mn.report import matrix

        marks = {(pair["source"], pair["destination"]):
                 matrix.mark(pair["reached"], pair["encapsulated"])
                 for pair in answer["pairs"]}
        drawn = matrix.drawn({"": marks}, [Endpoint(**pod) for pod in answer["pods"]])
        width = max(map(len, drawn.labels))
        say(f"{paint(drawn.legend, 'faint')}   (rows send)")
        for label, line in zip(["", *drawn.labels], drawn.grids[0].lines, strict=True):
            say(f"{paint(label.ljust(width), 'faint')}   {line}".rstrip())
        say(f"{reached} of {len(answer['pairs'])} pairs")
    return OK if reached == len(answer["pairs"]) else FAILED


# --- trace

def _add_trace(parser: argparse.ArgumentParser) -> None:
    for name, what in (("source", "the sender: a pod, node or router, or its address"),
                       ("destination", "the receiver: the same, or an unassigned address")):
        completes(parser.add_argument(name, metavar=name[0].upper(), help=what), PLACES)
    parser.add_argument("--protocol", choices=("icmp", "udp", "tcp"), default="icmp",
                        help="an echo request, a datagram or a SYN (default: icmp)")
    parser.add_argument("--port", type=whole, default=0, help="of UDP or TCP")
    parser.add_argument("--size", type=whole, default=84, metavar="BYTES",
                        help="of the whole IPv4 packet (default: 84)")
    parser.add_argument("--ttl", type=whole, default=64, help="time to live (default: 64)")
    parser.add_argument("--no-df", action="store_true", help="let routers fragment it")
    parser.add_argument("--cold", action="store_true",
                        help="forget all neighbours first: every ARP request is seen")
    parser.add_argument("--full", action="store_true", help="show every step of the reply, too")
    parser.add_argument("--svg", metavar="FILE", help="also draw the path as a slide")


def _trace(options: argparse.Namespace, session: Session) -> int:
    answer = session.ask(
        "trace", source=options.source, destination=options.destination, cold=options.cold,
        full=options.full, drawing=bool(options.svg),
        probe={"protocol": options.protocol, "size": options.size, "df": not options.no_df,
               "ttl": options.ttl, "port": options.port})
    if options.svg:
        write_file(options.svg, answer["picture"])
    if options.json:
        print_json(answer["path"])
    else:
        for text, style in answer["lines"]:
            say(paint(text, style))
    return OK if answer["path"]["answered"] else FAILED


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
        "Every pod pings every other, many at a time; captures on the nodes' uplinks show whether "
        "a request crossed inside a tunnel. An unanswered pair is tried twice.",
        nothing, ask=_pingall, json=True,
        status="0 all answered, 1 a pair did not"),
    "trace": Verb(
        "trace", GROUP, "follow one packet through every namespace, and its reply",
        "Sends one packet from A to B while every namespace captures, and shows its path: routes, "
        "ARP, the outer header that is added and removed, and where and why it was dropped, if it "
        "was (docs/trace.md).",
        _add_trace, ask=_trace, json=True, prompt=True,
        examples=(("calico-mn trace web-0 web-2", "pod to pod"),
                  ("calico-mn trace --cold client-a 10.22.108.60", "to an unassigned address"),
                  ("calico-mn trace web-0 web-2 --svg path.svg", "drawn, too"),
                  ("calico-mn trace web-0 web-2 --protocol tcp --port 80", "a SYN")),
        status="0 answered, 1 not"),
}
