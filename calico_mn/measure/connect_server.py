"""A program: answers one byte on each TCP connection. Run by .connections in a pod's namespace.

``connect_server.py ADDRESS SECONDS PORT`` prints its port (its own choice if PORT is 0) when it
listens and serves one connection after the other, for that long at the most. Needs nothing but
Python's own library.
"""

from __future__ import annotations

import signal
import socket
import sys


def serve(address: str, port: int) -> None:
    """Read a byte, send it back, and wait for the client's end of the connection."""
    with socket.create_server((address, port), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(connection.recv(1))
                    # Until the client closes: whoever closes first pays for it, and that is
                    # the client's part (see connect_client.py). It ends by a reset.
                    connection.recv(1)
                except OSError:
                    continue


if __name__ == "__main__":
    # SIGALRM ends the program, also when nobody is left to do so.
    signal.alarm(int(sys.argv[2]))
    serve(sys.argv[1], int(sys.argv[3]))
