"""How a drawing looks: one style sheet, on light and on dark paper.

The colours of modes are the palette's. In a page the others are the page's, by its variables
(``--ink``, ``--surface`` ...); alone, the drawing has its own. Every rule is about ``.cluster``, so
that none leaks into a page around it.
"""

from __future__ import annotations

import re

from calico_mn.report.svg import MONO, SANS

_LIGHT = {"ink": "#1c2430", "soft": "#5b6675", "line": "#c3cbd6", "cable": "#7f8b9b",
          "surface": "#ffffff", "band": "#f3f5f8", "card": "#ffffff", "chip": "#eaf0f7",
          "dot": "#8fa9c8", "good": "#1a7f4b", "bad": "#b3261e"}
_DARK = {"ink": "#e8ecf1", "soft": "#a3aebc", "line": "#465161", "cable": "#8b97a7",
         "surface": "#171c23", "band": "#1f262f", "card": "#28313c", "chip": "#34404e",
         "dot": "#7592b3", "good": "#4cc38a", "bad": "#ff8078"}


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--d-{name}:var(--{name},{value});" for name, value in colours.items())


def _with_plain_colours(rules: str) -> str:
    """Before each colour from a variable the colour itself: librsvg and others know no variables
    and would paint everything black."""
    return re.sub(r"(fill|stroke):var\(--d-(\w+)\)",
                  lambda found: f"{found[1]}:{_LIGHT[found[2]]};{found[0]}", rules)


CSS = _with_plain_colours(f"""
.cluster{{{_variables(_LIGHT)}}}
@media screen and (prefers-color-scheme:dark){{.cluster{{{_variables(_DARK)}}}}}
.cluster text{{font-family:{SANS};font-size:12px;fill:var(--d-ink)}}
.cluster .paper{{fill:var(--d-surface)}}
.cluster .subnet{{fill:var(--d-band);stroke:var(--d-line)}}
.cluster .bus{{stroke:var(--d-soft);stroke-width:4;stroke-linecap:round}}
.cluster .cable,.cluster .stub{{fill:none;stroke:var(--d-cable);stroke-width:1.5}}
.cluster .join{{fill:var(--d-soft)}}
.cluster .node,.cluster .router{{fill:var(--d-card);stroke:var(--d-line)}}
.cluster .router{{stroke:var(--d-soft);stroke-width:1.5}}
.cluster .pod{{fill:var(--d-chip)}}
.cluster .dots{{fill:var(--d-dot)}}
.cluster .knows{{fill:var(--d-good)}}
.cluster .knows-not{{fill:none;stroke:var(--d-soft);stroke-width:1.5}}
.cluster .name{{font-size:14px;font-weight:600}}
.cluster .fact,.cluster .dim{{fill:var(--d-soft)}}
.cluster .mono,.cluster .mono-dim{{font-family:{MONO}}}
.cluster .mono-dim{{font-size:11.5px;fill:var(--d-soft)}}
.cluster .way{{fill:none;stroke-width:2.5}}
.cluster .tube{{fill:none;stroke-width:10}}
.cluster .bore{{fill:none;stroke:var(--d-surface);stroke-width:7}}
.cluster .lost{{stroke:var(--d-bad);stroke-width:3;stroke-linecap:round}}
.cluster .badge{{font-size:11px;font-weight:700;fill:#fff}}
""")
