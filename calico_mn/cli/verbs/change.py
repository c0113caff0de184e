"""``mode`` and ``pod``: changes to a running cluster, and what they took."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from calico_mn.cli.complete import NODES, PODS, completes
from calico_mn.cli.output import paint, print_json, say
from calico_mn.cli.verb import OK, Verb, add_encapsulation, modes
from calico_mn.streams import complain
from calico_mn.text import join, plural

if TYPE_CHECKING:
    from calico_mn.control.session import Session

GROUP = "changes"


# --- mode

def _add_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mode", metavar="MODE", choices=modes(), help=join(modes(), "or"))
    completes(parser.add_argument("--node", metavar="NODE",
                                  help="this node alone: the mixed state of a stuck calico-node"),
              NODES)
    add_encapsulation(parser)


def _mode(options: argparse.Namespace, session: Session) -> int:
    answer = session.ask("mode", mode=options.mode, node=options.node,
                         encapsulation=options.encapsulation)
    if options.json:
        print_json(answer)
        return OK
    for change in answer["changes"]:
        say(paint(f"# {change['namespace']}", "place"))
        for command in change["commands"]:
            say(command)
    for warning in answer["warnings"]:
        complain(warning)
    where = f"{options.node} alone" if options.node else "all pools"
    total = sum(len(change["commands"]) for change in answer["changes"])
    say(f"{where}: {join(answer['encapsulations'])} {options.mode}, {plural(total, 'change')}")
    return OK


# --- pod

def _add_pod(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|delete")
    add = actions.add_parser("add", help="run one more pod", allow_abbrev=False)
    add.add_argument("pod", metavar="[NAMESPACE/]NAME", help="its name; namespace: default")
    completes(add.add_argument("--node", metavar="NODE", required=True, help="where it runs"),
              NODES)
    add.add_argument("--ip", metavar="ADDRESS", help="its address (default: IPAM's choice)")
    delete = actions.add_parser("delete", help="end a pod and what runs in it",
                                allow_abbrev=False)
    completes(delete.add_argument("pod", metavar="[NAMESPACE/]NAME", help="which pod"), PODS)


def _pod(options: argparse.Namespace, session: Session) -> int:
    if options.action == "add":
        pod = session.ask("pod-add", pod=options.pod, node=options.node, ip=options.ip)
        text = f"pod {pod['pod']} runs on {pod['node']}: {pod['ip']}, {pod['interface']}"
    else:
        pod = session.ask("pod-delete", pod=options.pod)
        text = f"pod {pod['pod']} is gone" + (f", {pod['ip']} is free" if pod["ip"] else "")
    if options.json:
        print_json(pod)
    else:
        say(text)
    return OK


VERBS = {
    "mode": Verb(
        "mode", GROUP, "change the pools' mode while traffic flows",
        "Changes the mode of all pools on the running cluster, for all nodes or for one alone, and "
        "prints what changed in each namespace. Only what differs is touched; connections live on.",
        _add_mode, ask=_mode, json=True, prompt=True,
        examples=(("calico-mn mode CrossSubnet", "the whole cluster"),
                  ("calico-mn mode Always --encapsulation vxlan", "over to VXLAN"),
                  ("calico-mn mode Never --node node31", "one node alone"))),
    "pod": Verb(
        "pod", GROUP, "pod add, pod delete: pods come and go",
        "Adds a pod to the running cluster, or ends one with all that runs in it.",
        _add_pod, ask=_pod, json=True, prompt=True,
        examples=(("calico-mn pod add late --node node32", "default/late, with the next address"),
                  ("calico-mn pod add shop/db --node node32 --ip 10.22.32.9", "a fixed address"),
                  ("calico-mn pod delete late", "and its address is free"))),
}
