"""``policy explain`` and ``policy matrix``: what the policies of files or of a run say.

A run gives its resources, of which the answer is worked out here: no packet is sent.
"""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING

from calico_mn.cli.complete import FILES, completes
from calico_mn.cli.output import columns, paint, say, show, write_file
from calico_mn.cli.verb import OK, Group, Verb, add_json, add_run, form
from calico_mn.errors import FAILED
from calico_mn.text import plural

if TYPE_CHECKING:
    from calico_mn.calico.policy.explain import Explainer

FLOW = "tcp/80, udp/53, icmp or a protocol's number"


def parse_flow(word: str) -> tuple[str, int, int]:
    """``tcp/80`` as its text, the protocol's number and the port; 80 is protocol 80."""
    from calico_mn.policy import PROTOCOLS

    match = re.fullmatch(r"([a-z0-9]+?)(?:/([0-9]{1,5}))?", word.lower())
    name, port = match.groups("") if match else ("", "")
    number = PROTOCOLS.get(name, int(name) if re.fullmatch("[0-9]{1,3}", name) else 0)
    has_port = name in ("tcp", "udp", "sctp", "udplite")
    if not 0 < number < 256 or has_port != bool(port) or int(port or 0) > 65535:
        raise argparse.ArgumentTypeError(f"{word!r} is no flow: write {FLOW}")
    return (f"protocol {name}" if name.isdigit() else word.lower()), number, int(port or 0)


def _picture(name: str) -> str:
    """The name of a file for a picture or a page."""
    if not name.endswith((".svg", ".html")):
        raise argparse.ArgumentTypeError(
            f"{name!r} is neither FILE.svg, a picture, nor FILE.html, a page")
    return name


def _add_policy(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="explain|matrix")
    explain = actions.add_parser("explain", help="the verdict on one flow, and why",
                                 allow_abbrev=False)
    explain.add_argument("source", metavar="FROM", help="a pod, a node, a host or an address")
    explain.add_argument("destination", metavar="TO", help="the same")
    explain.add_argument("-o", dest="json", metavar="FORM", type=form, default=argparse.SUPPRESS,
                         help="json, yaml, or wide: the text as it is")
    matrix = actions.add_parser("matrix", help="which pods may talk to which", allow_abbrev=False)
    matrix.add_argument("-o", dest="output", metavar="FILE", type=_picture,
                        help="draw it: FILE.svg is a picture, FILE.html a page with all reasons")
    for action, number in ((explain, "?"), (matrix, "*")):
        action.add_argument("flow", metavar="FLOW", type=parse_flow, nargs=number,
                            default=[parse_flow("tcp/80")] if action is matrix else "tcp/80",
                            help=f"{FLOW} (default: tcp/80)")
        add_json(action, default=argparse.SUPPRESS)
        completes(action.add_argument("-f", dest="file", metavar="FILE", action="append",
                                      help="topology file, instead of a run; may be given again"),
                  FILES)
        add_run(action, "name or identity; not needed while there is just one")


def _policy(options: argparse.Namespace) -> int:
    from calico_mn.calico.cluster import Cluster
    from calico_mn.calico.policy.explain import Explainer
    from calico_mn.topology import load_topology, parse_topology

    if options.file:
        topology = load_topology(options.file)
    else:
        from calico_mn.control.session import remote

        session = remote(options.run)
        topology = parse_topology(json.dumps({
            "apiVersion": "v1", "kind": "List", "items": [
                item["document"] for item in session.ask("get")]}))
        if not options.json and session.ask("status")["iptables"] == "none":
            say("The run has none of Felix's rules (--no-policy): this is what they would do.")
    explainer = Explainer(Cluster(topology, 2))
    return (_explain if options.action == "explain" else _matrix)(options, explainer)


def _explain(options: argparse.Namespace, explainer: Explainer) -> int:
    flow, protocol, port = options.flow
    source, destination = map(explainer.place, (options.source, options.destination))
    verdict = explainer.explain(source, destination, protocol, port)
    if options.json:
        options.json({"source": source.name, "destination": destination.name, "flow": flow,
                    "allowed": verdict.allowed, "decisions": [
                        {"endpoint": item.endpoint, "direction": item.direction,
                         "allowed": item.allowed, "profile": item.profile or None,
                         "policy": item.policy and item.policy.id, "rule": item.rule,
                         "asked": [policy.id for policy in item.asked],
                         "stage": item.stage.value or None}
                        for item in verdict.decisions]})
        return OK if verdict.allowed else FAILED
    word = paint("allowed", "good") if verdict.allowed else paint("denied", "bad")
    ends = [end.name if end.name == str(end.address) else f"{end.name} ({end.address})"
            for end in (source, destination)]
    say(f"{' -> '.join(ends)} {flow}: {word}")
    for decision in verdict.decisions:
        say(f"  {decision.title}: {decision.reason}")
    if not verdict.decisions:
        say("  no policy is asked: every place reaches itself, and a node its own pods"
            if source.node and source.node == destination.node else
            "  no policy is asked: neither end is a pod or has a host endpoint")
    return OK if verdict.allowed else FAILED


def _matrix(options: argparse.Namespace, explainer: Explainer) -> int:
    from calico_mn.calico.policy.matrix import policy_matrix

    matrix = policy_matrix(explainer, options.flow)
    if options.output:
        from calico_mn.report import page
        from calico_mn.report import policy_matrix as report

        text = (report.draw(matrix) if options.output.endswith(".svg") else page.page(
            report.document(matrix, len(explainer.index.policies))))
        write_file(options.output, text)
        say(f"wrote {options.output}")
        return OK
    pods = list(explainer.index.endpoints)
    allowed = {flow.flow: matrix.allowed(flow) for flow in matrix.flows}
    if options.json:
        options.json([{"source": a, "destination": b, "flow": flow, "allowed": pairs[a, b]}
                    for flow, pairs in allowed.items() for a in pods for b in pods if a != b])
        return OK
    numbers = [str(number) for number, _ in enumerate(pods, 1)]
    for number, (flow, pairs) in enumerate(allowed.items()):
        say(f"{chr(10) if number else ''}{flow}: '+' allowed, '-' denied (rows send)")
        show(columns(("", "POD", *numbers), [
            (number, a, *("." if a == b else "+" if pairs[a, b] else "-" for b in pods))
            for number, a in zip(numbers, pods, strict=True)]))
        say(f"{sum(pairs.values())} of {plural(len(pairs), 'pair')}")
    return OK


VERBS = (
    Verb(
        "policy", Group.TRAFFIC, "policy explain, policy matrix: who may talk to whom",
        "Says who may talk to whom by the policies of a run or of topology files, without sending "
        "a packet. It follows NetworkPolicy of Kubernetes and of Calico, GlobalNetworkPolicy and "
        "sets of networks in the order in which Felix does, and names the rule that decides.",
        _add_policy, run=_policy, json=True, root=lambda options: not options.file,
        examples=(("calico-mn policy explain web db tcp/5432", "one flow, in the only run"),
                  ("calico-mn policy explain -f FILE web db tcp/5432", "in files, without root"),
                  ("calico-mn policy matrix -f FILE tcp/80 udp/53", "all pairs of pods"),
                  ("calico-mn policy matrix -o who.html tcp/80", "as a page; .svg: a picture")),
        status="of explain: 0 allowed, 1 denied"),
)
