"""Tables, matrices and sentences, compared with golden files that a person has read."""

import copy
import io
from dataclasses import replace

import pytest
from rich.console import Console

from calico_mn.calico.encapsulation import IPIP
from calico_mn.measure.readings import Sample
from calico_mn.report import findings, matrix, summary_tables, terminal
from calico_mn.report.document import Table
from calico_mn.report.summary import summarise

from .conftest import PODS, altered, cluster

MODES = ("Always", "CrossSubnet", "Never")
RACKS = cluster({f"rack-{r}": {f"node{r}{n}": 2 for n in (1, 2, 3)} for r in (1, 2, 3)})


def shown(show, *arguments, width=100):
    out = Console(width=width, record=True, file=io.StringIO())
    show(out, *arguments)
    return "".join(f"{line.rstrip()}\n" for line in out.export_text().splitlines())


@pytest.mark.parametrize(("name", "width"), [
    ("ranges", 98), ("intervals", 88), ("medians", 78)], ids=["ranges", "intervals", "medians"])
def test_table(record, golden, name, width):
    lines = summary_tables.comparison(summarise(record(), MODES), width, IPIP)
    assert max(map(len, lines)) <= width
    golden(f"table-{name}.txt", "\n".join(lines) + "\n")


def test_a_slow_link_is_shown_in_megabits(record):
    samples = record(faster=lambda setting, repeat: 1 / 200)
    text = "\n".join(summary_tables.comparison(summarise(samples, MODES), 98, IPIP))
    assert "TCP Mbit/s" in text
    assert "69.0 [68.5-69.5]" in text


def test_table_of_a_run_without_trials(record, golden):
    lines = summary_tables.comparison(summarise(record(repeats=0), MODES), 98, IPIP)
    golden("table-no-trials.txt", "\n".join(lines) + "\n")


def test_no_samples_no_table():
    assert summary_tables.comparison(summarise([], MODES), 98, IPIP) == ()


WIDE = Table("wide", "A wide one", ("pods", "links", *(f"answer{n}" for n in range(9))), (
    (1400, "filtered", *["works"] * 9), (1480, "filtered", *["hangs and waits"] * 9)), "A note.")


