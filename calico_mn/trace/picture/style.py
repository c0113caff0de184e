"""How a slide looks: its bands from top to bottom in pixels, and one style sheet.

Every rule is about ``.journey``, so that none leaks into a page around it.
"""

from __future__ import annotations

from calico_mn.report import palette
from calico_mn.report.svg import MONO, SANS

#: bars of headers: where the outer's and the inner's begin, and how high they are
OUTER_TOP, INNER_TOP, BAR = 140.0, 216.0, 64.0
#: cards of namespaces, and the line on which packets go through them
CARD_TOP, CARD_BOTTOM, WAY = 312.0, 500.0, 436.0
TUNNEL_TOP, TUNNEL_HEIGHT = 378.0, 40.0
#: routes and ARP under each host
NOTES_TOP, NOTES_BOTTOM = 528.0, 784.0
#: the reason of a death, or what else is to be said
FOOT_TOP = 790.0

_INNER, _OUTER = palette.BLUE, palette.VERMILION
_STOP = "#c81e1e"

CSS = f"""
.journey text{{font-family:{SANS};fill:#1c2430}}
.journey .paper{{fill:#fff}}
.journey .title{{font-size:34px;font-weight:700}}
.journey .sub{{font-size:22px;fill:#4a5565}}
.journey .good{{font-size:22px;font-weight:600;fill:#1a7f4b}}
.journey .bad{{font-size:22px;font-weight:600;fill:#b3261e}}
.journey .card{{fill:#f3f5f8;stroke:#9aa6b5;stroke-width:2}}
.journey .host{{fill:#fff}}
.journey .never{{fill:none;stroke:#9aa6b5;stroke-width:2;stroke-dasharray:8 7}}
.journey .kind{{font-size:16px;fill:#5b6675}}
.journey .header{{fill:{_OUTER};font-weight:600}}
.journey .stop{{fill:{_STOP};font-weight:700}}
.journey .inner{{fill:{_INNER}}}
.journey .outer{{fill:{_OUTER}}}
.journey .on{{font-weight:700;fill:#fff}}
.journey .chip{{fill:#fff}}
.journey .core{{fill:none;stroke:{_INNER};stroke-width:6;stroke-linejoin:round}}
.journey .tube{{fill:none;stroke:{_OUTER};stroke-width:18;stroke-linejoin:round}}
.journey .bore{{fill:none;stroke:#fff;stroke-width:10;stroke-linejoin:round}}
.journey .guide{{stroke:{_OUTER};stroke-width:2;stroke-dasharray:5 5}}
.journey .tunl0{{fill:#fff;stroke:{_OUTER};stroke-width:3}}
.journey .port{{fill:#fff;stroke:{_INNER};stroke-width:3}}
.journey .cross{{stroke:{_STOP};stroke-width:10;stroke-linecap:round}}
.journey .halo{{stroke:#fff;stroke-width:18;stroke-linecap:round}}
.journey .panel{{fill:#fdecea;stroke:{_STOP};stroke-width:2}}
.journey .mono{{font-family:{MONO}}}
.journey .foot{{font-size:19px;fill:#4a5565}}
.journey .proof{{font-size:18px;fill:#5b6675}}
.journey .reason{{font-size:21px;fill:#7a1712}}
"""
