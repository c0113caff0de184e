"""``ping``, ``pingall``, ``iperf`` and ``trace``: who reaches whom, how fast, and by what way."""

from __future__ import annotations

import argparse
import base64
from typing import TYPE_CHECKING

from calico_mn.cli.complete import PLACES, completes
from calico_mn.cli.output import Progress, fold, paint, say, write_file
from calico_mn.cli.verb import OK, Group, UsageError, Verb, check_ending, named, nothing, whole
from calico_mn.cli.verbs.inside import add_namespace, add_place, become, in_namespace
from calico_mn.errors import FAILED, NotFoundError

if TYPE_CHECKING:
    from calico_mn.control.session import Session

#: how far the facts of a trace's line are behind its label
_LABEL = 10


# --- ping

def _add_ping(parser: argparse.ArgumentParser) -> None:
    add_place(parser, "who sends: a node, pod or router")
    completes(parser.add_argument("target", metavar="TARGET",
                                  help="who answers: a node, pod or router, or an address"), PLACES)
    add_namespace(parser)
    parser.add_argument("-c", dest="count", metavar="N", type=whole, default=3,
                        help="packets (default: 3)")
    parser.add_argument("-s", dest="size", metavar="BYTES", type=whole,
                        help="of payload, to which 28 bytes of headers come (default: 56)")
    parser.add_argument("-M", dest="discovery", choices=("do", "want", "dont"),
                        help="path MTU discovery, as of ping: do is with DF, dont without")


def _ping(options: argparse.Namespace, session: Session) -> int:
    from ipaddress import AddressValueError, IPv4Address

    try:
        address = str(IPv4Address(options.target))
    except AddressValueError:
        address = session.ask("address", place=in_namespace(options, session, options.target))
    if not address:
        raise NotFoundError(f"{options.target} has no address")
    more = [] if options.size is None else ["-s", str(options.size)]
    more += ["-M", options.discovery] if options.discovery else []
    become(session, in_namespace(options, session, options.place),
           ["ping", "-n", "-c", str(options.count), "-i", "0.2", "-W", "1", *more, address])


# --- pingall

def _pingall(options: argparse.Namespace, session: Session) -> int:
    with Progress("pings") as progress:
        answer = session.ask("pingall", progress=progress)
    reached = sum(pair["reached"] for pair in answer["pairs"])
    if options.json:
        options.json({**answer, "reached": reached})
    else:
        from calico_mn.report import matrix

        drawn = matrix.of_answer(answer)
        width = max(map(len, drawn.labels))
        say(f"{paint(drawn.legend, 'faint')}   (rows send)")
        for label, line in zip(["", *drawn.labels], drawn.grids[0].lines, strict=True):
            say(f"{paint(label.ljust(width), 'faint')}   {line}".rstrip())
        say(f"{reached} of {len(answer['pairs'])} pairs")
    return OK if reached == len(answer["pairs"]) else FAILED


# --- iperf

def _add_iperf(parser: argparse.ArgumentParser) -> None:
    for name, what in (("client", "one end: a node, pod, router or host"),
                       ("server", "the other end: the same (default: the first and the last pod)")):
        completes(parser.add_argument(name, metavar=name.upper(), nargs="?", help=what), PLACES)
    add_namespace(parser)
    parser.add_argument("-t", dest="seconds", metavar="SECONDS", type=whole, default=5,
                        help="for how long (default: 5)")
    parser.add_argument("-P", dest="streams", metavar="N", type=whole, default=1,
                        help="parallel streams (default: 1)")
    parser.add_argument("-u", dest="udp", action="store_true", help="UDP instead of TCP")
    parser.add_argument("-b", dest="rate", metavar="RATE", default="",
                        help="bits/s of a stream, such as 100M; 0: no limit"
                             " (default: TCP 0, UDP 10M)")
    parser.add_argument("-R", dest="reverse", action="store_true", help="SERVER sends to CLIENT")


def _iperf(options: argparse.Namespace, session: Session) -> int:
    if options.client is None:
        pods = session.ask("names")["pods"]
        if len(pods) < 2:
            raise UsageError("calico-mn iperf: there are no two pods: say CLIENT and SERVER")
        options.client, options.server = pods[0], pods[-1]
    elif options.server is None:
        raise UsageError(f"calico-mn iperf: say who is the other end: calico-mn iperf"
                         f" {options.client} SERVER")
    with Progress("iperf, seconds") as progress:
        answer = session.ask(
            "iperf", progress=progress,
            **{end: in_namespace(options, session, getattr(options, end))
               for end in ("client", "server")},
            **{name: getattr(options, name)
               for name in ("seconds", "streams", "udp", "rate", "reverse")})
    text = answer.pop("text")
    if options.json:
        options.json(answer)
    else:
        say(text)
    return OK


# --- trace

