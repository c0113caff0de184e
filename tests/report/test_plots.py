"""Pictures: what stands in them, that nothing overlaps, and that the same data gives the same.

Where text lies is asked of matplotlib itself while it draws.
"""

import functools
import hashlib
import io
import itertools
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from calico_mn.measure.fits import line as fit
from calico_mn.measure.statistics import Comparison, Interval
from calico_mn.report import graphics
from calico_mn.report.graphics import lighten, series_styles
from calico_mn.report.plots import canvas
from calico_mn.report.plots.comparison import Group, Limited, Ratio, comparison, deviation, forest
from calico_mn.report.plots.distribution import Curve, distribution
from calico_mn.report.plots.grid import Losses, grid, timeline
from calico_mn.report.plots.lines import Line, _apart, lines
from calico_mn.report.plots.stacks import Stack, stacks

MODES = ("Always", "CrossSubnet", "Never")
PATHS = ("Same node", "Same subnet", "Across subnets")
LONG = "a-namespace-with-a-long-name/and-a-pod-that-nobody-would-call-so-7d4b9c6f5-x2x8k"


def scattered(middle, count=5):
    """Samples around ``middle``, which is their median for an odd count."""
    return tuple(middle * (1 + 0.01 * ((7 * n) % count - count // 2)) for n in range(count))


def compared(middles=(20000.0, 16000.0, 14000.0), count=5, modes=MODES, paths=PATHS, title="Seen"):
    return comparison("goodput", title, "TCP goodput", "Mbit/s", [
        Group(path, mode, scattered(middle + 100 * n, count),
              (middle * 0.98, middle * 1.02) if count > 2 else None, hatched=mode == "Always")
        for path, middle in zip(paths, middles, strict=True) for n, mode in enumerate(modes)],
        hatched="packets seen inside IPIP", note="n = 5")


def distributed(count=200, series=MODES, scale=1.0, panels=PATHS[:2]):
    return distribution("latency", "Seen", "Round-trip time", "us", [
        Curve(panel, mode, tuple(scale * (4 + n + i / 20 + 30 * loaded) for i in range(count)),
              loaded)
        for panel in panels for n, mode in enumerate(series) for loaded in (False, True)])


def lined(series=MODES, sizes=(64, 256, 1400), scale=1.0, count=3, each=""):
    return lines("cost", "Seen", "CPU time per packet", "us",
                 "Pods" if each else "Packet size, bytes", [
        Line(name, tuple((size, scattered(scale * (1 + n / 5 + size / 1000), count))
                         for size in sizes))
        for n, name in enumerate(series)], each=each)


def stacked(labels=MODES, parts=("user", "system", "softirq"), scale=1.0, unit="s"):
    return stacks("cpu", "Seen", "CPU time per gigabyte", unit, [
        Stack(label, tuple((part, scale * (n + 1) / 10) for n, part in enumerate(parts)),
              scattered(scale) if unit == "s" else ()) for label in labels])


def deviating(share=1.001, count=5, series=MODES, paths=PATHS):
    return deviation("limits", "Seen", "TCP goodput", "Mbit/s", [
        Limited(path, mode, tuple(share * v for v in scattered(94.32, count)), 94.32)
        for path in paths for mode in series])


def gridded(rows=("1500", "1480"), columns=("same node", "across subnets")):
    words = itertools.cycle((("works", "good"), ("fragments", "mixed"), ("hangs", "bad")))
    return grid("mtu", "Seen", rows, columns,
                {place: word for place, word in zip(itertools.product(rows, columns), words,
                                                    strict=False)},
                row_heading="pod MTU", column_heading="path")


def timed(labels=("Always to Never, 1", "Always to Never, 2"), farthest=3.0, count=5):
    return timeline("loss", "Seen", "mode changed", [
        Losses(label, tuple(farthest * (n + 1) / count for n in range(count)) if place else (),
               2000) for place, label in enumerate(labels)])


def forested(ratio=0.8, series=MODES[:2], paths=PATHS, interval=True):
    return forest("ratios", "Seen", "Never", [
        Ratio(quantity, path, mode, Comparison(
            6, ratio, Interval(ratio * 0.9, ratio * 1.1, 0.95) if interval else None, "slower"),
            expected=path == PATHS[0])
        for quantity in ("TCP throughput", "Round trip") for path in paths for mode in series])


USUAL = {
    "forest": forested,
    "comparison": compared, "distribution": distributed, "lines": lined,
    "growth": lambda: lined(each="Pod"), "stacks": stacked, "shares": lambda: stacked(unit="%"),
    "deviation": deviating, "grid": gridded, "timeline": timed,
}
MANY = tuple(f"series {n}" for n in range(30))
EXTREME = {
    "forest, no interval": lambda: forested(interval=False),
    "forest, far apart": lambda: forested(0.001),
    "forest, all 1": lambda: forested(1.0, interval=False),
    "forest, long names": lambda: forested(series=(LONG,), paths=(LONG, "b")),
    "comparison, one sample": lambda: compared(count=1),
    "comparison, far apart": lambda: compared((1e-3, 94.0, 1.5e7)),
    "comparison, 30 groups": lambda: compared((100.0,), modes=MANY, paths=("One path",)),
    "comparison, 30 paths": lambda: compared((100.0,) * 30, modes=("Never",), paths=MANY),
    "comparison, long names": lambda: compared(modes=(LONG, *MODES), paths=(LONG, "b", "c"),
                                               title=f"{LONG} and {LONG}"),
    "comparison, only zeros": lambda: compared((0.0,), modes=("Never",), paths=("One",), count=1),
    "distribution, one sample": lambda: distributed(1),
    "distribution, 30 series": lambda: distributed(20, MANY, panels=("One path",)),
    "distribution, long names": lambda: distributed(series=(LONG,), panels=(LONG,)),
    "distribution, equal": lambda: distribution("x", "t", "q", "us", [
        Curve("p", mode, (5.0,) * 9) for mode in MODES]),
    "distribution, much beyond": lambda: distribution("x", "t", "q", "us", [
        Curve(panel, mode, (*(10.0 + i / 20 for i in range(396)), 500.0, 1e4, 1e7, 123456789.0))
        for panel in PATHS for mode in MODES]),
    "distribution, far apart": lambda: distribution("x", "t", "q", "us", [
        Curve("p", "Never", (0.001, 1.0, 1e9))]),
    "lines, one point": lambda: lined(sizes=(64,), count=1),
    "lines, 30 series": lambda: lined(series=MANY),
    "lines, many sizes": lambda: lined(sizes=tuple(range(64, 1500, 20))),
    "lines, far apart": lambda: lines("x", "t", "q", "us", "x", [
        Line("Never", ((1, (1e-3,)), (10**6, (1e9,))))]),
    "lines, long names": lambda: lined(series=(LONG, f"{LONG}, offloads off")),
    "growth, one count": lambda: lined(each="Pod", sizes=(5,)),
    "growth, huge": lambda: lined(each="Pod", scale=1e12),
    "stacks, one": lambda: stacked(labels=("Never",), parts=("all",)),
    "stacks, 30": lambda: stacked(labels=MANY, parts=MANY[:9]),
    "stacks, long names": lambda: stacked(labels=(LONG,), parts=(LONG, "b", LONG + "2", "c")),
    "shares, nothing sent": lambda: stacked(unit="%", scale=0.0),
    "deviation, one sample": lambda: deviating(count=1),
    "deviation, far off": lambda: deviating(0.02),
    "deviation, much too fast": lambda: deviating(300.0),
    "deviation, long names": lambda: deviating(series=(LONG,), paths=(LONG, "b")),
    "grid, one cell": lambda: gridded(("a",), ("b",)),
    "grid, 30 columns": lambda: gridded(MANY[:4], MANY),
    "grid, long names": lambda: gridded((LONG, "b"), (LONG, "c")),
    "timeline, one packet": lambda: timed(count=1),
    "timeline, 30 rows": lambda: timed(MANY, 60000.0, 100),
    "timeline, long names": lambda: timed((LONG, LONG + "2")),
}


def drawn(draw):
    """The figure, and (text, box in pixels, width and height of the canvas) of each of its texts.

    They are as written last, which is when drawn as PNG.
    """
    found = {}
    really = Text.draw

    def watched(self, renderer, *args, **kwargs):
        really(self, renderer, *args, **kwargs)
        if self.get_text().strip() and self.get_visible():
            canvas = self.get_figure(root=True).bbox
            found[self] = (self.get_text(), self.get_window_extent(renderer), canvas.width,
                           canvas.height)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", watched)
        figure = draw()
    return figure, list(found.values())


@functools.cache
def usual_drawn(name):
    """Drawn once: several tests look at it."""
    return drawn(USUAL[name])


def usual(name):
    return usual_drawn(name)[0]


@pytest.mark.parametrize("name", [*USUAL, *EXTREME])
def test_no_text_leaves_the_picture_or_touches_another(name):
    _, written = usual_drawn(name) if name in USUAL else drawn(EXTREME[name])
    assert len(written) >= 4
    slack = 1.5  # pixels of 200 to an inch: boxes have a little air
    for text, box, width, height in written:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (one, a, *_), (other, b, *_) in itertools.combinations(written, 2):
        apart = (a.x1 <= b.x0 + slack or b.x1 <= a.x0 + slack
                 or a.y1 <= b.y0 + slack or b.y1 <= a.y0 + slack)
        assert apart, f"{one!r} and {other!r} overlap"


@pytest.mark.parametrize("name", USUAL)
def test_the_svg_needs_nothing_else_and_the_png_shows_the_same(name):
    figure = usual(name)
    root = ElementTree.fromstring(figure.svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "Seen" in "".join(root.itertext())
    # Nothing from elsewhere, no date; letters are text, in a font that every screen has.
    assert not re.search(r"<script|<metadata|<image|href=\"http", figure.svg)
    assert {family for family in re.findall(r"font(?:-family)?: ?([^;\"]*)", figure.svg)
            if not family.endswith("sans-serif")} == set()
    ids = re.findall(r' id="([^"]*)"', figure.svg)
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href="#|url\(#)([^")]*)', figure.svg)
    assert set(used) <= set(ids)
    assert len(figure.svg) < 100_000
    picture = imread(io.BytesIO(figure.png))
    box = [float(part) for part in root.attrib["viewBox"].split()]
    assert picture.shape[1] / picture.shape[0] == pytest.approx(box[2] / box[3], rel=0.01)
    assert (picture[..., :3] < 0.9).any()
    assert figure.alt and "\n" not in figure.alt


def test_letters_are_readable_on_a_phone():
    """A phone shows 400 points on about 360 CSS pixels."""
    for name in USUAL:
        found = re.findall(r"font(?:-size)?: (?:\w+ )?([\d.]+)px", usual(name).svg)
        sizes = [float(size) for size in found]
        assert sizes and min(sizes) >= canvas.SMALL
    assert canvas.SMALL * 360 / canvas.WIDTH > 8


def digest():
    summed = hashlib.sha256()
    for name in USUAL:
        figure = usual(name)
        summed.update(figure.svg.encode() + figure.png)
    return summed.hexdigest()


def test_the_same_data_gives_the_same_bytes_in_every_process(tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")
    code = "from tests.report.test_plots import digest; print(digest())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=120, text=True,
                          capture_output=True,
                          env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.getcwd()})
    assert done.stdout.strip() == digest(), done.stderr


