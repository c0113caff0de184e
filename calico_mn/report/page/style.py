"""How report.html looks on a screen, in the dark, on a phone and on paper; and its one script."""

from __future__ import annotations

import base64
import hashlib

from calico_mn.report.svg import MONO, SANS

CSS = f"""
:root{{--ink:#1c2430;--soft:#566170;--line:#d9dee6;--cable:#7f8b9b;--surface:#ffffff;
--page:#fafbfc;--band:#f3f5f8;--card:#ffffff;--chip:#eaf0f7;--dot:#8fa9c8;--accent:#0b6bab;
--good:#1a7f4b;--bad:#b3261e;--mixed:#8a5a00;--direct:#d9efe3;--tunnel:#ffe3c2;--none:#f9d6d3;
color-scheme:light}}
@media screen and (prefers-color-scheme:dark){{:root{{--ink:#e8ecf1;--soft:#a8b3c1;--line:#343d49;
--cable:#8b97a7;--surface:#171c23;--page:#11151a;--band:#1f262f;--card:#28313c;--chip:#34404e;
--dot:#7592b3;--accent:#6cb6f0;--good:#4cc38a;--bad:#ff8d85;--mixed:#e0b050;--direct:#1c4733;
--tunnel:#5f3d10;--none:#5e2622;color-scheme:dark}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%;text-size-adjust:100%}}
body{{margin:0;background:var(--page);color:var(--ink);font:1rem/1.6 {SANS};
overflow-wrap:break-word}}
main,.top,footer{{max-width:76rem;margin:0 auto;padding:0 1.5rem}}
.top{{padding-top:3.5rem}}
p,li,dd{{max-width:46rem}}
a{{color:var(--accent);text-underline-offset:.18em}}
h1{{font-size:clamp(1.75rem,1.2rem + 2.2vw,2.6rem);line-height:1.15;letter-spacing:-.018em;
margin:.35rem 0 .9rem;max-width:52rem;text-wrap:balance}}
h2{{font-size:1.3rem;line-height:1.3;letter-spacing:-.01em;margin:0 0 1rem}}
h3{{font-size:1rem;line-height:1.4;margin:0 0 .6rem}}
.kicker{{color:var(--accent);font-weight:600;font-size:.875rem;margin:0}}
.question{{font-size:1.2rem;line-height:1.5;color:var(--soft);margin:0 0 1.2rem}}
.about,.note{{color:var(--soft);font-size:.875rem;margin:.2rem 0}}
nav ul{{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.3rem;margin:1.6rem 0 0;
padding:.8rem 0;
border:solid var(--line);border-width:1px 0;max-width:none;font-size:.875rem}}
nav a{{text-decoration:none;display:inline-block;padding:.15rem 0}}
nav a:hover{{text-decoration:underline}}
section{{margin:3.2rem 0;scroll-margin-top:1rem}}
.alert{{border-left:4px solid var(--bad);background:var(--surface);padding:.8rem 1.1rem;
margin:1.2rem 0 0;
max-width:52rem}}
.findings{{list-style:none;padding:0;margin:0}}
.findings li{{padding:1rem 0 1rem 1.3rem;border-left:3px solid var(--line);margin:0 0 .9rem;
font-size:1.0625rem;max-width:56rem}}
.findings li:first-child{{border-left-color:var(--accent);font-size:1.25rem;line-height:1.5}}
.scroll{{overflow-x:auto;-webkit-overflow-scrolling:touch}}
.scroll:focus-visible,a:focus-visible,button:focus-visible{{outline:2px solid var(--accent);
outline-offset:2px}}
figure{{margin:0;position:relative}}
figcaption{{color:var(--soft);font-size:.9375rem;margin-top:.7rem;max-width:46rem}}
.plate{{border:1px solid var(--line);border-radius:10px;background:var(--surface);padding:.5rem}}
.plate svg{{display:block;max-width:100%;height:auto;margin:0 auto}}
.white{{background:#fff}}
.figures{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));
gap:2.4rem 2rem}}
.figures figure{{min-width:0}}
table{{border-collapse:collapse;font-size:.875rem;line-height:1.4}}
caption{{text-align:left;font-weight:600;padding:0 0 .5rem}}
.data{{min-width:min(100%,34rem)}}
.data th,.data td{{padding:.45rem .9rem .45rem .15rem;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line)}}
.data td{{max-width:26rem}}
.data thead th{{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line);
vertical-align:bottom}}
.data .n{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
.data .s{{white-space:nowrap}}
.toned td:first-child{{border-left:4px solid transparent;padding-left:.6rem}}
.toned th:first-child{{padding-left:calc(.6rem + 4px)}}
.data tr.good td:first-child{{border-left-color:var(--good)}}
.data tr.bad td:first-child{{border-left-color:var(--bad)}}
.data tr.mixed td:first-child{{border-left-color:var(--mixed)}}
.table+.table{{margin-top:2.4rem}}
.legend{{list-style:none;display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;padding:0;margin:0 0 1.4rem;
font-size:.875rem;max-width:none}}
.legend span{{display:inline-block;width:1.55rem;line-height:1.55rem;text-align:center;
border-radius:4px;margin-right:.5rem;font-weight:600}}
.grids{{display:flex;flex-wrap:wrap;gap:2rem 2.6rem}}
.grids .scroll{{max-width:100%}}
.grid th{{font-weight:400;color:var(--soft);font-size:.8125rem;padding:0 .6rem 0 0;text-align:right;
white-space:nowrap}}
.grid thead th{{padding:0 2px .2rem;text-align:center;overflow:hidden;
text-overflow:ellipsis}}
.grid td{{width:1.6rem;min-width:1.6rem;height:1.6rem;text-align:center;padding:0;font-weight:600;
border:2px solid var(--page);border-radius:6px}}
.grid .first{{border-left-width:7px}}
.grid tr.first td{{border-top-width:7px}}
.direct{{background:var(--direct)}}
.tunnel{{background:var(--tunnel)}}
.none{{background:var(--none);color:var(--bad)}}
.other{{background:var(--band)}}
.hidden{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
white-space:nowrap}}
.hold{{position:relative}}
pre{{font:.875rem/1.65 {MONO};background:var(--band);border:1px solid var(--line);border-radius:8px;
padding:.9rem 1.1rem;margin:0;overflow-x:auto}}
.commands{{max-width:56rem}}
.bar{{display:flex;justify-content:flex-end;margin:0 0 .4rem;min-height:2rem}}
button{{font:600 .8125rem/1 {SANS};color:var(--accent);background:var(--surface);
border:1px solid var(--line);border-radius:6px;padding:.5rem .8rem;cursor:pointer}}
.facts{{columns:27rem 2;column-gap:3rem}}
.facts>div{{break-inside:avoid;padding-bottom:1.8rem}}
dl{{margin:0;font-size:.875rem}}
dl>div{{display:grid;grid-template-columns:minmax(7.5rem,34%) minmax(0,1fr);gap:1rem;
padding:.35rem 0;
border-bottom:1px solid var(--line)}}
dt{{color:var(--soft)}}
dd{{margin:0;overflow-wrap:anywhere}}
dd dl>div:last-child{{border-bottom:0}}
dd dl>div{{grid-template-columns:minmax(5.5rem,40%) minmax(0,1fr)}}
.files{{padding-left:1.2rem}}
code{{font-family:{MONO};font-size:.9375em}}
footer{{padding-top:1.5rem;padding-bottom:3rem;color:var(--soft);font-size:.875rem}}
@media (max-width:40rem){{main,.top,footer{{padding-left:1rem;padding-right:1rem}}
.top{{padding-top:1.8rem}}section{{margin:2.4rem 0}}.question{{font-size:1.0625rem}}
.findings li{{padding:.5rem 0 .5rem 1rem;font-size:1rem}}
.findings li:first-child{{font-size:1.125rem}}
dl>div{{grid-template-columns:minmax(0,1fr);gap:0}}}}
@media print{{body{{background:#fff;font-size:10.5pt}}nav,button,.bar{{display:none}}
section{{margin:1.4rem 0}}figure,.table tr,.findings li,dl>div{{break-inside:avoid}}
h2,h3{{break-after:avoid}}.scroll,pre{{overflow:visible;white-space:pre-wrap}}
.plate svg{{min-width:0!important}}main,.top,footer{{max-width:none;padding:0}}.top{{padding:0}}
*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}}}
"""

#: adds a copy button where there are commands; without it they can still be selected
SCRIPT = """
for (const pre of document.querySelectorAll("pre.copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  const select = () => {
    const range = document.createRange();
    range.selectNodeContents(pre);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };
  button.addEventListener("click", async () => {
    let done = false;
    try {
      await navigator.clipboard.writeText(pre.textContent);
      done = true;
    } catch {
      select();
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  pre.previousElementSibling.append(button);
}
"""

_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
#: nothing is loaded from anywhere, and only the script above runs
POLICY = ("default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
          f" script-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'")
