"""A report as one HTML file that needs nothing else: no network, no other file, no script.

:func:`page` makes it of a :class:`~calico_mn.report.document.Document`. Pure. Names in it come
from files of others: everything is escaped, and a Content-Security-Policy forbids the browser to
load anything or to run any script but the one that copies commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from calico_mn.report.document import Document
from calico_mn.report.page import parts
from calico_mn.report.page.style import CSS, POLICY, SCRIPT

__all__ = ["page"]


def page(document: Document, files: Sequence[str] = ()) -> str:
    """The whole text of report.html; ``files`` are the names of files beside it, to be linked."""
    sections = list(_sections(document, files))
    links = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>'
                    for name, title, _ in sections)
    body = "\n".join(f'<section id="{name}" aria-labelledby="{name}-title">'
                     f'<h2 id="{name}-title">{escape(title)}</h2>\n{content}</section>'
                     for name, title, content in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>{escape(document.title)} \u2013 calico_mn</title>
<link rel="icon" href="data:,">
<style>{CSS}</style>
</head>
<body>
<header class="top">
<p class="kicker">{escape(document.experiment)}</p>
<h1>{escape(document.title)}</h1>
<p class="question">{escape(document.question)}</p>
<p class="about">{escape(_about(document))}</p>
{_alerts(document)}<nav aria-label="Contents"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
<footer>Made by calico_mn: Calico\u2019s data plane, emulated on one machine.</footer>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _about(document: Document) -> str:
    machine = document.environment.get("machine") or {}
    words = [document.date]
    if machine.get("kernel"):
        words.append(f"Linux {machine['kernel']}")
    if machine.get("cpus"):
        words.append(f"{machine['cpus']} CPU{'' if machine['cpus'] == 1 else 's'}")
    return " \u00b7 ".join(words)


def _alerts(document: Document) -> str:
    found = []
    if document.cut_short:
        found.append(f"<strong>Not complete:</strong> {escape(document.cut_short)}. What follows"
                     " rests on what was measured until then.")
    if document.failures:
        count = len(document.failures)
        found.append(f'{count} trial{"" if count == 1 else "s"} failed:'
                     ' <a href="#failures">what happened</a>.')
    return "".join(f'<p class="alert" role="note">{text}</p>\n' for text in found)


def _sections(document: Document, files: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(id, title, content) of each section that has something to say."""
    if document.findings:
        yield "findings", "Findings", parts.listed(document.findings, "findings")
    if document.topology:
        yield "topology", "Topology", parts.figure(document.topology, "picture-topology",
                                                   drawing=True)
    if document.matrices and document.matrices.grids:
        yield ("reachability", document.matrices.title,
               parts.matrices(document.matrices))
    if document.figures:
        yield "plots", "Plots", '<div class="figures">' + "".join(
            parts.figure(one, f"picture-{number}")
            for number, one in enumerate(document.figures, 1)) + "</div>"
    if document.tables:
        yield "tables", "Tables", "".join(map(parts.table, document.tables))
    if document.caveats:
        yield "caveats", "What the numbers cannot say", parts.listed(document.caveats)
    if document.method:
        yield "method", "Method", parts.paragraphs(document.method)
    if document.failures:
        yield "failures", "Failed trials", parts.listed(document.failures)
    if document.reproduce:
        yield "reproduce", "Do it again", (
            '<div class="commands"><div class="bar"></div><pre class="copy" tabindex="0">'
            f"{escape(chr(10).join(document.reproduce))}</pre></div>")
    if document.environment:
        yield "environment", "Environment", parts.environment(document.environment)
    if files:
        yield "files", "Files", parts.files(document, files)
