"""A program: datagrams that nothing answers, so that to conntrack each belongs to a new flow.

``one_way.py send ADDRESS PORT SECONDS`` sends from one socket without a pause, and prints ``COUNT
SECONDS``: how many, and for how long the program had a processor meanwhile.
``one_way.py hold ADDRESS SECONDS`` prints the port at which it neither reads nor answers.

Run by .programs in a pod's namespace. Needs nothing but Python's own library.
"""

from __future__ import annotations

import signal
import socket
import sys
import time

_PAYLOAD = b"x" * 100
_BATCH = 64
#: until the neighbours on the way are resolved, and conntrack has the flow
_PAUSE_S = 0.1
#: a program whose caller is gone ends so many seconds late
_GRACE_S = 10


def send(address: str, port: str, seconds: str) -> None:
    """Send for so long, and print what it took.

    The time is all but that in the run queue. So softirqs are in it, which do nearly all of a
    packet's way between namespaces, also where the kernel does not count them as the process's
    own (CONFIG_IRQ_TIME_ACCOUNTING).
    """
    signal.alarm(int(float(seconds)) + _GRACE_S)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect((address, int(port)))
        datagrams.send(_PAYLOAD)
        time.sleep(_PAUSE_S)
        count, waited, begin = 0, _in_run_queue(), time.monotonic()
        while time.monotonic() < begin + float(seconds):
            for _ in range(_BATCH):
                datagrams.send(_PAYLOAD)
            count += _BATCH
        print(count, time.monotonic() - begin - (_in_run_queue() - waited))


def _in_run_queue() -> float:
    """Seconds that this process was ready and waited for a processor (sched-stats.rst)."""
    with open("/proc/self/schedstat", encoding="ascii") as file:
        return int(file.read().split()[1]) / 1e9


def hold(address: str, seconds: str) -> None:
    """Hold a port. No program waits for what arrives, so that the sender wakes none up."""
    signal.alarm(int(float(seconds)) + _GRACE_S)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind((address, 0))
        print(datagrams.getsockname()[1], flush=True)
        signal.pause()


if __name__ == "__main__":
    (send if sys.argv[1] == "send" else hold)(*sys.argv[2:])
