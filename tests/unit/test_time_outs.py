"""Every wait for another program has an end: checked in the source of the package."""

import ast
from pathlib import Path

import pytest

import calico_mn

ROOT = Path(calico_mn.__file__).parent
WAITS = ("wait", "communicate")
RUNS = ("run", "call", "check_call", "check_output", "getoutput", "getstatusoutput")
#: without a time-out, and why that does no harm
JUSTIFIED = {"control/daemon.py: os.waitpid": "a fork of our own that ends at once"}
#: file -> what may start programs there
STARTS = {"kernel/processes.py": "start, for callers that wait with a time-out"}


def calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node, node.func.attr, ast.unparse(node.func.value)


def has_timeout(call, position):
    return len(call.args) > position or any(word.arg == "timeout" for word in call.keywords)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_wait_has_a_time_out(path):
    place = str(path.relative_to(ROOT))
    for call, name, owner in calls(path):
        where = f"{place}:{call.lineno}: {owner}.{name}"
        if name == "wait":
            assert has_timeout(call, 0), where
        elif name == "communicate":
            assert has_timeout(call, 1), where
        elif owner == "subprocess" and name in RUNS:
            assert any(word.arg == "timeout" for word in call.keywords), where
        elif owner == "subprocess" and name == "Popen":
            assert place in STARTS, where
        elif f"{place}: {owner}.{name}" not in JUSTIFIED:
            assert f"{owner}.{name}" not in ("os.system", "os.popen", "os.waitpid"), where
