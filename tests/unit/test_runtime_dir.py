"""Where runs are: the machine's place, or one that belongs to the user and nobody else can foresee.
"""

import os

import pytest

from calico_mn.errors import UnsupportedError
from calico_mn.kernel import runtime_dir

WHOLE = "         0          0 4294967295\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with its own /run and /tmp; given the first line of uid_map, its place for runs."""
    for name in ("run", "tmp"):
        (tmp_path / name).mkdir(mode=0o755)
    monkeypatch.setattr(runtime_dir, "_RUN", tmp_path / "run")
    monkeypatch.setattr(runtime_dir, "_TEMPORARY", tmp_path / "tmp")
    monkeypatch.setattr(runtime_dir, "_UID_MAP", tmp_path / "uid_map")
    monkeypatch.setattr(runtime_dir, "_mapped", runtime_dir._mapped.__wrapped__)
    monkeypatch.setattr(runtime_dir, "MACHINE", tmp_path / "run" / "calico-mn")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    def become(mapped):
        (tmp_path / "uid_map").write_text(mapped)
        return tmp_path
    return become


@pytest.mark.parametrize(("mapped", "expected", "bounded"), [
    pytest.param(WHOLE, "run", False, id="root of the machine"),
    pytest.param("", "run", False, id="a kernel without user namespaces"),
    pytest.param("0 100000 65536\n", "run", True, id="root of a container with its own run"),
    pytest.param("0 0 1\n", "tmp", True, id="the machine's root without its powers"),
])
def test_the_place_follows_from_whose_root_this_is(machine, mapped, expected, bounded):
    root = machine(mapped)
    assert runtime_dir.make().parent == root / expected
    assert runtime_dir.find() == runtime_dir.make()
    assert runtime_dir.is_user_namespace() == bounded


def test_an_ordinary_users_root_keeps_off_a_run_that_is_not_its_own(machine, monkeypatch):
    root = machine("0 1000 1\n")
    monkeypatch.setattr(runtime_dir, "_RUN", root / "missing")
    assert runtime_dir.find() is None
    assert runtime_dir.make().parent == root / "tmp"


def test_in_tmp_the_name_cannot_be_foreseen_and_the_place_is_found_again(machine):
    root = machine("0 0 1\n")
    first = runtime_dir.make()
    assert first.stat().st_mode & 0o777 == 0o700
    assert runtime_dir.find() == runtime_dir.make() == first
    first.rmdir()
    assert runtime_dir.find() is None
    assert runtime_dir.make() != first
    assert len(list((root / "tmp").iterdir())) == 1


def test_what_others_may_enter_or_link_to_is_passed_over(machine):
    root = machine("0 0 1\n")
    for name, mode in (("aaaaaaaa", 0o755), ("bbbbbbbb", 0o710)):
        (root / "tmp" / f"calico-mn-runs-{name}").mkdir()
        (root / "tmp" / f"calico-mn-runs-{name}").chmod(mode)
    (root / "elsewhere").mkdir(mode=0o700)
    (root / "tmp" / "calico-mn-runs-cccccccc").symlink_to(root / "elsewhere")
    (root / "tmp" / "calico-mn-runs-dddddddd").write_text("a file")
    assert runtime_dir.find() is None
    assert runtime_dir.make() not in [root / "tmp" / f"calico-mn-runs-{c * 8}" for c in "abcd"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_another_users_directory_is_passed_over_or_refused(machine, monkeypatch):
    root = machine("0 0 1\n")
    theirs = root / "tmp" / "calico-mn-runs-aaaaaaaa"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 1000, 1000)
    assert runtime_dir.find() is None
    runtime = root / "xdg"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(runtime_dir, "_LONGEST", 1000)
    assert runtime_dir.find() == runtime / "calico-mn"
    runtime_dir.make()
    os.chown(runtime / "calico-mn", 1000, 1000)
    with (pytest.raises(UnsupportedError, match=r"calico-mn is not root's alone"),
          runtime_dir.locked()):
        pass
    os.chown(runtime, 1000, 1000)
    assert runtime_dir.find() is None


@pytest.mark.parametrize("value", [
    pytest.param("", id="empty"),
    pytest.param("run", id="relative"),
    pytest.param("/" + "x" * 64, id="too long for a socket's path"),
    pytest.param("/nowhere", id="missing"),
    pytest.param("/usr", id="open to others"),
])
def test_a_runtime_directory_that_will_not_do_is_passed_over(machine, monkeypatch, value):
    root = machine("0 0 1\n")
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert runtime_dir.make().parent == root / "tmp"


def test_of_two_that_were_made_at_once_all_use_the_first(machine, monkeypatch):
    root = machine("0 0 1\n")
    other = root / "tmp" / "calico-mn-runs-00000000"
    real = runtime_dir.tempfile.mkdtemp

    def both(**options):
        other.mkdir(mode=0o700)
        return real(**options)

    monkeypatch.setattr(runtime_dir.tempfile, "mkdtemp", both)
    with runtime_dir.locked() as path:
        assert path == other
        assert list((root / "tmp").iterdir()) == [other]


def test_a_place_that_stays_empty_is_removed_and_one_in_use_is_not(machine):
    root = machine(WHOLE)
    with runtime_dir.locked() as path:
        pass
    assert not path.exists()
    with runtime_dir.locked() as path:
        (path / "1-1").mkdir()
    runtime_dir.remove_if_empty(path)
    assert list((root / "run").iterdir()) == [path]
    (path / "1-1").rmdir()
    runtime_dir.remove_if_empty(path)
    assert list((root / "run").iterdir()) == []


def test_the_place_is_not_removed_while_another_process_has_its_lock(machine, monkeypatch):
    machine(WHOLE)
    monkeypatch.setattr(runtime_dir, "_REMOVAL_WAIT_S", 0.05)
    with runtime_dir.locked() as path:
        runtime_dir.remove_if_empty(path)  # a lock of this process, but by another descriptor
        assert path.exists()
        (path / "1-1").mkdir()


def test_a_place_that_vanishes_before_it_is_locked_is_made_again(machine, monkeypatch):
    machine(WHOLE)
    real, times = runtime_dir.open_directory, iter(range(3))

    def late(path):
        if next(times, None) is not None:
            path.rmdir()
        return real(path)

    monkeypatch.setattr(runtime_dir, "open_directory", late)
    with runtime_dir.locked() as path:
        (path / "1-1").mkdir()
    assert next(times, None) is None
