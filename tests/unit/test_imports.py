"""The package reads downwards: no import runs back up, none in a circle."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import calico_mn

ROOT = Path(calico_mn.__file__).parent
#: The rooms from the ground up; those on one floor know nothing of each other.
FLOORS = [{"bgp_resources", "policy", "profile", "text", "version"},
          {"errors", "model", "privileges", "selector", "streams"},
          {"ebpf_differences", "packetmatch", "state"}, {"rules"}, {"present"},
          {"difference", "node_outputs"}, {"delta"}, {"repair"},
          {"topology", "calico", "bgp", "kernel"},
          {"command_line", "emulation"}, {"export", "measure"}, {"kubernetes", "report"},
          {"results"},
          {"exercises", "experiment", "trace", "walkthrough"}, {"net", "whatif"}, {"control"},
          {"web"}, {"cli"}, {"__main__"}]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
PURE = ("bgp_resources", "errors", "text", "policy", "model", "selector", "ebpf_differences",
        "packetmatch", "rules", "state", "present", "difference", "delta", "repair", "topology",
        "calico", "bgp", "node_outputs")
IMPURE = {"subprocess", "socket", "os", "pathlib", "shutil", "threading", "ctypes", "fcntl",
          "tempfile", "io", "time", "mininet"}
MODULES = {
    ".".join(("calico_mn", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))}


def imported(name):
    """The modules that ``name`` imports anywhere; imports for type checkers alone don't count."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for_types = {child for node in ast.walk(tree) if isinstance(node, ast.If)
                 and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
                 for child in ast.walk(node)}
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[:len(parts) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in MODULES else base


def room(name):
    return name.split(".")[1] if "." in name else ""


IN_ROOMS = [name for name in MODULES if room(name)]


def test_there_is_something_to_look_at():
    assert {"calico_mn.model", "calico_mn.calico.ipam", "calico_mn.kernel.write"} <= set(MODULES)
    assert "calico_mn.delta" in set(imported("calico_mn.kernel.iptext"))


@pytest.mark.parametrize("name", IN_ROOMS)
def test_a_module_imports_from_below_or_from_its_own_room(name):
    assert room(name) in LEVEL, f"{room(name)} has no floor: where does it belong?"
    for other in imported(name):
        if other.split(".")[0] != "calico_mn" or room(other) == room(name):
            continue
        assert room(other) and LEVEL[room(other)] < LEVEL[room(name)], f"{name} imports {other}"


@pytest.mark.parametrize("name", [n for n in IN_ROOMS if room(n) in PURE
                                  and n != "calico_mn.topology.load"])
def test_pure_modules_touch_nothing_outside(name):
    assert not {other.split(".")[0] for other in imported(name)} & IMPURE


def test_no_imports_run_in_a_circle():
    # "from calico_mn.x import y" also runs calico_mn/__init__.py and calico_mn/x/__init__.py, but
    # a package's __init__ names its own modules, so that edge would be a circle by definition.
    graph = {name: {other for other in imported(name) if other in MODULES and other != name}
             for name in MODULES}
    try:
        assert list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def test_mininet_is_imported_in_one_place():
    assert [name for name in MODULES
            if any(other.split(".")[0] == "mininet" for other in imported(name))] == [
                "calico_mn.emulation.mininet"]


def test_mininet_is_imported_without_setuptools_and_leaves_no_stub_behind():
    code = ("import sys; import calico_mn.emulation.mininet; import mininet.node;"
            "switch = mininet.node.OVSSwitch;"
            "switch.OVSVersion = '1.9.3'; assert switch.isOldOVS();"
            "switch.OVSVersion = '1.10.0'; assert not switch.isOldOVS();"
            "print([name for name in sys.modules"
            " if name.split('.')[0] in ('distutils', 'setuptools')])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_plain_installation_imports_everything():
    """Without the extras: what needs one of them imports it when it is asked for."""
    extras = ["aiohttp", "cryptography", "dask", "distributed", "kubernetes", "pandas", "urllib3",
              "websocket"]
    # The relay is a program, started where a cluster was asked already.
    names = sorted({*MODULES} - {"calico_mn.__main__", "calico_mn.kubernetes.relay"})
    code = (f"import importlib, sys; sys.modules.update(dict.fromkeys({extras}));"
            f"[importlib.import_module(name) for name in {names}]")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          check=False)
    assert (done.returncode, done.stderr) == (0, "")