def _add_trace(parser: argparse.ArgumentParser) -> None:
    for name, letter, what in (
            ("source", "A", "the sender: a pod, node or router, or its address"),
            ("destination", "B", "the receiver: the same, or an unassigned address")):
        completes(parser.add_argument(name, metavar=letter, help=what), PLACES)
    add_namespace(parser)
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
    parser.add_argument("--svg", metavar="FILE.svg", type=named,
                        help="also draw the path as a slide")
    parser.add_argument("--html", metavar="FILE.html", type=named,
                        help="also write a page that steps through the hops")
    parser.add_argument("--modes", choices=("all",),
                        help="of the page: each mode beside the others; the run takes each mode for"
                        " a moment, then its own again")
    parser.add_argument("-w", dest="packets", metavar="FILE.pcapng", type=named,
                        help="also write the packets, for Wireshark, with an interface per device")


def _trace(options: argparse.Namespace, session: Session) -> int:
    for path, ending in ((options.svg, ".svg"), (options.html, ".html"),
                         (options.packets, ".pcapng")):
        if path:
            check_ending("trace", path, (ending,))
    if options.modes and not options.html:
        raise UsageError("calico-mn trace: --modes all is for the page: add --html FILE.html")
    answer = session.ask(
        "trace", source=in_namespace(options, session, options.source),
        destination=in_namespace(options, session, options.destination), cold=options.cold,
        full=options.full, drawing=bool(options.svg), packets=bool(options.packets),
        stops=bool(options.html), modes=bool(options.modes),
        probe={"protocol": options.protocol, "size": options.size, "df": not options.no_df,
               "ttl": options.ttl, "port": options.port})
    if options.json:
        options.json(answer["path"])
    else:
        for text, style in answer["lines"]:
            labelled = text.startswith(" ") and not text.startswith(" " * _LABEL)
            for piece in fold(text, _LABEL if labelled else 2):
                say(paint(piece, style))
    written: dict[str, str | bytes] = {}
    if options.svg:
        written[options.svg] = answer["picture"]
    if options.html:
        from calico_mn.trace.journey import page

        written[options.html] = page(answer["journeys"])
    if options.packets:
        written[options.packets] = base64.b64decode(answer["packets"])
    for path, content in written.items():
        write_file(path, content)
        if not options.json:
            say(f"wrote {path}")
    return OK if answer["path"]["answered"] else FAILED


VERBS = (
    Verb(
        "ping", Group.TRAFFIC, "ping from one node or pod to another",
        "Runs ping in a node, pod or router, to the address of another.",
        _add_ping, ask=_ping,
        examples=(("calico-mn ping default/web-0 default/web-2", "pod to pod"),
                  ("calico-mn ping node31 192.168.57.1", "to an address"),
                  ("calico-mn ping web-0 web-2 -s 1452 -M do -c 1", "a full packet, MTU 1480")),
        status="ping's: 0 answered, 1 no answer"),
    Verb(
        "pingall", Group.TRAFFIC, "every pod pings every other, and how the packets crossed",
        "Every pod pings every other, many at a time; captures on the nodes' uplinks show whether "
        "a request crossed inside a tunnel. An unanswered pair is tried twice.",
        nothing, ask=_pingall, json=True, prompt=True,
        status="0 all answered, 1 a pair did not"),
    Verb(
        "iperf", Group.TRAFFIC, "throughput between two nodes or pods, and how it crossed",
        "Runs iperf3 between two places, with a server of its own. One line has the throughput, "
        "the retransmits (for UDP, loss and jitter), and the encapsulation of the packets, as "
        "captured on the uplinks.",
        _add_iperf, ask=_iperf, json=True, prompt=True,
        examples=(("calico-mn iperf web-0 web-2", "TCP, for five seconds"),
                  ("calico-mn iperf web-0 web-2 -t 10 -P 4", "four streams"),
                  ("calico-mn iperf web-0 web-2 -R", "from web-2 to web-0"),
                  ("calico-mn iperf node31 web-2 -u -b 500M", "UDP, from a node"))),
    Verb(
        "trace", Group.TRAFFIC, "follow one packet through every namespace, and its reply",
        "Sends one packet from A to B while every namespace captures, and shows its path: routes, "
        "ARP, the outer header that is added and removed, and where and why it was dropped, if it "
        "was (docs/trace.md).",
        _add_trace, ask=_trace, json=True, prompt=True,
        examples=(("calico-mn trace web-0 web-2", "pod to pod"),
                  ("calico-mn trace --cold client-a 10.22.108.60", "to an unassigned address"),
                  ("calico-mn trace web-0 web-2 --svg path.svg", "drawn, too"),
                  ("calico-mn trace web-0 web-2 --html path.html --modes all",
                   "a page: arrow keys step through the hops in each mode, side by side"),
                  ("calico-mn trace web-0 web-2 -w path.pcapng", "for Wireshark, hop by hop"),
                  ("calico-mn trace web-0 web-2 --protocol tcp --port 80", "a SYN")),
        status="0 answered, 1 not"),
)
