"""What a capture wants as a socket filter (Documentation/networking/filter.rst). Pure.

In goes a :class:`~calico_mn.packetmatch.CaptureFilter`, out come instructions for the kernel::

    is it ARP, and is ARP wanted?          take it
    is it IPv4?                            else leave it
    for each encapsulation, and for none:
        for each match:                    take it if all of it is so, else try the next

Numbers are those of include/uapi/linux/filter.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

from calico_mn.kernel.packets import ETHERNET_BYTES, IPV4_BYTES, UDP_BYTES, VXLAN_BYTES
from calico_mn.packetmatch import CaptureFilter, PacketMatch

#: base of a filter: counts from the IPv4 header on a device of any kind, but reaches only the
#: linear part of a packet's memory (bpf_internal_load_pointer_neg_helper() in kernel/bpf/core.c)
NETWORK_HEADER = 0xFFF00000

_ETH_P_IP, _ETH_P_ARP = 0x0800, 0x0806
_instruction = struct.Struct("=HBBI")
INSTRUCTION_BYTES = _instruction.size
_PROTOCOL_OF_FRAME = 0xFFFFF000
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_AT_X, _LOAD_BYTE_AT_X, _X_IS_HEADER_LENGTH = 0x48, 0x50, 0xB1
_IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x15, 0x45, 0x06
_FRAGMENT_OFFSET_BITS = 0x1FFF

#: a load, or a comparison together with the outcome that is wanted
_Step = tuple[int, int] | tuple[int, int, bool]


def filter_program(wanted: CaptureFilter, base: int, length: int) -> bytes:
    """A socket filter that takes the first ``length`` bytes of what is wanted.

    ``base`` is where the frame's IPv4 header begins. The alternatives follow each other: each
    loads what it compares, and falls through to the next one.
    """
    code = [_instruction.pack(_LOAD_HALF, 0, 0, _PROTOCOL_OF_FRAME)]
    if wanted.arp:
        code += _alternative([(_IF_EQUAL, _ETH_P_ARP, True)], length)
    code += [_instruction.pack(_IF_EQUAL, 1, 0, _ETH_P_IP), _instruction.pack(_RETURN, 0, 0, 0)]
    outer: list[tuple[list[_Step], int]] = [([], base)]
    outer += [_carried(tunnel, base) for tunnel in wanted.inside]
    for before, at in outer:
        source: list[_Step] = [(_LOAD_WORD, at + 12),
                               (_IF_EQUAL, int(IPv4Address(wanted.source)), True)
                               ] if wanted.source else []
        for match in wanted.matches:
            code += _alternative([*before, *_steps(match, at), *source], length)
    return b"".join([*code, _instruction.pack(_RETURN, 0, 0, 0)])


def _alternative(steps: Iterable[_Step], length: int) -> list[bytes]:
    """Return ``length`` if all comparisons turn out as wanted, or go on behind."""
    listed = list(steps)
    code = []
    for position, (operation, value, *outcome) in enumerate(listed):
        away = len(listed) - position
        jumps = (0, 0) if not outcome else (0, away) if outcome[0] else (away, 0)
        code.append(_instruction.pack(operation, *jumps, value))
    return [*code, _instruction.pack(_RETURN, 0, 0, length)]


def _steps(match: PacketMatch, at: int) -> list[_Step]:
    """What is to be compared in a packet whose IPv4 header begins at ``at``."""
    steps: list[_Step] = [(_LOAD_BYTE, at + 9), (_IF_EQUAL, match.protocol, True)]
    if match.port is None and match.icmp_type is None:
        return steps
    # Only the first fragment has what follows the IPv4 header.
    steps += [(_LOAD_HALF, at + 6), (_IF_ANY_BIT, _FRAGMENT_OFFSET_BITS, False),
              (_X_IS_HEADER_LENGTH, at)]
    if match.port is not None:
        steps += [(_LOAD_HALF_AT_X, at + 2), (_IF_EQUAL, match.port, True)]
    if match.icmp_type is not None:
        steps += [(_LOAD_BYTE_AT_X, at), (_IF_EQUAL, match.icmp_type, True)]
    if match.icmp_code is not None:
        steps += [(_LOAD_BYTE_AT_X, at + 1), (_IF_EQUAL, match.icmp_code, True)]
    return steps


def _carried(tunnel: PacketMatch, at: int) -> tuple[list[_Step], int]:
    """What an encapsulated packet's outer header must be, and where its inner one begins."""
    if tunnel.port is None:
        return _steps(tunnel, at), at + IPV4_BYTES
    inner = at + IPV4_BYTES + UDP_BYTES + VXLAN_BYTES + ETHERNET_BYTES
    return [*_steps(tunnel, at), (_LOAD_HALF, inner - 2), (_IF_EQUAL, _ETH_P_IP, True)], inner
