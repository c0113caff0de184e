"""Help, mistakes on the command line, and what needs neither root nor a run."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from calico_mn import __version__
from calico_mn.cli import verbs
from calico_mn.cli.main import overview
from calico_mn.version import digest

from .conftest import LAB, PROGRAM, ROOT, calico_mn, environment


def test_the_help_of_it_all(golden):
    done = calico_mn("--help")
    assert done.returncode == 0
    golden("help", done.stdout)
    assert calico_mn().stdout == calico_mn("help").stdout == done.stdout
    assert calico_mn().returncode == 2


@pytest.mark.parametrize("name", list(verbs.public()))
def test_every_verb_explains_itself(name):
    text = verbs.verb(name).parser().format_help()
    assert text.startswith(f"usage: calico-mn {name} ")
    assert verbs.verb(name).summary in overview()
    assert max(map(len, text.splitlines())) <= 100


def test_a_verbs_help_is_asked_for_in_two_ways():
    done = calico_mn("exec", "--help")
    assert (done.returncode, done.stderr) == (0, "") and "exit status: the program's" in done.stdout
    assert calico_mn("help", "exec").stdout == done.stdout


def test_help_loads_nothing_that_takes_long_to_load():
    # These take several times as long as all the rest; so completion would be felt.
    code = ("import sys; sys.argv = ['calico-mn', '--help']\n"
            "from calico_mn.cli.main import main\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "print('loaded', {'mininet', 'yaml', 'matplotlib', 'rich'} & set(sys.modules))")
    done = subprocess.run([PROGRAM[0], "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env=environment(), timeout=60)
    assert done.stdout.startswith("usage: calico-mn VERB")
    assert done.stdout.endswith("loaded set()\n"), done.stdout[-300:] + done.stderr


@pytest.mark.parametrize(("words", "status", "said"), [
    pytest.param(["stats"], 2, "calico-mn: there is no verb 'stats'; did you mean status? "
                 "('calico-mn --help' lists them all)", id="unknown verb"),
    pytest.param(["destroy"], 2, "calico-mn: there is no verb 'destroy'; did you mean down? "
                 "('calico-mn --help' lists them all)", id="another tool's verb"),
    pytest.param(["qqqq"], 2, "calico-mn: there is no verb 'qqqq' ('calico-mn --help' lists them"
                 " all)", id="nothing alike"),
    pytest.param(["plan"], 2, "calico-mn plan: the following arguments are required: FILE"
                 " (see 'calico-mn plan --help')", id="missing argument"),
    pytest.param(["list", "--nmae"], 2, "calico-mn list: unrecognized arguments: --nmae"
                 " (see 'calico-mn list --help')", id="unknown option"),
    pytest.param(["plan", "topologies/article.yaml", "--node", "node33"], 3,
                 "calico-mn: topologies/article.yaml has no node, pod, router or subnet 'node33'; "
                 "it has gateway, hosts, node31, node32, sit/sit-web-backend-58f48df4c9-b2q28, "
                 "sit/sit-web-frontend-6c9f7d5b8d-x7k2p", id="unknown node of a file"),
    pytest.param(["up", "--json", "topologies/article.yaml"], 2,
                 "calico-mn up: --json is for --detach", id="options that exclude each other",
                 marks=pytest.mark.root),
    pytest.param(["up", "-d", "--watch", "topologies/article.yaml"], 2,
                 "calico-mn up: --watch is not for --detach; afterwards there is"
                 " 'calico-mn status --watch'", id="a run in the background to watch",
                 marks=pytest.mark.root),
])
def test_a_mistake_is_one_line(words, status, said):
    done = calico_mn(*words)
    assert (done.returncode, done.stderr, done.stdout) == (status, f"{said}\n", "")


def test_a_topologys_mistakes_are_printed_with_their_lines(tmp_path):
    (tmp_path / "bad.yaml").write_text("apiVersion: v1\nkind: Podd\n")
    for verb in ("validate", "plan"):
        done = calico_mn(verb, str(tmp_path / "bad.yaml"))
        assert done.returncode == 2
        assert 'bad.yaml:2:7: unknown kind "Podd"' in done.stderr
    found = json.loads(calico_mn("validate", "--json", str(tmp_path / "bad.yaml"), str(LAB)).stdout)
    assert [one["valid"] for one in found] == [False, True]
    assert found[0]["problems"][0]["line"] == 2


def test_validate_reads_standard_input():
    assert calico_mn("validate", "-", stdin=LAB.read_text()).stdout.startswith(
        "standard input: good: ")


def test_version():
    assert calico_mn("--version").stdout == f"calico-mn {__version__} (code {digest()})\n"


def test_plan_prints_commands_for_each_namespace():
    text = calico_mn("plan", str(LAB), "--node", "node31", "--node", "default/a").stdout
    assert re.match(r"# node node31, tunl0 by (kernel|ebpf), rules by iptables-nft\n", text)
    assert "\n\n# pod default/a\n" in text
    assert "ip route replace blackhole 10.22.31.0/26 proto bird\n" in text
    whole = json.loads(calico_mn("plan", str(LAB), "--json").stdout)
    assert [step["namespace"] for step in whole] == [
        "rack-a", "rack-b", "r1", "node31", "node32", "node33", "default/a", "default/b", "shop/c"]


def test_who_reads_no_further_is_not_complained_to():
    done = subprocess.run(f"{' '.join(PROGRAM)} plan {LAB} | head -n 1; echo ${{PIPESTATUS[0]}}",
                          shell=True, executable="/bin/bash", capture_output=True, text=True,
                          cwd=ROOT, env=environment())
    assert done.stderr == "" and done.stdout.splitlines()[0] == "# switch rack-a"
