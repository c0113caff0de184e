"""``get`` and ``describe``: resources as tables, YAML and JSON, and one pod or node in full.

Worded as kubectl and calicoctl do.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import NAMESPACES, RESOURCES, completes
from calico_mn.cli.output import NONE, paint, print_json, print_yaml, say, show, warn
from calico_mn.cli.verb import OK, Group, UsageError, Verb, named
from calico_mn.text import join, join_some, one_line

if TYPE_CHECKING:
    from calico_mn.control.session import Session

_DEFAULT = "default"
#: lists that are wider stand below their titles
_WIDTH = 80
# What is not a resource, and the verb that lists it; kinds that have another name here.
_VERBS = {"route": "routes", "routes": "routes", "link": "link show", "links": "link show",
          "run": "list", "runs": "list", "peers": "bgp", "sessions": "bgp", "drops": "drop --show",
          "experiments": "experiment list", "exercises": "break --list"}
_INSTEAD = {"WorkloadEndpoint": "; see 'get pods -o wide'", "IPAMBlock": "; see 'get blocks'"}


def add_resources(parser: argparse.ArgumentParser, nargs: str = "*") -> None:
    """The places of KIND NAME and KIND/NAME on the command line, and ``-n``."""
    completes(parser.add_argument(
        "words", metavar="KIND[/NAME]", nargs=nargs, type=named,
        help="pods, nodes, ippools, deploy, ... or several with commas, then names; or KIND/NAME"),
        RESOURCES)
    completes(parser.add_argument("-n", "--namespace", metavar="NAMESPACE", type=named,
                                  help=f"of pods and workloads (default: {_DEFAULT})"), NAMESPACES)


def requests(words: list[str]) -> list[tuple[list[str], list[str]]]:
    """What kubectl's words ask for: kinds, with the names that they are asked by.

    Raises UsageError where both forms are mixed.
    """
    if any("/" in word for word in words[:1]):
        pairs = [word.partition("/") for word in words]
        if not all(kind and name for kind, _, name in pairs):
            raise UsageError("after KIND/NAME every further word is KIND/NAME, too")
        return [([kind], [name]) for kind, _, name in pairs]
    return [(words[0].split(","), words[1:])] if words else []


def _add_get(parser: argparse.ArgumentParser) -> None:
    add_resources(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument("-o", "--output", choices=("wide", "yaml", "json", "name"),
                        help="more columns, resources as a file has them, or names alone")


def _get(options: argparse.Namespace, session: Session) -> int:
    form = "json" if options.json else options.output
    if not options.words and form not in ("yaml", "json", "name"):
        raise UsageError("calico-mn get: say what: pods, nodes, ippools, all, ...; with -o yaml"
                         " everything is a topology file")
    verb = _VERBS.get(" ".join(options.words[:1]).lower())
    if verb:
        raise UsageError(f"calico-mn get: 'calico-mn {verb}' lists them")
    has_all = options.all_namespaces or not options.words
    namespace = None if has_all else options.namespace or _DEFAULT
    wanted: list[tuple[list[str] | None, list[str]]] = [*requests(options.words)] or [(None, [])]
    items = [item for kinds, names in wanted
             for item in session.ask("get", kinds=kinds, names=names, namespace=namespace)]
    documents = [item["document"] for item in items]
    if form in ("yaml", "json"):
        is_one = len(items) == 1 and bool(wanted[0][1])
        answer = documents[0] if is_one else {
            "apiVersion": "v1", "items": documents, "kind": "List",
            "metadata": {"resourceVersion": ""}}
        (print_yaml if form == "yaml" else print_json)(answer)
        if not options.words:
            _say_what_no_resource_says(session.ask("status"))
        return OK
    if form == "name":
        from calico_mn.topology.kinds import reference

        for document in documents:
            say(reference(document))
    else:
        from calico_mn.cli.tables import tables

        for number, table in enumerate(tables(items, wide=form == "wide", has_namespaces=has_all)):
            if number:
                say()
            show(table)
        warn(f"not running: {reason}" for reason in dict.fromkeys(
            filter(None, (item["facts"].get("reason") for item in items))))
    _say_what_is_missing(session, wanted, documents, namespace)
    return OK


def _say_what_no_resource_says(status: dict[str, Any]) -> None:
    """What a cluster that boots from these resources would not have."""
    alone = sorted({node for pool in status["pools"] for node in pool["nodes"]})
    lost = [f"{what} {join_some(names, 5)}" for what, names in (
        ("another mode of", alone), ("a dead route distributor of", status["deadSpeakers"]),
        ("packet filters of", status["filters"])) if names]
    if lost:
        warn([f"no resource says {join(lost)}: a boot from these is without"])


def _say_what_is_missing(session: Session, wanted: list[tuple[list[str] | None, list[str]]],
                         documents: list[dict[str, Any]], namespace: str | None) -> None:
    """For each kind that has no resources: that it has none, or where they are."""
    from calico_mn.topology.kinds import (
        has_effect,
        kind_of,
        kinds_named,
        namespace_of,
        plural_of,
    )

    present = set(map(kind_of, documents))
    for word in (word for kinds, _ in wanted for word in kinds or ()):
        if present & set(kinds_named(word)):
            continue
        others = sorted({namespace_of(item["document"]) for item in session.ask(
            "get", kinds=[word])}) if namespace is not None else []
        title = "pods or workloads" if word == "all" else plural_of(word)
        hint = "" if any(map(has_effect, kinds_named(word))) else ": they have no effect here"
        warn([f"no {title} in namespace {namespace}; there are in"
              f" {join(others)}: -n {others[0]}, or -A" if any(others) else
              f"no {title}{_INSTEAD.get(' '.join(kinds_named(word)), hint)}"])


def _describe(options: argparse.Namespace, session: Session) -> int:
    from calico_mn.topology.kinds import is_kind, kinds_named

    word = options.words[0]
    if len(options.words) == 1 and "/" not in word and not is_kind(word):
        raise UsageError(f"calico-mn describe: say KIND and NAME, such as pod {word}")
    asked = [(kind, name) for words, names in requests(options.words) for word in words
             for kind in kinds_named(word) for name in names]
    if not asked:
        raise UsageError("calico-mn describe: say KIND and NAME, such as pod web-0 or node/node31")
    answers = [session.ask("describe", kind=kind, name=f"{options.namespace}/{name}" if (
        options.namespace and kind == "Pod" and "/" not in name) else name)
        for kind, name in asked]
    if options.json:
        options.json(answers[0] if len(answers) == 1 else answers)
        return OK
    for number, facts in enumerate(answers):
        if number:
            say()
        width = max(map(len, facts)) + 3
        for title, value in facts.items():
            lines = (value if isinstance(value, list) else [value]) or [""]
            if width + max(map(len, lines)) > _WIDTH:
                say(paint(f"{title}:", "faint"))
                for line in lines:
                    say(f"  {one_line(line)}")
                continue
            for place, line in enumerate(lines):
                head = "" if place else f"{title}:"
                say(f"{paint(head.ljust(width), 'faint')}{one_line(line) or NONE}")
    return OK


VERBS = (
    Verb(
        "get", Group.STATE, "pods, nodes, pools, any resources: tables, YAML, JSON",
        "Prints resources as kubectl and calicoctl get do, under all names that they have there "
        "(po, deploy, ippool, ...). 'all' are pods and workloads, 'blocks' the nodes' blocks. "
        "Without KIND, '-o yaml' prints the whole cluster: a topology file that boots with the "
        "same addresses, blocks and routes.",
        _add_get, ask=_get, json=True, prompt=True,
        usage="[KIND[,KIND]... [NAME]... | KIND/NAME...] [-n NAMESPACE | -A] [-o FORM]",
        examples=(("calico-mn get pods -A", "of all namespaces"),
                  ("calico-mn get nodes -o wide", "with tunnel addresses and blocks"),
                  ("calico-mn get ippools,blocks", "how full pools and blocks are"),
                  ("calico-mn get deploy/web -o yaml", "as a file has it"),
                  ("calico-mn get -o yaml > now.yaml", "the cluster as it is now, to boot again"))),
    Verb(
        "describe", Group.STATE, "a pod or node, with its devices, routes and policies",
        "Prints the addresses and devices of a pod or node. For a pod, also the policies that "
        "select it and the routes to it; for a node, its blocks, pods, BGP sessions and learned "
        "routes.",
        partial(add_resources, nargs="+"), ask=_describe, json=True, prompt=True,
        usage="pod|node NAME... [-n NAMESPACE]",
        examples=(("calico-mn describe pod web-0", "a pod"),
                  ("calico-mn describe node/node31", "a node"))),
)
