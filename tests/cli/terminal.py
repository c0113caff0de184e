"""A terminal that a test sits at."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

from support.patience import PATIENCE_S, SLOWNESS, eventually

from .conftest import ROOT, environment


class Terminal:
    """A program at a terminal of its own, 100 columns by 30 rows."""

    def __init__(self, *command, **variables):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvpe(command[0], command, environment(TERM="xterm", **variables))
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.seen = ""

    def __enter__(self):
        return self

    def close(self):
        """Close the terminal's window."""
        os.close(self.descriptor)
        self.descriptor = -1

    def __exit__(self, *exc):
        if self.descriptor >= 0:
            self.close()
        # A run ends with its terminal. One that is killed on the way would be cleaned up by the
        # next start, in another test.
        if self.pid and not eventually(lambda: os.waitpid(self.pid, os.WNOHANG)[0] != 0):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def shows(self, text, seconds=PATIENCE_S):
        """Whether ``text`` appears after what was seen before."""
        deadline = time.monotonic() + seconds * SLOWNESS
        while text not in self.seen:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.descriptor], [], [], left)[0]:
                return False
            try:
                self.seen += os.read(self.descriptor, 4096).decode()
            except OSError:
                return text in self.seen
        self.seen = self.seen.partition(text)[2]
        return True

    def status(self, seconds=PATIENCE_S):
        """The exit status."""
        assert eventually(lambda: os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG
                                            | os.WNOWAIT) is not None, seconds)
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