@pytest.mark.parametrize(("width", "tables"), [(120, 1), (80, 2), (50, 3), (12, 9)])
def test_a_table_that_is_too_wide_becomes_several(width, tables):
    lines = shown(terminal.show_table, WIDE, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert (lines[0].strip(), " ".join(lines[-3:]).split()[-2:]) == ("A wide one", ["A", "note."])
    heads = [line.split() for line in lines if line.split()[:1] == ["pods"]]
    assert len(heads) == tables or width == 12
    if width > 12:
        assert [name for head in heads for name in head if name.startswith("answer")] == [
            f"answer{n}" for n in range(9)]
        assert ";" not in "".join(lines)


def test_columns_that_tell_rows_apart_begin_each_table():
    table = replace(WIDE, columns=("mode", "pods", *WIDE.columns[2:]), rows=tuple(
        (mode, pods, *["works"] * 9) for mode in ("Always", "Never") for pods in (1400, 1480)))
    lines = shown(terminal.show_table, table, width=50).splitlines()
    assert [line.split()[:2] for line in lines if "Never" in line][:2] == [
        ["Never", "1400"], ["Never", "1480"]]
    assert len([line for line in lines if line.split()[:2] == ["mode", "pods"]]) == 3


def test_matrices_of_a_mode_that_are_alike_are_shown_once(record):
    found = matrix.matrices(record(repeats=0), PODS, MODES)
    grids = [replace(grid, mode=f"{grid.mode}, {phase}") for grid in found.grids
             for phase in ("before", "between", "after")]
    grids[1] = replace(grids[1], lines=grids[4].lines)
    said = shown(terminal.show_matrices, replace(found, grids=tuple(grids)), width=100)
    assert "Always, before and after: " in said and "Always, between: " in said
    assert "Never, throughout: " in said


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
    sentences = findings.explain(summary, summary.paths)
    golden(f"{name}.txt", "".join(f"{text}\n" for text in sentences))


def test_unreachable_pairs_that_never_showed_on_the_wire_are_not_called_direct(record):
    samples = [Sample(s.metric, 0, replace(s.reading, seen={"encapsulated": None}))
               for s in record(repeats=0) if s.path == "same-subnet"]
    assert findings.explain(summarise(samples, ("Never",))) == (
        "Nodes in the same subnet: Never connects none of the pairs.",)


def test_pods_of_one_node_that_do_not_reach_each_other_are_blocked_by_no_mode(record):
    samples = [Sample(s.metric, 0, replace(s.reading, seen={"encapsulated": None}))
               for s in record(repeats=0) if s.path == "same-node"]
    (text,) = findings.explain(summarise(samples, ("Always",)))
    assert text.startswith("Pods on the same node: Always connects none of the pairs. On one node"
                           " no mode plays a part: look for a policy")


@pytest.mark.parametrize(("factors", "text"), [
    pytest.param((0.8, 0.95, 1.1), "Always 0.95 [0.80-1.10], no difference detectable at n = 3"
                 " (about 120 needed)", id="not detected"),
    pytest.param((0.8, 1.0, 1.2), "Always 1.00 [0.80-1.20], no difference detectable at n = 3"
                 " (more than 1000 needed)", id="never to be detected"),
    pytest.param((1.2, 1.21, 1.22), "Always 1.21 [1.20-1.22], faster", id="faster"),
    pytest.param((0.8, 0.81, 0.82, 0.8, 0.81, 0.82), "Always 0.81 [0.80-0.82], slower",
                 id="slower, enough repeats"),
])
def test_verdicts_in_words(record, factors, text):
    def speed(sample):
        if sample.metric != "throughput":
            return sample.value
        return 1000 * (factors[sample.repeat - 1] if sample.mode == "Always" else 1)

    samples = [s for s in altered(record(modes=("Always", "Never"), repeats=len(factors)), speed)
               if s.path == "same-subnet"]
    found = findings.explain(summarise(samples, MODES))
    assert f"Throughput as a ratio to Never: {text}." in found[0]
    assert found[1].startswith("In brackets: 95 % intervals" if len(factors) > 5 else
                               "In brackets: the ratios' range, all that n = 3 allows")


def test_modes_that_send_the_same_packets_are_not_judged(record):
    samples = [s for s in record() if s.path == "same-subnet" and s.mode != "Always"]
    (text,) = findings.explain(summarise(samples, MODES))
    assert text.endswith("CrossSubnet and Never send the same packets and should perform the same:"
                         " any difference between them in the table is noise.")


RUN = {"plan": {"quick": False}, "environment": {
    "network": {"mtu": {"pod eth0": 1500, "node eth0": 1500}},
    "machine": {"load_average": [0.1, 0, 0], "cpus": 2}},
    "noise": {"steal_share": 0.05, "spread": {"throughput": 0.1, "latency": 0.2}}}


def changed(part, key, value):
    run = copy.deepcopy(RUN)
    (run["environment"] if part in run["environment"] else run)[part][key] = value
    return run


@pytest.mark.parametrize(("run", "start"), [
    pytest.param(RUN, None, id="nothing to say"),
    pytest.param(changed("network", "mtu", {"pod eth0": 1480, "node eth0": 1500}),
                 "The pods' MTU is 1480 in every mode", id="smaller MTU"),
    pytest.param(changed("network", "mtu", {"pod eth0": None}), None, id="MTU unknown"),
    pytest.param(changed("machine", "load_average", [1.5, 0, 0]),
                 "The machine was busy when this began (load 1.5 on 2 CPUs)", id="busy"),
    pytest.param(changed("noise", "steal_share", 0.072),
                 "The machine was too noisy: 7 % of the CPU time wanted went to other machines",
                 id="steal time"),
    pytest.param(changed("noise", "steal_share", None), None, id="steal time unknown"),
    pytest.param(changed("noise", "spread", {"throughput": 0.12, "latency": None}),
                 "The machine was too noisy: repeats of one and the same trial typically differ by"
                 " 12 % in throughput (quartile to quartile; limit 10 %). Small", id="spread"),
])
def test_caveats(run, start):
    found = findings.caveats(run)
    assert [text.startswith(start or "") for text in found] == ([True] if start else [])


def test_the_headline_says_what_each_mode_connects_and_where_it_tunnels(record):
    (text,) = findings.headline(summarise(record(), MODES))
    assert text == (
        "Always connects all of 12 pairs, through the tunnel within a subnet and across subnets;"
        " CrossSubnet connects all of 12 pairs, through the tunnel across subnets;"
        " Never connects 6 of 12 pairs, without a tunnel.")
    assert findings.headline(summarise([], MODES)) == ()
