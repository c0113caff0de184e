"""report.html: its structure, that nothing in it gets out of its place, and a browser's opinion."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support import browser, report

from calico_mn.report.document import Table
from calico_mn.report.page import page

#: elements without an end
VOID = {"meta", "link", "br", "img", "input", "hr"}
SVG = "data:image/svg+xml;base64,"


class Reader(HTMLParser):
    """What is in a page: elements with attributes and depth, texts; ends must match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> inside of {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def whole():
    return page(report.document(), ("throughput.csv", "results.jsonl"))


def test_the_page_has_a_title_a_language_and_one_first_heading(whole):
    read = Reader(whole)
    assert read.all("html") == [{"lang": "en"}]
    assert ("title", "Calico's IPIP modes compared \u2013 calico_mn") in read.texts
    assert [text for tag, text in read.texts if tag == "h1"] == ["Calico's IPIP modes compared"]
    headings = [int(tag[1]) for tag, _ in read.found if re.fullmatch("h[1-6]", tag)]
    assert all(level - before <= 1 for before, level in zip([0, *headings], headings,
                                                            strict=False))


def test_findings_come_before_everything_else(whole):
    titles = [text for tag, text in Reader(whole).texts if tag == "h2"]
    assert titles == ["Findings", "Who reaches whom, on the fabric as it is", "Plots", "Tables",
                      "What the numbers cannot say", "Topology", "Method", "Do it again",
                      "Environment", "Files"]


def test_ids_are_unique_and_every_link_inside_leads_somewhere(whole):
    read = Reader(whole)
    ids = [found["id"] for _, found in read.found if "id" in found]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    links = [found["href"] for _, found in read.found if (found.get("href") or "").startswith("#")]
    assert len(links) == 10
    assert {link[1:] for link in links} <= set(ids)


def test_nothing_is_loaded_and_only_the_known_script_runs(whole):
    read = Reader(whole)
    (policy,) = (m["content"] for m in read.all("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "http" not in policy
    assert len(read.all("script")) == 1
    for _, found in read.found:
        for name in ("src", "href"):
            assert not re.match(r"(?!data:)[a-z]+:|//", found.get(name) or ""), found


def test_a_plot_has_a_heading_that_is_not_shown_twice(whole):
    assert whole.count('<h3 class="hidden">TCP throughput</h3>') == 1
    assert "<h3>TCP throughput</h3>" not in whole


def test_pictures_are_images_with_words_that_are_the_whole_svg():
    made = report.document()
    images = Reader(page(made)).all("img")
    assert [image["alt"] for image in images] == [
        figure.alt for figure in (*made.figures, made.topology)]
    for image, figure in zip(images, (*made.figures, made.topology), strict=True):
        assert base64.b64decode(image["src"].removeprefix(SVG)).decode() == figure.svg
    # 400 points are 533 CSS pixels; a drawing's small letters allow less.
    assert re.fullmatch(r"min-width:\d{3,4}px", images[-1]["style"])
    assert images[0]["style"] == "min-width:317px"


def test_numbers_stand_right_and_words_left(whole):
    read = Reader(whole)
    columns = [found.get("class") for found in read.all("th") if found.get("scope") == "col"]
    assert columns[:8] == ["s", "s", "s", "n", "n", "n", "s", "s"]
    cells = whole[whole.index('<tr class="bad">'):][:400]
    assert '<td class="n">19,533</td><td class="n">0.89</td>' in cells


def test_a_matrix_says_in_words_what_its_colours_say(whole):
    assert '<caption>Never: 14 of 30 pairs</caption>' in whole
    assert ('<td class="none first" title="default/web-0 to default/web-2: unreachable">'
            '<span aria-hidden="true">\u2715</span><span class="hidden">unreachable</span></td>'
            ) in whole


def test_what_was_cut_short_or_failed_is_said_first():
    text = page(report.hostile())
    assert text.index("Not complete:") < text.index("<main>")
    assert text.index("1 trial failed") < text.index("<main>")


def test_parts_that_have_nothing_to_say_are_left_out():
    bare = replace(report.document(), tables=(), figures=(), caveats=(), reproduce=(),
                   topology=None, matrices=None, environment={}, method=(), findings=())
    assert "<h2" not in page(bare)


def test_markup_in_names_is_text():
    read = Reader(page(report.hostile()))
    assert all(image["src"].startswith(SVG) for image in read.all("img"))
    assert len(read.all("img")) == 2 and read.all("b") == [] and read.all("svg") == []
    assert len(read.all("script")) == 1
    for _, found in read.found:
        assert not [name for name in found if name.startswith("on")], found
        assert "javascript:" not in (found.get("href") or "")
    shown = sum(report.NASTY in text for _, text in read.texts)
    assert shown >= 20


# ---------------------------------------------------------------- in a browser

LOOK = """
(() => {
  const wrong = [], wide = innerWidth;
  if (document.documentElement.scrollWidth > wide)
    wrong.push(`the page is ${document.documentElement.scrollWidth} px wide on ${wide}`);
  for (const e of document.querySelectorAll("body *")) {
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    const own = [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim());
    const name = `<${e.localName} class="${e.getAttribute("class") || ""}">`;
    if (own && !["script", "style", "title", "desc"].includes(e.localName)
        && parseFloat(style.fontSize) < 11)
      wrong.push(`${name} has letters of ${style.fontSize}: ${e.textContent.slice(0, 30)}`);
    if (box.width && !e.closest(".scroll, pre, .hidden") && box.right > wide + 1)
      wrong.push(`${name} ends at ${box.right}: ${e.textContent.slice(0, 30)}`);
    if (e.localName == "img" && !e.alt || e.localName == "svg" && !e.getAttribute("aria-label"))
      wrong.push(`${name} has no words`);
  }
  return wrong;
})()
"""

DRAWN = """
[...document.querySelectorAll("text")].filter(t => t.getClientRects().length).map(t => {
  const b = t.getBoundingClientRect();
  return [b.left, b.top, b.right, b.bottom, t.textContent];
})
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    path = browser.find()
    if path is None:
        pytest.skip("needs Chromium (Debian: chromium; Ubuntu's is a snap, which sees no files in"
                    " /tmp): ./install.sh develop")
    with browser.browser(path) as found:
        yield found


def complaints(seen: browser.Browser, text: str, path: Path, width: int, **screen: bool
               ) -> list[str]:
    """Everything that is wrong with a page on a screen of that width."""
    path.write_text(text, encoding="utf-8")
    seen.open(path.as_uri(), width, 800, **screen)
    wrong: list[str] = seen.ask(LOOK)
    for event in seen.events:
        what = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            wrong.append(f"script: {what['exceptionDetails']['text']}")
        elif event["method"] == "Log.entryAdded":
            wrong.append(f"log: {what['entry']['text']}")
        elif event["method"] == "Runtime.consoleAPICalled":
            wrong.append(f"console: {what['args'][0].get('value')}")
        elif event["method"] == "Network.requestWillBeSent":
            url = what["request"]["url"]
            if url != path.as_uri() and not url.startswith("data:"):
                wrong.append(f"request: {url}")
    return wrong


@pytest.mark.parametrize(("width", "screen"), [
    pytest.param(360, {"mobile": True}, id="phone"),
    pytest.param(360, {"mobile": True, "dark": True, "scripts": False}, id="phone, no scripts"),
    pytest.param(1280, {}, id="laptop"),
    pytest.param(1280, {"dark": True}, id="laptop, dark"),
])
@pytest.mark.parametrize("made", [report.document, report.hostile], ids=["report", "hostile"])
def test_a_browser_has_nothing_to_complain_about(chromium, tmp_path, made, width, screen):
    text = page(made(), ("throughput.csv",))
    assert complaints(chromium, text, tmp_path / "report.html", width, **screen) == []


@pytest.mark.parametrize(("broken", "complaint"), [
    pytest.param("<script>console.error('no')</script>", "console: no", id="console"),
    pytest.param("<script>throw Error('no')</script>", "script: Uncaught", id="exception"),
    pytest.param('<img src="http://192.0.2.1/x.png" alt="x">', "request: http://192.0.2.1/x.png",
                 id="network"),
    pytest.param('<div style="width:2000px;height:9px"></div>', "the page is 2", id="too wide"),
    pytest.param('<p style="overflow:hidden;font-size:8px">small</p>', "<p class=\"\"> has letters"
                 " of 8px", id="small letters"),
    pytest.param('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">',
                 '<img class=""> has no words', id="no words"),
])
def test_the_browser_does_complain_about_a_broken_page(chromium, tmp_path, broken, complaint):
    text = f"<!DOCTYPE html><title>x</title><body>{broken}"
    found = complaints(chromium, text, tmp_path / "broken.html", 360)
    assert [text for text in found if text.startswith(complaint)], found


def test_the_policy_stops_what_escaping_would_have_missed(chromium, tmp_path, whole):
    broken = whole.replace("<main>", '<main><img src="http://192.0.2.1/x.png" alt="x">'
                           "<script>console.error('ran')</script>")
    found = complaints(chromium, broken, tmp_path / "broken.html", 1280)
    assert not [text for text in found if text.startswith("console")]
    assert len([text for text in found if "violates the following Content Security" in text]) == 2


def test_a_click_copies_the_commands(chromium, tmp_path, whole):
    assert complaints(chromium, whole, tmp_path / "report.html", 1280) == []
    chromium.ask("document.querySelector('button').click()")
    chromium.ask("new Promise(done => setTimeout(done, 300))")
    assert chromium.ask("document.querySelector('button').textContent") in ("Copied", "Selected")


def assert_apart(chromium: browser.Browser, path: Path) -> None:
    """No two texts of a picture overlap."""
    chromium.open(path.as_uri(), 1600, 1200)
    boxes = chromium.ask(DRAWN)
    assert len(boxes) > 10
    for place, (left, top, right, bottom, text) in enumerate(boxes):
        for other in boxes[place + 1:]:
            apart = right <= other[0] or other[2] <= left or bottom - 2 <= other[1] \
                or other[3] - 2 <= top
            assert apart, f"{text} overlaps {other[4]}"


@pytest.mark.parametrize("name", ["article", "two-subnets", "racks", "two-paths"])
def test_no_two_texts_of_a_drawing_overlap(chromium, tmp_path, name):
    path = tmp_path / "topology.svg"
    path.write_text(report.topology(name).svg, encoding="utf-8")
    assert_apart(chromium, path)


def test_the_head_says_how_much_was_measured_and_that_a_quick_run_is_one():
    made = replace(report.document(), design=("6 repeats", "1 s a measurement", "seed 1"),
                   quick=True)
    head = page(made).partition("<main>")[0]
    assert "2 CPUs \u00b7 6 repeats \u00b7 1 s a measurement \u00b7 seed 1" in head
    assert "<strong>Quick run:</strong> do not report these numbers." in head
    assert "Quick run" not in page(replace(made, quick=False))


@pytest.mark.parametrize(("text", "shown"), [
    ("RTT us", "RTT \u00b5s"), ("by 10^9 bytes", "by 10\u2079 bytes"),
    ("+1.50 us a packet (R2 = 0.99)", "+1.50 \u00b5s a packet (R\u00b2 = 0.99)"),
    ("default/us to us-1, status", "default/us to us-1, status")])
def test_units_are_as_in_print(text, shown):
    table = Table("t", text, ("a",), (("1",),))
    assert f"<caption>{shown}</caption>" in page(replace(report.document(), tables=(table,)))


def test_what_names_a_row_stays_where_it_takes_two_columns():
    rows = tuple((path, mode, 1.0) for path in ("near", "far away") for mode in ("a", "b"))
    two, one = (page(replace(report.document(), tables=(Table("t", "T", ("x", "y", "z"), rows),)))
                for rows in (rows, rows[::2]))
    assert '<table class="data two" style="--key:5.6rem">' in two
    assert '<table class="data">' in one


def test_coloured_edges_are_explained(whole):
    assert '<span class="good">good</span>' in whole and '<span class="bad">bad</span>' in whole
    assert '<span class="mixed">' not in whole


def test_a_caption_that_several_pictures_have_stands_once():
    made = report.document()
    figures = tuple(replace(figure, caption="the same") for figure in made.figures)
    assert len(figures) == 2
    assert page(replace(made, figures=figures)).count("<figcaption>the same</figcaption>") == 1


def test_mitigations_are_sentences_and_what_the_cpu_does_not_have_comes_last():
    machine = {"mitigations": {"meltdown": "Not affected", "retbleed": "Vulnerable",
                               "spec_store_bypass": "Vulnerable", "mds": "Not affected"}}
    text = page(replace(report.document(), environment={"machine": machine}))
    assert ("retbleed: Vulnerable. spec store bypass: Vulnerable. Not affected: meltdown, mds"
            in text)
