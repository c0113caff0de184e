"""Clusters as in tests/acceptance, golden files, and what varies from run to run taken out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from acceptance.conftest import boot, tunnel  # noqa: F401
from support.recordings import from_json

HERE = Path(__file__).parent


@pytest.fixture
def golden(request):
    """Compare ``text`` with golden/NAME; with ``pytest --record`` write it there."""

    def compare(name, text):
        path = HERE / "golden" / name
        if request.config.getoption("--record"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no {path.name}: run pytest --record, then read what it wrote"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def recording():
    """A recording of tests/trace/recordings by its name."""

    def load(name):
        path = HERE / "recordings" / f"{name}.json"
        return from_json(json.loads(path.read_text(encoding="utf-8")))

    return load


@pytest.fixture
def settled():
    """settled(text, recording) -> what is the same in every run."""
    return _settled


def _settled(text, recording):
    """Without what differs each time: MAC addresses become devices' names, times become N.

    Which state a neighbour entry is in, and what other counters say, is the kernel's timing; on a
    busy machine an answer may come after a second request.
    """
    for namespace, facts in recording.after.items():
        for device in facts.devices:
            if device.mac and device.mac not in ("ee:ee:ee:ee:ee:ee", "00:00:00:00:00:00"):
                text = text.replace(device.mac, f"<{namespace} {device.name}>")
    text = re.sub(r"after \d+ us", "after N us", text).replace(" (2 times)", "")
    text = re.sub(r"^.*counter (?!TcpExt.IPReversePathFilter|IpExt.InNoRoutes|Ip\.).*\n", "", text,
                  flags=re.MULTILINE)
    # EXDEV up to Linux 6.12, EINVAL since.
    return text.replace("Invalid cross-device link", "Invalid argument")
