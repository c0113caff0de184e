"""A process that can start no more processes and threads, whoever's it is.

RLIMIT_NPROC does not bind root (kernel/fork.c, copy_process), and the pids controller is the
machine's; a seccomp filter (seccomp(2)) binds the process that asks for it and nobody else.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

#: clone, fork, vfork, clone3 by machine
_STARTING = {"x86_64": (56, 57, 58, 435), "aarch64": (220, 435)}
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def is_known_here() -> bool:
    """Whether this processor's system calls are known."""
    return platform.machine() in _STARTING


def no_more_processes() -> None:
    """From now on fork, and every new thread, fails with EAGAIN in the calling thread's process."""
    calls = _STARTING[platform.machine()]
    code = [(0x20, 0, 0, 0)]  # load the call's number
    code += [(0x15, len(calls) - place, 0, call) for place, call in enumerate(calls)]
    code += [(0x06, 0, 0, _ALLOW), (0x06, 0, 0, _ERRNO | errno.EAGAIN)]
    packed = b"".join(struct.pack("=HBBI", *line) for line in code)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    program = _Program(len(code), packed)
    if libc.syscall(_SECCOMP[platform.machine()], _SET_MODE_FILTER, _ALL_THREADS,
                    ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "seccomp")
