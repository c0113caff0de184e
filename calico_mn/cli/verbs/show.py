"""``routes``, ``verify``, ``web`` and ``bgp``: what a run has, in the kernel, on a page and by BGP.

Worded as kubectl and calicoctl do, with only those columns that an emulated cluster can fill
truthfully. Tables fit 80 columns with names as short as ``node31``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import NODES, PLACES, RUNS, completes
from calico_mn.cli.output import NONE, box, columns, paint, say, show
from calico_mn.cli.verb import INTERRUPTED, OK, Group, UsageError, Verb, add_run, named, whole
from calico_mn.errors import FAILED, ClusterError
from calico_mn.text import wrap

if TYPE_CHECKING:
    from calico_mn.control.session import Session

_WIDTH = 80
_Facts = dict[str, Any]


# --- routes

def _add_routes(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("places", metavar="NODE", nargs="*",
                                  help="nodes, pods or routers (default: every node)"), PLACES)


def _routes(options: argparse.Namespace, session: Session) -> int:
    (options.json or _show_routes)(session.ask("routes", places=options.places))
    return OK


def _show_routes(routes: list[_Facts]) -> None:
    show(columns(("NODE", "DESTINATION", "GATEWAY", "IFACE", "PROTO", "FLAGS", "WHAT"), [
        (route["place"], route["destination"], route["gateway"], route["device"],
         route["protocol"], _flags(route), route["meaning"]) for route in routes]))


def _flags(route: _Facts) -> str:
    flags = [] if route["type"] == "unicast" else [route["type"]]
    flags += [f"scope-{route['scope']}"] if route["scope"] else []
    return ",".join([*flags, *(["onlink"] if route["onlink"] else [])])


# --- verify

def _add_verify(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("places", metavar="NODE", nargs="*",
                                  help="nodes, pods, routers or subnets (default: all)"), PLACES)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--repair", action="store_true",
                     help="bring it back to what it should be, and show what that took")
    how.add_argument("--watch", action="store_true",
                     help="print differences as they appear and disappear, until Ctrl-C")


def _verify(options: argparse.Namespace, session: Session) -> int:
    if options.watch:
        return _watch(options, session)
    if options.repair:
        return _repair(options, session)
    differences = session.ask("verify", places=options.places)
    if options.json:
        options.json(differences)
    elif differences:
        _show_differences(differences)
    else:
        _say_all_is_well(session)
    for remark in () if options.json else session.ask("remarks", places=options.places):
        say(f"NOTE  {remark}")
    return FAILED if differences else OK


def _say_all_is_well(session: Session) -> None:
    rules = session.ask("status")["iptables"]
    say("all is as it should be" + (f", rules by iptables-{rules}" if rules != "none" else ""))


def _repair(options: argparse.Namespace, session: Session) -> int:
    done = session.ask("repair", places=options.places)
    if options.json:
        options.json(done)
    elif not done["found"]:
        _say_all_is_well(session)
    else:
        _show_differences(done["found"])
        say()
        say(paint("repaired by:" if done["done"] else "nothing could be done", "title"))
        before = ""
        for step in done["done"]:
            if step["namespace"] != before:
                say(f"{paint(step['namespace'], 'place')}:")
                before = step["namespace"]
            for command in step["commands"]:
                say(f"  {command}")
        for failure in done["failures"]:
            say(paint(failure, "bad"))
        if done["remaining"]:
            say()
            say(paint("still different:", "bad"))
            _show_differences(done["remaining"])
    return FAILED if done["remaining"] else OK


def _watch(options: argparse.Namespace, session: Session) -> int:
    def report(change: dict[str, list[_Facts]]) -> None:
        if not any(change.values()):
            return
        now = time.strftime("%H:%M:%S")
        if options.json:
            print(json.dumps({"time": now, **change}), flush=True)
            return
        for word, text, style in (("appeared", "differs", "bad"),
                                  ("disappeared", "differs no more", "good")):
            if change[word]:
                say(f"{now} {paint(text, style)}")
                _show_differences(change[word])
        sys.stdout.flush()

    try:
        session.ask("watch", progress=report, places=options.places)
    except KeyboardInterrupt:
        return OK if session.is_local else INTERRUPTED
    return OK


def _show_differences(differences: Iterable[_Facts]) -> None:
    """Lines with - for what is missing and + for what is there instead, by namespace."""
    before = ""
    for item in differences:
        if item["namespace"] != before:
            say(f"{paint(item['namespace'], 'place')}:")
            before = item["namespace"]
        for mark, text, style in (("-", item["wanted"], "bad"), ("+", item["present"], "good"),
                                  ("!", item["failure"], "bad")):
            if text:
                say("  " + paint(f"{mark} {text}", style))


# --- web

def _add_web(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("of", metavar="RUN", nargs="?", type=named,
                                  help="name or identity; not needed while there is just one run"),
              RUNS)
    add_run(parser)
    parser.add_argument("--port", type=whole, default=0, metavar="N",
                        help="on 127.0.0.1 (default: any free one)")
    parser.add_argument("--control", action="store_true",
                        help="let the page change the run: modes, links, repair")


def _web(options: argparse.Namespace) -> int:
    if not 0 <= options.port < 65536:
        raise UsageError(f"calico-mn web: a port is 1 to 65535, not {options.port}")
    from calico_mn.control.session import remote
    from calico_mn.web.server import LiveServer

    session = remote(options.of or options.run)
    try:
        server = LiveServer(session, options.port, control=options.control)
    except OSError as error:
        raise ClusterError(f"port {options.port} of 127.0.0.1 cannot be had: {error.strerror};"
                           " name another by --port, or none") from None
    say(server.url)
    say("Open it in a browser on this machine; Ctrl-C ends it."
        + ("" if options.control else " It only shows: --control adds buttons."))
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        server.serve()
    return OK


# --- bgp

def _add_bgp(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("node", metavar="NODE", nargs="?",
                                  help="a node, or a router with bgp (default: all)"), NODES)
    parser.add_argument("prefix", metavar="PREFIX", nargs="?",
                        help="with --routes: an address, or a prefix and what is inside it")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--status", action="store_true",
                     help="the tables that 'calicoctl node status' prints on each node")
    how.add_argument("--routes", action="store_true",
                     help="the routes with BGP's attributes in the place of the sessions")


def _bgp(options: argparse.Namespace, session: Session) -> int:
    node, prefix = options.node, options.prefix
    if options.routes and node and prefix is None and _is_prefix(node):
        node, prefix = None, node
    if prefix is not None and not options.routes:
        raise UsageError("calico-mn bgp: a prefix is for --routes: calico-mn bgp --routes"
                         f" {node} {prefix}")
    if options.routes:
        routes = session.ask("bgp-routes", node=node, prefix=prefix)
        (options.json or _show_bgp_routes)(routes)
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


def _show_bgp_routes(routes: list[_Facts]) -> None:
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


VERBS = (
    Verb(
        "routes", Group.STATE, "the kernel's routes, and what each is for",
        "Reads the main routing tables from the kernel, so routes that were added by hand are "
        "listed, too. WHAT says what a route is for, where the cluster knows it.",
        _add_routes, ask=_routes, json=True, prompt=True,
        examples=(("calico-mn routes", "of all nodes"),
                  ("calico-mn routes node31 r1", "of a node and a router"))),
    Verb(
        "verify", Group.STATE, "compare the kernel with what should be there; --repair it",
        "Compares what every namespace should hold with what the kernel says it holds: devices, "
        "addresses, routes, sysctls. A line with - is wanted and missing, one with + is there and "
        "should not be. What you added for yourself is left alone: docs/verify.md says which.",
        _add_verify, ask=_verify, json=True, prompt=True,
        examples=(("calico-mn verify", "everything"),
                  ("calico-mn verify node31 web-0", "a node and a pod"),
                  ("calico-mn verify --repair", "bring it back; the commands that it took"),
                  ("calico-mn verify --watch", "what changes by hand, as it happens")),
        status="1 if something differs (with --repair: still differs)"),
    Verb(
        "web", Group.STATE, "a live page of the cluster in a browser",
        "Serves a page on 127.0.0.1 that draws the cluster, follows every change, and plays traces "
        "step by step. Its address has a token, without which nothing is shown (docs/web.md).",
        _add_web, run=_web, root=True,
        examples=(("calico-mn web", "the only run, read-only"),
                  ("calico-mn web mine --port 8080 --control", "with buttons that change it"))),
    Verb(
        "bgp", Group.STATE, "BGP: sessions, and with --routes who learned what from whom",
        "Shows the sessions of each node, and of routers with bgp, with the prefixes that are "
        "imported and exported; why a session is down stands below it. With 'up --engine bird' "
        "states, times and errors are BIRD's own; the built-in engine has no times.",
        _add_bgp, ask=_bgp, json=True, prompt=True,
        examples=(("calico-mn bgp node31", "one node's sessions"),
                  ("calico-mn bgp --status node31", "as 'calicoctl node status' prints them"),
                  ("calico-mn bgp --routes node31", "what it announces, and what it has learned"),
                  ("calico-mn bgp --routes 10.22.43.195", "every node's way to an address"))),
)
