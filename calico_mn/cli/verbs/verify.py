"""``verify``: the wanted state against the kernel's, and bringing it back."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from calico_mn.cli.output import paint, print_json, say
from calico_mn.cli.verb import FAILED, INTERRUPTED, OK, PLACES, Verb, completes
from calico_mn.cli.verbs.tables import GROUP

if TYPE_CHECKING:
    from calico_mn.control.session import Session

_Facts = dict[str, Any]


def _add(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("places", metavar="NODE", nargs="*",
                                  help="nodes, pods, routers or subnets (default: all)"), PLACES)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--repair", action="store_true",
                     help="bring it back to what it should be, and show what that took")
    how.add_argument("--watch", action="store_true",
                     help="tell what appears and disappears, until Ctrl-C")


def _run(options: argparse.Namespace, session: Session) -> int:
    if options.watch:
        return _watch(options, session)
    if options.repair:
        return _repair(options, session)
    found = session.ask("verify", places=options.places)
    if options.json:
        print_json(found)
    elif found:
        _show(found)
    else:
        say("all is as it should be")
    return FAILED if found else OK


def _repair(options: argparse.Namespace, session: Session) -> int:
    done = session.ask("repair", places=options.places)
    if options.json:
        print_json(done)
    elif not done["found"]:
        say("all is as it should be")
    else:
        _show(done["found"])
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
            _show(done["remaining"])
    return FAILED if done["remaining"] else OK


def _watch(options: argparse.Namespace, session: Session) -> int:
    def told(change: dict[str, list[_Facts]]) -> None:
        if not any(change.values()):
            return
        now = time.strftime("%H:%M:%S")
        if options.json:
            print(json.dumps({"time": now, **change}), flush=True)
            return
        for word, style in (("appeared", "bad"), ("disappeared", "good")):
            if change[word]:
                say(f"{now} {paint(word, style)}")
                _show(change[word])
        sys.stdout.flush()

    try:
        session.ask("watch", progress=told, places=options.places)
    except KeyboardInterrupt:
        return OK if session.is_local else INTERRUPTED
    return OK


def _show(found: Iterable[_Facts]) -> None:
    """Lines with - for what is missing and + for what is there instead, by namespace."""
    before = ""
    for item in found:
        if item["namespace"] != before:
            say(f"{paint(item['namespace'], 'place')}:")
            before = item["namespace"]
        for mark, text, style in (("-", item["wanted"], "bad"), ("+", item["present"], "good"),
                                  ("!", item["failure"], "bad")):
            if text:
                say("  " + paint(f"{mark} {text}", style))


VERBS = {
    "verify": Verb(
        "verify", GROUP, "compare the kernel with what should be there; --repair it",
        "Compares what every namespace should hold with what the kernel says it holds: devices, "
        "addresses, routes, sysctls. A line with - is wanted and missing, one with + is there and "
        "should not be. What you added for yourself is left alone: docs/verify.md says which.",
        _add, ask=_run, json=True, prompt=True,
        examples=(("calico-mn verify", "everything"),
                  ("calico-mn verify node31 web-0", "a node and a pod"),
                  ("calico-mn verify --repair", "bring it back; the commands that it took"),
                  ("calico-mn verify --watch", "what changes by hand, as it happens")),
        status="1 if something differs (with --repair: still differs)"),
}
