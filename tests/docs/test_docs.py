"""What README and docs/ show is run: Python blocks as they are, shell commands line by line.

A command that is not in COMMANDS fails the test that collects them, so that nothing can be shown
that nothing runs.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
VENV = Path(sys.executable).parent



#: makes {tmp}/lab.yaml
LAB = "{python} -m calico_mn init > {tmp}/lab.yaml"


def _with_a_run(name: str, verb: str, before: str = "") -> str:
    """The verb, in a cluster that is there for it alone; ``before`` makes its topology."""
    cli = "{python} -m calico_mn"
    file = "{tmp}/lab.yaml" if before else "topologies/two-subnets.yaml"
    return (f"{before or 'true'}; {cli} up --detach --name {name} {file} && {{{{ {cli} {verb};"
            f" status=$?; {cli} down {name}; exit $status; }}}}")


#: a command as shown -> what is run for it: short forms of what takes minutes, or a reason why
#: another run has it. "tested by FILE": that test runs the very script
COMMANDS: dict[str, str] = {
    "sudo .venv/bin/python experiments/ipip_modes.py":
        "tested by tests/experiment/test_ipip_modes.py",
    "sudo .venv/bin/python experiments/blocked_protocol_4.py":
        "tested by tests/experiment/test_blocked_protocol_4.py",
    "sudo .venv/bin/python experiments/blocked_protocol_4.py --quick":
        "tested by tests/experiment/test_blocked_protocol_4.py",
    "sudo .venv/bin/python experiments/mode_switch.py":
        "tested by tests/experiment/test_mode_switch.py",
    "sudo .venv/bin/python experiments/mode_switch.py --quick":
        "tested by tests/experiment/test_mode_switch.py",
    "sudo .venv/bin/python experiments/encapsulation_cost.py":
        "tested by tests/experiment/test_encapsulation_cost.py",
    "sudo .venv/bin/python experiments/encapsulation_cost.py --quick":
        "tested by tests/experiment/test_encapsulation_cost.py",
    "sudo .venv/bin/python experiments/flow_entropy.py":
        "tested by tests/experiment/test_flow_entropy.py",
    "sudo .venv/bin/python experiments/flow_entropy.py --quick":
        "tested by tests/experiment/test_flow_entropy.py",
    "sudo .venv/bin/python experiments/policy_cost.py":
        "tested by tests/experiment/test_policy_cost.py",
    "sudo .venv/bin/python experiments/policy_cost.py --quick":
        "tested by tests/experiment/test_policy_cost.py",
    "sudo .venv/bin/python experiments/convergence.py":
        "tested by tests/experiment/test_convergence.py",
    "sudo .venv/bin/python experiments/convergence.py --quick":
        "tested by tests/experiment/test_convergence.py",
    "sudo .venv/bin/python experiments/mtu.py":
        "tested by tests/experiment/test_mtu.py",
    "sudo .venv/bin/python experiments/mtu.py --quick":
        "tested by tests/experiment/test_mtu.py",
    "sudo .venv/bin/python experiments/scale.py":
        "tested by tests/experiment/test_scale.py",
    "sudo .venv/bin/python experiments/scale.py --quick":
        "tested by tests/experiment/test_scale.py",
    ".venv/bin/calico-mn init > lab.yaml": LAB,
    ".venv/bin/calico-mn validate lab.yaml":
        f"{LAB} && {{python}} -m calico_mn validate {{tmp}}/lab.yaml",
    "sudo .venv/bin/calico-mn up --detach lab.yaml": _with_a_run("lab", "status lab", LAB),
    "sudo .venv/bin/calico-mn trace web-0 web-1":
        _with_a_run("lab-trace", "trace --run lab-trace web-0 web-1", LAB),
    "sudo .venv/bin/python experiments/ipip_modes.py --topology lab.yaml --output results/lab":
        f"{LAB}; {{python}} experiments/ipip_modes.py --topology {{tmp}}/lab.yaml --output"
        " {tmp}/results --quick --repeats 1 --duration 0.05 --instruments rtt --modes Never",
    "sudo .venv/bin/python experiments/ipip_modes.py --topology topologies/slow-links.yaml":
        "tested by tests/experiment/test_ipip_modes.py",
    "sudo .venv/bin/python experiments/ipip_modes.py --encapsulations ipip,vxlan --vxlan-checksum"
    " on,off": "tested by tests/experiment/test_ipip_modes.py",
    "sudo .venv/bin/python experiments/ipip_modes.py --streams 1,4 --offloads on,off":
        "tested by tests/experiment/test_ipip_modes.py",
    "sudo .venv/bin/python experiments/ipip_modes.py --pairs web-0:web-2,client-a:web-2"
    " --instruments tcp --congestion cubic,bbr": "tested by tests/experiment/test_ipip_modes.py",
    "sudo .venv/bin/calico-mn sweep --local 2 ipip-modes --quick":
        "{python} -m calico_mn sweep --local 2 ipip-modes --quick --repeats 2 --duration 0.05"
        " --modes Never --instruments rtt --output {tmp}/sweep",
    "sudo .venv/bin/calico-mn walkthrough": "{python} -m calico_mn walkthrough --chapter 2",
    "sudo .venv/bin/calico-mn walkthrough --lang zh":
        "{python} -m calico_mn walkthrough --lang zh --chapter 4",
    'sudo ln -sf "$PWD/.venv/bin/calico-mn" /usr/local/bin/calico-mn':
        'ln -sf "$PWD/.venv/bin/calico-mn" {tmp}/calico-mn',
    "unshare -Urnm .venv/bin/calico-mn up --mode Never topologies/article.yaml":
        "if unshare -Urnm true; then unshare -Urnm {python} -m calico_mn up --mode Never"
        " topologies/article.yaml; fi",
    "sudo .venv/bin/calico-mn up --detach topologies/two-subnets.yaml":
        _with_a_run("readme-up", "status readme-up"),
    "sudo .venv/bin/calico-mn exec node31 -- ip route":
        _with_a_run("readme-exec", "exec --run readme-exec node31 -- ip route"),
    "sudo .venv/bin/calico-mn trace web-0 web-2 --svg way.svg":
        _with_a_run("readme-trace", "trace --run readme-trace web-0 web-2 --svg {tmp}/way.svg"),
    "sudo .venv/bin/calico-mn iperf web-0 web-2":
        _with_a_run("readme-iperf", "iperf --run readme-iperf -t 1 web-0 web-2"),
    "sudo .venv/bin/calico-mn mode Never":
        _with_a_run("readme-mode", "mode --run readme-mode Never"),
    "sudo .venv/bin/calico-mn verify --repair":
        _with_a_run("readme-verify", "verify --run readme-verify --repair"),
    "sudo .venv/bin/calico-mn web --control": _with_a_run(
        "docs-web", "web docs-web --control >{tmp}/url & page=$!; until grep -q http {tmp}/url;"
        " do sleep 0.1; done; {python} -c 'import sys, urllib.request as request;"
        ' assert b"Follow a packet" in request.urlopen(open(sys.argv[1]).readline()).read()\''
        " {tmp}/url"),
    "./install.sh run":
        "./install.sh run --quick --repeats 1 --duration 0.05 --instruments rtt"
        " --output {tmp}/quick",
    "./install.sh test": "the command that runs these tests",
}


def blocks(language: str) -> list[tuple[str, str]]:
    """(page:line, text) of every fenced block of ``language``."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{page.name}:{line}", match.group(1)))
    return found


