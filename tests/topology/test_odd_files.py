"""What can be named as a topology file and is none, or does not stay what it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.messages import assert_harmless

from calico_mn.errors import TopologyError
from calico_mn.topology import load_topology, read_topology
from calico_mn.topology.yaml_tree import MAX_BYTES

ROOT = Path(__file__).parents[2]
ARTICLE = ROOT / "topologies" / "article.yaml"
NAME = "name a topology file, such as topologies/article.yaml"


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def sparse(path: Path) -> None:
    path.write_bytes(ARTICLE.read_bytes())
    os.truncate(path, 1 << 30)


def with_a_writer(path: Path) -> None:
    """A FIFO with a writer."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    os.write(descriptor, b"x" * 100)


def alone(link: str):
    return lambda path: path.symlink_to(link)


@pytest.mark.parametrize(("make", "words"), [
    pytest.param(make_socket, f"this is a socket, not a file\n    {NAME}", id="socket"),
    pytest.param(with_a_writer, f"this is a FIFO, not a file\n    {NAME}", id="written FIFO"),
    pytest.param(sparse, "this file is larger than 10 MB", id="sparse"),
    pytest.param(alone("/dev/stdin"), "", id="stdin"),
    pytest.param(alone("/dev/null"), "this is a device or socket", id="null"),
    pytest.param(alone("/dev/full"), "this is a device or socket", id="full"),
    pytest.param(alone("/dev/urandom"), "this is a device or socket", id="urandom"),
    pytest.param(alone("/dev/tty"), "", id="tty"),
    pytest.param(alone("/proc/self/pagemap"), "larger than 10 MB", id="pagemap"),
    pytest.param(alone("/proc/self/environ"), "", id="environ"),
    pytest.param(alone("/proc/self/fd"), "this is a directory", id="descriptors"),
    pytest.param(alone("gone/away"), "No such file", id="dangling"),
    pytest.param(alone("."), "this is a directory", id="itself"),
], )
def test_what_is_no_file(make, words, tmp_path):
    path = tmp_path / "t.yaml"
    make(path)
    began = time.monotonic()
    with pytest.raises(TopologyError) as caught:
        load_topology(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ") or "environ" in words or words == ""
    assert_harmless(str(caught.value), lines=2000)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("name", "words"), [
    ("", "cannot be read: No such file or directory\n"),
    ("none", "none: cannot be read: No such file or directory\n    check the path"),
    ("x" * 5000, "File name too long"), ("/" + "a/" * 2500, "File name too long"),
    ("/" + "a/" * 1500, "No such file"), ("\0", "\\x00: cannot be read: embedded null byte"),
    ("\x1b[2J", "\\x1b[2J: cannot be read: No such file"),
    ("\udcff", "\\udcff: cannot be read: No"),
    ("a\nb", "a\\nb: cannot be read: No such file"), ("/", "/: this is a directory"),
    (".", ".: this is a directory"), ("..", "..: this is a directory"),
    ("file/", "file/: cannot be read: Not a directory"), ("~", "~: cannot be read: No such file"),
    ("*", "*: cannot be read: No such file"), ("file:///t", "file:///t: cannot be read: No such"),
    ("https://example.org/t.yaml", "https://example.org/t.yaml: cannot be read: No such file"),
], ids=lambda value: ascii(value[:16]))
def test_what_is_no_path(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(TopologyError) as caught:
        load_topology(name)
    assert words in str(caught.value)


def test_a_file_that_grows_is_read_to_the_limit(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_bytes(b"#")
    stop = threading.Event()

    def grow() -> None:
        with open(path, "ab", buffering=0) as file:
            while not stop.is_set() and file.tell() < 10 * MAX_BYTES:
                file.write(b"#" * 1_000_000)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(2):
            with pytest.raises(TopologyError):
                load_topology(path)
    finally:
        stop.set()
        writer.join()


def test_a_file_that_changes_or_vanishes_is_one_of_its_states(tmp_path):
    path = tmp_path / "t.yaml"
    good = ARTICLE.read_bytes()
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            path.write_bytes(good)
            path.write_bytes(good[:len(good) // 2])
            path.unlink()
            path.mkdir()
            path.rmdir()
            os.mkfifo(path)
            path.unlink()

    writer = threading.Thread(target=change)
    writer.start()
    try:
        outcomes = set()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                outcomes.add(len(load_topology(path, environ={}).nodes))
            except TopologyError:
                outcomes.add(0)
        assert 0 in outcomes and outcomes <= {0, 1, 2}
    finally:
        stop.set()
        writer.join()


def test_the_text_is_that_of_the_topology_whatever_becomes_of_the_file(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + ARTICLE.read_bytes().replace(b"\n", b"\r\n"))
    before = path.read_bytes()
    topology, text = read_topology(path)
    path.unlink()
    assert len(topology.nodes) == 2 and text.encode() == before


@pytest.mark.parametrize("mode", ["000", "200", "folder"])
def test_who_may_not_read_it_is_told(mode, tmp_path):
    # A user namespace without a mapping makes the process another user.
    folder = tmp_path / "closed"
    folder.mkdir()
    path = folder / "t.yaml"
    path.write_bytes(ARTICLE.read_bytes())
    (folder if mode == "folder" else path).chmod(0 if mode == "folder" else int(mode, 8))
    code = ("import sys; from calico_mn.cli.main import main; import os\n"
            "if os.geteuid() == 0: sys.exit(99)\n"
            "import calico_mn.topology.load, calico_mn.calico.cluster\n"
            "sys.exit(main(['validate', sys.argv[1]]))")
    done = subprocess.run(["unshare", "--user", sys.executable, "-c", code, str(path)],
                          capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    folder.chmod(0o700)
    if done.returncode not in (0, 2):
        pytest.skip(f"no user namespace, or it may not read this checkout: {done.stderr[-200:]}")
    assert (done.returncode, done.stderr) == (
        2, f"{path}: cannot be read: Permission denied\n    check the path; topologies/ has files"
           " to start from\n1 problem found\n")
