"""Tables of single mistakes: each case of mistakes/*.txt gives exactly the text under it.

A table begins with what all its cases have before and after them (`== before`, `== after`), so
that a case is the few lines that are wrong; then `== case NAME`, the lines, `== gives`, the text.
Lines are counted with those before. `pytest --record` rewrites the texts: read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from calico_mn.errors import TopologyError
from calico_mn.topology import parse_topology

TABLES = sorted((Path(__file__).parent / "mistakes").glob("*.txt"))
SINGLE = Path(__file__).parent / "bad"
_HEADING = re.compile(r"^== (before|after|case [a-z0-9-]+|gives)\n", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    table: Path
    name: str
    lines: str
    text: str
    gives: str


def read_table(path: Path) -> list[Case]:
    parts = _HEADING.split(path.read_text(encoding="utf-8"))
    around = {"before": "", "after": ""}
    cases: list[Case] = []
    name = lines = ""
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if heading in around:
            around[heading] = body
        elif heading == "gives":
            text = f"{around['before']}{lines}{around['after']}"
            cases.append(Case(path, name, lines, text, body.removesuffix("\n")))
        else:
            name, lines = heading.removeprefix("case "), body
    return cases


CASES = [case for path in TABLES for case in read_table(path)]


def explanation(case: Case) -> str:
    with pytest.raises(TopologyError) as caught:
        parse_topology(case.text, case.table.stem)
    assert str(caught.value).replace("\n", "").isprintable()
    return f"{caught.value}\n"


def record(path: Path) -> None:
    parts = _HEADING.split(path.read_text(encoding="utf-8"))
    told = iter(explanation(case) for case in read_table(path))
    written = [parts[0]]
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        written.append(f"== {heading}\n{next(told) + chr(10) if heading == 'gives' else body}")
    path.write_text("".join(written), encoding="utf-8")


def test_record_if_asked(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--record"):
        for path in TABLES:
            record(path)
    names = [(case.table, case.name) for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.table.stem}-{case.name}")
def test_a_mistake_is_explained(case: Case, request: pytest.FixtureRequest) -> None:
    if case.table.stem == "yaml-syntax" and not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml, whose words this table records")
    if not request.config.getoption("--record"):
        assert explanation(case) == case.gives


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.table.stem}-{case.name}")
def test_one_mistake_is_one_problem_that_says_where_it_is(case: Case) -> None:
    with pytest.raises(TopologyError) as caught:
        parse_topology(case.text, "t")
    problems = caught.value.problems
    assert len(problems) == 1, caught.value
    assert problems[0].line or problems[0].file, "it says nothing of the file"


def test_the_corpus_is_large() -> None:
    assert len(CASES) + len(list(SINGLE.glob("*.yaml"))) >= 450
