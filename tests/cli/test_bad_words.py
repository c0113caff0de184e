"""Every verb with impossible arguments in every position: an answer of a few lines.

In this process, so that hundreds take a second; nothing here gets as far as a running cluster.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from support.messages import assert_harmless

from calico_mn.cli import verbs
from calico_mn.cli.main import main
from calico_mn.kernel import runtime_dir

from .conftest import LAB

MISSING = "missing.yaml"
HERE = str(LAB)
#: none of them is a file, number, name or mode
VALUES = {
    "empty": "", "dash": "-", "dashes": "--", "minus-1": "-1", "huge": "9" * 30,
    "5000-digits": "9" * 5000, "overflow": "1e999", "nan": "nan", "minus-inf": "-inf",
    "arabic": "\u0661", "underscore": "1_0", "hex": "0x10", "fraction": "1.5", "blank": " ",
    "newline": "\n", "escape": "\x1b[2J", "title": "\x1b]0;x\x07", "c1": "\x9b2J",
    "surrogate": "\udcff", "nul": "\0", "bidi": "\u202egpj", "long": "a" * 5000,
    "longest": "x" * 131_000, "parent": "../..", "format": "%s%n", "shell": "$(id)",
    "brace": "{0}", "help": "--help=1", "json": "--json=1", "run": "--run", "equals": "=",
    "colon": "a:b", "fullwidth": "\uff21lways", "case": "ALWAYSS", "ipv6": "::1",
}
FORMS = {
    "check": [["{}"]],
    "init": [["{}"], ["--nodes", "{}"], ["--racks", "{}"], ["--pods", "{}"], ["--mode", "{}"]],
    "version": [["{}"], ["-o", "{}"]],
    "check-node": [["{}", MISSING, "-f", HERE], ["node31", MISSING, "-f", "{}"],
                   ["node31", MISSING, "-f", HERE, "{}"],
                   ["node31", MISSING, "-f", HERE, "--profile", "{}"]],
    "import": [[MISSING, "{}"], [MISSING, "--sample", "{}"], ["--sample", "{}"]],
    "validate": [["{}"], [MISSING, "{}"], ["--json", "{}"]],
    "plan": [["{}"], [HERE, "--mode", "{}"], [HERE, "--encapsulation", "{}"],
             [HERE, "--node", "{}"], [MISSING, "--node", "{}"]],
    "policy": [["{}"], ["matrix", "-f", "{}"], ["matrix", "-f", HERE, "{}"],
               ["explain", "-f", HERE, "{}", "web-0"], ["explain", "-f", HERE, "web-0", "{}"],
               ["explain", "-f", HERE, "web-0", "web-1", "{}"]],
    "export": [["{}"], ["script", "{}", "-o", "x"], ["script", MISSING, "-o", "{}"],
               ["{}", HERE, "-o", "x"], ["script", HERE, "-o", "x", "--mode", "{}"],
               ["kubernetes", HERE, "-o", "x", "--encapsulation", "{}"]],
    "graph": [["{}"], [HERE, "--mode", "{}"], [HERE, "--encapsulation", "{}"],
              [HERE, "--format", "{}"], [HERE, "{}"]],
    "up": [["{}"], [MISSING, "--tunnel", "{}"], [MISSING, "--mode", "{}"], [MISSING, "{}"],
           [MISSING, "--encapsulation", "{}"],
           [MISSING, "--rp-filter", "{}"], [MISSING, "--name", "{}"], ["--json", "{}"]],
    "whatif": [["{}"], [MISSING, "--mode", "{}"], [MISSING, "-f", "{}"], [MISSING, "--flow", "{}"],
               [MISSING, "-o", "{}"]],
    "list": [["{}"]],
    "status": [["{}"], ["a", "{}"]],
    "down": [["{}"], ["a", "{}"]],
    "cleanup": [["{}"]],
    "get": [["{}"], ["{},pods"], ["pods", "{}"], ["pod/{}"], ["pods", "-n", "{}"],
            ["pods", "-o", "{}"], ["--run", "{}"]],
    "describe": [["{}"], ["pod", "{}"], ["{}", "x"], ["node/{}"], ["pod", "x", "-n", "{}"]],
    "routes": [["{}"], ["-o", "{}"], ["--run", "{}"]],
    "bgp": [["{}"], ["--routes", "node31", "{}"], ["--run", "{}"]],
    "exec": [["{}"], ["{}", "--", "true"], ["node31", "--", "{}"], ["--run", "{}", "n", "--", "x"]],
    "shell": [["{}"], ["--run", "{}", "n"]],
    "capture": [["{}"], ["n", "-c", "{}"], ["n", "-w", "{}"], ["n", "--", "{}"], ["n:{}"]],
    "mode": [["Never", "--encapsulation", "{}"], ["{}"], ["Never", "--pool", "{}"],
             ["Always", "--node", "{}"], ["Always", "--run", "{}"]],
    "apply": [["-f", "{}"], ["{}"], ["-f", MISSING, "--dry-run={}"]],
    "delete": [["{}"], ["pod", "{}"], ["{}", "x"], ["pod/{}"], ["pod", "x", "-n", "{}"],
               ["-f", "{}"], ["-f", MISSING, "{}"]],
    "scale": [["{}"], ["deploy/x", "--replicas", "{}"], ["deploy/{}", "--replicas", "1"],
              ["{}", "x", "--replicas", "1"], ["deploy/x", "-n", "{}", "--replicas", "1"]],
    "pod": [["{}"], ["add", "{}"], ["add", "{}", "--node", "x"], ["add", "x", "--node", "{}"],
            ["add", "x", "--node", "n", "--ip", "{}"], ["delete", "{}"]],
    "link": [["{}"], ["{}", "down"], ["a", "{}", "up"], ["a", "--rate", "{}"],
             ["a", "--loss", "{}"], ["a", "--run", "{}"]],
    "drop": [["{}"], ["{}", "ipip"], ["r1", "{}"], ["--reset", "{}"]],
    "break": [["{}"], ["--seed", "{}"], ["3", "--list={}"]], "hint": [["{}"]],
    "solution": [["{}"]],
    "podroutes": [["{}"], ["on", "--run", "{}"]],
    "speaker": [["{}", "x"], ["kill", "{}"]],
    "ping": [["{}"], ["{}", "b"], ["a", "{}"], ["a", "b", "-c", "{}"], ["a", "b", "-s", "{}"]],
    "pingall": [["{}"], ["--run", "{}"]],
    "iperf": [["{}"], ["{}", "b"], ["a", "{}"], *(
        ["a", "b", option, "{}"] for option in ("-t", "-P", "-b", "-n", "-o"))],
    "trace": [["{}"], ["{}", "b"], ["a", "{}"], *(
        ["a", "b", option, "{}"]
        for option in ("--protocol", "--port", "--size", "--ttl", "--svg", "-w",
                       "--html", "--modes"))],
    "sweep": [["{}"], ["--local", "{}", "mtu"], ["--local", "2", "{}"]],
    "experiment": [["{}"], ["list", "{}"], ["run", "{}"]],
    "report": [["{}"]],
    "plot": [["{}"], [MISSING, "--metric", "{}"], [MISSING, "-o", "{}"]],
    "compare": [["{}"], [MISSING, "{}"]],
    "web": [["{}"], ["--port", "{}"], ["x", "{}"]],
    "verify": [["{}"], ["--repair", "--watch", "{}"], ["--run", "{}"]],
    "walkthrough": [[MISSING, "{}"], ["--lang", "{}"],
                    ["--chapter", "{}"], [MISSING, "--tunnel", "{}"]],
    "completion": [["{}"], ["bash", "{}"]],
}
CASES = [(verb, form) for verb, forms in FORMS.items() for form in forms]


@pytest.fixture(autouse=True)
def no_runs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may reach a run, whosever it is."""
    monkeypatch.setattr(runtime_dir, "MACHINE", tmp_path_factory.mktemp("none"))
    monkeypatch.delenv("CALICO_MN_RUN", raising=False)


