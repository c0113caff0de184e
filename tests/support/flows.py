"""Many short flows between two pods, and on which of a router's cables their packets left."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import Any

from support.patience import SLOWNESS

PORT = 9999

_SEND = """
import socket, sys
kind, count, address, port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for _ in range(count):
    if kind == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect((address, port))
            sender.send(b"x" * 100)
    else:
        with socket.create_connection((address, port), timeout=60) as sender:
            sender.sendall(b"x" * 100)
"""

_TAKE = """
import socket, sys
port = int(sys.argv[1])
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", port))
streams = socket.create_server(("", port), backlog=512)
print("ready", flush=True)
while True:
    connection, _ = streams.accept()
    with connection:
        while connection.recv(4096):
            pass
"""


@contextmanager
def taker(pod: Any):
    """While it lasts the pod takes datagrams and connections on PORT."""
    process = pod.popen([sys.executable, "-c", _TAKE, str(PORT)], text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


def send(pod: Any, address: str, kind: str, count: int) -> None:
    """``count`` flows from ports of their own, one after the other."""
    process = pod.popen([sys.executable, "-c", _SEND, kind, str(count), address, str(PORT)],
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out, _ = process.communicate(timeout=60 * SLOWNESS)
    assert process.returncode == 0, out


def sent(router: Any, devices: tuple[str, ...]) -> list[int]:
    """How many packets left a router by each of these devices since it was made."""
    words = router.pexec(["cat", *(f"/sys/class/net/{d}/statistics/tx_packets" for d in devices)])
    return [int(word) for word in words[0].split()]
