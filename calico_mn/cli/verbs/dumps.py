"""``import`` and ``check-node``: a real cluster, as it was printed or as it answers now."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import FILES, NODES, completes
from calico_mn.cli.output import as_yaml, say, write_file
from calico_mn.cli.verb import OK, Group, UsageError, Verb, named, whole
from calico_mn.errors import FAILED
from calico_mn.profile import NAMES
from calico_mn.streams import complain
from calico_mn.text import plural

if TYPE_CHECKING:
    from calico_mn.kubernetes.client import ApiServer
    from calico_mn.model import Topology

_INFERRED = """\
# The network under the nodes is inferred from their addresses, which do not say how subnets are
# joined, nor MTUs and rates. Correct it: docs/topology-files.md, Underlay."""


def _add_import(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("file", metavar="DIR|FILE", nargs="*", type=named,
                                  help="dumps; '-' is standard input"), FILES)
    _add_context(parser, "ask this cluster instead of reading dumps")
    parser.add_argument("-o", dest="output", metavar="FILE",
                        help="write to FILE (default, and '-': standard output)")
    parser.add_argument("--sample", metavar="N", type=whole,
                        help="keep about N nodes, at least two of each subnet, with a few pods")
    parser.add_argument("--how", action="store_true",
                        help="print the kubectl commands that collect a dump, and the rights"
                             " that they and --context need")


def _add_context(parser: argparse.ArgumentParser, what: str) -> None:
    """``--context``, None where it is not given, and empty for the current one."""
    parser.add_argument("--context", metavar="NAME", nargs="?", const="",
                        help=f"{what}: a context of the kubeconfig (default: the current one)")


def _import(options: argparse.Namespace) -> int:
    from calico_mn.calico.snapshot import sample
    from calico_mn.topology.dump import read_dump
    from calico_mn.topology.load import dumped_files

    if options.how:
        say(_how())
        return OK
    if bool(options.file) == (options.context is not None):
        raise UsageError("calico-mn import: name the dump's directory or files, or a live cluster"
                         " by --context NAME; --how says how to collect a dump")
    if options.sample is not None and options.sample < 1:
        raise UsageError("calico-mn import: --sample keeps 1 node or more")
    gc.disable()  # half of the time goes into looking at what stays
    if options.context is not None:
        topology, secrets = _imported(_connected(options.context)), 0
    else:
        topology, secrets = read_dump(dumped_files(options.file))
    for warning in topology.warnings:
        complain(warning)
    if secrets:
        complain(f"{plural(secrets, 'Secret')} passed over, unread.")
    if options.sample:
        topology = sample(topology, options.sample)
    sizes = ", ".join(plural(len(items), name) for name, items in (
        ("node", topology.nodes), ("pod", topology.pods), ("pool", topology.pools)))
    text = _text(topology, sizes)
    if options.output in (None, "-"):
        say(text.rstrip())
    else:
        write_file(options.output, text)
        say(f"wrote {options.output}: {sizes}")
    return OK


def _how() -> str:
    from calico_mn.kubernetes import resources

    role = "".join(f"# {line}\n" for line in resources.role().splitlines())
    return (f"{resources.commands()}\n\n"
            f"# The rights that these commands, and calico-mn import --context, need:\n{role}"
            ).rstrip()


def _connected(context: str) -> ApiServer:
    from calico_mn.kubernetes.client import connect

    return connect(context)


def _imported(server: ApiServer) -> Topology:
    """The topology of a live cluster. What was passed over is said on standard error."""
    from calico_mn.kubernetes.resources import lists
    from calico_mn.topology.dump import read_dump

    remarks: list[str] = []
    topology, _ = read_dump(lists(server, remarks))
    for remark in remarks:
        complain(remark)
    return topology


def _text(topology: Topology, sizes: str) -> str:
    """The topology file."""
    from dataclasses import replace

    from calico_mn.topology import underlay
    from calico_mn.topology.dump import written

    documents: list[Any] = written(topology)
    head = f"# calico-mn import: {sizes}\n"
    if topology.underlay.name == underlay.ASSUMED:
        documents = [document for document in documents if document["kind"] != "Underlay"]
        inferred = underlay.as_yaml(replace(topology.underlay, name="inferred"))
        head += f"{_INFERRED}\n{inferred}\n"
    return "---\n".join([head, *map(as_yaml, documents)])


# --- check-node

