"""A stock BIRD in each node's namespace: checked, started, configured, asked, ended by its pid.

In go nodes' configurations as text; out come their sessions' states, and the kernel's routes of
protocol bird, which BIRD writes itself. Files are in the run's directory::

    bird/NODE.conf   the configuration           bird/NODE.ctl   the socket: birdc -s FILE
    logs/NODE/bird.log   what BIRD says, in the node /var/log/calico/cni/bird.log
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from calico_mn.errors import KernelError, UnsupportedError
from calico_mn.kernel import processes

#: the first version whose filters can set ifname, onlink and gw as tunl0 needs it
_NEEDED = (2, 0, 12)
_TIMEOUT_S = 30.0
# sockaddr_un has room for so many bytes (unix(7)).
_LONGEST_PATH = 107
_REMEDY = "apt-get install --no-install-recommends bird2, or ./install.sh, which starts no service"
_LINE = re.compile(r"(\d{4})([ -])(.*)")

Spawn = Callable[..., "subprocess.Popen[Any]"]


def program() -> str:
    """The path of a BIRD that can be used. Raises UnsupportedError if there is none."""
    path = shutil.which("bird", path=os.pathsep.join((
        os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin")))
    if path is None:
        raise UnsupportedError(f"engine bird needs BIRD, and there is no program bird: {_REMEDY}")
    version = tuple(map(int, re.findall(r"\d+", _run([path, "--version"]))[:3]))
    if version < _NEEDED:
        raise UnsupportedError(
            f"engine bird needs BIRD {'.'.join(map(str, _NEEDED))} or later, and {path} is"
            f" {'.'.join(map(str, version))}")
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


class Bird:
    """The BIRD of one node. ``spawn`` starts a program in the node's namespace."""

    def __init__(self, node: str, path: str, directory: Path, logs: Path, spawn: Spawn) -> None:
        self.node = node
        self._path, self._spawn = path, spawn
        short = node if len(os.fsencode(directory / f"{node}.ctl")) <= _LONGEST_PATH else (
            sha256(node.encode()).hexdigest()[:16])
        self._file, self._socket = directory / f"{short}.conf", directory / f"{short}.ctl"
        self._log = logs / node / "bird.log"
        self._text = ""
        self._process: subprocess.Popen[Any] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, text: str, *, is_restart: bool = False) -> None:
        """Check a configuration and run BIRD with it; does not wait for anything of BGP.

        With ``is_restart`` the kernel's routes stay until the peers have sent theirs (``-R``).
        Raises KernelError with what BIRD says.
        """
        self._write(text)
        _run([self._path, "-p", "-c", str(self._file)])
        self._log.parent.mkdir(exist_ok=True)
        self._socket.unlink(missing_ok=True)
        options = ["-R"] if is_restart else []
        with self._log.open("ab") as log:
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
                if not self.is_running or time.monotonic() > deadline:
                    raise KernelError(f"{self.node}: BIRD does not run: see {self._log}"
                                      f" ({error})") from error
            time.sleep(0.01)

    def configure(self, text: str) -> bool:
        """Have BIRD take over a configuration, sessions that stay untouched; whether it differs."""
        if text == self._text:
            return False
        before = self._text
        self._write(text)
        try:
            self.ask("configure")
        except (KernelError, OSError) as error:
            self._write(before)
            raise KernelError(f"{self.node}: BIRD refuses its configuration: {error}") from error
        return True

    def reload(self) -> None:
        """Have the kernel's routes written again: those over a device that was not there."""
        self.ask("reload out kernel1")

    def sessions(self) -> dict[str, str]:
        """Each BGP protocol with its state: ``Established``, ``Active``, with the last error."""
        states = {}
        for line in self.ask("show protocols"):
            words = line.split()
            if len(words) > 4 and words[1] == "BGP":
                # Name, Proto, Table, State, Since (a time, or a date and a time), Info.
                words = words[6:] if re.fullmatch(r"\d+-\d+-\d+", words[4]) else words[5:]
                states[line.split()[0]] = " ".join(words) or "down"
        return states

    def ask(self, command: str) -> list[str]:
        """A command of birdc, and the lines of its answer. Raises KernelError, or OSError."""
        lines: list[str] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT_S)
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
