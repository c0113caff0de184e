"""``trace``: one real packet, followed through every namespace."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from calico_mn.cli.output import paint, print_json, say
from calico_mn.cli.verb import FAILED, OK, PLACES, Verb, completes, whole
from calico_mn.cli.verbs.inside import write_file
from calico_mn.cli.verbs.traffic import GROUP

if TYPE_CHECKING:
    from calico_mn.control.session import Session


def _add(parser: argparse.ArgumentParser) -> None:
    for name, what in (("source", "who sends: a pod, node or router, or its address"),
                       ("destination", "to whom: the same, or an address of nobody")):
        completes(parser.add_argument(name, metavar=name[0].upper(), help=what), PLACES)
    parser.add_argument("--protocol", choices=("icmp", "udp", "tcp"), default="icmp",
                        help="an echo request, a datagram or a SYN (default: icmp)")
    parser.add_argument("--port", type=whole, default=0, help="of UDP or TCP")
    parser.add_argument("--size", type=whole, default=84, metavar="BYTES",
                        help="of the whole IPv4 packet (default: 84)")
    parser.add_argument("--ttl", type=whole, default=64, help="time to live (default: 64)")
    parser.add_argument("--no-df", action="store_true", help="let routers fragment it")
    parser.add_argument("--cold", action="store_true",
                        help="forget all neighbours first: every ARP question is seen")
    parser.add_argument("--full", action="store_true", help="tell the way back in full, too")
    parser.add_argument("--svg", metavar="FILE", help="also draw the journey as a slide")


def _trace(options: argparse.Namespace, session: Session) -> int:
    found = session.ask(
        "trace", source=options.source, destination=options.destination, cold=options.cold,
        full=options.full, drawing=bool(options.svg),
        probe={"protocol": options.protocol, "size": options.size, "df": not options.no_df,
               "ttl": options.ttl, "port": options.port})
    if options.svg:
        write_file(options.svg, found["picture"])
    if options.json:
        print_json(found["journey"])
    else:
        for text, style in found["lines"]:
            say(paint(text, style))
    return OK if found["journey"]["answered"] else FAILED


VERBS = {
    "trace": Verb(
        "trace", GROUP, "follow one packet through every namespace, and its answer",
        "Sends one packet from A to B while every namespace captures, and tells its journey: "
        "routes, ARP, the outer header put on and taken off, and where and why it died if it did "
        "(docs/trace.md).",
        _add, ask=_trace, json=True, prompt=True,
        examples=(("calico-mn trace web-0 web-2", "pod to pod"),
                  ("calico-mn trace --cold client-a 10.22.108.60", "to an address of nobody"),
                  ("calico-mn trace web-0 web-2 --svg way.svg", "drawn, too"),
                  ("calico-mn trace web-0 web-2 --protocol tcp --port 80", "a SYN")),
        status="0 answered, 1 not"),
}
