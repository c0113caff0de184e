"""The experiment that measures in a real cluster, as a process whose results are looked at."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import yaml
from experiment.conftest import SCRIPT

from support.patience import SLOWNESS, eventually

FEW = ("--quick", "--repeats", "1", "--duration", "0.1", "--instruments", "rtt,tcp")
TO_SUBNETS = ("--paths", "same-subnet,cross-subnet")
#: two pods: where what is measured is not the point
ONE_PATH = ("--paths", "same-subnet")
#: what docs/kubernetes.md says of rights
PAGE = SCRIPT.parents[1] / "docs" / "kubernetes.md"
CHANGE = ("--allow-mode-change", "--modes", "Always,Never", "--settle", "0.2")


class Measuring:
    """The experiment as a process, and the directory of its results."""

    def __init__(self, output, *arguments, by=()):
        self.output = output
        self.process = subprocess.Popen(
            [*by, sys.executable, str(SCRIPT), *map(str, arguments)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def has_readings(self, count):
        """Whether it has taken so many within a minute."""
        file = self.output / "results.jsonl"
        return eventually(lambda: file.exists() and len(file.read_text().splitlines()) > count)

    def end(self):
        """Status, output and errors."""
        out, err = self.process.communicate(timeout=300 * SLOWNESS)
        return self.process.returncode, out, err


def resume(output):
    return Measuring(output, "--resume", output)


def known(output):
    return json.loads((output / "run.json").read_text())["kubernetes"]


def granted():
    """(verb, resource) that the ClusterRole in docs/kubernetes.md gives a right to."""
    text = re.search(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    return {(verb, f"{resource}.{group}".removesuffix("."))
            for rule in yaml.safe_load(text)["rules"] for verb in rule["verbs"]
            for resource in rule["resources"] for group in rule["apiGroups"]}