def _add_check_node(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("node", metavar="NODE", type=named, help="its name"), NODES)
    outputs = parser.add_argument("outputs", metavar="DIR|FILE", nargs="+", type=named, default=[],
                                  help="what the commands below printed on it")
    outputs.required = False  # with "*" they could not come after an option
    _add_context(parser, "run the commands there, in the node's calico-node pod, and import the"
                         " topology from there, unless -f")
    completes(parser.add_argument("-f", dest="file", metavar="FILE", action="append", type=named,
                                  help="a topology file, such as import writes; may be given"
                                       " again"), FILES)
    parser.add_argument("--profile", choices=NAMES, default="",
                        help="compare with this version profile (default: the one that leaves the"
                             " fewest differences)")


def _check_node(options: argparse.Namespace) -> int:
    from calico_mn import node_outputs
    from calico_mn.difference import diff, line
    from calico_mn.emulation.plan import check_node
    from calico_mn.topology.load import dumped_files, load_topology

    if options.context is None and not (options.outputs and options.file):
        raise UsageError("calico-mn check-node: name what was printed on the node, and the topology"
                         " by -f FILE, or a live cluster by --context NAME")
    texts: Iterable[tuple[str, str]] = dumped_files(options.outputs, ("",))
    if options.outputs and options.file:
        topology = load_topology(options.file, {})
    else:
        server = _connected(options.context)
        topology = load_topology(options.file, {}) if options.file else _imported(server)
        texts = texts if options.outputs else _printed(server, options.node)
    outputs = node_outputs.read(texts)
    done = check_node(topology, options.node, outputs, options.profile)
    if options.json:
        options.json({"node": options.node, "profile": done.profile.name, "compared": done.counts,
                      "notGiven": list(outputs.missing), "differences": [
                          {"kind": item.kind, "subject": item.subject,
                           "wanted": line(item.wanted) if item.wanted else None,
                           "present": line(item.present) if item.present else None}
                          for item in done.differences]})
        return FAILED if done.differences else OK
    say(f"compared as profile {done.profile.name} ({done.profile.releases}): "
        + ", ".join(f"{count} {what}" for what, count in done.counts.items() if count))
    if outputs.missing:
        say(f"not given, so not compared: {', '.join(outputs.missing)}")
    for text in diff(done.differences):
        say(text)
    if not done.differences:
        say(f"{options.node} is as predicted")
    return FAILED if done.differences else OK


def _printed(server: ApiServer, node: str) -> list[tuple[str, str]]:
    """What the commands print on a node of a live cluster."""
    from calico_mn.kubernetes.resources import outputs

    remarks: list[str] = []
    texts = outputs(server, node, remarks)
    for remark in remarks:
        complain(remark)
    return texts


VERBS = (
    Verb(
        "import", Group.OFFLINE, "a real cluster, or its dump, as one topology file",
        "Asks a live cluster, or reads what kubectl printed, files or directories of them, and "
        "prints a topology with the same names, addresses, blocks, modes, policies and services. "
        "What has no effect here is said on standard error. Secrets are passed over; neither "
        "--context nor --how asks for one.",
        _add_import, run=_import,
        usage="{--context [NAME] | DIR|FILE...} [-o FILE] [--sample N] | --how",
        examples=(("calico-mn import --context prod -o cluster.yaml", "a live cluster"),
                  ("calico-mn import --how", "commands that collect a dump"),
                  ("calico-mn import dump -o cluster.yaml", "a directory"),
                  ("calico-mn import --sample 10 dump -o small.yaml", "a part of a large cluster"),
                  ("kubectl get nodes,pods -A -o yaml | calico-mn import -", "what it prints"))),
    Verb(
        "check-node", Group.OFFLINE, "a real node's routes, devices and rules against the model's",
        "Reads what 'ip -j route', 'ip -j addr', 'iptables-save', 'ipset save' and 'sysctl -a' "
        "printed on a node, any of them in files of any name, or runs them there with --context, "
        "and compares it line by line with what a boot of the topology would make: '-' is "
        "predicted, '+' is on the node. Of the version profiles the one that leaves the fewest "
        "differences is taken, unless --profile.",
        _add_check_node, run=_check_node, json=True,
        usage="NODE {--context [NAME] [-f FILE] | DIR|FILE... -f FILE} [--profile P]",
        examples=(("calico-mn check-node node31 --context prod", "of a live cluster"),
                  ("ssh node31 'ip -j route' > node31/route", "one of the outputs"),
                  ("calico-mn check-node node31 node31 -f cluster.yaml", "all of a directory")),
        status="0 as predicted, 1 there are differences"),
)
