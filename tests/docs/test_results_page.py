"""docs/results.md names what results hold: every metric, column and factor, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from calico_mn.measure.reading_log import FORMAT
from calico_mn.measure.readings import known_metrics
from calico_mn.report.summary import FACTORS
from calico_mn.report.summary_tables import COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")


def cells(header: str) -> list[list[str]]:
    """The rows of the table below this header, without it and the rule."""
    _, found, rest = PAGE.partition(f"\n{header}\n")
    assert found, f"there is no table {header!r}"
    lines = rest.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(header: str) -> list[str]:
    """What the first column names between backticks."""
    return [name for row in cells(header) for name in re.findall("`([^`]+)`", row[0])]


def test_metrics_and_units_are_those_of_the_program() -> None:
    documented = [(row[0].strip("`"), row[1].strip("`")) for row in
                  cells("| metric | unit | meaning |")]
    assert sorted(documented) == sorted(
        (name, metric.unit) for name, metric in known_metrics().items())
    assert all(row[2] for row in cells("| metric | unit | meaning |"))


def test_every_column_of_the_summary_is_described_once() -> None:
    assert sorted(names("| column of the CSV | meaning |")) == sorted(COLUMNS)


def test_every_factor_is_described() -> None:
    assert set(FACTORS) <= set(names("| in `setting` | meaning |"))


def test_the_format_is_the_one_that_is_described() -> None:
    assert f'{{"format": {FORMAT}, "experiment": ' in PAGE
    assert f"`summary.json` has `format` ({FORMAT})" in PAGE
