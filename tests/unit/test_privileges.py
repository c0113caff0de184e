"""Under sudo, what is written belongs to the person who called it, and is written as them."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.nobody import NOBODY, home, open_directory

from calico_mn.privileges import as_invoking_user

pytestmark = pytest.mark.root


@pytest.fixture
def tmp_path():
    with open_directory() as path:
        yield path


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A directory of the person who called sudo, below directories that everybody may enter."""
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setenv("SUDO_GID", str(NOBODY))
    return home(tmp_path)


def owners(*paths):
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in paths}


def test_directories_and_files_are_the_invoking_users_from_the_first_moment(theirs):
    made = theirs / "results" / "run"
    with as_invoking_user(made):
        made.mkdir(parents=True)
        (made / "file").write_text("text")
        assert owners(made.parent, made, made / "file") == {(NOBODY, NOBODY)}
    (theirs / "later").write_text("root again")
    assert owners(theirs / "later") == {(os.geteuid(), os.getegid())}


def test_a_symbolic_link_leads_to_nothing_that_they_could_not_write(theirs, tmp_path):
    secret = tmp_path / "roots"
    secret.write_text("root's")
    secret.chmod(0o600)
    (theirs / "summary.json").symlink_to(secret)
    with pytest.raises(PermissionError), as_invoking_user(theirs):
        (theirs / "summary.json").write_text("overwritten")
    (theirs / "results").symlink_to(tmp_path)
    with pytest.raises(PermissionError), as_invoking_user(theirs / "results"):
        (theirs / "results" / "new").mkdir()
    assert secret.read_text() == "root's" and owners(secret) == {(0, 0)}


def test_in_a_directory_that_only_root_can_change_root_writes(tmp_path, theirs):
    with as_invoking_user(tmp_path / "new"):
        (tmp_path / "new").mkdir()
    assert owners(tmp_path / "new") == {(0, 0)}


@pytest.mark.parametrize("place", ["theirs", "another's", "everybody's", "a link"])
def test_roots_groups_are_not_theirs(tmp_path, theirs, monkeypatch, place):
    secret = tmp_path / "of-roots-group"
    secret.write_text("root's")
    secret.chmod(0o660)
    directory = tmp_path / "another"
    directory.mkdir()
    if place == "theirs":
        directory = theirs
    elif place == "another's":
        os.chown(directory, 12345, 12345)
    elif place == "everybody's":
        directory.chmod(0o777)
    else:
        directory.rmdir()
        directory.symlink_to(theirs)
    before = os.getgroups()
    with as_invoking_user(directory):
        assert set(os.getgroups()) == {NOBODY}
        with pytest.raises(PermissionError):
            secret.write_text("overwritten")
    assert os.getgroups() == before
    secret.write_text("root again")


def test_other_threads_stay_roots(theirs):
    with ThreadPoolExecutor(1) as other:
        other.submit(str).result()  # it began before
        with as_invoking_user(theirs):
            other.submit((theirs / "file").write_text, "").result()
    assert owners(theirs / "file") == {(0, 0)}


def test_without_sudo_nothing_changes(theirs, monkeypatch):
    monkeypatch.delenv("SUDO_UID")
    with as_invoking_user(theirs):
        (theirs / "file").write_text("root's")
    assert owners(theirs / "file") == {(0, 0)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("value", ["", "abc", "-1", "9" * 30, "9999999999", "4294967295",
                                   "4294967296", "\u00b2", "\u0661", "1.5", "\x1b", " 1", "0"])
def test_what_is_no_users_number_is_nobody(value, tmp_path, monkeypatch):
    monkeypatch.setenv("SUDO_UID", value)
    monkeypatch.setenv("SUDO_GID", value)
    with as_invoking_user(tmp_path):
        (tmp_path / "file").touch()
    assert (tmp_path / "file").stat().st_uid == 0
