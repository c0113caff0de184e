"""Root inside a user namespace (``unshare -Urnm``): what the kernel refuses is said in one line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import SLOWNESS

import calico_mn

ROOT = Path(calico_mn.__file__).resolve().parent.parent
PROGRAM = """
import sys
from calico_mn import CalicoNet, load_topology
from calico_mn.errors import CalicoMnError
try:
    with CalicoNet(load_topology("topologies/article.yaml")) as net:
        print("runs:", net["node31"].cmd("ip route"))
except CalicoMnError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def in_user_namespace(*argv):
    return subprocess.run(["unshare", "-Urnm", *argv], capture_output=True, text=True, cwd=ROOT,
                          timeout=30 * SLOWNESS, check=False)


@pytest.fixture(autouse=True)
def user_namespaces_are_allowed():
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare (util-linux)")
    refused = in_user_namespace("true").stderr.strip()
    if refused:
        pytest.skip(f"this machine allows no user namespaces: {refused}")


def test_a_cluster_runs_or_says_in_one_line_what_the_kernel_refuses():
    done = in_user_namespace(sys.executable, "-c", PROGRAM)
    if done.returncode == 0:
        assert "10.22.151.0/26" in done.stdout
        return
    assert done.stderr.startswith("UnsupportedError: ") and len(done.stderr.splitlines()) == 1
    assert any(reason in done.stderr for reason in ("CAP_BPF", "/run", "tunl0")), done.stderr


def test_what_needs_no_privilege_works_there_as_well():
    done = in_user_namespace(sys.executable, "-m", "calico_mn.cli.main", "validate",
                             "topologies/article.yaml")
    assert done.returncode == 0, done.stderr
