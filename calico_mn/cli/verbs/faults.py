"""``link``, ``drop``, ``podroutes``, ``speaker``: faults of a cluster, and the way back."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import NODES, PLACES, completes
from calico_mn.cli.output import NONE, columns, say, show
from calico_mn.cli.verb import OK, Group, UsageError, Verb
from calico_mn.cli.verbs.change import say_commands
from calico_mn.cli.verbs.runs import link_text
from calico_mn.text import join

if TYPE_CHECKING:
    from calico_mn.control.session import Session

_ACTIONS = ("show", "up", "down", "reset")
_FIELDS = ("rate", "delay", "jitter", "loss", "reorder")


# --- link

def _quantity(name: str) -> Callable[[str], float]:
    """The type of an option with a unit, as a topology's links have it."""
    def read(text: str) -> float:
        from calico_mn.topology import readers
        from calico_mn.topology.problems import Mark
        from calico_mn.topology.yaml_tree import Scalar

        reader = {"rate": readers.rate, "loss": readers.loss, "reorder": readers.loss}.get(
            name, readers.delay)
        try:
            return reader(Scalar(text, True, Mark(0, 0)))
        except readers.InvalidValueError as error:
            raise argparse.ArgumentTypeError(f"{error.what} ({error.hint})") from None

    return read


def _add_link(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument(
        "words", metavar="NODE:DEVICE", nargs="*",
        help="an end of the link, or the places at both; then show, up, down or reset"), PLACES)
    for name, what in (("rate", "100Mbit: bandwidth, by tbf"), ("delay", "5ms: by netem"),
                       ("jitter", "1ms: the delay is more or less by so much, by netem"),
                       ("loss", "1%%: of the packets, by netem, or without it by nftables"),
                       ("reorder", "5%%: of the packets skip the delay, by netem")):
        parser.add_argument(f"--{name}", metavar=name.upper(), type=_quantity(name), help=what)


def _link(options: argparse.Namespace, session: Session) -> int:
    words = list(options.words)
    settings = {name: value for name in _FIELDS
                if (value := getattr(options, name)) is not None}
    action = next((words.pop(place) for place in (-1, 0) if words and words[place] in _ACTIONS),
                  "" if settings else "show")
    if len(words) > 2 or (settings and action in ("show", "reset")) or (
            not words and (settings or action in ("up", "down"))):
        raise UsageError("calico-mn link: say NODE:DEVICE, or the places at both ends, and then"
                         " what: see 'calico-mn link --help'")
    end, other = [*words, None, None][:2]
    if action == "show":
        _show_links(options, session.ask("links"), end, other)
        return OK
    if action == "reset":
        answer = session.ask("link-reset", end=end)
    else:
        if action:
            settings["up"] = action == "up"
        answer = session.ask("link", end=end, other=other, settings=settings)
    if options.json:
        options.json(answer)
    else:
        say_commands(answer)
        for link in answer["links"]:
            say(link_text(link))
        if not answer["links"]:
            say("all links are as the topology says")
    return OK


def _show_links(options: argparse.Namespace, links: list[dict[str, Any]], end: str | None,
                other: str | None) -> None:
    chosen = [link for link in links if all(
        word is None or any(_is_at(word, side) for side in (link["end"], link["far"]))
        for word in (end, other))]
    if not chosen:
        between = f"between {end} and {other}" if other else f"{end}"
        raise UsageError(f"calico-mn link: there is no link {between}: 'calico-mn link show' lists"
                         " links; the last word is show, up, down or reset")
    if options.json:
        options.json(chosen)
        return
    show(columns(("LINK", "TO", "STATE", "RATE", "DELAY", "LOSS"), [
        (link["end"], link["far"].partition(":")[0], "up" if link["up"] else "down",
         *_cells(link)) for link in chosen]))


def _is_at(word: str, side: str) -> bool:
    place = side.partition(":")[0]
    return word in (side, place, place.partition("/")[2])


def _cells(link: dict[str, Any]) -> tuple[str, str, str]:
    """Rate, delay and loss of a link."""
    def text(name: str, unit: str, before: str = "") -> str:
        return f"{before}{link[name]:g}{unit}" if link[name] is not None else ""

    return (text("rateMbit", "Mbit") or NONE,
            text("delayMs", "ms") + text("jitterMs", "ms", "±")
            + text("reorderPercent", "%", " reorder ") or NONE,
            text("lossPercent", "%") or NONE)


# --- drop

def _add_drop(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("where", metavar="WHERE", nargs="?",
                                  help="a router, subnet, node or pod"), PLACES)
    parser.add_argument("what", metavar="WHAT", nargs="*",
                        help="ipip, vxlan, bgp, icmp, frag-needed, tcp/PORT, udp/PORT, "
                             "protocol/NUMBER or icmp/TYPE/CODE")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--show", action="store_true", help="what is dropped where, and how many")
    how.add_argument("--reset", action="store_true",
                     help="let WHAT pass again at WHERE; without them everything everywhere")


