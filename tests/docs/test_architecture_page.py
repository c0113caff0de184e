"""docs/architecture.md names files and functions that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = ("calico_mn", ".")


def places():
    """Every path of a module or folder that the page names, with or without calico_mn/ before."""
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", TEXT) + re.findall(r"\s([a-z_/]+\.py)\b", TEXT)
    return sorted(set(named))


@pytest.mark.parametrize("name", places())
def test_a_module_that_is_named_exists(name):
    assert any((ROOT / room / name).exists() for room in ROOMS) or list(
        (ROOT / "calico_mn").glob(f"*/{name}")), name


#: a line of the two flows: a function, then its file
STEPS = re.findall(r"^    +([A-Za-z_.]+)(?:\(\))?(?:, [A-Za-z .]+)* +([a-z_/]+/[a-z_]+\.py)", TEXT,
                   re.MULTILINE)


@pytest.mark.parametrize(("function", "file"), STEPS, ids=lambda value: value)
def test_a_step_of_a_flow_is_a_function_of_its_file(function, file):
    path = ROOT / file if (ROOT / file).exists() else ROOT / "calico_mn" / file
    assert f"def {function.rpartition('.')[2]}" in path.read_text()


def test_both_flows_are_read():
    assert len(STEPS) > 15
