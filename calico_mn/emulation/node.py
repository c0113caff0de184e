"""Mininet nodes that are light: a namespace each, and a shell only when a command is typed.

Mininet has no types; untyped values stay inside this module, :mod:`calico_mn.emulation.mininet`
and :mod:`calico_mn.emulation.net`.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from calico_mn.emulation.mininet import Node
from calico_mn.errors import ToolError
from calico_mn.kernel import processes
from calico_mn.kernel.processes import Spawn

_SHELL_END_TIMEOUT_S = 2
_BIRDC_TIMEOUT_S = 30
_SHELL_LOOK_S = 0.2


class NamespaceNode(Node):
    """A Mininet node over a namespace that exists already.

    ``cmd`` and ``sendCmd`` start a shell when they are first used (about 10 ms); ``popen`` and
    ``pexec`` never need one.
    """

    def __init__(self, name: str, spawn: Spawn, **params: Any) -> None:
        self._spawn = spawn
        self._may_start = False
        self._shell_pid: int | None = None
        super().__init__(name, inNamespace=True, **params)
        self._may_start = True

    @classmethod
    def checkSetup(cls) -> None:
        """Mininet would ask for ifconfig here; nothing of ours needs it."""

    @property
    def pid(self) -> int | None:
        """The process id of the node's shell, which is started for it (``nsenter -t PID``)."""
        self._ensure_shell()
        return self._shell_pid

    @pid.setter
    def pid(self, value: int | None) -> None:
        self._shell_pid = value

    def __repr__(self) -> str:
        """Mininet's form; without a shell there is no pid, and none is started to print one."""
        addresses = ",".join(f"{intf.name}:{intf.IP()}" for intf in self.intfList())
        return f"<{type(self).__name__} {self.name}: {addresses} pid={self._shell_pid}> "

    # --- running programs

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[Any]:
        """``subprocess.Popen`` in the node's namespace.

        Takes a list, separate words, or one string that is split at blanks (with ``shell=True``
        it is handed to ``sh -c``). Output goes to pipes by default. Raises ToolError
        if the program cannot be started.
        """
        argv: Sequence[str]
        if len(args) == 1 and isinstance(args[0], str):
            argv = [args[0]] if kwargs.get("shell") else args[0].split()
        elif len(args) == 1:
            argv = list(args[0])
        else:
            argv = list(args)
        if kwargs.pop("shell", False):
            argv = ["/bin/sh", "-c", " ".join(argv)]
        kwargs.pop("mncmd", None)
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs}
        return self._popen([str(word) for word in argv], **options)

    def birdc(self, command: str) -> str:
        """What birdc prints for a command, such as ``show protocols``, to the BIRD here.

        Raises ToolError where no BIRD runs, or it does not answer within 30 s.
        """
        process = self.popen(["birdcl", command], text=True)
        try:
            output, errors = process.communicate(timeout=_BIRDC_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            processes.end([process])
            raise ToolError(f"{self.name}: BIRD does not answer {command!r} within"
                            f" {_BIRDC_TIMEOUT_S} s") from None
        if process.returncode:
            raise ToolError(f"{self.name}: {(errors or output).strip()}")
        return str(output)

    def _popen(self, cmd: Sequence[str], **params: Any) -> subprocess.Popen[Any]:
        """Every start of a program, Mininet's own start of the shell too, comes through here.

        Mininet enters a namespace by mnexec; here the starting thread is inside already.
        """
        if cmd[0] == "mnexec":
            cmd = cmd[2:]
            params["close_fds"] = True
            # The shell has a terminal, and what it prints is read by programs: Debian's ip
            # colours its lines at a terminal, from Debian 13 on.
            params["env"] = {**os.environ, "NO_COLOR": "1"}
        params.setdefault("start_new_session", True)
        return self._spawn(self.name, list(cmd), **params)

    def startShell(self, mnopts: str | None = None) -> None:
        """Start the shell, but not from the constructor, where Mininet asks for it."""
        if not self._may_start:
            return
        if shutil.which("bash") is None:
            raise ToolError(f"{self.name}: no shell can be started: bash is not installed")
        self.master = self.slave = -1
        try:
            super().startShell(mnopts)
        except ToolError:
            if self.shell is None and self.master >= 0:
                os.close(self.master)
                os.close(self.slave)
            raise
        except OSError as error:
            # Python says of a terminal that cannot be had that there are none, without a number.
            reason = processes.explain(error.errno) if error.errno else (
                f"{processes.explain(errno.EMFILE)}; or all terminals of the machine are taken, see"
                " /proc/sys/kernel/pty")
            raise ToolError(f"{self.name}: no shell can be started: {reason}") from error

    def _ensure_shell(self) -> None:
        if self.shell is not None and self.shell.poll() is not None:
            self._end_shell()
        if self._may_start and self.shell is None:
            self.startShell()

    def waitReadable(self, timeoutms: float | None = None) -> Any:
        """Wait for output of the shell. Raises ToolError when it has ended: Mininet would wait on.

        The next command is typed into a new one.
        """
        patience = float("inf") if timeoutms is None else timeoutms / 1000
        deadline = time.monotonic() + patience
        # Mininet's own poll object is content with a terminal that can be written to.
        output = select.poll()
        output.register(self.stdout, select.POLLIN)
        while not self.readbuf and not output.poll(min(_SHELL_LOOK_S, patience) * 1000):
            if self.shell.poll() is not None and not output.poll(0):
                said = self._told_of_the_end()
                self._end_shell()
                raise ToolError(said)
            if time.monotonic() >= deadline:
                return []
        return super().waitReadable(0) or [(self.stdout.fileno(), select.POLLIN)]

    def _told_of_the_end(self) -> str:
        doing = f"it ran {self.lastCmd!r}" if self.lastCmd else "it started"
        return (f"{self.name}: the shell was ended while {doing};"
                " the next command gets a new one")

    def read(self, *size: int) -> Any:
        """Output of the shell, as soon as there is some. Raises ToolError when it has ended."""
        self.waitReadable()
        return super().read(*size)

    def sendInt(self, *keys: str) -> None:
        """Ctrl-C for the command that runs.

        Mininet's own prompt, ``CLI(net)``, waits on for a shell that has ended, and calls this
        on Ctrl-C, which so ends the waiting.
        """
        if self.shell is not None and self.shell.poll() is not None:
            said = self._told_of_the_end()
            self._end_shell()
            raise KeyboardInterrupt(said)
        super().sendInt(*keys)

    def cmd(self, *args: Any, **kwargs: Any) -> Any:
        """Type a command into the node's shell; its output."""
        self._ensure_shell()
        return super().cmd(*args, **kwargs)

    def sendCmd(self, *args: Any, **kwargs: Any) -> Any:
        """Type a command into the node's shell and do not wait."""
        self._ensure_shell()
        return super().sendCmd(*args, **kwargs)

    def terminate(self) -> None:
        """End the shell; what it does not end in time is killed."""
        self._may_start = False
        if self.shell is not None:
            self._end_shell()

    def _end_shell(self) -> None:
        processes.end([self.shell], signal.SIGHUP, _SHELL_END_TIMEOUT_S)
        for table in (Node.inToNode, Node.outToNode):
            table.pop(self.stdout.fileno(), None)
        self.waitExited = self.waiting = False
        self.cleanup()
        self.master = self.slave = -1


class K8sNode(NamespaceNode):
    """A Kubernetes node, by the name of its Node resource.

    ``address`` is the node's IP address, ``blocks`` the blocks with an affinity to it, in the
    order in which it claimed them; all as text.
    """

    def __init__(self, name: str, spawn: Spawn, address: str,
                 blocks: Callable[[], tuple[str, ...]]) -> None:
        super().__init__(name, spawn)
        self.address = address
        #: the same, under the name that a pod's address has: instruments talk to either
        self.ip = address
        self._blocks = blocks

    @property
    def blocks(self) -> tuple[str, ...]:
        """The node's blocks at this moment."""
        return self._blocks()


class Pod(NamespaceNode):
    """A pod, by ``namespace/name``. ``ip`` is its address, ``node`` its node's name, as text."""

    def __init__(self, name: str, spawn: Spawn, ip: str, node: str, device: str) -> None:
        super().__init__(name, spawn)
        self.ip = ip
        self.node = node
        self.device = device


class ExternalHost(NamespaceNode):
    """A machine outside the cluster; ``ip`` is its address, as text."""

    def __init__(self, name: str, spawn: Spawn, ip: str) -> None:
        super().__init__(name, spawn)
        self.ip = ip


class FabricRouter(NamespaceNode):
    """A router of the underlay."""


class SubnetSwitch(NamespaceNode):
    """The switch of one subnet: a Linux bridge in a namespace of its own."""

    def connected(self) -> bool:
        """A bridge needs no controller."""
        return True

    def dpctl(self, *_args: str) -> str:
        """Mininet's CLI asks every switch; a Linux bridge speaks no OpenFlow."""
        return f"{self.name} is a Linux bridge and speaks no OpenFlow\n"
