"""A path trace as stops for a page that steps through it, and that page: one file. Pure.

    PathTrace, route tables --> journey (JSON's types) --> templates/journey.js draws a stop
                                       several of them --> page: HTML with all of it inside

A stop is a hop of a leg: the packet's headers as it comes in and as it goes out, what happened
there, and the main routing table with the lines that were chosen.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calico_mn.trace import text
from calico_mn.trace.path_trace import OUT, Crossing, Hop, Leg, PathTrace, Routing
from calico_mn.trace.picture import picture

#: the files that a page about journeys needs, its own besides
TEMPLATES = Path(__file__).parent / "templates"


def journey(trace: PathTrace, tables: Mapping[str, Sequence[str]], title: str = ""
            ) -> dict[str, Any]:
    """A trace for ``journey.js``.

    ``tables`` are the lines of the main routing tables, by namespace. In the result ``pictures``
    are the slides of the forward leg and of the reply, if there is one; a stop's ``picture`` is
    the number of its own, or None for an ICMP error.
    """
    legs = [trace.forward, *([trace.reply] if trace.reply else [])]
    return {
        "title": title, "headline": text.headline(trace), "verdict": text.verdict(trace),
        "answered": trace.answered, "notes": list(trace.notes),
        "pictures": [picture(trace, reply=leg is trace.reply) for leg in legs],
        "stops": [stop for number, leg in enumerate([*legs, *trace.errors])
                  for stop in _stops(trace, leg, number if number < len(legs) else None, tables)],
    }


def _stops(trace: PathTrace, leg: Leg, number: int | None, tables: Mapping[str, Sequence[str]]
           ) -> Iterator[dict[str, Any]]:
    drop = trace.drop if trace.drop and trace.drop.leg == leg.kind else None
    for position, (hop, lines) in enumerate(text.hops(leg)):
        is_last = position == len(leg.hops) - 1
        last = hop.crossings[-1] if hop.crossings else None
        yield {
            "leg": leg.kind, "packet": leg.text, "picture": number, "hop": position,
            "place": hop.namespace, "kind": hop.kind,
            "comes": _packet(hop.entry, leg),
            "goes": _packet(last if last and last.direction == OUT else None, leg),
            "lines": [[line.text.removeprefix("    "), line.style] for line in lines],
            "table": _table(hop, tables.get(hop.namespace, ())),
            "dropped": [line.text for line in text.drop_lines(drop)] if drop and is_last else [],
            "arrived": leg.arrived and is_last,
        }


def _packet(crossing: Crossing | None, leg: Leg) -> dict[str, Any] | None:
    """A packet at a device. A header is [name, what it says, is it the tunnel's]."""
    if crossing is None:
        return None
    headers = []
    for number, layer in enumerate(crossing.layers):
        if layer.vni is not None:
            headers.append(["VXLAN", f"VNI {layer.vni}, in UDP", True])
        if layer.macs is not None:
            headers.append(["Ethernet", " > ".join(layer.macs), False])
        headers.append(["IPv4", text.header(layer.header), number < len(crossing.layers) - 1])
    protocol, _, rest = leg.text.partition(" ")
    headers.append([protocol, rest, False])
    return {"device": crossing.device, "mtu": crossing.mtu, "headers": headers}


def _table(hop: Hop, lines: Sequence[str]) -> list[list[Any]]:
    """[line, is it chosen] of the main table; a chosen line of another table comes first.

    Without policy rules of its own a namespace has local's routes and main's in one trie, which
    the kernel calls main (fib_new_table() in net/ipv4/fib_frontend.c).
    """
    chosen = {step.answer.line: "local" if step.answer.kind == "local" else step.answer.table
              for step in hop.steps if isinstance(step, Routing) and step.answer.line}
    return [*([f"table {table}: {line}", True] for line, table in chosen.items()
              if line not in lines), *([line, line in chosen] for line in lines)]


def page(journeys: Sequence[Mapping[str, Any]]) -> str:
    """The journeys side by side as an HTML file that needs nothing else; arrow keys step."""
    return rendered(TEMPLATES / "page.html.j2", [TEMPLATES / "journey.css"],
                    [TEMPLATES / "journey.js", TEMPLATES / "page.js"], journeys=journeys)


def rendered(template: Path, styles: Sequence[Path], scripts: Sequence[Path],
             allowed: str = "", **values: Any) -> str:
    """A page of ``template`` with its styles and scripts inside.

    Its ``policy`` (Content-Security-Policy) lets it run these scripts, load nothing, and do what
    ``allowed`` adds.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    css, script = ("\n".join(path.read_text(encoding="utf-8") for path in paths)
                   for paths in (styles, scripts))
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(loader=FileSystemLoader(template.parent), autoescape=True,
                              undefined=StrictUndefined)
    return environment.get_template(template.name).render(
        css=Markup(css), script=Markup(script), **values,
        policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
               f" script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'{allowed}")
