"""CITATION.cff names what is installed."""

from pathlib import Path

import yaml

import calico_mn

ROOT = Path(__file__).parents[2]


def test_the_citation_is_of_this_version_under_this_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == calico_mn.__version__
    assert citation["title"].startswith("calico_mn: ") and citation["authors"]
    assert citation["license"] == "BSD-3-Clause"
    readme = (ROOT / "README.md").read_text()
    assert f"{{Software, version {calico_mn.__version__}, code CODE-DIGEST}}" in readme
    assert citation["title"].replace("_", r"\_") in readme
    assert (ROOT / "LICENSE").read_text().startswith("BSD 3-Clause License")
