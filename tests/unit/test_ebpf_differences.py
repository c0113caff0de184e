"""The list of what only the eBPF tunnel does: what applies when, and that the docs have it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from calico_mn.ebpf_differences import DIFFERENCES, Seen, only_with_ebpf

DOCS = Path(__file__).parents[2] / "docs" / "how-it-works.md"


def listed() -> str:
    return "\n".join(textwrap.fill(d.text, 100, initial_indent="- ", subsequent_indent="  ",
                                   break_on_hyphens=False) for d in DIFFERENCES)


def test_the_documentation_has_the_list():
    text = DOCS.read_text(encoding="utf-8")
    begin, end = "<!-- differences -->\n", "\n<!-- end -->"
    between = text.partition(begin)[2].partition(end)[0]
    assert between == listed(), f"put this between the marks in {DOCS}:\n{listed()}"


@pytest.mark.parametrize(("seen", "names"), [
    (Seen(), []),
    (Seen(has_output_rules=True), ["output-rules"]),
    (Seen(drops_output=True), ["output-policy"]),
    (Seen(drops_output=True, tunnel_is_down=True), ["output-policy", "down"]),
])
def test_what_applies(seen, names):
    texts = [d.text for d in DIFFERENCES if d.name in names]
    assert list(only_with_ebpf("ebpf", seen)) == texts
    assert only_with_ebpf("kernel", seen) == ()
