"""What a report leaves on disk and on the terminal."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from rich.console import Console
from support import report

from calico_mn.report import terminal
from calico_mn.report.document import Numbers, Table, format_cell, median_of, range_of, rounded
from calico_mn.report.page import publish


def test_every_table_and_picture_becomes_a_file(tmp_path):
    names = publish(tmp_path, report.document())
    assert names == ("report.html", "throughput.csv", "switching.csv", "topology.svg",
                     "throughput-plot.svg", "throughput-plot.png", "latency-plot.svg",
                     "latency-plot.png")
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert (tmp_path / "latency-plot.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name in names[1:]:
        assert f'<a href="{name}">' in text


def test_files_of_others_are_linked_too(tmp_path):
    publish(tmp_path, report.document(), ("results.jsonl",))
    assert '<a href="results.jsonl">' in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_numbers_stay_numbers_in_the_csv(tmp_path):
    publish(tmp_path, report.document())
    rows = list(csv.reader((tmp_path / "throughput.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[1] == ["Always", "same-node", "False", "5", "26312.4", "0.97", "", "same packets"]


def test_a_cell_of_several_numbers_is_several_columns_of_the_csv(tmp_path):
    table = Table("speed", "", ("mode", "TCP", "to Never", "lost"), (
        ("Always", rounded(10398.447), Numbers("0.93 [0.8-1.0]", {"": 0.9312, " low": 0.8}), 1),
        ("Never", None, None, "for good")))
    publish(tmp_path, replace(report.document(), tables=(table,)))
    assert (tmp_path / "speed.csv").read_text() == (
        "mode,TCP,to Never,to Never low,lost\nAlways,10398.447,0.9312,0.8,1\nNever,,,,for good\n")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">10,398<" in text and ">0.93 [0.8-1.0]<" in text


def printed(document, width):
    out = io.StringIO()
    terminal.show_document(Console(file=out, width=width, highlight=False), document)
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_the_terminal_breaks_no_word_at_any_width(width):
    text = printed(replace(report.document(), matrices=None), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    for word in ("CrossSubnet", "same-subnet", "0.82-0.92"):
        assert word in text


def test_the_terminal_says_findings_and_caveats():
    text = " ".join(printed(report.document(), 80).split())
    assert "connects none of 16 pairs" in text and "would fit." in text


@pytest.mark.parametrize(("cell", "text"), [
    (None, ""), (True, "yes"), (False, "no"), (0, "0"), (9999, "9999"), (26312, "26,312"),
    (26312.4, "26,312"), (999.96, "1000"), (4.4, "4.4"), (0.85, "0.85"), (0.0, "0"),
    (0.00001234, "1.234e-05"), (100.0, "100"), ("x", "x")])
def test_cells_as_people_read_them(cell, text):
    assert format_cell(cell) == text


@pytest.mark.parametrize(("values", "middle", "ends"), [
    ((), "", ""), ((4,), "4.0", "4"), ((4, 4.2), "4.1", "4"),
    ((9, 1, 2), "2.0", "2 (1 to 9)")])
def test_values_in_a_cell(values, middle, ends):
    cell = range_of(values, lambda value: f"{value:.0f}")
    assert format_cell(median_of(values, 1)) == middle
    assert format_cell(cell) == ends
    assert cell is None or cell.values[" max"] == max(values)
