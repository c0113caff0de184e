"""The reader of ELF sections: what it reads, and that no bytes make it fail in another way."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.kernel.ebpf import program
from calico_mn.kernel.ebpf.program import ElfError, sections

PROGBITS, NOBITS, REL = 1, 8, 9


def elf(*contents, machine=247, ident=b"\x7fELF\2\1\1"):
    """An ELF file with (name, type, bytes) sections, its table of names coming last."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _, _ in contents) + b"names\0"
    body, table = b"", bytes(64)
    for name, kind, content in (*contents, ("names", 3, names)):
        where = names.index(b"\0" + name.encode() + b"\0") + 1
        table += struct.pack("<IIQQQQIIQQ", where, kind, 0, 0, 64 + len(body), len(content),
                             0, 0, 1, 0)
        body += content
    count = len(contents) + 2
    return struct.pack("<16sHHIQQQIHHHHHH", ident, 1, machine, 1, 0, 0, 64 + len(body), 0, 64,
                       0, 0, 64, count, count - 1) + body + table


GOOD = elf(("one", PROGBITS, b"first"), ("two/2", PROGBITS, b"second"), ("empty", PROGBITS, b""))


def test_sections_are_found_by_name_and_empty_ones_left_out():
    found = sections(GOOD)
    assert found["one"] == b"first"
    assert found["two/2"] == b"second"
    assert set(found) == {"one", "two/2", "names"}


def test_a_section_without_contents_in_the_file_is_left_out():
    data = elf(("bss", NOBITS, b""), ("one", PROGBITS, b"first"))
    assert "bss" not in sections(data)


@pytest.mark.parametrize(("data", "message"), [
    pytest.param(b"", "not a 64-bit little-endian ELF file", id="empty"),
    pytest.param(b"\x7fELF", "not a 64-bit little-endian ELF file", id="magic only"),
    pytest.param(b"#!/bin/sh\n" * 20, "not a 64-bit little-endian ELF file", id="script"),
    pytest.param(elf(ident=b"\x7fELF\1\1\1"), "not a 64-bit little-endian ELF file", id="32-bit"),
    pytest.param(elf(ident=b"\x7fELF\2\2\1"), "not a 64-bit little-endian ELF file",
                 id="big-endian"),
    pytest.param(elf(machine=62), "an ELF file for machine 62, not for eBPF (247)", id="x86-64"),
    pytest.param(GOOD[:-1], "truncated: the section table lies beyond the end", id="last byte"),
    pytest.param(elf(("rel", REL, bytes(16))), "section rel holds relocations: build without maps,"
                 " global data, calls between sections and debug information", id="relocations"),
])
def test_what_is_no_usable_object_is_refused(data, message):
    with pytest.raises(ElfError) as refused:
        sections(data)
    assert str(refused.value) == message


def test_a_section_beyond_the_end_is_refused():
    header_of_one = GOOD.index(struct.pack("<IIQQQQ", 1, PROGBITS, 0, 0, 64, 5))
    data = bytearray(GOOD)
    struct.pack_into("<Q", data, header_of_one + 32, 1 << 40)
    with pytest.raises(ElfError, match="truncated: a section lies beyond the end"):
        sections(bytes(data))


@pytest.mark.parametrize("length", range(0, len(GOOD), 7))
def test_every_truncation_is_refused(length):
    with pytest.raises(ElfError):
        sections(GOOD[:length])


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8))
def test_damage_gives_sections_or_an_elf_error(position, damage):
    data = GOOD[:position] + damage + GOOD[position + len(damage):]
    try:
        found = sections(data)
    except ElfError:
        return
    assert all(isinstance(content, bytes) and content for content in found.values())


def test_the_shipped_object_has_the_programs_and_nothing_to_relocate():
    found = sections(program.OBJECT.read_bytes())
    for name in (program.EGRESS, program.LO, program.INGRESS, "helpers/probe"):
        assert found[name] and len(found[name]) % 8 == 0
    assert found["license"] == b"GPL\0"