def test_the_home_directory_stays_as_it_was_and_import_is_light(tmp_path):
    code = """
import sys
from calico_mn.report.plots import comparison, grid, lines, stacks
assert "matplotlib" not in sys.modules
comparison.comparison("x", "t", "q", "s", [comparison.Group("a", "b", (1.0,))])
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DISPLAY")}
    home = tmp_path / "home"
    home.mkdir()
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    done = subprocess.run([sys.executable, "-c", code], timeout=120, text=True,
                          capture_output=True, cwd=os.getcwd(),
                          env={**environment, "HOME": str(home), "TMPDIR": str(scratch)})
    assert done.returncode == 0, done.stderr
    assert not list(home.iterdir()) and not list(scratch.iterdir())
    assert done.stderr == ""


@pytest.mark.parametrize("draw", [
    pytest.param(lambda: comparison("x", "Goodput", "q", "s", []), id="comparison"),
    pytest.param(lambda: comparison("x", "Goodput", "q", "s", [Group("a", "b", ())]),
                 id="a group without samples only"),
    pytest.param(lambda: distribution("x", "Goodput", "q", "s", [Curve("a", "b", ())]),
                 id="distribution"),
    pytest.param(lambda: lines("x", "Goodput", "q", "s", "n", [Line("a", ((1, ()),))]),
                 id="lines"),
    pytest.param(lambda: lines("x", "Goodput", "q", "s", "n", [], each="n"), id="growth"),
    pytest.param(lambda: stacks("x", "Goodput", "q", "s", [Stack("a", ())]), id="stacks"),
    pytest.param(lambda: stacks("x", "Goodput", "q", "%", []), id="shares"),
    pytest.param(lambda: deviation("x", "Goodput", "q", "s", []), id="deviation"),
    pytest.param(lambda: forest("x", "Goodput", "Never", []), id="forest"),
    pytest.param(lambda: grid("x", "Goodput", ["a"], ["b"], {}), id="grid"),
    pytest.param(lambda: timeline("x", "Goodput", "e", []), id="timeline"),
])
def test_nothing_to_draw_is_an_error_that_names_the_picture(draw):
    with pytest.raises(ValueError, match="Goodput: nothing to draw"):
        draw()


@pytest.mark.parametrize(("draw", "says"), [
    pytest.param(lambda: comparison("x", "t", "q", "s", [Group("a", "b", (float("nan"),))]),
                 "a, b: nan", id="not a number"),
    pytest.param(lambda: stacks("x", "t", "q", "s", [Stack("a", (("user", -1.0),))]),
                 "a, user: -1", id="a negative part"),
    pytest.param(lambda: deviation("x", "t", "q", "s", [Limited("a", "b", (1.0,), 0.0)]),
                 "a, b: no share of 0", id="a limit of nothing"),
    pytest.param(lambda: grid("x", "t", ["a"], ["b"], {("a", "z"): ("works", "good")}),
                 "none of the rows", id="a cell of no column"),
    pytest.param(lambda: grid("x", "t", ["a"], ["b"], {("a", "b"): ("works", "nice")}),
                 "unknown tone", id="an unknown tone"),
])
def test_what_cannot_be_drawn_is_told(draw, says):
    with pytest.raises(ValueError, match=says):
        draw()


def words(figure):
    return list(ElementTree.fromstring(figure.svg).itertext())


def test_a_forest_plot_says_ratio_interval_its_level_and_n():
    said = words(forested(0.8))
    assert {"0.80", "0.72 to 0.88, n = 6", "TCP throughput", "ratio to Never"} <= set(said)
    lead = " ".join(" ".join(said).split())
    assert "line: its 95 % interval" in lead and "Hollow: the same packets as Never" in lead


def test_a_comparison_says_medians_and_intervals_in_a_fitting_unit():
    said = words(comparison("x", "t", "TCP goodput", "Mbit/s", [
        Group("Same node", "Never", (19000.0, 21000.0, 20000.0), (19000.0, 21000.0)),
        Group("Same node", "Always", ())]))
    assert {"20.0", "19.0 to 21.0", "median, Gbit/s", "TCP goodput, Gbit/s", "measured",
            } <= set(said)


@pytest.mark.parametrize(("slow", "axes"), [(6000.0, 1), (94.0, 2)])
def test_paths_share_an_axis_unless_far_apart(slow, axes):
    said = words(comparison("x", "t", "Goodput", "Mbit/s", [
        Group("Fast", "Never", (20000.0,)), Group("Slow", "Never", (slow,))]))
    assert sum(text.startswith("Goodput, ") for text in said) == axes


def test_every_sample_is_a_dot():
    figure = comparison("x", "t", "q", "s", [Group("a", "Never", scattered(5.0, 7))])
    assert figure.svg.count("<use ") >= 7


def test_a_share_of_few_samples_is_not_called_p99():
    said = words(distributed(100, MODES[:1], panels=("a",)))
    assert "p99" in said and "largest" not in said
    said = words(distributed(99, MODES[:1], panels=("a",)))
    assert "largest" in said and "p99" not in said


@pytest.mark.parametrize(("rare", "beyond"), [
    (0, None), (2, "Beyond the axis: 2 of 400 samples, up to 9,001 \u00b5s.")],
    ids=["none", "two"])
def test_an_axis_ends_after_p99_and_says_what_lies_beyond(rare, beyond):
    found = distribution("x", "t", "q", "us", [
        Curve("p", mode, (*(10.0 + i / 20 for i in range(200 - n)), *(9000.0 + n,) * n))
        for mode, n in (("Always", rare // 2), ("Never", rare // 2))])
    ticks = [text for text in words(found) if re.fullmatch(r"[\d,]+", text)]
    assert max(int(text.replace(",", "")) for text in ticks) < 100
    said = [text for text in words(found) if text.startswith("Beyond")]
    assert said == ([beyond] if beyond else [])
    assert (beyond.rstrip(".") if beyond else "p99 19.9") in found.alt


def test_an_axis_with_few_samples_shows_them_all():
    found = distribution("x", "t", "q", "us", [Curve("p", "Never", (*(10.0,) * 98, 9000.0))])
    assert not [text for text in words(found) if text.startswith("Beyond")]
    assert "1,000" in words(found)


def test_a_series_is_named_once_beside_its_curves():
    assert words(distributed(series=("Never",), panels=("a",))).count("Never") == 2


def test_growth_tells_its_formula():
    said = words(lines("x", "t", "Boot time", "s", "pods", [
        Line("boot", tuple((n, (0.5 + 0.01 * n,)) for n in (10, 20, 50)))], each="pod"))
    assert {"0.500 s", "+ 10.0 ms per pod"} <= set(said)
    assert any(text.startswith("R\u00b2 = 1.0000") for text in said)


def test_a_row_without_losses_says_so():
    assert "none lost" in words(timed()) and "5 lost" in words(timed())


def test_a_cell_has_a_sign_besides_its_colour():
    said = words(gridded(("1500",), ("a", "b", "c")))
    assert {"\u2713 works", "\u2717 hangs"} <= set(said)


def test_labels_are_moved_apart_within_their_room():
    tops = _apart([40, 41, 42, -5, 94], [20, 20, 20, 10, 10], 100)
    assert tops == pytest.approx([30, 50, 70, 0, 90])
    assert _apart([5, 5, 5], [40, 40, 40], 120) == pytest.approx([0, 40, 80])


@pytest.mark.parametrize(("points", "intercept", "slope", "r2"), [
    ([(0, 1), (1, 3), (2, 5)], 1, 2, 1),
    ([(0, 0), (1, 1), (2, 1), (3, 2)], 0.1, 0.6, 0.9),
    ([(1, 2), (2, 3)], 1, 1, None),
    ([(1, 5), (2, 5), (3, 5)], 5, 0, None)])
def test_a_line_is_fitted(points, intercept, slope, r2):
    found = fit(points)
    assert (found.intercept, found.slope) == pytest.approx((intercept, slope))
    assert found.r2 == (r2 if r2 is None else pytest.approx(r2))


def test_no_line_goes_through_one_count():
    assert fit([(1, 2), (1, 3)]) is None


@pytest.mark.parametrize(("share", "colour"), [(0, "#ffffff"), (0.5, "#ff8080"), (1, "#ff0000")])
def test_a_colour_is_paled(share, colour):
    assert lighten("#ff0000", share) == colour


def luminance(colour):
    """Relative luminance of sRGB (WCAG 2.2)."""
    parts = (int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
              for part in parts)
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", graphics.LETTERS.values())
def test_letters_are_dark_enough_on_white(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_every_look_has_letters():
    assert all(look.text for look in series_styles([*MANY, *graphics.MODES]).values())


def test_looks_are_told_apart_and_known_ones_stay():
    found = series_styles(["Never", "VXLAN", "Always, GSO off", "WireGuard"])
    assert found["Never"].colour == graphics.GREEN
    assert found["Always, GSO off"].colour == graphics.VERMILION
    assert len({(look.colour, look.marker) for look in found.values()}) == 4
    assert len(set(series_styles(MANY).values())) == len(MANY)
