"""eBPF programs: the sections of the compiled object, loaded into the kernel by bpf(2).

In goes ``ipip.bpf.o``, or a few instructions; out come descriptors of programs. Nothing is pinned:
a program lives as long as its descriptor, or the filter that it is attached to. The object is an
ELF file whose sections can be used as they stand, which is true of programs without global data and
calls between sections (``include/uapi/linux/elf.h``); layouts of bpf(2) are those of
``union bpf_attr`` in ``include/uapi/linux/bpf.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

from calico_mn.errors import CalicoMnError, UnsupportedError
from calico_mn.kernel import devices, processes
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.ebpf import OBJECT, btf
from calico_mn.kernel.netlink import NetlinkSocket
from calico_mn.text import join

#: Encapsulates; a capture on tunl0 sees the packets. Belongs to clsact egress of tunl0.
EGRESS = "tunl0/egress"
#: Decapsulates into tunl0 what the stack has handed over. Belongs to clsact egress of lo.
LO = "lo/egress"
#: Decapsulates into tunl0 without the stack where that would be the same. Belongs to clsact ingress
#: of the underlay's devices; they need not have it.
INGRESS = "underlay/ingress"
#: Takes what came in fragments. Belongs to a raw socket of protocol 4.
REASSEMBLED = "raw/reassembled"
#: The index of tunl0 in every namespace: TUNL0_IFINDEX in ipip.bpf.c.
TUNL0_INDEX = 2

#: the name that ``tc filter show`` prints for the program of :func:`clear_flow_hashes`
CLEAR_FLOW_HASH = "forget/flow_hash"

#: the numbers in ipip.bpf.c that stand for offsets in the kernel's structures
_OFFSETS = {
    struct.pack("<I", 0x7475C001): ("net_device", "nd_net"),
    struct.pack("<I", 0x7475C002): ("net", "nf", "netns_nf", "hooks_ipv4"),
    struct.pack("<I", 0x7475C005): ("net_device", "ptype_all"),
    struct.pack("<I", 0x7475C006): ("net", "ptype_all"),
    struct.pack("<I", 0x7475C007): ("sk_buff", "cb", "inet_skb_parm", "frag_max_size"),
    struct.pack("<I", 0x7475C003): ("sk_buff", "cb"),
    struct.pack("<I", 0x7475C004): ("rtable", "rt_gw_family"),
}
#: the number in ipip.bpf.c that stands for the map of seals, in an instruction that takes 64 bits
_SEALS = struct.pack("<I", 0x7475C010)
_LOAD_64_BITS, _PSEUDO_MAP_FD = 0x18, 1
_PROBE, PEEK = "helpers/probe", "helpers/peek"
_SET_HASH_INVALID = 41  # BPF_FUNC_set_hash_invalid
_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_LOAD, _BPF_PROG_TEST_RUN = 5, 10
_SOCKET_FILTER, _SCHED_CLS = 1, 3
_INSTRUCTION_BYTES = 8
_LOG_BYTES = 1 << 20
_LOG_LINES_SHOWN = 12

# prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags,
# prog_name
_load_attr = struct.Struct("=IIQQIIQII16s")
# prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat, duration
_run_attr = struct.Struct("=IIIIQQII")
_instruction = struct.Struct("<BBhi")
_EXIT = _instruction.pack(0x95, 0, 0, 0)  # BPF_JMP | BPF_EXIT
_IDENT = b"\x7fELF" + bytes([2, 1, 1])  # ELFCLASS64, ELFDATA2LSB, EV_CURRENT
_EM_BPF = 247
_SHT_RELA, _SHT_NOBITS, _SHT_REL = 4, 8, 9

_elf_header = struct.Struct("<16sHHIQQQIHHHHHH")
_elf_section = struct.Struct("<IIQQQQIIQQ")

_libc = ctypes.CDLL(None, use_errno=True)


def load(section: str, seals: int = 0) -> int:
    """Load the program in ``section`` of the shipped object; its descriptor, for attaching.

    One descriptor can be attached any number of times, in any namespace. The caller closes it.
    ``seals`` is the descriptor of the map that INGRESS and REASSEMBLED ask (:mod:`.seal`).
    Raises UnsupportedError with the end of the verifier's log when the kernel refuses it.
    """
    code = sections(OBJECT.read_bytes())[section]
    for number, path in _OFFSETS.items():
        if number in code:
            code = code.replace(number, struct.pack("<I", btf.offset(*path) or 0))
    place = code.find(_SEALS)
    while place >= 0:
        start = place - 4
        assert code[start] == _LOAD_64_BITS
        register = code[start + 1] | _PSEUDO_MAP_FD << 4
        code = (code[:start + 1] + bytes([register]) + code[start + 2:place]
                + struct.pack("<I", seals) + code[place + 4:])
        place = code.find(_SEALS)
    return _load(_SOCKET_FILTER if section == REASSEMBLED else _SCHED_CLS, code, section)


def load_drop_filter() -> int:
    """The filter with which a TUN device drops every packet that reaches its own queue.

    Without it the device would queue up to 1000 packets for a reader that does not exist.
    """
    r0_is_0 = _instruction.pack(0xB7, 0, 0, 0)  # BPF_ALU64 | BPF_MOV | BPF_K
    return _load(_SOCKET_FILTER, r0_is_0 + _EXIT, "drop all")


def clear_flow_hashes(indexes: Sequence[int]) -> None:
    """Clear the flow hash of the packets that devices receive, as a cable between machines does.

    A packet that one machine sends carries, beside its bytes, the hash of the socket that it came
    from (skb->hash with l4_hash). Encapsulation keeps it, and so does a veth, and a router with
    fib_multipath_hash_policy 1 believes it (fib_multipath_hash in net/ipv4/route.c): it tells flows
    apart that on a real wire look alike. The remedy is a tc program where the router receives; it
    is attached in the namespace of the calling thread.
    Raises UnsupportedError where the kernel cannot; then none of the devices has it.
    """
    # Leaves r1, the packet, as the helper's argument; TC_ACT_UNSPEC: the packet goes its way.
    descriptor = _load(_SCHED_CLS, b"".join((
        _instruction.pack(0x85, 0, 0, _SET_HASH_INVALID),  # BPF_JMP | BPF_CALL
        _instruction.pack(0xB7, 0, 0, -1),  # r0 = TC_ACT_UNSPEC
        _EXIT)), CLEAR_FLOW_HASH)
    try:
        with NetlinkSocket() as netlink:
            refused = netlink.attempt([devices.clsact(index) for index in indexes])
            taken = {error.index for error in refused}
            ours = [index for position, index in enumerate(indexes) if position not in taken]
            failures = refused or netlink.attempt(
                [devices.program(index, "ingress", descriptor, CLEAR_FLOW_HASH)
                 for index in indexes])
            if failures:
                netlink.attempt([devices.qdisc_removal(index, rt.CLSACT) for index in ours])
                raise UnsupportedError(
                    f"flow hashes cannot be erased here ({failures[0].reason}): that needs"
                    " CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF, and routers whose devices"
                    " have no clsact qdisc yet") from failures[0]
    finally:
        os.close(descriptor)


def keep_flow_hashes(indexes: Sequence[int]) -> None:
    """Take the program of :func:`clear_flow_hashes` away again, where it still is."""
    with NetlinkSocket() as netlink:
        netlink.attempt([devices.qdisc_removal(index, rt.CLSACT) for index in indexes])


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """The result of bpf(2) and the attributes as it left them. Raises OSError."""
    number = _SYS_BPF.get(platform.machine())
    if number is None:
        raise UnsupportedError(f"loading eBPF programs on {platform.machine()} is not supported;"
                               f" it is on {join(list(_SYS_BPF))}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = _libc.syscall(number, command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw


def _load(kind: int, instructions: bytes, name: str) -> int:
    code = ctypes.create_string_buffer(instructions, len(instructions))
    terms = ctypes.create_string_buffer(b"GPL")
    # A name may hold only letters, digits, underscores and dots, 15 in all.
    shown = "".join(c if c.isalnum() else "_" for c in name)[:15].encode()

    def attributes(log: ctypes.Array[ctypes.c_char] | None) -> bytes:
        return _load_attr.pack(
            kind, len(instructions) // _INSTRUCTION_BYTES, ctypes.addressof(code),
            ctypes.addressof(terms), 1 if log else 0, len(log) if log else 0,
            ctypes.addressof(log) if log else 0, 0, 0, shown)

    try:
        return bpf(_BPF_PROG_LOAD, attributes(None))[0]
    except OSError as error:
        if error.errno == errno.EPERM:
            raise UnsupportedError(
                "the kernel lets only root of the machine itself (CAP_BPF and CAP_NET_ADMIN) load"
                " eBPF programs; a container must be privileged") from error
        if error.errno == errno.ENOSYS:
            raise UnsupportedError("this kernel was built without bpf(2)") from error
        if processes.is_limit(error.errno):
            raise
        reason = error.strerror
    # The log is asked for only after a failure: writing it makes loading several times slower.
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return bpf(_BPF_PROG_LOAD, attributes(log))[0]
    except OSError:
        lines = log.value.decode("ascii", "replace").splitlines()[-_LOG_LINES_SHOWN:]
    raise UnsupportedError("\n    ".join(
        [f"this kernel does not accept the eBPF program {name}: {reason}", *lines]))


def tells_source_addresses() -> bool:
    """Whether this kernel's bpf_fib_lookup() does, and takes a table, as the programs need.

    A program that finds out runs on a frame of zeros on this namespace's loopback device.
    """
    program = load(_PROBE)
    try:
        return not run(program, bytes(64))[0]
    finally:
        os.close(program)


def run(program: int, frame: bytes) -> tuple[int, bytes]:
    """Run a program once on a frame of this namespace's loopback device: its answer, the frame."""
    given, got = ctypes.create_string_buffer(frame, len(frame)), ctypes.create_string_buffer(
        len(frame))
    _, after = bpf(_BPF_PROG_TEST_RUN, _run_attr.pack(
        program, 0, len(frame), len(frame), ctypes.addressof(given), ctypes.addressof(got), 1, 0))
    return _run_attr.unpack(after)[1], got.raw


