"""``bgp``: sessions and routes of the nodes, and of the routers that speak BGP.

The table of sessions fits 80 columns with names as short as ``node31``; why a session is down
stands in lines of its own below it.
"""

from __future__ import annotations

import argparse
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import NODES, completes
from calico_mn.cli.output import NONE, box, columns, paint, say, show
from calico_mn.cli.verb import OK, UsageError, Verb
from calico_mn.cli.verbs.show import GROUP
from calico_mn.text import wrap

if TYPE_CHECKING:
    from calico_mn.control.session import Session

_WIDTH = 80
_Facts = dict[str, Any]


def _add(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("node", metavar="NODE", nargs="?",
                                  help="a node, or a router with bgp (default: all)"), NODES)
    parser.add_argument("prefix", metavar="PREFIX", nargs="?",
                        help="with --routes: an address, or a prefix and what is inside it")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--status", action="store_true",
                     help="the tables that 'calicoctl node status' prints on each node")
    how.add_argument("--routes", action="store_true",
                     help="the routes with BGP's attributes in the place of the sessions")


def _ask(options: argparse.Namespace, session: Session) -> int:
    node, prefix = options.node, options.prefix
    if options.routes and node and prefix is None and _is_prefix(node):
        node, prefix = None, node
    if prefix is not None and not options.routes:
        raise UsageError("calico-mn bgp: a prefix is for --routes: calico-mn bgp --routes"
                         f" {node} {prefix}")
    if options.routes:
        routes = session.ask("bgp-routes", node=node, prefix=prefix)
        (options.json or _show_routes)(routes)
        return OK
    speakers = session.ask("bgp", node=node)
    (options.json or (_show_status if options.status else _show_sessions))(speakers)
    return OK


def _is_prefix(text: str) -> bool:
    try:
        IPv4Address(text.partition("/")[0])
    except AddressValueError:
        return False
    return True


def _note(speaker: _Facts) -> str:
    """What keeps a speaker from having sessions, in a few words."""
    if not speaker["started"]:
        return "calico-node does not start, so there is no speaker"
    if not speaker["alive"]:
        return "its speaker is dead, routes stay"
    if not speaker["peers"]:
        return "no peers" if speaker["mesh"] else "no peers: there is no node-to-node mesh"
    return ""


# --- sessions

def _show_sessions(speakers: list[_Facts]) -> None:
    rows = [(speaker["node"], peer["node"] or peer["address"], peer["type"],
             peer["bgpState"] or peer["protocolState"], peer["since"],
             f"{peer['imported']}/{peer['exported']}")
            for speaker in speakers for peer in speaker["peers"]]
    reasons = [peer["reason"] for speaker in speakers for peer in speaker["peers"]]
    if rows:
        head, *lines = columns(
            ("NODE", "PEER", "TYPE", "STATE", "SINCE", "IN/OUT"), rows)
        show([head])
        for line, reason in zip(lines, reasons, strict=True):
            say(paint(line, "bad") if reason else line)
            for text in wrap(reason, _WIDTH, "         ") if reason else ():
                say(text)
    for speaker in speakers:
        if note := _note(speaker):
            say(f"{paint(speaker['node'], 'place')}: {note}")


def _show_status(speakers: list[_Facts]) -> None:
    for number, speaker in enumerate(speakers):
        if number:
            say()
        note = _note(speaker)
        say(paint(f"{speaker['node']} ({speaker['address']}){note and f': {note}'}", "place"))
        say("IPv4 BGP status")
        if not speaker["peers"]:
            say("No IPv4 peers found.")
            continue
        show(box(("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"), [
            (peer["address"], peer["type"], peer["protocolState"], peer["since"],
             " ".join(filter(None, (peer["bgpState"], peer["error"]))) or peer["reason"])
            for peer in speaker["peers"]]), heads=3)


# --- routes

def _show_routes(routes: list[_Facts]) -> None:
    if not routes:
        say("no routes")
        return
    show(columns(("NODE", "PREFIX", "NEXT HOP", "FROM", "PREF", "AS PATH", "BEST", "REFLECTED"), [
        (route["node"], route["prefix"], "own" if route["own"] else route["nextHop"],
         route["from"], route["localPref"], " ".join(map(str, route["asPath"])),
         "yes" if route["best"] else "no", _reflected(route)) for route in routes]))


def _reflected(route: _Facts) -> str:
    """The router id that brought the route into the AS, and the reflectors' cluster ids."""
    return (f"{route['originator']} by {' '.join(route['clusterList'])}"
            if route["originator"] else NONE)


VERBS = {
    "bgp": Verb(
        "bgp", GROUP, "BGP: sessions, and with --routes who learned what from whom",
        "Shows the sessions of each node, and of routers with bgp, with the prefixes that are "
        "imported and exported; why a session is down stands below it. With 'up --engine bird' "
        "states, times and errors are BIRD's own; the built-in engine has no times.",
        _add, ask=_ask, json=True, prompt=True,
        examples=(("calico-mn bgp node31", "one node's sessions"),
                  ("calico-mn bgp --status node31", "as 'calicoctl node status' prints them"),
                  ("calico-mn bgp --routes node31", "what it announces, and what it has learned"),
                  ("calico-mn bgp --routes 10.22.43.195", "every node's way to an address"))),
}
