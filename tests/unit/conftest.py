"""Golden files: what a test produced once and a person read, compared from then on."""

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden(request):
    """Compare ``text`` with golden/NAME.txt; with ``pytest --record`` write it there."""

    def compare(name, text):
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--record"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no {path.name}: run pytest --record, then read what it wrote"
        assert text == path.read_text(encoding="utf-8")

    return compare
