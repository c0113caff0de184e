"""Options of all experiments and benchmarks that cannot be, folders that results cannot go to."""

from __future__ import annotations

import importlib
import os
import socket
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from support.messages import assert_harmless

from calico_mn.errors import CalicoMnError
from calico_mn.experiment.arguments import Defaults, Repetitions, parse
from calico_mn.experiment.record import output_directory

from .conftest import ROOT

DEFAULTS = Defaults(Path("topologies/x.yaml"), Repetitions(6, 1), Repetitions(3, 0.3))
NUMBERS = ["", " ", "-1", "-0", "0x1", "1e3", "1.5", "nan", "inf", "-inf", "1e999", "\u0661", "1_0",
           "9" * 30, "9" * 5000, "+1", "one", "\x1b[2J", "\udcff", "1\n", "\u202e1", "$(id)", "%d",
           "--", "1 2", "x" * 100_000]
LISTS = [*(word for word in NUMBERS if word != "1\n"), ",", "1,", ",1", "1;2", "1,,2"]
MODES = ["", ",", "always", "Always,", "Always,Always", "IPIP", "\x1b[2J", "x" * 100_000, "\udcff",
         "Never;Always", "\uff21lways", "-1", "*", "None", "Never\n,", "Crosssubnet", "Ne ver"]
WORDS = ["", ",", "-1", "\x1b[2J", "x" * 100_000, "\udcff", "EBPF", "vxlan", "auto,", "*"]
ENCAPSULATIONS = [word for word in WORDS if word != "vxlan"] + ["ipip,vxlan", "none", "vxlan "]
COMMON = {"--repeats": [*NUMBERS, "0", "100001"], "--seed": NUMBERS,
          "--duration": ["", " ", "-1", "0", "0.049", "3601", "nan", "inf", "1e999", "\u0661",
                         "1_0", "0x1", "1,5", "9" * 5000, "\x1b[2J", "1s", "\udcff", "+1",
                         "1e1", "--"],
          "--tunnel": WORDS, "--topology": [""], "--output": [""], "--resume": [""]}
OWN = {
    "ipip_modes": {"--modes": MODES, "--streams": LISTS, "--directions": WORDS,
                   "--packet-sizes": LISTS, "--offloads": WORDS, "--pod-mtus": LISTS,
                   "--rates": LISTS, "--tunnels": WORDS, "--on": [*WORDS, "Kubernetes", "tls://"],
                   "--namespace": ["", " ", "-a", "a-", "A", "a_b", "a.b", "a/b", "a" * 64,
                                   "\x1b[2J", "\udcff", "$(id)"],
                   "--settle": [*(word for word in NUMBERS if word != "1.5"), "601"]},
    "mtu": {"--encapsulation": ENCAPSULATIONS, "--pod-mtus": LISTS, "--tunnel-mtus": LISTS,
            "--link-mtus": LISTS},
    "mode_switch": {"--modes": MODES, "--rp-filters": LISTS, "--followers": WORDS,
                    "--packets": NUMBERS, "--encapsulation": ENCAPSULATIONS},
    "blocked_protocol_4": {"--modes": MODES, "--encapsulation": ENCAPSULATIONS},
    "encapsulation_cost": {"--sizes": LISTS, "--tunnels": WORDS},
    "scale": {"--nodes": LISTS, "--pods": LISTS},
    "flow_entropy": {"--modes": MODES, "--flows": NUMBERS},
    "policy_cost": {"--policies": LISTS, "--rules": LISTS, "--members": LISTS},
}
CASES = [(module, option, values) for module, own in OWN.items()
         for option, values in {**COMMON, **own}.items()]
