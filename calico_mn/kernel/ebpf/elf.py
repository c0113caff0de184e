"""The sections of a compiled eBPF object: a reader of the ELF files that clang makes for BPF.

Pure: bytes in, bytes out. It reads 64-bit little-endian files whose sections can be used as
they stand, which is true of programs without maps, global data and calls between sections.
Layouts are those of ``include/uapi/linux/elf.h``. Loading is :mod:`.program`'s business.
"""

from __future__ import annotations

import struct

from calico_mn.errors import CalicoMnError

_IDENT = b"\x7fELF" + bytes([2, 1, 1])  # ELFCLASS64, ELFDATA2LSB, EV_CURRENT
_EM_BPF = 247
_SHT_RELA, _SHT_NOBITS, _SHT_REL = 4, 8, 9

_header = struct.Struct("<16sHHIQQQIHHHHHH")
_section = struct.Struct("<IIQQQQIIQQ")


class ElfError(CalicoMnError):
    """The bytes are no usable eBPF object; says what is wrong with them."""


def sections(data: bytes) -> dict[str, bytes]:
    """The sections of the object ``data`` by name, without the empty ones.

    Raises ElfError when ``data`` is not a complete 64-bit little-endian eBPF object, or when it
    has relocations: its programs would be wrong without a linker, and there is none here.
    """
    if len(data) < _header.size or not data.startswith(_IDENT):
        raise ElfError("not a 64-bit little-endian ELF file")
    (_ident, _type, machine, _version, _entry, _phoff, table, _flags, _ehsize, _phentsize,
     _phnum, entry_size, count, names_index) = _header.unpack_from(data)
    if machine != _EM_BPF:
        raise ElfError(f"an ELF file for machine {machine}, not for eBPF ({_EM_BPF})")
    if entry_size != _section.size or names_index >= count:
        raise ElfError("the section table makes no sense")
    if table + count * entry_size > len(data):
        raise ElfError("truncated: the section table lies beyond the end")

    headers = [_section.unpack_from(data, table + i * entry_size) for i in range(count)]
    contents = [_content(data, header) for header in headers]
    names = contents[names_index]
    sections_by_name: dict[str, bytes] = {}
    for header, content in zip(headers, contents, strict=True):
        name = _name(names, header[0])
        if header[1] in (_SHT_REL, _SHT_RELA):
            raise ElfError(f"section {name} holds relocations: build without maps, global data,"
                           " calls between sections and debug information")
        if name and content:
            sections_by_name[name] = content
    return sections_by_name


def _content(data: bytes, header: tuple[int, ...]) -> bytes:
    _name, kind, _flags, _address, offset, size = header[:6]
    if kind == _SHT_NOBITS:
        return b""
    if offset + size > len(data):
        raise ElfError("truncated: a section lies beyond the end")
    return data[offset:offset + size]


def _name(names: bytes, start: int) -> str:
    end = names.find(b"\0", start)
    if end < 0:
        raise ElfError("a section's name lies outside the table of names")
    return names[start:end].decode("ascii", "replace")
