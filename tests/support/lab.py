"""Machines for Dask: namespaces joined by a bridge, with a scheduler and workers in them.

       lab0: scheduler, clients
       br0 10.77.0.10/24
        |            |
       lab1         lab2     a worker each
       eth0 .11     eth0 .12

Each has a network, a host name and mounts of its own, with a /run of its own, so that it knows no
runs but its own. Only process ids and the files elsewhere are shared. Nothing of it is in the
network namespace that the tests run in, and all of it ends with the ``with`` block.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from support.patience import SLOWNESS, eventually

#: what a holder does with its new namespaces, before it waits for the end of its input
_BECOME = 'mount -t tmpfs run /run && hostname "$0" && ip link set lo up && echo && exec cat'
_KINDS = ("--net", "--mount", "--uts")
#: how long no answer comes on a connection that is lost: Dask's least, where 30 s is its default
_TIMES = "distributed: {comm: {timeouts: {tcp: 11s}}}\n"
_PAGE = Path(__file__).parents[2] / "docs" / "machines.md"


def documented(start: str) -> str:
    """The first indented block of docs/machines.md that begins so."""
    found = re.search(rf"^    {re.escape(start)}.*\n(    .*\n)*", _PAGE.read_text(), re.MULTILINE)
    assert found, f"{_PAGE} shows no {start}"
    return textwrap.dedent(found[0])


class Machine:
    """One machine, and what was started on it."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self.name = name
        self.environment = environment
        self._started: list[subprocess.Popen[Any]] = []
        self._holder = subprocess.Popen(
            ["unshare", *_KINDS, "sh", "-c", _BECOME, name], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        assert self._holder.stdout is not None and self._holder.stdout.readline()
        self.pid = self._holder.pid

    def inside(self, *words: object) -> list[str]:
        """A command as it is run on this machine."""
        return ["nsenter", "--target", str(self.pid), *_KINDS, *map(str, words)]

    def run(self, *words: object) -> str:
        """What a command prints, which must succeed."""
        return subprocess.run(self.inside(*words), check=True, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60 * SLOWNESS).stdout

    def start(self, *words: object, **options: Any) -> subprocess.Popen[Any]:
        """A command that runs until it is ended, or the lab is, or the tests are killed.

        setpriv and nsenter become the command.
        """
        self._started.append(subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.inside(*words)],
            env=self.environment, stdin=subprocess.DEVNULL, **options))
        return self._started[-1]

    def runs(self) -> list[str]:
        """The runs on this machine, as PID-NUMBER."""
        try:
            names = os.listdir(f"/proc/{self.pid}/root/run/calico-mn")
        except FileNotFoundError:  # it is there as long as a run is
            return []
        return sorted(name for name in names if re.fullmatch("[0-9]+-[0-9]+", name))

    def end(self) -> None:
        """End all that was started here, and the machine."""
        for process in self._started:
            process.kill()
            process.wait(30)
        self._holder.communicate(timeout=30)


class Lab:
    """A scheduler on lab0, and workers, each on a machine of its own."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.place = place
        self._stack = stack
        self._number = 0
        self._workers: list[tuple[Machine, subprocess.Popen[Any]]] = []
        subprocess.run(documented("openssl").split(), cwd=place, check=True, capture_output=True,
                       timeout=60 * SLOWNESS)
        tls = documented("distributed:").replace("/etc/dask", str(place))
        (place / "tls.yaml").write_text(tls, encoding="utf-8")
        (place / "times.yaml").write_text(_TIMES, encoding="utf-8")
        self.lab0 = self._machine("lab0")
        self.lab0.run("ip", "link", "add", "br0", "type", "bridge")
        self.lab0.run("ip", "address", "add", "10.77.0.10/24", "dev", "br0")
        self.lab0.run("ip", "link", "set", "br0", "up")
        self.address = "tls://10.77.0.10:8786"
        self._log = place / "scheduler.log"
        self.scheduler = self._dask(self.lab0, self._log, "scheduler", "--protocol", "tls",
                                    "--host", "10.77.0.10", "--port", 8786)
        assert eventually(lambda: "Scheduler at" in self._log.read_text())

    def workers(self, count: int) -> list[tuple[Machine, subprocess.Popen[Any]]]:
        """So many machines with their workers: as many are started or ended as that takes."""
        alive = [each for each in self._workers if each[1].poll() is None]
        for _, surplus in alive[count:]:
            surplus.kill()
            surplus.wait(30)
        self._workers = alive[:count]
        while len(self._workers) < count:
            self._workers.append(self._worker())
        return self._workers

    def _worker(self) -> tuple[Machine, subprocess.Popen[Any]]:
        """A further machine and the worker on it, which has registered."""
        self._number += 1
        number = self._number
        machine = self._machine(f"lab{number}")
        self.lab0.run("ip", "link", "add", machine.name, "master", "br0", "up", "type", "veth",
                      "peer", "name", "eth0", "netns", machine.pid)
        machine.run("ip", "address", "add", f"10.77.0.{10 + number}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        log = self.place / f"{machine.name}.log"
        worker = self._dask(machine, log, "worker", self.address, "--nthreads", 1, "--no-nanny",
                            "--local-directory", self.place / machine.name)
        assert eventually(lambda: "Registered to" in log.read_text()), log.read_text()
        return machine, worker

    def _machine(self, name: str) -> Machine:
        machine = Machine(name, {**os.environ, "DASK_CONFIG": str(self.place)})
        self._stack.callback(machine.end)
        return machine

    @staticmethod
    def _dask(machine: Machine, log: Path, role: str, *words: object) -> subprocess.Popen[Any]:
        with log.open("wb") as file:
            return machine.start(sys.executable, "-m", f"distributed.cli.dask_{role}",
                                 "--no-dashboard", *words, stdout=file, stderr=file)


@contextmanager
def lab(place: Path) -> Iterator[Lab]:
    """A lab without workers, which keeps its files in ``place``."""
    with ExitStack() as stack:
        yield Lab(place, stack)
