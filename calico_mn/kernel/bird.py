"""A stock BIRD in each node's namespace: checked, started, configured, asked, ended by its pid.

In go nodes' configurations as text, and birdc's commands; out come BIRD's answers, and the kernel's
routes of protocol bird, which BIRD writes itself. Files are in the run's directory::

    bird/NODE.conf   the configuration           bird/NODE.ctl   the socket: birdc -s FILE
    bird/NODE.refused   a configuration that a running BIRD did not take
                     and in the node /var/run/calico/bird.ctl (:mod:`.mounts`)
    logs/NODE/bird.log   what BIRD says, in the node /var/log/calico/cni/bird.log
    bin/birdc, bin/birdcl   first in a node's PATH: with -s of the node they are called in
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from calico_mn.errors import KernelError, UnsupportedError
from calico_mn.kernel import processes

#: the first version whose filters can set ifname, onlink and gw as tunl0 needs it
_NEEDED = (2, 0, 12)
_TIMEOUT_S = 30.0
#: the same for what BIRD only shows: one that hangs does not keep the others from being looked at
_SHOW_S = 5.0
_LOG_BYTES = 256 * 1024
# sockaddr_un has room for so many bytes (unix(7)).
_LONGEST_PATH = 107
#: how to get BIRD
REMEDY = "apt-get install --no-install-recommends bird2, or ./install.sh, which starts no service"
_DIRECTORY = "bird"
#: the variable that names the socket in the environment of a place's programs
SOCKET = "CALICO_MN_BIRD"
_SCRIPT = """\
#!/bin/sh
program={program}
complain() {{ echo "{name}: $1" >&2; exit 1; }}
[ -d {birds} ] || complain "the route engine is built in; for BIRD: calico-mn up --engine bird"
[ -S "${socket}" ] || complain "no BIRD here, but in nodes: calico-mn exec NODE -- {name} $*"
[ "$program" ] || complain "not installed: {remedy}"
exec "$program" -s "${socket}" "$@"
"""
_LINE = re.compile(r"(\d{4})([ -])(.*)")

def lacking() -> str:
    """Why there is no BIRD; empty where there is one."""
    try:
        program()
    except UnsupportedError as reason:
        return str(reason)
    return ""


def program() -> str:
    """The path of a BIRD that can be used. Raises UnsupportedError if there is none."""
    path = processes.program("bird")
    if path is None:
        raise UnsupportedError(f"engine bird needs BIRD, and there is no program bird: {REMEDY}")
    said = _run([path, "--version"]).strip()
    number = re.search(r"\d+(\.\d+)+", said)
    if number is None or tuple(map(int, number[0].split("."))) < _NEEDED:
        raise UnsupportedError(
            f"engine bird needs BIRD {'.'.join(map(str, _NEEDED))} or later, and {path}"
            f" {f'is {number[0]}' if number else f'says of its version only {said[:40]!r}'}:"
            f" {REMEDY}")
    return path


def version(path: str) -> str:
    """What a BIRD calls itself, such as ``BIRD 2.0.12``."""
    return _run([path, "--version"]).strip().replace(" version", "")


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"{argv[0]}: {error}") from error
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise KernelError(f"{' '.join(argv)}: {text.strip() or done.returncode}")
    return text


def prepare(run: Path) -> None:
    """Make the directory of a run's BIRDs, before its namespaces are made. Raises OSError."""
    (run / _DIRECTORY).mkdir()


def has_birds(run: Path) -> bool:
    """Whether a run, whose directory this is, has BIRDs."""
    return (run / _DIRECTORY).is_dir()


def control_socket(run: Path, place: str) -> Path:
    """The socket of a place's BIRD below a run's directory; what is too long for one is a digest.
    """
    path = run / _DIRECTORY / f"{place}.ctl"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    return path.parent / f"{sha256(place.encode()).hexdigest()[:16]}.ctl"


def link(run: Path, programs: Path) -> None:
    """Make birdc and birdcl of a run, which ask the BIRD of the node that they are called in."""
    programs.mkdir(exist_ok=True)
    for name in ("birdc", "birdcl"):
        text = _SCRIPT.format(name=name, program=shlex.quote(processes.program(name) or ""),
                              birds=shlex.quote(str(run / _DIRECTORY)), socket=SOCKET,
                              remedy=REMEDY)
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a BIRD ended, the local time at which that was noticed, and its log's last line."""

    how: str
    noticed: str
    last_line: str

    def __str__(self) -> str:
        said = f"; its log ends: {self.last_line}" if self.last_line else ""
        return f"{self.how}, noticed at {self.noticed}{said}"


