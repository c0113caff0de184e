"""A comparison as a document for a terminal or a page, and as JSON. Pure."""

from __future__ import annotations

from dataclasses import replace

from calico_mn.report import matrix
from calico_mn.report.document import BAD, GOOD, Document, Table
from calico_mn.text import plural
from calico_mn.whatif.comparison import DIRECT, NO_ANSWER, Comparison, findings

_MOST_ROUTES = 40


def document(compared: Comparison, change: str, command: str) -> Document:
    """A page of the comparison, and what a terminal shows."""
    routes = [(item.namespace, str(item.wanted or ""), str(item.present or ""))
              for item in compared.routes]
    groups = compared.groups
    tables = (
        Table("pairs", "Pairs of pods", ("where", "pairs", "before", "after"),
              tuple((place, count, old, new) for (place, old, new), count in groups.items()),
              tones=tuple("" if NO_ANSWER not in (old, new) or old == new else
                          BAD if new == NO_ANSWER else GOOD for _, old, new in groups)),
        Table("mtus", "Largest packets that get through, in bytes", ("where", "before", "after"),
              compared.mtus),
        Table("routes", "Routes that change", ("on", "before", "after"),
              tuple(routes[:_MOST_ROUTES]), note=f"{len(routes) - _MOST_ROUTES:,} more are in"
              " --json" if len(routes) > _MOST_ROUTES else ""))
    # A sample has a pair for each pair of nodes, which then stand for their pods.
    shown = {name: replace(pod, name=pod.node, ip="") if compared.is_sample else pod
             for name, pod in compared.before.pods.items() if name in compared.after.pods}
    marks = {title: {(shown[source].name, shown[destination].name): matrix.mark(
        state.ways[source, destination] != NO_ANSWER, state.ways[source, destination] != DIRECT)
        for source, destination in compared.after.ways}
        for title, state in (("before", compared.before), ("after", compared.after))}
    return Document(
        "What if", f"What if: {change}", "What would this change do to the cluster?",
        ("One pair of pods is tried for each pair of nodes, before the change and after it."
         if compared.is_sample else "Every pod pings every other before the change and after it.",
         ), tuple(findings(compared)),
        tuple(table for table in tables if table.rows), (), (), (command,), {},
        plural(len(shown), "pod"),
        matrices=matrix.drawn(marks, list(dict.fromkeys(shown.values()))))


def facts(compared: Comparison) -> dict[str, object]:
    """The comparison for JSON."""
    return {
        "breaks": compared.breaks, "sampled": compared.is_sample,
        "findings": list(findings(compared)),
        "pairs": [{"source": source, "destination": destination,
                   "before": compared.before.ways[source, destination], "after": way}
                  for (source, destination), way in compared.after.ways.items()],
        "flows": {flow: [{"source": pair.source.name, "destination": pair.destination.name}
                         for pair in pairs] for flow, pairs in compared.denied.items()},
        "pathMTUs": [{"where": place, "before": old, "after": new}
                     for place, old, new in compared.mtus],
        "routes": [{"place": item.namespace, "before": item.wanted and str(item.wanted),
                    "after": item.present and str(item.present)} for item in compared.routes]}
