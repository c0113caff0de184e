"""Where members lie in the kernel's structures, from the kernel's own BTF.

In go the name of a structure and of one of its members; out comes the offset, which differs between
kernels. Read is what the question needs: the type is searched for by its name, since walking all
types of a kernel takes a tenth of a second. Layouts: Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import functools
import mmap
import struct
from pathlib import Path

VMLINUX = Path("/sys/kernel/btf/vmlinux")
_STRUCT = 4  # BTF_KIND_STRUCT
# magic, version, flags, header length, types: offset, length, strings: offset, length
_header = struct.Struct("=HBBIIIII")
_type = struct.Struct("=III")  # name, kind and number of members, size


@functools.cache
def offset(*path: str) -> int | None:
    """The offset in bytes of a member: ``offset("net", "nf", "netns_nf", "hooks_ipv4")``.

    A structure and a member, any number of times: the offsets are added. None where the kernel has
    no BTF, or other structures.
    """
    try:
        data = _vmlinux()
        return sum(_member(data, *path[i:i + 2]) for i in range(0, len(path), 2))
    except (OSError, ValueError, struct.error):
        return None


@functools.cache
def _vmlinux() -> bytes | mmap.mmap:
    with VMLINUX.open("rb") as file:
        try:  # since Linux 6.16; read(2) gives a page at a time, which takes 15 ms
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        except OSError:
            return file.read()


def _member(data: bytes | mmap.mmap, structure: str, member: str) -> int:
    """Raises ValueError where there is no such structure, or no such member in it."""
    header, types, types_length, strings, length = map(int, _header.unpack_from(data)[3:])
    types, strings = header + types, header + strings

    def name(text: str) -> int:
        return _find(data, b"\0" + text.encode() + b"\0", strings, strings + length) + 1 - strings

    wanted, position = name(member), types
    pattern = struct.pack("=I", name(structure))
    while True:
        position = _find(data, pattern, position, types + types_length)
        if (position - types) % 4 == 0:
            _, info, _ = _type.unpack_from(data, position)
            if info >> 24 & 31 == _STRUCT:
                break
        position += 1
    for index in range(info & 0xFFFF):
        named, _, bits = _type.unpack_from(data, position + 12 * (index + 1))
        if named == wanted:
            # With the highest bit of info set, the upper bits are the size of a bit field.
            return int(bits & 0xFFFFFF if info >> 31 else bits) // 8
    raise ValueError(f"{structure} has no {member}")


def _find(data: bytes | mmap.mmap, wanted: bytes, start: int, end: int) -> int:
    position = int(data.find(wanted, start, end))
    if position < 0:
        raise ValueError(f"no {wanted!r}")
    return position