class Bird:
    """The BIRD of one node. ``spawn`` starts a program in the node's namespace.

    ``run`` is the run's directory, ``logs`` that of its logs.
    """

    def __init__(self, node: str, path: str, run: Path, logs: Path, spawn: processes.Spawn) -> None:
        self.node = node
        self._path, self._spawn = path, spawn
        self._socket = control_socket(run, node)
        self._file = self._socket.with_suffix(".conf")
        self.log = logs / node / "bird.log"
        self._text = ""
        self._process: subprocess.Popen[Any] | None = None

    @property
    def pid(self) -> int:
        """The process's id, 0 before its first start."""
        return self._process.pid if self._process else 0

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def ending(self) -> Ending:
        """How it ended just now."""
        status = None if self._process is None else self._process.poll()
        how = "it did not start" if status is None else (
            f"exit status {status}" if status >= 0
            else f"signal {-status} ({signal.Signals(-status).name})")
        return Ending(how, time.strftime("%H:%M:%S"), (self.log_lines() or [""])[-1])

    def log_lines(self) -> list[str]:
        """What this node's BIRDs have said, the last 256 KiB of it."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _LOG_BYTES))
                return file.read().decode(errors="replace").splitlines()
        except OSError:
            return []

    def check(self, text: str) -> None:
        """Write a configuration that :meth:`start` runs. Raises KernelError with what BIRD says."""
        self._write(text)
        try:
            _run([self._path, "-p", "-c", str(self._file)])
        except KernelError as error:
            raise KernelError(f"{self.node}: BIRD refuses its configuration: {error}") from error

    def start(self, *, is_restart: bool = False) -> None:
        """Run BIRD with the configuration that was checked; does not wait for anything of BGP.

        With ``is_restart`` the kernel's routes stay until the peers have sent theirs (``-R``).
        """
        self.log.parent.mkdir(exist_ok=True)
        self._socket.unlink(missing_ok=True)
        options = ["-R"] if is_restart else []
        with self.log.open("ab") as log:
            self._process = self._spawn(
                self.node, [self._path, "-f", *options, "-c", str(self._file),
                            "-s", str(self._socket)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def await_answer(self) -> None:
        """Wait until BIRD takes commands. Raises KernelError if it ended, or after 30 s."""
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                self.ask("show status")
                return
            except OSError as error:
                if not self.is_running:
                    raise KernelError(f"{self.node}: BIRD does not run: {self.ending()};"
                                      f" see {self.log}") from error
                if time.monotonic() > deadline:
                    raise KernelError(f"{self.node}: BIRD does not answer: {error}; see"
                                      f" {self.log}") from error
            time.sleep(0.01)

    def configure(self, text: str) -> bool:
        """Have BIRD take over a configuration, sessions that stay untouched; whether it differs."""
        if text == self._text:
            return False
        before = self._text
        self._write(text)
        try:
            self.ask("configure")
        except OSError as error:
            self._write(before)
            raise KernelError(f"{self.node}: BIRD does not answer: {error}; see {self.log}"
                              ) from error
        except KernelError as error:
            refused = self._file.with_suffix(".refused")
            self._file.replace(refused)
            self._write(before)
            reason = str(error).replace(str(self._file), str(refused))
            raise KernelError(f"{self.node}: BIRD refuses its configuration: {reason}") from error
        return True

    def reload(self) -> None:
        """Have the kernel's routes written again: those over a device that was not there."""
        self.ask("reload out kernel1")

    def ask(self, command: str) -> list[str]:
        """A command of birdc, and the lines of its answer, without birdc's codes.

        Raises KernelError for what BIRD refuses, and OSError where it does not answer.
        """
        lines: list[str] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SHOW_S if command.startswith("show ") else _TIMEOUT_S)
            connection.connect(str(self._socket))
            with connection.makefile("r", encoding="utf-8", errors="replace") as answers:
                _answer(answers)
                connection.sendall(f"{command}\n".encode())
                lines = _answer(answers)
        return lines

    def kill(self) -> None:
        """Let it die without a word to its peers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_TIMEOUT_S)

    def end(self) -> None:
        """Close the sessions and end; the kernel's routes stay."""
        if self._process is not None:
            processes.end([self._process])

    def _write(self, text: str) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self._file)
        self._text = text


def _answer(lines: Any) -> list[str]:
    """One answer: lines with a code, of which the last has a blank behind it (BIRD's cli.c)."""
    texts: list[str] = []
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            texts.append(line.strip())
            continue
        code, sign, text = match.groups()
        if code[0] in "89":
            raise KernelError(text.strip())
        texts.append(text.strip())
        if sign == " ":
            return texts
    raise KernelError("BIRD closed the connection")
