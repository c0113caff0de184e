"""The digest of the code stands for the code and nothing else."""

import shutil
from pathlib import Path

import pytest

import calico_mn
from calico_mn.version import digest

PACKAGE = Path(calico_mn.__file__).parent


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(PACKAGE, tmp_path / "elsewhere"))


def test_a_copy_has_the_same_digest(copy):
    assert digest(copy) == digest() and len(digest()) == 12


@pytest.mark.parametrize("change", [
    pytest.param(lambda root: (root / "errors.py").write_text("\n"), id="another content"),
    pytest.param(lambda root: (root / "errors.py").rename(root / "nomen.py"), id="another name"),
    pytest.param(lambda root: (root / "more.py").write_text(""), id="one more"),
    pytest.param(lambda root: (root / "errors.py").unlink(), id="one less"),
    pytest.param(lambda root: next(root.rglob("*.o")).write_bytes(b"\0"), id="another program"),
])
def test_any_change_of_code_changes_it(copy, change):
    change(copy)
    assert digest(copy) != digest()


def test_what_is_no_code_does_not_count(copy):
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__" / "names.cpython-311.pyc").write_bytes(b"compiled")
    (copy / "notes.txt").write_text("mine")
    assert digest(copy) == digest()