class ElfError(CalicoMnError):
    """The bytes are no usable eBPF object; says what is wrong with them."""


def sections(data: bytes) -> dict[str, bytes]:
    """The sections of the object ``data`` by name, without the empty ones.

    Raises ElfError when ``data`` is not a complete 64-bit little-endian eBPF object, or when it
    has relocations: its programs would be wrong without a linker, and there is none here.
    """
    if len(data) < _elf_header.size or not data.startswith(_IDENT):
        raise ElfError("not a 64-bit little-endian ELF file")
    (_ident, _type, machine, _version, _entry, _phoff, table, _flags, _ehsize, _phentsize,
     _phnum, entry_size, count, names_index) = _elf_header.unpack_from(data)
    if machine != _EM_BPF:
        raise ElfError(f"an ELF file for machine {machine}, not for eBPF ({_EM_BPF})")
    if entry_size != _elf_section.size or names_index >= count:
        raise ElfError("the section table makes no sense")
    if table + count * entry_size > len(data):
        raise ElfError("truncated: the section table lies beyond the end")

    headers = [_elf_section.unpack_from(data, table + i * entry_size) for i in range(count)]
    contents = [_content(data, header) for header in headers]
    names = contents[names_index]
    sections_by_name: dict[str, bytes] = {}
    for header, content in zip(headers, contents, strict=True):
        name = _elf_name(names, header[0])
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


def _elf_name(names: bytes, start: int) -> str:
    end = names.find(b"\0", start)
    if end < 0:
        raise ElfError("a section's name lies outside the table of names")
    return names[start:end].decode("ascii", "replace")
