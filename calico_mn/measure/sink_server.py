"""A program: takes TCP connections and throws away what they send. Run by .path_mtu in a pod.

``sink_server.py ADDRESS SECONDS`` prints its port when it listens and serves one connection after
the other, for that long at the most. Needs nothing but Python's own library.
"""

from __future__ import annotations

import signal
import socket
import sys


def serve(address: str) -> None:
    """Read each connection to its end."""
    with socket.create_server((address, 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    while connection.recv(65536):
                        pass
                except OSError:
                    continue


if __name__ == "__main__":
    # SIGALRM ends the program, also when nobody is left to do so.
    signal.alarm(int(sys.argv[2]))
    serve(sys.argv[1])
