"""A program: one end of a steady stream of numbered packets. Run by .stream in a pod's namespace.

``stream_end.py OWN PEER PORT RATE SECONDS`` sends RATE datagrams a second from OWN to PEER, both
on UDP port PORT, and takes note of those that come. It prints ``ready`` when it begins. On SIGTERM
it stops sending, listens a little longer for what is on the way, and prints one line of JSON:
``sent``, the CLOCK_MONOTONIC time in ns of each packet by its number, and ``arrived``, the numbers
that came, in their order. It never runs longer than SECONDS. Needs nothing but Python's own
library.
"""

from __future__ import annotations

import gc
import json
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress

_NUMBER = struct.Struct("!Q")
#: after the last packet sent: this long without a packet means that none is on the way any more
_SILENCE_S = 0.05
_LONGEST_WAIT_S = 1.0
#: bytes: a receiver that has to wait for a CPU must not lose packets by that
_BUFFER = 4 << 20
_BATCH = 64
#: asm-generic/socket.h; Python's socket module has no name for it
_SO_RCVBUFFORCE = 33


class End:
    """One end: what it sent, and what it got."""

    def __init__(self, own: str, peer: str, port: int) -> None:
        self.sent: list[int] = []
        self.arrived: list[int] = []
        self.stopping = False
        self._peer = (peer, port)
        # Not connected: then no ICMP error of the change comes back as an error of the next call.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:  # in a user namespace: as much as net.core.rmem_max allows
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind((own, port))
        self._socket.setblocking(False)

    def stop(self, *_: object) -> None:
        """Send no more; for signal.signal()."""
        self.stopping = True

    def send(self) -> None:
        """One packet. What the kernel refuses counts as sent, and is lost."""
        number = _NUMBER.pack(len(self.sent))
        self.sent.append(time.monotonic_ns())
        with suppress(OSError):
            self._socket.sendto(number, self._peer)

    def receive(self) -> None:
        """Take what has come, but no more than a batch: sending must go on."""
        for _ in range(_BATCH):
            try:
                data, sender = self._socket.recvfrom(_NUMBER.size)
            except BlockingIOError:
                return
            if sender == self._peer and len(data) == _NUMBER.size:
                self.arrived.append(_NUMBER.unpack(data)[0])

    def wait(self, until: float) -> None:
        """Receive until a time, of time.monotonic()."""
        while (left := until - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                self.receive()

    def run(self, rate: float, seconds: float) -> None:
        """Send until told to stop. A packet that comes late is not made up for by a burst."""
        due = time.monotonic()
        limit = due + seconds
        while not self.stopping and due < limit:
            self.send()
            self.receive()
            due = max(due + 1 / rate, time.monotonic())
            self.wait(due)
        limit = time.monotonic() + _LONGEST_WAIT_S
        while (select.select([self._socket], [], [], _SILENCE_S)[0]
               and time.monotonic() < limit):
            self.receive()


if __name__ == "__main__":
    address, other, at, packets, longest = sys.argv[1:]
    # SIGALRM ends the program, also when nobody is left to do so.
    signal.alarm(int(float(longest)) + 5)
    gc.disable()  # a pause of the collector would be one of the stream
    end = End(address, other, int(at))
    signal.signal(signal.SIGTERM, end.stop)
    print("ready", flush=True)
    end.run(float(packets), float(longest))
    print(json.dumps({"sent": end.sent, "arrived": end.arrived}), flush=True)
