"""docs/reliability.md: every test that it names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NAMED = re.findall(r"`(tests/\S+\.py)::(\w+)`",
                   (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_holds_a_promise_exists(file, name):
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_promise_names_a_test():
    rows = [line for line in (ROOT / "docs" / "reliability.md").read_text(
        encoding="utf-8").splitlines() if line.startswith("| ") and "| tests |" not in line]
    assert len(rows) > 10 and all("`tests/" in row for row in rows)
