"""``nodes``, ``pods``, ``routes``, ``blocks`` and ``bgp``, worded as kubectl and calicoctl do.

Only columns that an emulated cluster can fill truthfully.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from calico_mn.cli.output import box, columns, paint, print_json, say, show
from calico_mn.cli.verb import NODES, OK, PLACES, Verb, completes, nothing

if TYPE_CHECKING:
    from calico_mn.control.session import Session

GROUP = "what a run has"


def _nodes(options: argparse.Namespace, session: Session) -> int:
    found = session.ask("nodes")
    if options.json:
        print_json(found)
        return OK
    show(columns(("NAME", "IPV4", "SUBNET", "TUNL0", "BLOCKS", "PODS"), [
        (node["name"], node["ipv4"], node["subnet"], node["tunnelAddress"], node["blocks"],
         node["pods"]) for node in found]))
    return OK


def _pods(options: argparse.Namespace, session: Session) -> int:
    found = session.ask("pods")
    if options.json:
        print_json(found)
    elif found:
        show(columns(("NAMESPACE", "NAME", "IP", "NODE", "INTERFACE", "MTU"), [
            (pod["namespace"], pod["name"], pod["ip"], pod["node"], pod["interface"], pod["mtu"])
            for pod in found]))
    else:
        say("no pods")
    return OK


# --- routes

def _add_routes(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("place", metavar="NODE", nargs="*",
                                  help="nodes, pods or routers (default: every node)"), PLACES)


def _routes(options: argparse.Namespace, session: Session) -> int:
    found = session.ask("routes", places=options.place)
    if options.json:
        print_json(found)
        return OK
    show(columns(("NODE", "DESTINATION", "GATEWAY", "IFACE", "PROTO", "FLAGS", "WHAT"), [
        (route["place"], route["destination"], route["gateway"], route["device"],
         route["protocol"], _flags(route), route["meaning"]) for route in found]))
    return OK


def _flags(route: dict[str, Any]) -> str:
    words = [] if route["type"] == "unicast" else [route["type"]]
    words += [f"scope-{route['scope']}"] if route["scope"] else []
    return ",".join([*words, *(["onlink"] if route["onlink"] else [])])


# --- blocks

def _blocks(options: argparse.Namespace, session: Session) -> int:
    found = session.ask("blocks")
    if options.json:
        print_json(found)
        return OK
    rows = []
    for pool in found:
        rows.append(("IP Pool", pool["cidr"], None, *_fill(pool)))
        rows += [("Block", block["cidr"], block["node"], *_fill(block))
                 for block in pool["blocks"]]
    show(box(("GROUPING", "CIDR", "NODE", "IPS TOTAL", "IPS IN USE", "IPS FREE"), rows,
             right=("IPS TOTAL",)), heads=3)
    return OK


def _fill(one: dict[str, Any]) -> tuple[int, str, str]:
    total, used = one["total"], one["used"]
    percent = round(100 * used / total)
    return total, f"{used} ({percent}%)", f"{total - used} ({100 - percent}%)"


# --- bgp

def _add_bgp(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("node", metavar="NODE", nargs="?",
                                  help="one node (default: every node)"), NODES)


def _bgp(options: argparse.Namespace, session: Session) -> int:
    found = session.ask("bgp", node=options.node)
    if options.json:
        print_json(found)
        return OK
    for number, speaker in enumerate(found):
        if number:
            say()
        alive = "" if speaker["alive"] else ": its route distributor is dead, routes stay"
        say(paint(f"{speaker['node']} ({speaker['address']}){alive}", "place"))
        say(f"announces {', '.join(speaker['announces']) or 'nothing'}")
        if speaker["peers"]:
            show(box(("PEER ADDRESS", "PEER NAME", "PEER TYPE", "STATE", "PREFIXES"), [
                (peer["address"], peer["node"], peer["type"], peer["state"], peer["prefixes"])
                for peer in speaker["peers"]]), heads=3)
    return OK


VERBS = {
    "nodes": Verb(
        "nodes", GROUP, "nodes with their addresses and blocks",
        "Lists the nodes: address with its prefix (which CrossSubnet compares with), subnet of "
        "the underlay, tunnel address, blocks with an affinity to the node.",
        nothing, ask=_nodes, json=True),
    "pods": Verb(
        "pods", GROUP, "pods with their addresses and devices",
        "Lists the pods of all namespaces: address, node, the name of the veth's end on the node, "
        "the MTU that the pod got when it was made.",
        nothing, ask=_pods, json=True, prompt=True),
    "routes": Verb(
        "routes", GROUP, "the kernel's routes, and what each is for",
        "Reads the main routing tables from the kernel, so that what somebody changed by hand "
        "shows, too; WHAT is said of what the cluster knows.",
        _add_routes, ask=_routes, json=True, prompt=True,
        examples=(("calico-mn routes", "of all nodes"),
                  ("calico-mn routes node31 r1", "of a node and a router"))),
    "blocks": Verb(
        "blocks", GROUP, "IP pools and blocks, and how full they are",
        "Shows IPAM's pools and blocks as 'calicoctl ipam show --show-blocks' does, with the node "
        "that each block belongs to. Tunnel addresses count as used. With --json: which address "
        "is whose.",
        nothing, ask=_blocks, json=True, prompt=True),
    "bgp": Verb(
        "bgp", GROUP, "who announces which blocks to whom",
        "Shows each node's route distributor with its peers, as 'calicoctl node status' does on "
        "each node. It is built in and BGP-like; BIRD does not run.",
        _add_bgp, ask=_bgp, json=True, prompt=True,
        examples=(("calico-mn bgp node31", "one node"),)),
}