def shown_commands() -> list[str]:
    """Every line of a ``sh`` block, without comments."""
    lines = (line.split("  #")[0].strip() for _place, text in blocks("sh")
             for line in text.splitlines())
    return sorted({line for line in lines if line and not line.startswith("#")})


def run(command: list[str] | str, directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, shell=isinstance(command, str), timeout=300,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="clusters need root")
@pytest.mark.parametrize("text", [pytest.param(t, id=place) for place, t in blocks("python")])
def test_python_example_runs(text: str, tmp_path: Path) -> None:
    (tmp_path / "topologies").symlink_to(ROOT / "topologies")
    (tmp_path / "example.py").write_text(text, encoding="utf-8")
    run([sys.executable, "example.py"], tmp_path)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="clusters need root")
@pytest.mark.parametrize("command", shown_commands())
def test_shown_command_runs(command: str, tmp_path: Path) -> None:
    assert command in COMMANDS, f"{command!r} is shown, and nothing says how to test it"
    action = COMMANDS[command]
    if action.startswith("tested by "):
        test = ROOT / action.removeprefix("tested by ")
        (script,) = re.findall(r"experiments/(\w+)\.py", command)
        assert script in test.name, f"{test.name} does not test {script}.py"
        assert test.exists() and (ROOT / "experiments" / f"{script}.py").exists()
        return
    if action.startswith("the command"):
        assert (ROOT / shlex.split(command)[0]).exists()
        return
    run(action.format(tmp=tmp_path, python=VENV / "python"), ROOT)


def test_every_tested_command_is_shown() -> None:
    assert sorted(COMMANDS) == shown_commands()
