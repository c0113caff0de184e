"""Temporary files: where others can write, a name that can be guessed is a trap for root."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [ROOT / "install.sh", *(path for place in ("calico_mn", "experiments", "benchmarks")
                                  for path in sorted((ROOT / place).rglob("*.py")))]
# A path in a directory that every user can write to; mktemp() and gettempdir() lead to one.
PREDICTABLE = re.compile(r"""["' =](?:/var)?/tmp/|/dev/shm/|/var/lock/|\bmktemp\((?!\))"""
                         r"""|\bgettempdir\b|\bTMPDIR\b|\bmktemp -u\b""")


def test_temporary_files_have_unpredictable_names():
    found = {str(path): PREDICTABLE.findall(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert len(found) > 100 and not {path: hits for path, hits in found.items() if hits}


@pytest.mark.parametrize("bad", ['open("/tmp/x")', "p = '/var/tmp/x'", "tempfile.mktemp('x')",
                                 "echo >/dev/shm/x", "tempfile.gettempdir()"])
def test_such_names_would_be_found(bad):
    assert PREDICTABLE.search(bad)
