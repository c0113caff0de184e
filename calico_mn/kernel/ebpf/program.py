"""Loading eBPF programs into the kernel by bpf(2), and finding out whether that would work.

The programs are the sections of ``ipip.bpf.o``. Nothing is pinned: a program lives as long as
its descriptor, or the filter that it is attached to. Layouts are those of ``union bpf_attr`` in
``include/uapi/linux/bpf.h``. Attaching is :mod:`.attach`'s business, the device :mod:`.tun`'s.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import socket
import struct
import threading
from pathlib import Path

from calico_mn.errors import CalicoMnError, UnsupportedError
from calico_mn.kernel import processes
from calico_mn.kernel.ebpf import attach, elf, tun
from calico_mn.kernel.netlink import NetlinkError, NetlinkSocket
from calico_mn.text import join

OBJECT = Path(__file__).with_name("ipip.bpf.o")

#: Encapsulates; a capture on tunl0 sees the packets. Belongs to clsact egress of tunl0.
EGRESS = "tunl0/egress"
#: The same, a few percent faster: a capture on tunl0 sees only what is received.
EGRESS_UNSEEN = "tunl0/egress_unseen"
#: Decapsulates into tunl0. Belongs to clsact ingress of every underlay device of a node.
INGRESS = "underlay/ingress"
#: The index of tunl0 in every namespace: TUNL0_IFINDEX in ipip.bpf.c.
TUNL0_INDEX = 2

#: the name that ``tc filter show`` prints for :func:`load_clear_flow_hash`'s program
CLEAR_FLOW_HASH = "forget/flow_hash"

_PROBE = "helpers/probe"
_SET_HASH_INVALID = 41  # BPF_FUNC_set_hash_invalid
_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_LOAD, _BPF_PROG_TEST_RUN = 5, 10
_SOCKET_FILTER, _SCHED_CLS = 1, 3
_INSTRUCTION_BYTES = 8
_LOG_BYTES = 1 << 20
_LOG_LINES_SHOWN = 12
_CLONE_NEWNET = 0x40000000

# prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags,
# prog_name
_load_attr = struct.Struct("=IIQQIIQII16s")
# prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat, duration
_run_attr = struct.Struct("=IIIIQQII")
_instruction = struct.Struct("<BBhi")

_libc = ctypes.CDLL(None, use_errno=True)


def load(section: str) -> int:
    """Load the program in ``section`` of the shipped object; its descriptor, for attaching.

    One descriptor can be attached any number of times, in any namespace. The caller closes it.
    Raises UnsupportedError with the end of the verifier's log when the kernel refuses it.
    """
    return _load(_SCHED_CLS, _sections()[section], section)


def load_drop_filter() -> int:
    """The filter with which a TUN device drops every packet that reaches its own queue.

    Without it the device would queue up to 1000 packets for a reader that does not exist.
    """
    r0_is_0 = _instruction.pack(0xB7, 0, 0, 0)  # BPF_ALU64 | BPF_MOV | BPF_K
    leave = _instruction.pack(0x95, 0, 0, 0)  # BPF_JMP | BPF_EXIT
    return _load(_SOCKET_FILTER, r0_is_0 + leave, "drop all")


def load_clear_flow_hash() -> int:
    """The program that makes the kernel forget a packet's flow hash (bpf_set_hash_invalid).

    Belongs to clsact ingress. It leaves r1, the packet, as the helper's argument, and ends with
    TC_ACT_UNSPEC: the packet goes its way.
    """
    return _load(_SCHED_CLS, b"".join((
        _instruction.pack(0x85, 0, 0, _SET_HASH_INVALID),  # BPF_JMP | BPF_CALL
        _instruction.pack(0xB7, 0, 0, -1),  # r0 = TC_ACT_UNSPEC
        _instruction.pack(0x95, 0, 0, 0),  # BPF_JMP | BPF_EXIT
    )), CLEAR_FLOW_HASH)


@functools.cache
def probe() -> str | None:
    """Why tunl0 cannot be made by eBPF here, in one sentence; None when it can.

    Tries everything once, in a namespace of its own which ends with the attempt. The answer is
    kept, so later calls cost nothing.
    """
    reasons: list[str | None] = []
    thread = threading.Thread(target=lambda: reasons.append(_reason()), name="ebpf-probe")
    thread.start()
    thread.join()
    return reasons[0] if reasons else "the attempt ended with an internal error"


@functools.cache
def _sections() -> dict[str, bytes]:
    return elf.sections(OBJECT.read_bytes())


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
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
        return _bpf(_BPF_PROG_LOAD, attributes(None))[0]
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
        return _bpf(_BPF_PROG_LOAD, attributes(log))[0]
    except OSError:
        lines = log.value.decode("ascii", "replace").splitlines()[-_LOG_LINES_SHOWN:]
    raise UnsupportedError("\n    ".join(
        [f"this kernel does not accept the eBPF program {name}: {reason}", *lines]))


def _run(program: int) -> int:
    """The program's return value for a frame of zeros on this namespace's loopback device."""
    frame = ctypes.create_string_buffer(64)
    _, after = _bpf(_BPF_PROG_TEST_RUN, _run_attr.pack(
        program, 0, len(frame), 0, ctypes.addressof(frame), 0, 1, 0))
    return int(_run_attr.unpack(after)[1])


def _reason() -> str | None:
    """The body of :func:`probe`, in a thread that can be spared."""
    if _libc.unshare(_CLONE_NEWNET):
        return ("making a network namespace is not permitted"
                f" ({os.strerror(ctypes.get_errno())}): run it as root")
    held: list[int] = []
    try:
        held.append(load(_PROBE))
        if _run(held[-1]):
            return (f"Linux {platform.release()} is too old: its bpf_fib_lookup() cannot tell"
                    " source addresses (Linux can from 6.7 on, and in late releases of 6.1)")
        reason = _name_or_index_taken()
        if reason is not None:
            return reason
        held += [load(EGRESS), load(EGRESS_UNSEEN), load(INGRESS), load_drop_filter()]
        egress, _, ingress, drop = held[1:]
        held.append(tun.create_tunl0("tunl0", TUNL0_INDEX, drop))
        with NetlinkSocket() as netlink:
            netlink.request([
                attach.noqueue(TUNL0_INDEX),
                attach.clsact(TUNL0_INDEX),
                attach.egress(TUNL0_INDEX, egress, EGRESS),
                attach.ingress(TUNL0_INDEX, ingress, INGRESS),
            ])
    except NetlinkError as error:
        return (f"the kernel cannot attach eBPF programs to a device ({error.reason}): it needs"
                " CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF, built in or as modules that"
                " this machine can load")
    except OSError as error:
        return f"the eBPF programs cannot be tried: {processes.explain(error.errno)}"
    except CalicoMnError as error:
        return str(error)
    finally:
        for descriptor in held:
            os.close(descriptor)
    return None


def _name_or_index_taken() -> str | None:
    """Tunnel modules put a device into every new namespace, which may be in our way."""
    for index, name in socket.if_nameindex():
        if name == "tunl0":
            return ("the ipip module gives every new namespace a tunl0 of the kernel's own: that"
                    " is the one to use")
        if index == TUNL0_INDEX:
            return (f"every new namespace begins with a device {name}, whose index tunl0 needs;"
                    " 'sudo sysctl net.core.fb_tunnels_only_for_init_net=1' ends that")
    return None
