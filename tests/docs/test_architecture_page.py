"""docs/architecture.md names files and functions that are there."""

import ast
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


#: where the words of an encapsulation belong
AT_HOME = re.compile(r"calico/encapsulation\.py|kernel/ebpf/.*|kernel/tunnel\.py"
                     r"|ebpf_differences\.py|topology/.*|walkthrough/.*")
WORDS = re.compile(r"ipip|tunl0", re.IGNORECASE)


def names_ipip(source):
    """Whether identifiers or texts of a module have the words; docstrings and comments may."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    told = {id(node.value) for node in nodes
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)
             and isinstance(node.value, str) and id(node) not in told]
    texts += [value for node in nodes for field in ("id", "attr", "name", "arg", "asname")
              if isinstance(value := getattr(node, field, None), str)]
    return any(map(WORDS.search, texts))


@pytest.mark.parametrize(("source", "expected"), [
    pytest.param("x = IPIP", True, id="name"),
    pytest.param("from a import IPIP", True, id="import"),
    pytest.param("f'{x} tunl0'", True, id="text"),
    pytest.param('"""tunl0."""', False, id="docstring"),
    pytest.param("x = 1  # tunl0", False, id="comment")])
def test_names_are_told_from_docstrings(source, expected):
    assert names_ipip(source) is expected


def test_the_modules_that_name_ipip_are_those_of_the_table():
    package = ROOT / "calico_mn"
    table = TEXT.partition("these modules name IPIP")[2].partition("**A metric.**")[0]
    rows = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    listed = {name for row in rows for name in re.findall("`(.*?)`", row)}
    modules = {str(path.relative_to(package)): path for path in package.rglob("*.py")}
    assert listed == {name for name, path in modules.items() if not AT_HOME.fullmatch(name)
                      and names_ipip(path.read_text(encoding="utf-8"))}