def _drop(options: argparse.Namespace, session: Session) -> int:
    where, what = options.where, " ".join(options.what)
    if where in ("show", "reset") and not what:  # as of link
        setattr(options, where, True)
        where = None
    if where and not what and not options.reset:
        raise UsageError("calico-mn drop: say WHERE and WHAT: calico-mn drop"
                         f" {where} ipip (see 'calico-mn drop --help')")
    if where and not options.reset and not options.show:
        answer = session.ask("drop", place=where, what=what)
        if options.json:
            options.json(answer)
        else:
            at = "" if "output" in answer["hooks"] or answer["hooks"] == ["forward"] else (
                ", but not what it sends itself: with the ebpf tunnel that passes no filter")
            say(f"{answer['place']} drops {answer['drop']}{at}")
        return OK
    rows = (session.ask("drop-reset", place=where, what=what or None) if options.reset
            else session.ask("drops"))
    if options.json:
        options.json(rows)
    elif rows:
        show(columns(("PLACE", "DROPS", "HOOKS", "PACKETS"), [
            (row["place"], row["drop"], row["hooks"], row["packets"]) for row in rows]))
    else:
        say("nothing is dropped")
    return OK


# --- podroutes, speaker

def _add_podroutes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("state", metavar="on|off", nargs="?", choices=("on", "off"),
                        help="without it: which routers have them")


def _podroutes(options: argparse.Namespace, session: Session) -> int:
    enabled = None if options.state is None else options.state == "on"
    answer = session.ask("pod-routes", enabled=enabled)
    if options.json:
        options.json(answer)
        return OK
    say_commands(answer)
    say(f"{join(answer['routers'])} know the pods' blocks" if len(answer["routers"]) > 1 else
        f"{(answer['routers'] or ['no router'])[0]} knows the pods' blocks")
    return OK


def _add_speaker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", metavar="kill|restart", choices=("kill", "restart"),
                        help="let it die, or bring it back")
    completes(parser.add_argument("node", metavar="NODE", help="a node, or a router with bgp"),
              NODES)


def _speaker(options: argparse.Namespace, session: Session) -> int:
    answer = session.ask("speaker", action=options.action, node=options.node)
    if options.json:
        options.json(answer)
        return OK
    say_commands(answer)
    say(f"{answer['node']}: its speaker runs" if answer["alive"] else
        f"{answer['node']}: its speaker is dead, and routes stay as they are")
    return OK


VERBS = (
    Verb(
        "link", Group.FAULTS, "rate, delay and loss of a link, up and down",
        "Changes a link of the running cluster, in both directions: rate, delay, jitter, loss and "
        "reordering, or up and down. What an option does not name stays as it is set. NODE:DEVICE "
        "is either end of the link; a place with one link needs no DEVICE. 'down' is like a "
        "pulled cable: the end at the switch (of a pod's link, the end at the node) is down, and "
        "the other end has no carrier. 'reset' returns one link, or all, to the topology's "
        "settings. A kernel without netem has only rate and loss.",
        _add_link, ask=_link, json=True, prompt=True,
        usage="[NODE:DEVICE] [show|up|down|reset] [--rate 100Mbit] [--loss 1%%] ...",
        examples=(("calico-mn link show", "all links, with what is set"),
                  ("calico-mn link node31:eth0 --rate 100Mbit --loss 1%", "both directions"),
                  ("calico-mn link node31 rack-a down", "as at Mininet's prompt"),
                  ("calico-mn link web-0 --delay 5ms --jitter 1ms", "a pod's link"),
                  ("calico-mn link reset", "all links are as the topology says"))),
    Verb(
        "drop", Group.FAULTS, "lose packets of a kind in a router, subnet, node or pod",
        "Drops packets of one kind in a place, by nftables: IPIP on a router, as clouds do; the "
        "ICMP messages that path MTU discovery needs; BGP. Earlier drops stay. Without "
        "arguments it lists what is dropped, with the number of packets so far.",
        _add_drop, ask=_drop, json=True, prompt=True, usage="[WHERE WHAT] [--show | --reset]",
        examples=(("calico-mn drop r1 ipip", "protocol 4, as a firewall between racks"),
                  ("calico-mn drop r1 frag-needed", "ICMP type 3 code 4: large packets vanish"),
                  ("calico-mn drop node32 bgp", "TCP port 179"),
                  ("calico-mn drop --show", "what is dropped, and how many packets"),
                  ("calico-mn drop --reset r1", "r1 lets everything pass again"))),
    Verb(
        "podroutes", Group.FAULTS, "routers know the pods' blocks, or do not",
        "Gives every router of the fabric static routes to the pods' blocks, which mode Never "
        "needs between subnets. 'off' returns to what the topology says. Routers that speak BGP "
        "learn these routes and need none.",
        _add_podroutes, ask=_podroutes, json=True, prompt=True,
        examples=(("calico-mn podroutes on", "pods reach each other without a tunnel"),
                  ("calico-mn podroutes", "which routers have them"))),
    Verb(
        "speaker", Group.FAULTS, "kill or restart a node's BGP speaker",
        "Kills a node's BGP speaker, which is BIRD or the node's part of the built-in engine, as "
        "in a calico-node that is stuck. The node's routes stay as they are; with BIRD its peers "
        "keep theirs until graceful restart ends. A restarted speaker learns what it missed.",
        _add_speaker, ask=_speaker, json=True, prompt=True,
        examples=(("calico-mn speaker kill node32", "node32 learns and announces nothing any more"),
                  ("calico-mn speaker restart node32", "and catches up"))),
)
