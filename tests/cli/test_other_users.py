"""Other people on this machine: what they cannot do, and what is theirs under sudo."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.nobody import NOBODY, SUDO, attempted, home, open_directory
from support.patience import eventually

from calico_mn.errors import UnsupportedError
from calico_mn.kernel import processes, registry, runtime_dir

from .conftest import LAB, PROGRAM, ROOT, calico_mn, environment

pytestmark = pytest.mark.root


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


@pytest.fixture
def open_handed():
    """A root whose files every user may change."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_runs_directory_is_roots_alone(open_handed, own):
    run = own("modes")
    assert (mode(runtime_dir.MACHINE), runtime_dir.MACHINE.stat().st_uid) == (0o755, 0)
    assert (mode(run.directory), run.directory.stat().st_uid) == (0o700, 0)
    assert mode(run.directory / registry.SOCKET) == 0o600

    def connect():
        socket.socket(socket.AF_UNIX).connect(str(run.directory / registry.SOCKET))

    for act in (
            connect,
            lambda: os.listdir(run.directory),
            lambda: os.chdir(run.directory),
            lambda: (run.directory / registry.RECORD).read_text(),
            lambda: (run.directory / "daemon.log").read_text(),
            lambda: os.listdir(run.directory / "logs"),
            lambda: (runtime_dir.MACHINE / "1-1").mkdir(),
            lambda: (runtime_dir.MACHINE / "1-1").symlink_to("/etc"),
            lambda: (runtime_dir.MACHINE / "neighbour-limit.json").write_text("{}"),
            lambda: run.directory.rename(runtime_dir.MACHINE / "9-9"),
            lambda: runtime_dir.MACHINE.rename("/run/other")):
        assert attempted(act) == "PermissionError", act


@pytest.mark.parametrize("spoil", [
    pytest.param(lambda path: os.chown(path, NOBODY, NOBODY), id="another user's"),
    pytest.param(lambda path: path.chmod(0o777), id="writable to all"),
    pytest.param(lambda path: (path.rmdir(), path.symlink_to("/tmp")), id="a symbolic link"),
])
def test_a_directory_of_runs_that_others_can_change_is_not_used(tmp_path, monkeypatch, spoil):
    directory = tmp_path / "runs"
    directory.mkdir()
    spoil(directory)
    monkeypatch.setattr(runtime_dir, "MACHINE", directory)
    with pytest.raises(UnsupportedError, match=r"is not root's alone|Not a directory"):
        registry.RunDirectory({"topology": ""})


# --- files that verbs write

def writes(verb: str, file: Path) -> list[str]:
    return {"graph": ["graph", str(LAB), "-o", str(file)],
            "trace": ["trace", "a", "b", "--svg", str(file)],
            "capture": ["capture", "a", "-w", str(file)]}[verb]


def written(run, verb: str, file: Path, **changes: str) -> str:
    """Have a verb write a file; what it complains about."""
    if verb != "capture":
        return calico_mn(*writes(verb, file), CALICO_MN_RUN=run.identity, **changes).stderr
    process = subprocess.Popen(
        [*PROGRAM, *writes(verb, file)], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env=environment(CALICO_MN_RUN=run.identity, **changes))
    eventually(lambda: process.poll() is not None
               or processes.name_of(process.pid) == "tcpdump")
    if process.poll() is None:
        process.terminate()
        process.communicate(timeout=60)
        return ""
    return process.communicate()[1]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with open_directory() as path:
        yield path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return home(tmp_path)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("root's")
    path.chmod(0o660)
    return path


VERBS = pytest.mark.parametrize("verb", ["graph", "trace", "capture"])


@VERBS
def test_a_file_belongs_to_the_user_who_called_sudo(lab, verb, theirs):
    file = theirs / "file"
    assert written(lab, verb, file, **SUDO) == ""
    assert (file.stat().st_uid, file.stat().st_gid) == (NOBODY, NOBODY)


@VERBS
@pytest.mark.parametrize("changes", [SUDO, {}], ids=["sudo", "root"])
def test_a_symbolic_link_in_anothers_directory_is_not_followed(lab, verb, changes, theirs, secret):
    (theirs / "file").symlink_to(secret)
    said = written(lab, verb, theirs / "file", **changes)
    assert said.startswith(f"calico-mn: cannot write {theirs / 'file'}: ")
    assert said.count("\n") == 1 and said.endswith(
        "Permission denied\n" if changes else "a symbolic link in a directory of another user\n")
    assert secret.read_text() == "root's"


@VERBS
def test_a_file_in_a_directory_of_roots_is_roots(lab, verb, tmp_path):
    file = tmp_path / "file"
    assert written(lab, verb, file, **SUDO) == ""
    assert file.stat().st_uid == 0


@pytest.mark.parametrize("user", ["-1", "x", "4294967295000", "\u0661", ""])
def test_nonsense_in_place_of_who_called_sudo_changes_nothing(user, tmp_path):
    done = calico_mn(*writes("graph", tmp_path / "file"), SUDO_UID=user, SUDO_GID=user)
    assert (done.returncode, done.stderr) == (0, "")
