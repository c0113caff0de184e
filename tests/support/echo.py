"""A TCP connection that lasts: one side echoes, the other counts the echoes of its own bytes.

    echo.py serve ADDRESS        prints "ready", then echoes until its peer closes
    echo.py talk ADDRESS         sends a byte each 20 ms, prints the number of echoes so far

One connection only: when that breaks, ``talk`` ends with an error.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time

PORT = 7777
PAUSE_S = 0.02


def serve(address: str) -> None:
    with socket.create_server((address, PORT)) as listener:
        print("ready", flush=True)
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data)


def talk(address: str) -> None:
    with socket.create_connection((address, PORT), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        echoed = 0
        while True:
            connection.sendall(b"x")
            if not connection.recv(1):
                raise SystemExit("the connection was closed")
            echoed += 1
            print(echoed, flush=True)
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        {"serve": serve, "talk": talk}[sys.argv[1]](sys.argv[2])
