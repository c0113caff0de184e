"""Each bad/NAME.yaml gives exactly the text of bad/NAME.txt; `pytest --record` rewrites them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from calico_mn.errors import TopologyError
from calico_mn.topology import load_topology

BAD = Path(__file__).parent / "bad"
FILES = sorted(path.name for path in BAD.glob("*.yaml"))
# The sentence comes from the YAML parser, and PyYAML has two.
NEED_LIBYAML = {"yaml-syntax.yaml", "yaml-tab.yaml", "yaml-bomb.yaml"}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_explained(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEED_LIBYAML and not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml, whose words this file records")
    monkeypatch.chdir(BAD)  # so that messages name the file alone
    with pytest.raises(TopologyError) as caught:
        load_topology(name, environ={})
    text = f"{caught.value}\n"
    golden = BAD / name.replace(".yaml", ".txt")
    if request.config.getoption("--record"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_every_golden_text_has_its_file() -> None:
    assert {p.stem for p in BAD.glob("*.txt")} == {Path(name).stem for name in FILES}
    assert len(FILES) >= 60
