"""A name that passes is a word: no option, no path, nothing that a shell or a page would act on."""

from __future__ import annotations

import re
import shlex
from html import escape
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.emulation.plan import plan
from calico_mn.text import is_label, is_subdomain
from calico_mn.topology import parse_topology

ROOT = Path(__file__).parents[2]
ODD = st.text(alphabet="-./~\0\n\r\t ;|&$`\\'\"<>(){}[]*?!#%=:,@^aZ0\u202e\u0430\u0660\x1b",
              max_size=12)
LIKELY = st.from_regex(re.compile(r"[-a-z0-9.]{1,12}"), fullmatch=True)


@given(ODD | LIKELY | st.text())
def test_a_name_is_no_option_no_path_and_no_command(name: str) -> None:
    if not is_subdomain(name):
        assert not is_label(name)
        return
    assert not name.startswith(("-", ".", "~")) and ".." not in name
    assert Path("/run/logs", name).parent == Path("/run/logs") and Path(name).name == name
    assert shlex.quote(name) == name and shlex.split(name) == [name]
    assert escape(name) == name
    assert name.isascii() and name.isprintable() and len(name.encode()) <= 253


@pytest.mark.parametrize("name", [
    "", "-w", "--help", ".", "..", "../x", "/etc", "a/b", "a\0", "a\n", "\na", "a b", "a;b", "$a",
    "`a`", "a|b", "a&b", "~a", "*", "a=b", "a,b", "a:b", "A", "a_b", "<b>", "a'b", 'a"b', "a\\b",
    "%s", "{a}", "n" * 64, "a.", ".a", "a..b", "a-", "\u0430", "\u0661", "\u2460", "e\u0301",
    "a\u202eb", "\x1b[2J", "a" * 300,
])
def test_what_is_no_name(name: str) -> None:
    assert not is_subdomain(name) and not is_label(name)


LONGEST = ".".join(["z" * 63] * 3 + ["z" * 61])
TOPOLOGY = f"""
{{apiVersion: projectcalico.org/v3, kind: Node, metadata: {{name: {LONGEST}}}, spec: {{bgp: {{ipv4Address: 172.16.0.1/24}}}}}}
---
{{apiVersion: projectcalico.org/v3, kind: Node, metadata: {{name: no}}, spec: {{bgp: {{ipv4Address: 172.16.0.2/24}}}}}}
---
{{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {{name: p}}, spec: {{cidr: 10.22.0.0/16, ipipMode: Always}}}}
---
{{apiVersion: v1, kind: Pod, metadata: {{name: {LONGEST}, namespace: {"q" * 63}}}, spec: {{nodeName: "{LONGEST}"}}}}
---
{{apiVersion: v1, kind: Pod, metadata: {{name: "0e5"}}, spec: {{nodeName: no}}}}
"""  # noqa: E501


def test_commands_hold_words_only_and_devices_have_names_that_fit() -> None:
    commands = [command for step in plan(parse_topology(TOPOLOGY), None)
                for command in step.commands]
    assert len(commands) > 20
    for command in commands:
        words = shlex.split(command)
        assert shlex.join(words) == command or not re.search(r"[;|&`$<>]", command)
        for before, word in pairwise(words):
            if before == "dev":
                assert len(word) <= 15 and not word.startswith("-")


SOURCES = [path for folder in ("calico_mn", "experiments", "benchmarks")
           for path in sorted((ROOT / folder).rglob("*"))
           if path.suffix in (".py", ".sh", ".c")] + [ROOT / "install.sh"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_file_of_a_predictable_name_in_a_directory_that_all_may_write(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = [line for line in text.splitlines() if re.search(
        r"""(["'=> (])(/var/tmp|/tmp|/dev/shm)/|\bmktemp\(|\bmktemp -u|gettempdir""", line)]
    assert used == []
