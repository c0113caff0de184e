"""``apply``, ``delete``, ``scale``, ``mode`` and ``pod``: changes, and what they took."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import FILES, IPPOOLS, NODES, PODS, completes
from calico_mn.cli.output import columns, paint, say, show
from calico_mn.cli.verb import (
    OK,
    Group,
    UsageError,
    Verb,
    add_encapsulation,
    mode,
    modes,
    named,
    whole,
)
from calico_mn.cli.verbs.get import add_resources, requests
from calico_mn.streams import complain
from calico_mn.text import join, join_some, plural

if TYPE_CHECKING:
    from calico_mn.control.session import Session


# --- mode

def _add_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mode", metavar="MODE", nargs="?", type=mode, choices=modes(),
                        help=f"{join(modes(), 'or')}; without it the modes are shown")
    completes(parser.add_argument("--node", metavar="NODE",
                                  help="this node alone: the mixed state of a stuck calico-node"),
              NODES)
    completes(parser.add_argument("--pool", metavar="IPPOOL", type=named,
                                  help="this pool alone (default: all)"), IPPOOLS)
    add_encapsulation(parser)


def _mode(options: argparse.Namespace, session: Session) -> int:
    if options.mode is None:
        if options.node or options.pool or options.encapsulation:
            raise UsageError(f"calico-mn mode: say which: {join(modes(), 'or')}")
        pools = session.ask("status")["pools"]
        if options.json:
            options.json(pools)
        else:
            show(columns(("POOL", "CIDR", "MODE", "OTHERWISE"), [
                (pool["name"], pool["cidr"], pool["mode"],
                 [f"{node}: {mode}" for node, mode in pool["nodes"].items()])
                for pool in pools]))
        return OK
    answer = session.ask("mode", mode=options.mode, node=options.node,
                         encapsulation=options.encapsulation, pool=options.pool)
    if options.json:
        options.json(answer)
        return OK
    say_commands(answer)
    pools = f"pool {options.pool}" if options.pool else "all pools"
    where = " of ".join(filter(None, (options.pool and pools, f"{options.node} alone"))
                        ) if options.node else pools
    say(f"{where}: {join(answer['encapsulations'])} {options.mode}, {_total(answer)}")
    return OK


def say_commands(answer: dict[str, Any]) -> None:
    """What a change took, namespace by namespace, then its warnings."""
    for change in answer["changes"]:
        say(paint(f"# {change['namespace']}", "place"))
        for command in change["commands"]:
            say(command)
    for warning in answer.get("warnings", ()):
        complain(warning)


def _total(answer: dict[str, Any]) -> str:
    return plural(sum(len(change["commands"]) for change in answer["changes"]), "change")


# --- apply, delete, scale

def _add_files(parser: argparse.ArgumentParser, *, is_required: bool) -> None:
    completes(parser.add_argument(
        "-f", "--filename", metavar="FILE", action="append", required=is_required, type=named,
        help="resources as kubectl and calicoctl print them; '-' is standard input"), FILES)


def _add_apply(parser: argparse.ArgumentParser) -> None:
    _add_files(parser, is_required=True)
    _add_dry_run(parser)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true",
                        help="change nothing, and print the commands that it would take")


def _apply(options: argparse.Namespace, session: Session) -> int:
    return _tell(options, session.ask("apply", texts=_texts(options), dry_run=options.dry_run))


def _texts(options: argparse.Namespace) -> dict[str, str]:
    from calico_mn.topology.load import read_files

    return read_files(options.filename)


def _add_delete(parser: argparse.ArgumentParser) -> None:
    add_resources(parser)
    _add_files(parser, is_required=False)
    parser.add_argument("--ignore-not-found", action="store_true",
                        help="with -f: what is not there does not matter")
    _add_dry_run(parser)


def _delete(options: argparse.Namespace, session: Session) -> int:
    pairs = [(kind, name) for kinds, names in requests(options.words) for kind in kinds
             for name in names]
    if bool(options.filename) == bool(pairs) or bool(options.words) != bool(pairs):
        raise UsageError("calico-mn delete: say KIND and NAME, or KIND/NAME, or -f FILE")
    if options.filename:
        answer = session.ask("delete", texts=_texts(options), dry_run=options.dry_run,
                             lenient=options.ignore_not_found)
    else:
        answer = session.ask("delete", kinds=[kind for kind, _ in pairs],
                             names=[name for _, name in pairs], namespace=options.namespace,
                             dry_run=options.dry_run)
    return _tell(options, answer)


def _add_scale(parser: argparse.ArgumentParser) -> None:
    add_resources(parser, "+")
    parser.add_argument("--replicas", metavar="N", type=whole, required=True, help="how many pods")
    _add_dry_run(parser)


def _scale(options: argparse.Namespace, session: Session) -> int:
    asked = requests(options.words)
    if [(len(kinds), len(names)) for kinds, names in asked] != [(1, 1)]:
        raise UsageError("calico-mn scale: say one workload, as deploy/web or deploy web")
    ((kind,), (name,)), = asked
    answer = session.ask("scale", kind=kind, name=name, replicas=options.replicas,
                         namespace=options.namespace, dry_run=options.dry_run)
    for item in answer["resources"]:
        if item["kind"] != "Pod" and item["change"] == "configured":
            item["change"] = "scaled"
    return _tell(options, answer)


def _tell(options: argparse.Namespace, answer: dict[str, Any]) -> int:
    """What became of each resource, as kubectl words it; then what changed in the kernel."""
    if options.json:
        options.json(answer)
        return OK
    for item in answer["resources"]:
        say(f"{item['reference']} {item['change']}{' (dry run)' if options.dry_run else ''}")
    places = [change["namespace"] for change in answer["changes"]]
    if options.dry_run:
        say_commands(answer)
    else:
        for warning in answer["warnings"]:
            complain(warning)
    suffix = " (dry run)" if options.dry_run else ""
    say(f"{_total(answer)} in the kernel{suffix}: {join_some(places, 4)}" if places else
        "no changes in the kernel")
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
        options.json(pod)
    else:
        say(text)
    return OK


VERBS = (
    Verb(
        "apply", Group.CHANGES, "resources from files, laid over those that run",
        "Creates the resources in files, or changes those that exist, as kubectl apply does: "
        "pods, workloads, pools and their modes, nodes, labels, affinities. The resulting cluster "
        "is checked as a whole: after an error nothing is changed. In the kernel only the "
        "difference is written.",
        _add_apply, ask=_apply, json=True, prompt=True, usage="-f FILE [-f FILE]... [--dry-run]",
        examples=(("calico-mn apply -f more.yaml", "what it says is there now"),
                  ("calico-mn apply -f -", "from standard input"),
                  ("calico-mn apply -f more.yaml --dry-run", "the commands only"))),
    Verb(
        "delete", Group.CHANGES, "resources, by names or as in files",
        "Deletes resources: a workload with its pods, a node with its pods and blocks, a namespace "
        "with all that is in it. Deleted pods of a workload stay away until it is applied or "
        "scaled.",
        _add_delete, ask=_delete, json=True, prompt=True,
        usage="KIND NAME... | KIND/NAME... [-n NAMESPACE] | -f FILE... [--dry-run]",
        examples=(("calico-mn delete pod web-0", "in the namespace default"),
                  ("calico-mn delete deploy/web -n shop", "with its pods"),
                  ("calico-mn delete -f more.yaml", "all that a file has"))),
    Verb(
        "scale", Group.CHANGES, "more or fewer pods of a workload",
        "Changes the number of pods of a Deployment, StatefulSet, ReplicaSet or "
        "ReplicationController.",
        _add_scale, ask=_scale, json=True, prompt=True,
        usage="KIND/NAME --replicas N [-n NAMESPACE] [--dry-run]",
        examples=(("calico-mn scale deploy/web --replicas 5", "as with kubectl"),)),
    Verb(
        "mode", Group.CHANGES, "change the pools' mode while traffic flows",
        "Changes the mode of the running cluster's pools, on all nodes or on one alone, and "
        "prints what changed in each namespace. Nothing else is touched, and connections stay up. "
        "Without MODE it shows the modes.",
        _add_mode, ask=_mode, json=True, prompt=True,
        examples=(("calico-mn mode", "what the pools' modes are"),
                  ("calico-mn mode CrossSubnet", "the whole cluster"),
                  ("calico-mn mode Always --encapsulation vxlan", "over to VXLAN"),
                  ("calico-mn mode Never --pool blue", "one pool alone"),
                  ("calico-mn mode Never --node node31", "one node alone"))),
    Verb(
        "pod", Group.CHANGES, "pod add, pod delete: pods come and go",
        "Adds a pod to the running cluster, or ends one with all that runs in it.",
        _add_pod, ask=_pod, json=True, prompt=True,
        examples=(("calico-mn pod add late --node node32", "default/late, with the next address"),
                  ("calico-mn pod add shop/db --node node32 --ip 10.22.32.9", "a fixed address"),
                  ("calico-mn pod delete late", "and its address is free"))),
)
