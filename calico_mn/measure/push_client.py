"""A program: sends an amount by TCP, and gives up without progress. Run by .path_mtu in a pod.

``push_client.py ADDRESS PORT BYTES DISCOVERY PATIENCE`` prints ``ACKED SECONDS MTU RETRANSMITS``:
bytes that the other end has acknowledged, the time until the last of them, the path MTU that the
socket goes by in the end (0 without a connection), and segments that were sent again.
``DISCOVERY`` is ``want``, ``do`` or ``dont``, as ping's -M; it gives up when ``PATIENCE`` seconds
have passed since the last acknowledgement. Needs nothing but Python's own library.
"""

from __future__ import annotations

import fcntl
import signal
import socket
import struct
import sys
import termios
import time

# linux/in.h
_IP_MTU_DISCOVER, _IP_MTU = 10, 14
_DISCOVERY = {"dont": 0, "want": 1, "do": 2}
#: where struct tcp_info has tcpi_total_retrans (linux/tcp.h)
_TOTAL_RETRANS = 100
_PIECE = b"x" * 65536
_PAUSE_S = 0.002


def push(address: str, port: int, amount: int, discovery: str, patience: float
         ) -> tuple[int, float, int, int]:
    """(bytes acknowledged, seconds until the last, path MTU, retransmits)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _DISCOVERY[discovery])
        connection.settimeout(patience)
        begin = last = time.monotonic()
        try:
            connection.connect((address, port))
        except OSError:
            return 0, round(time.monotonic() - begin, 6), 0, 0
        connection.setblocking(False)
        written = acked = 0
        while acked < amount and (now := time.monotonic()) < last + patience:
            try:
                written += connection.send(_PIECE[:amount - written])
            except BlockingIOError:
                pass
            except OSError:
                break
            before, acked = acked, written - _waiting(connection)
            if acked > before:
                last = now
            else:
                time.sleep(_PAUSE_S)
        return (acked, round(last - begin, 6), connection.getsockopt(socket.IPPROTO_IP, _IP_MTU),
                _retransmits(connection))


def _waiting(connection: socket.socket) -> int:
    """Bytes written and not yet acknowledged (tcp(7), SIOCOUTQ)."""
    answer = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("@i", answer)[0])


def _retransmits(connection: socket.socket) -> int:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOTAL_RETRANS + 4)
    return int(struct.unpack_from("@I", info, _TOTAL_RETRANS)[0])


if __name__ == "__main__":
    # SIGALRM ends the program, also when nobody is left to do so.
    signal.alarm(60)
    print(*push(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4],
                float(sys.argv[5])))