CONTRADICTIONS = [
    ["--resume", "a", "--quick"], ["--resume", "a", "--output", "b"], ["--resume", "a", "--seed=1"],
    ["--resume", "a", "--topology", "t"], ["--resume"], ["--output"], ["x"], ["--", "x"],
    ["--quick=1"], ["--rep", "1"], ["--out", "x"], ["-q"], ["\x1b[2J"], ["\udcff"],
    ["--\x1b[2J"], ["x"] * 10_000, ["x" * 130_000], ["--repeats", "1", "2"],
]
BENCHMARKS = {
    "bgp": {"--nodes": [*LISTS, "0", "2", "1001"], "--repeats": [*NUMBERS, "0"]},
    "bird_boot": {"--nodes": [*LISTS, "0", "2", "1001"], "--repeats": [*NUMBERS, "0"],
                  "--bird-timers": WORDS},
    "boot": {"--sizes": [*WORDS, "0x1", "1x0", "-1x1", "1x1x1", "x", "9x" + "9" * 30, "1001x1"],
             "--repeats": [*NUMBERS, "0"], "--plain-up-to": NUMBERS},
    "tunnel": {"--rounds": [*NUMBERS, "0"], "--duration": [*NUMBERS, "0", "3601"],
               "--pings": [*NUMBERS, "0"], "--tunnel": WORDS},
    "policies": {"--sizes": [*WORDS, "0x1", "x", "1001x1"], "--rounds": [*NUMBERS, "0"],
               "--iptables": [word for word in WORDS if word != "auto,"]},
    "mode_change": {"--nodes": [*NUMBERS, "0", "1001"], "--rounds": [*NUMBERS, "0"]},
    "soak": {"--kills": [*NUMBERS, "0"], "--clusters": [*NUMBERS, "0"], "--boots": [*NUMBERS, "0"],
             "--changes": [*NUMBERS, "0"], "--seed": NUMBERS, "--parts": WORDS},
}
COUNT = sum(len(values) for _, _, values in CASES) + len(CONTRADICTIONS) * len(OWN) + sum(
    len(values) for own in BENCHMARKS.values() for values in own.values())


def refused(act, capsys, words):
    with pytest.raises(SystemExit) as caught:
        act(words)
    said = capsys.readouterr()
    assert caught.value.code == 2 and said.out == "", words
    assert_harmless(said.err, lines=20)
    assert ": error: " in said.err.splitlines()[-1]


def of(module):
    return importlib.import_module(f"experiments.{module}").experiment.factors


def test_so_many_are_tried():
    assert COUNT > 1400
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")
            if "figures.Parser(" in path.read_text()} == set(BENCHMARKS)


@pytest.mark.parametrize(("module", "option", "values"), CASES, ids=lambda value: str(value)[:20])
def test_an_option_of_an_experiment(module, option, values, capsys):
    for value in values:
        refused(partial(parse, "", DEFAULTS, of(module)), capsys, [f"{option}={value}"])


@pytest.mark.parametrize("words", CONTRADICTIONS, ids=lambda words: ascii(" ".join(words)[:30]))
def test_words_that_contradict_each_other(words, capsys):
    for module in OWN:
        refused(partial(parse, "", DEFAULTS, of(module)), capsys, words)


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.parametrize(("script", "option"), [
    (script, option) for script, own in BENCHMARKS.items() for option in [*own, "--json"]])
def test_an_option_of_a_benchmark(script, option, benchmarks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    module = importlib.import_module(script)
    values = BENCHMARKS[script].get(option, ["", "folder", ".", "none/x", "/dev/null/x"])
    for value in values:
        refused(module._options, capsys, [f"{option}={value}"])
    assert os.listdir(tmp_path) == ["folder"]


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(("make", "name", "words"), [
    pytest.param(lambda path: path.write_text("x"), "x", "File exists", id="file"),
    pytest.param(lambda path: path.write_text("x"), "x/y", "Not a directory", id="below a file"),
    pytest.param(os.mkfifo, "x", "File exists", id="FIFO"),
    pytest.param(make_socket, "x", "File exists", id="socket"),
    pytest.param(lambda path: path.symlink_to(path), "x", "", id="loop"),
    pytest.param(lambda path: path.symlink_to(path), "x/y", "", id="below a loop"),
    pytest.param(lambda path: path.symlink_to("gone"), "x", "File exists", id="dangling"),
    pytest.param(lambda path: path.symlink_to("/dev/null"), "x", "File exists", id="device"),
    pytest.param(lambda path: path.symlink_to("/proc"), "x/y", "", id="proc"),
    pytest.param(lambda path: path.symlink_to("/proc"), "x", "is not empty", id="full"),
    pytest.param(lambda path: None, "n" * 300, "File name too long", id="long"),
    pytest.param(lambda path: None, f"a/b/c/{'n' * 300}", "File name too long", id="half-made"),
    pytest.param(lambda path: None, "n/" * 2500, "File name too long", id="5000 letters"),
    pytest.param(lambda path: None, f"\x1b[2J/{'n' * 300}", "File name too long", id="escape"),
])
def test_a_folder_that_results_cannot_go_to(make, name, words, tmp_path):
    make(tmp_path / "x")
    before = os.listdir(tmp_path)
    with pytest.raises(CalicoMnError) as caught:
        output_directory(tmp_path / name, "x", datetime.now())
    assert words in str(caught.value) and "another directory with --output" in str(caught.value)
    assert os.listdir(tmp_path) == before