def test_no_verb_is_forgotten() -> None:
    assert set(FORMS) == set(verbs.public())
    assert len(CASES) * len(VALUES) > 2400


@pytest.mark.parametrize(("verb", "form"), CASES, ids=[" ".join([v, *f]).replace(HERE, "FILE")
                                                       for v, f in CASES])
def test_impossible_arguments(verb: str, form: list[str], tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in VALUES.items():
        if name == "dashes" and form[-1] == "{}" and len(form) > 1:
            continue  # with nothing after it, "--" is no word
        status = main([verb, *(word.replace("{}", value) for word in form)])
        said = capsys.readouterr()
        assert status in (1, 2, 3, 125), (name, status, said.out[:200])
        assert not said.out or "--json" in form, (name, said.out[:200])
        assert_harmless(said.err, lines=6)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_no_such_verb(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([value]) == main([value, "--help"]) == main(["help", value]) == 2
    said = capsys.readouterr()
    assert_harmless(said.err, lines=3)


@pytest.mark.parametrize("words", [
    ["validate"] + ["none\x1b[2J.yaml"] * 3, ["list"] + ["x\x1b[2J"] * 10_000,
    ["plan", HERE] + ["--node", "x"] * 5000, ["exec"] + ["x"] * 10_000,
    ["verify"] + ["x"] * 10_000, ["mode"] + ["Always"] * 10_000], ids=lambda words: words[0])
def test_words_without_end(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) in (2, 3, 125)
    assert_harmless(capsys.readouterr().err, lines=9)


@pytest.mark.parametrize(("output", "said"), [
    ("", "cannot write to no name: No such file or directory"),
    ("\0", "cannot write \\x00: embedded null byte"),
    ("folder", "cannot write folder: Is a directory"),
    ("none/x.svg", "cannot write none/x.svg: No such file or directory"),
    ("loop", "cannot write loop: Too many levels of symbolic links"),
    ("dangling", "cannot write dangling: No such file or directory"),
    ("socket", "cannot write socket: No such device or address"),
    ("x" * 300, f"cannot write {'x' * 300}: File name too long"),
    ("\x1b[2J/x", "cannot write \\x1b[2J/x: No such file or directory"),
    ("/dev/full", "cannot write /dev/full: No space left on device"),
    ("file/x", "cannot write file/x: Not a directory"),
    ("lab.yaml", "calico-mn graph: -o would overwrite the topology file itself"),
    ("also.yaml", "calico-mn graph: -o would overwrite the topology file itself"),
], ids=lambda value: value[:12].replace("\0", "nul").replace("\x1b", "esc"))
def test_where_no_picture_can_be_written(output: str, said: str, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.yaml").write_bytes(LAB.read_bytes())
    (tmp_path / "also.yaml").symlink_to("lab.yaml")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("none/there")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    before = sorted(os.listdir(tmp_path))
    assert main(["graph", "lab.yaml", "-o", output]) == 2
    assert said in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "lab.yaml").read_bytes() == LAB.read_bytes()


def test_a_picture_that_fits_no_more_is_taken_back(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.chdir(tmp_path)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        status = main(["graph", HERE, "-o", "x.svg"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (status, os.listdir(tmp_path)) == (2, [])
    assert capsys.readouterr().err == "calico-mn: cannot write x.svg: File too large\n"


def test_a_dash_is_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["graph", HERE, "-o", "-"]) == main(["graph", HERE]) == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["esc\x1b[2J\x1b]0;x\x07.yaml", "nl\nb.yaml", "\u202egpj.yaml",
                                  os.fsdecode(b"\xff\xfe.yaml"), "\x9b2J.yaml", "a b;x.yaml",
                                  "$(id).yaml", "%s.yaml", "{0}.yaml", "\u2028.yaml"], ids=ascii)
@pytest.mark.parametrize("verb", ["validate", "plan", "graph"])
def test_a_good_file_of_a_bad_name(verb: str, name: str, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(LAB.read_bytes())
    assert main([verb, name]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert_harmless("\n".join(re.findall(".{1,1000}", said.out)), lines=10_000)
    Path(name).write_text("kind: \"\\e[2J\\u202e\"\nmetadata: {name: \"\\e]0;x\\a\"}\n")
    assert main([verb, name]) == 2
    said = capsys.readouterr()
    assert_harmless(said.err + said.out, lines=10)


@pytest.mark.parametrize("words", [
    ["plan", HERE, "--node=--"], ["plan", HERE, "--mode=--"], ["ping", "a", "b", "-c=--"],
    ["get", "nodes", "--run=--"], ["up", MISSING, "--name=--"], ["trace", "a", "b", "--port=--"],
    ["pod", "add", "x", "--node=--"], ["graph", HERE, "-o=--"]], ids=" ".join)
def test_an_option_whose_argument_is_two_dashes_is_not_ignored(
        words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "expected one argument" in capsys.readouterr().err
