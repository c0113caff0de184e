"""Options of --on kubernetes: what goes with what, without a cluster."""

import subprocess
import sys

import pytest

from calico_mn.experiment import scripts
from calico_mn.experiment.arguments import parse
from calico_mn.kubernetes.placement import Settings

from .test_bad_words import DEFAULTS

KUBERNETES = ("--on", "kubernetes")


def read(name, *words):
    experiment = scripts.load(name).experiment
    return parse("", DEFAULTS, experiment.factors, list(words), experiment.why_emulated)


def test_what_is_asked_for_of_a_real_cluster():
    options = read("ipip-modes", *KUBERNETES, "--context", "lab", "--namespace", "mine", "--image",
                   "i", "--allow-mode-change", "--modes", "Always,Never", "--settle", "0.5")
    assert options.real == Settings("lab", "mine", "i", True, False, 0.5)
    assert read("ipip-modes", *KUBERNETES).real == Settings(None, "", "nicolaka/netshoot")
    assert read("ipip-modes", "--modes", "Always,Never").real is None


@pytest.mark.parametrize(("name", "words", "message"), [
    pytest.param("ipip-modes", ("--context", "lab"), "--context is for a real cluster: add --on"
                 " kubernetes", id="a real cluster's option"),
    pytest.param("ipip-modes", ("--on", "tls://h:1", "--allow-mode-change"),
                 "--allow-mode-change is for a real cluster", id="on several machines"),
    pytest.param("ipip-modes", (*KUBERNETES, "--topology=x"),
                 "--topology is for an emulated cluster", id="an emulated cluster's option"),
    pytest.param("ipip-modes", (*KUBERNETES, "--rates", "100"),
                 "--rates is for an emulated cluster", id="a factor of emulated clusters"),
    pytest.param("ipip-modes", (*KUBERNETES, "--modes", "Always,Never"),
                 "--allow-mode-change permits that", id="several modes without permission"),
    *(pytest.param(name, KUBERNETES, "this experiment takes an emulated cluster, since", id=name)
      for name in scripts.scripts() if name != "ipip-modes"),
    pytest.param("mtu", ("--context", "x"), "unrecognized arguments: --context",
                 id="of an experiment that takes none")])
def test_what_does_not_go_together(name, words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        read(name, *words)
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_experiments_on_this_machine_need_no_package_kubernetes():
    code = ("import sys\n"
            "for name in ('kubernetes', 'websocket', 'urllib3'): sys.modules[name] = None\n"
            "from calico_mn.experiment import runner, scripts\n"
            "print(scripts.load('ipip-modes').measure.__name__)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          check=False)
    assert (done.stdout, done.stderr) == ("measure\n", "")
