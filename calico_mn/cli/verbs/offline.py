"""``check``, ``validate`` and ``plan``: whether machine and files will do, and what a boot does."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from calico_mn.cli.complete import NODES, completes
from calico_mn.cli.output import paint, say
from calico_mn.cli.verb import (
    OK,
    Group,
    Verb,
    add_files,
    add_mode,
    mode_and_encapsulation,
    nothing,
)
from calico_mn.command_line import add_engine, add_no_policy, add_profile
from calico_mn.errors import FAILED, WRONG_REQUEST, NotFoundError, TopologyError
from calico_mn.streams import complain
from calico_mn.text import plural

if TYPE_CHECKING:
    from calico_mn.emulation.plan import Step


# --- check

_MARKS = {True: ("ok", "good"), False: ("no", "bad"), None: ("?", "warn")}


def _check(options: argparse.Namespace) -> int:
    from calico_mn.kernel import probe

    findings = probe.findings()
    missing = [finding for finding in findings if finding.needed and finding.ok is False]
    if options.json:
        options.json({"able": not missing, "findings": [dataclasses.asdict(f) for f in findings]})
        return FAILED if missing else OK
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark, style = ("-", "warn") if finding.ok is False and not finding.needed else (
            _MARKS[finding.ok])
        purpose = f" (for {finding.purpose})" if finding.purpose and finding.ok is not True else ""
        say(f"{paint(f'{mark:2}', style)}  {finding.name:{width}}  {finding.detail}{purpose}")
        if finding.remedy:
            say(f"    {'':{width}}  -> {finding.remedy}")
    say("this machine cannot run clusters yet: see 'no' above" if missing
        else "this machine can run clusters" if all(finding.ok is not None for finding in findings
                                                     if finding.needed)
        else "nothing is known to be missing; some checks need root")
    return FAILED if missing else OK


# --- validate

def _add_validate(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    parser.add_argument("--together", action="store_true",
                        help="the files make one topology, as for 'up'")


def _validate(options: argparse.Namespace) -> int:
    from calico_mn.topology import load_topology
    from calico_mn.topology.load import called
    from calico_mn.topology.underlay import ASSUMED, as_yaml

    reports = []
    for files in [options.file] if options.together else [[file] for file in options.file]:
        file = ", ".join(map(called, files))
        try:
            topology = load_topology(files)
            # Booting gives out addresses; a file may ask for more than there are.
            from calico_mn.calico.cluster import Cluster
            warnings = [*topology.warnings, *Cluster(topology, 2).warnings()]
        except TopologyError as error:
            reports.append({"file": file, "valid": False, "warnings": list(error.warnings),
                            "problems": [
                {"what": p.what, "line": p.line, "column": p.column, "hint": p.hint}
                for p in error.problems]})
            if not options.json:
                complain(str(error))
                for warning in error.warnings:
                    complain(f"    {warning}")
            continue
        counts = {"nodes": len(topology.nodes), "pods": len(topology.pods),
                  "subnets": len(topology.underlay.subnets)}
        reports.append({"file": file, "valid": True, "warnings": warnings,
                        "problems": [], **counts})
        if not options.json:
            sizes = ", ".join(plural(count, things[:-1]) for things, count in counts.items())
            say(f"{file}: {paint('good', 'good')}: {sizes}")
            for warning in warnings:
                say(f"    {warning}")
            if topology.underlay.name == ASSUMED:
                say("    To describe another network, change and add this Underlay:\n---")
                say(as_yaml(topology.underlay))
    if options.json:
        options.json(reports)
    return OK if all(report["valid"] for report in reports) else WRONG_REQUEST


# --- plan

def _add_plan(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    add_mode(parser, "boot in this mode")
    add_engine(parser)
    add_profile(parser)
    add_no_policy(parser)
    completes(parser.add_argument(
        "--node", metavar="NAME", action="append", default=[],
        help="only this node, pod, router or subnet; may be given again"), NODES)


def _plan(options: argparse.Namespace) -> int:
    from calico_mn.bgp.timers import CALICO
    from calico_mn.emulation.plan import plan
    from calico_mn.kernel.iptables import AUTO, machines_own
    from calico_mn.kernel.tunnel import kernel_reason
    from calico_mn.topology import load_topology

    topology = load_topology(options.file)
    back_end = topology.felix.iptables_backend.lower()
    back_end = machines_own() if back_end == AUTO else back_end
    maker = "kernel" if kernel_reason() is None else "ebpf"
    mode, encapsulation = mode_and_encapsulation(options)
    steps = plan(topology, mode, encapsulation=encapsulation,
                 engine=options.engine, policies=not options.no_policy,
                 timers=options.bird_timers or CALICO, profile=options.profile)
    names = {step.namespace for step in steps}
    for wanted in options.node:
        if wanted not in names:
            raise NotFoundError(f"{', '.join(options.file)} has no node, pod, router or subnet"
                                f" {wanted!r}; it has {', '.join(sorted(names))}")
    shown = [step for step in steps if not options.node or step.namespace in options.node]
    if options.json:
        options.json([{"namespace": step.namespace, "kind": step.kind,
                     "commands": list(step.commands),
                     **({"tunnel": maker} if step.tunnel else {}),
                     **({"iptables": back_end} if _has_rules(step) else {}),
                     **({"bird": step.bird} if step.bird else {})} for step in shown])
        return OK
    for number, step in enumerate(shown):
        if number:
            say()
        tunnel = f", {step.tunnel} by {maker}" if step.tunnel else ""
        rules = f", rules by iptables-{back_end}" if _has_rules(step) else ""
        say(paint(f"# {step.kind} {step.namespace}{tunnel}{rules}", "place"))
        for command in step.commands:
            say(command)
        if step.bird:
            say(paint(f"# bird.conf of {step.namespace}, checked with 'bird -p'", "place"))
            say(step.bird.rstrip())
    return OK


def _has_rules(step: Step) -> bool:
    return any(command.startswith("iptables ") for command in step.commands)


VERBS = (
    Verb(
        "check", Group.OFFLINE, "what this kernel and machine can do, and what to install",
        "Checks what clusters and experiments need: tunnel devices, shaping of links, packet "
        "filters, programs and their versions. It changes nothing and loads no module. Without "
        "root it cannot try eBPF.",
        nothing, run=_check, json=True,
        status="0 clusters can run here, 1 something needed is missing"),
    Verb(
        "validate", Group.OFFLINE, "say what is wrong in topology files, with lines and hints",
        "Reads topology files and reports all mistakes at once, each with its line and a hint, and "
        "what else has no effect. Each file is a topology of its own, unless --together.",
        _add_validate, run=_validate, json=True,
        examples=(("calico-mn validate topologies/*.yaml", "all shipped ones"),
                  ("calico-mn validate --together nodes.yaml pods.yaml", "two files, one topology"),
                  ("kubectl get nodes,pods -A -o yaml | calico-mn validate -", "what it prints")),
        status="0 all are good, 2 one is not"),
    Verb(
        "plan", Group.OFFLINE, "the ip, sysctl and iptables commands that a boot amounts to",
        "Prints what 'up' would do, as commands for each network namespace, in the order in which "
        "it does them. Nothing is done, and no root is needed. The real boot sends the same as "
        "netlink messages, and to iptables-restore and ipset.",
        _add_plan, run=_plan, json=True,
        examples=(("calico-mn plan topologies/article.yaml", "everything"),
                  ("calico-mn plan FILE --mode Never --node node31", "one node, in another mode")),
    ),
)
