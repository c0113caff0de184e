"""A capture on a real node: tcpdump in a pod on the node's network, read as frames.

    CaptureFilter ──expression──▶ tcpdump -w - ──▶ pcap records ──decode──▶ Frame

The format is that of pcap-savefile(5).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from types import TracebackType

from calico_mn.errors import ToolError
from calico_mn.kernel.capture import Frame
from calico_mn.kernel.packets import ETHERNET_BYTES, IPV4_BYTES, UDP_BYTES, VXLAN_BYTES
from calico_mn.measure import programs
from calico_mn.packetmatch import CaptureFilter, PacketMatch

_START_S = 15.0
_HEADER, _RECORD = 24, 16
#: time zone and accuracy
_IN_HEADER = bytes(8)
_MAGIC = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}
_ETHERNET = 1
#: enough for the headers of an encapsulated packet
_SNAPLEN = 192


def expression(wanted: CaptureFilter) -> str:
    """The filter in pcap-filter(7)'s language, for matches by protocol, ICMP type or port.

    An outer header has no options, so the inner packet's fields lie at fixed offsets.
    """
    parts = [_match(match, 0) for match in wanted.matches]
    for outer in wanted.inside:
        offset = IPV4_BYTES + (0 if outer.port is None else
                               UDP_BYTES + VXLAN_BYTES + ETHERNET_BYTES)
        parts += [f"{_match(outer, 0)} and {_match(match, offset)}" for match in wanted.matches]
    return " or ".join(f"({part})" for part in parts)


def _match(match: PacketMatch, offset: int) -> str:
    """A packet whose IPv4 header begins ``offset`` bytes after the first one."""
    tests = [f"ip[{offset + 9}] = {match.protocol}"]
    if match.icmp_type is not None:
        tests.append(f"ip[{offset + IPV4_BYTES}] = {match.icmp_type}")
    if match.icmp_code is not None:
        tests.append(f"ip[{offset + IPV4_BYTES + 1}] = {match.icmp_code}")
    if match.port is not None:
        tests.append(f"ip[{offset + IPV4_BYTES + 2}:2] = {match.port}")
    return " and ".join(tests)


def frames(data: bytearray, order: str, device: str) -> Iterator[Frame]:
    """The whole records at the beginning of ``data``, which are taken away from it."""
    while len(data) >= _RECORD:
        *_, captured, length = struct.unpack_from(f"{order}IIII", data)
        if len(data) < _RECORD + captured:
            return
        content = bytes(data[_RECORD:_RECORD + captured])
        del data[:_RECORD + captured]
        yield Frame(device, 0, True, 0, content, length)


class TcpdumpCapture:
    """Frames that match on a device of the node ``host`` is on, from now on.

    Raises ToolError where tcpdump cannot start.
    """

    #: a frame goes through tcpdump, the kubelet and the API server
    lag_s = 2.0

    def __init__(self, host: programs.Host, device: str, wanted: CaptureFilter) -> None:
        self._name, self._device, self._order = host.name, device, ""
        self._process = programs.start(host, [
            "tcpdump", "-i", device, "-n", "-p", "-U", "--immediate-mode", "-s", str(_SNAPLEN),
            "-w", "-", expression(wanted)])
        try:
            self._data = bytearray(programs.wait_for_output(
                host, self._process, _IN_HEADER, _START_S, name="tcpdump", aim="start"))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TcpdumpCapture:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop capturing."""
        programs.end(self._process)

    def read(self) -> list[Frame]:
        """The frames that have come since the last call, without waiting. Raises ToolError."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while programs.readable([pipe], 0) and (part := os.read(pipe, 65536)):
            self._data += part
        if not self._order and len(self._data) >= _HEADER:
            self._order = _MAGIC.get(bytes(self._data[:4]), "<")
            if struct.unpack_from(f"{self._order}I", self._data, 20)[0] != _ETHERNET:
                raise ToolError(f"{self._name}: {self._device} is no Ethernet device")
            del self._data[:_HEADER]
        return list(frames(self._data, self._order, self._device)) if self._order else []
