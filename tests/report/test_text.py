"""Tables, matrices and sentences, compared with golden files that a person has read."""

from dataclasses import replace

import pytest
from rich.console import Console

from calico_mn.report import matrix, table, terminal, words
from calico_mn.report.summary import summarise

from .conftest import PODS, cluster

MODES = ("Always", "CrossSubnet", "Never")
RACKS = cluster({f"rack-{r}": {f"node{r}{n}": 2 for n in (1, 2, 3)} for r in (1, 2, 3)})


def shown(show, *arguments, width=100):
    out = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(out, *arguments)
    return "".join(f"{line.rstrip()}\n" for line in out.export_text().splitlines())


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "medians"])
def test_table(record, golden, ranges):
    lines = table.lines(summarise(record(), MODES), ranges=ranges)
    assert max(map(len, lines)) <= (94 if ranges else 78)
    golden(f"table-{'ranges' if ranges else 'medians'}.txt", "\n".join(lines) + "\n")


def test_table_of_a_run_without_trials(record, golden):
    lines = table.lines(summarise(record(repeats=0), MODES), ranges=True)
    golden("table-no-trials.txt", "\n".join(lines) + "\n")


def test_no_samples_no_table():
    assert table.lines(summarise([], MODES), ranges=True) == ()


@pytest.mark.parametrize(("name", "pods", "width"), [
    pytest.param("matrix-pods", PODS, 100, id="by pod"),
    pytest.param("matrix-narrow", PODS, 60, id="by pod on a narrow terminal"),
    pytest.param("matrix-nodes", RACKS, 100, id="more than 16 pods by node"),
])
def test_matrices(record, golden, name, pods, width):
    found = matrix.matrices(record(pods, repeats=0), pods, MODES)
    golden(f"{name}.txt", shown(terminal.show_matrices, found, width=width))


def test_nodes_whose_pairs_differ_are_marked(record):
    samples = record(RACKS, repeats=0)
    found = matrix.matrices(samples[1:], RACKS, MODES[:1])
    assert found.grids[0].lines[1] == "~ # # # # # # # #"


def test_pairs_that_were_not_tried_are_marked(record):
    found = matrix.matrices(record(repeats=0)[:2], PODS, MODES)
    assert [grid.mode for grid in found.grids] == ["Always"]
    assert found.grids[0].pairs == 2
    assert "?" in found.grids[0].lines[-1]


@pytest.mark.parametrize(("name", "options"), [
    pytest.param("words", {}, id="all"),
    pytest.param("words-few", {"repeats": 2}, id="too few repeats"),
    pytest.param("words-always", {"modes": ("Always",)}, id="one mode"),
    pytest.param("words-one-subnet", {"pods": cluster({"rack-a": {"n1": 1, "n2": 1}})},
                 id="missing path classes"),
])
def test_sentences(record, golden, name, options):
    summary = summarise(record(**options), options.get("modes", MODES))
    sentences = words.explain(summary, summary.paths)
    golden(f"{name}.txt", "".join(f"{text}\n" for text in sentences))


def test_unreachable_pairs_that_never_showed_on_the_wire_are_not_called_direct(record):
    samples = [replace(s, value=0, encapsulated=None) for s in record(repeats=0)
               if s.path == "same-subnet"]
    assert words.explain(summarise(samples, ("Never",))) == (
        "Nodes in the same subnet: Never connects none of the pairs.",)


def test_ranges_that_overlap_are_called_so(record):
    samples = record(repeats=30)
    text = " ".join(words.explain(summarise(samples, MODES)))
    assert "The samples of Always and Never overlap in throughput: no clear difference at n = 30." \
        in text


RUN = {"plan": {"quick": False}, "environment": {
    "network": {"mtu": {"pod eth0": 1500, "node eth0": 1500}},
    "machine": {"load_average": [0.1, 0, 0], "cpus": 2}}}


def changed(part, key, value):
    run = {"plan": dict(RUN["plan"]), "environment": {
        name: dict(values) for name, values in RUN["environment"].items()}}
    (run if part == "plan" else run["environment"])[part][key] = value
    return run


@pytest.mark.parametrize(("run", "start"), [
    pytest.param(RUN, None, id="nothing to say"),
    pytest.param(changed("network", "mtu", {"pod eth0": 1480, "node eth0": 1500}),
                 "The pods' MTU is 1480 in every mode", id="smaller MTU"),
    pytest.param(changed("network", "mtu", {"pod eth0": None}), None, id="MTU unknown"),
    pytest.param(changed("machine", "load_average", [1.5, 0, 0]),
                 "The machine was busy when this began (load 1.5 on 2 CPUs)", id="busy"),
    pytest.param(changed("plan", "quick", True), "This was --quick", id="quick"),
])
def test_caveats(run, start):
    found = words.caveats(run)
    assert [text.startswith(start or "") for text in found] == ([True] if start else [])


@pytest.mark.parametrize(("given", "text"), [
    (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_listed(given, text):
    assert words.listed(given) == text
