"""What README says of its sample run is what its table and its figure say."""

import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_result_in_a_sentence_is_the_row_of_the_table():
    sentence = README.partition("**Between two nodes of one subnet")[2].partition("**")[0]
    claimed = re.findall(r"([0-9.]+) (?:of|times)[^(]*\(([0-9.]+) to ([0-9.]+)\)",
                         " ".join(sentence.split()))
    rows = README.partition("      same-subnet: ")[2].partition("cross-subnet: ")[0]
    (row,) = [line for line in rows.splitlines() if line.split()[:1] == ["Always"]]
    # Of four brackets the ranges of TCP and RTT are the first of each two, the ratios the second.
    throughput, times = re.findall(
        r"[0-9.]+ \[[0-9.]+-[0-9.]+\] +([0-9.]+) \[([0-9.]+)-([0-9.]+)\]", row)
    assert claimed == [throughput, times]


def test_the_sentence_about_reach_is_the_matrix_of_never():
    never = re.search(r"^ {6}cross-subnet: .*?^ {8}Never\* +(\S+)", README,
                      re.MULTILINE | re.DOTALL)
    assert never and never[1] == "0/16"
    assert "In Never, pods of different subnets cannot reach each other." in README


def test_the_repeats_are_those_of_the_table():
    assert "from six\nrepeats in random order" in README
    assert set(re.findall(r"\bn = ([0-9]+)", README)) == {"6"}
