"""The netlink wire: attributes, and how messages are sent and their answers read.

The socket's other end is held by the test, which answers as af_netlink.c would.
"""

import errno
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.errors import KernelError
from calico_mn.kernel import netlink
from calico_mn.kernel.netlink import NetlinkError, NetlinkSocket, attribute, attributes, text, u32

ACK = netlink.NLM_F_ACK


# --- attributes

@pytest.mark.parametrize(("encoded", "length", "kind", "rest"), [
    pytest.param(attribute(1, b""), 4, 1, b"", id="empty"),
    pytest.param(attribute(2, b"abcd"), 8, 2, b"abcd", id="whole-words"),
    pytest.param(attribute(3, b"abcde"), 9, 3, b"abcde\0\0\0", id="padded"),
    pytest.param(text(3, "eth0"), 9, 3, b"eth0\0\0\0\0", id="text-with-its-nul"),
])
def test_an_attribute_is_length_type_payload_and_padding(encoded, length, kind, rest):
    assert encoded == struct.pack("=HH", length, kind) + rest


def test_a_number_is_in_the_hosts_order():
    assert u32(4, 1480) == struct.pack("=HHI", 8, 4, 1480)


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40)))
def test_what_was_encoded_is_decoded(wanted):
    assert attributes(b"".join(attribute(k, v) for k, v in wanted.items())) == wanted


def test_the_flags_of_nested_attributes_are_no_part_of_their_type():
    assert attributes(attribute(0x8000 | 18, b"x")) == {18: b"x"}
    assert attributes(attribute(0x4000 | 18, b"x")) == {18: b"x"}


@given(st.binary(max_size=64))
def test_no_bytes_make_the_decoder_fail_or_hang(data):
    for payload in attributes(data).values():
        assert payload in data


# --- requests and answers

@pytest.fixture
def wire():
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(5)
    kernels.settimeout(5)
    made = object.__new__(NetlinkSocket)
    made._socket, made._sequence = ours, 0
    with ours, kernels:
        yield made, kernels


def answer(sequence, number=0, reason=""):
    """NLMSG_ERROR with capped payload: error, header of the request, perhaps a reason."""
    body = struct.pack("=i", -number) + struct.pack("=IHHII", 40, 24, 5, sequence, 0)
    flags = 0x100
    if reason:
        body += attribute(1, reason.encode() + b"\0")
        flags |= 0x200
    return struct.pack("=IHHII", 16 + len(body), 2, flags, sequence, 0) + body


def sent(kernels):
    """The messages of one datagram: (type, flags, sequence, body)."""
    data, found = kernels.recv(1 << 20), []
    while data:
        length, kind, flags, sequence, port = struct.unpack_from("=IHHII", data)
        assert length >= 16
        assert length % 4 == 0
        assert port == 0
        found.append((kind, flags, sequence, data[16:length]))
        data = data[length:]
    return found


def test_messages_travel_together_and_only_the_last_one_asks_for_an_answer(wire):
    mine, kernels = wire
    kernels.send(answer(3))
    mine.request([(24, 0x400, b"aaaa"), (24, 0x500, b""), (20, 0, b"bbbbbbbb")])
    assert sent(kernels) == [(24, 0x401, 1, b"aaaa"), (24, 0x501, 2, b""),
                             (20, 0x001 | ACK, 3, b"bbbbbbbb")]


def test_no_message_is_no_system_call(wire):
    mine, kernels = wire
    mine.request([])
    kernels.setblocking(False)
    with pytest.raises(BlockingIOError):
        kernels.recv(1)


def test_many_messages_go_in_several_datagrams_each_with_its_own_answer(wire):
    mine, kernels = wire
    body, count = bytes(984), 80
    ends = [31, 62, 80]
    for end in ends:
        kernels.send(answer(end))
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(lambda: [sent(kernels) for _ in ends])
        mine.request([(24, 0, body)] * count)
        batches = reading.result(5)
    assert [batch[-1][2] for batch in batches] == ends
    for batch in batches:
        assert [bool(flags & ACK) for _, flags, _, _ in batch] == (
            [False] * (len(batch) - 1) + [True])
    assert [m[2] for batch in batches for m in batch] == list(range(1, count + 1))


@pytest.mark.parametrize("failed", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_refusal_names_the_message_and_the_kernels_own_reason(wire, failed):
    mine, kernels = wire
    for i in range(3):
        if i == failed:
            kernels.send(answer(i + 1, errno.EINVAL, "Nexthop has invalid gateway"))
        elif i == 2:
            kernels.send(answer(3))
    with pytest.raises(NetlinkError, match="Nexthop has invalid gateway") as error:
        mine.request([(24, 0, b"")] * 3)
    assert (error.value.index, error.value.errno) == (failed, errno.EINVAL)
    assert isinstance(error.value, KernelError)


def test_of_several_refusals_the_first_one_is_told(wire):
    mine, kernels = wire
    kernels.send(answer(1, errno.EEXIST) + answer(2, errno.ENODEV))
    kernels.send(answer(3, errno.EPERM))
    with pytest.raises(NetlinkError, match="message 1: File exists") as error:
        mine.request([(24, 0, b"")] * 3)
    assert error.value.index == 0


def test_a_refusal_in_an_early_datagram_is_told_after_all_were_tried(wire):
    mine, kernels = wire
    kernels.send(answer(5, errno.ENETUNREACH))
    for end in (31, 40):
        kernels.send(answer(end))
    with pytest.raises(NetlinkError) as error:
        mine.request([(24, 0, bytes(984))] * 40)
    assert error.value.index == 4
    assert len(sent(kernels)) + len(sent(kernels)) == 40


def test_indexes_count_from_the_request_and_not_from_the_socket(wire):
    mine, kernels = wire
    kernels.send(answer(2))
    mine.request([(24, 0, b"")] * 2)
    kernels.send(answer(2, errno.EPERM) + answer(4, errno.EEXIST))
    with pytest.raises(NetlinkError) as error:
        mine.request([(24, 0, b"")] * 2)
    assert (error.value.index, error.value.errno) == (1, errno.EEXIST), "2 is an old answer"


def test_a_dump_is_read_to_its_end_over_several_datagrams(wire):
    mine, kernels = wire

    def part(kind, body=b""):
        return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body + bytes(-len(body) % 4)

    kernels.send(part(16, b"onee") + part(16, b"two"))
    kernels.send(part(16, b"last") + part(3, bytes(4)))
    assert mine.dump(18, b"head") == [b"onee", b"two", b"last"]
    assert sent(kernels) == [(18, 0x301, 1, b"head")]


def test_a_dump_that_is_refused_raises(wire):
    mine, kernels = wire
    kernels.send(answer(1, errno.EPERM))
    with pytest.raises(NetlinkError) as error:
        mine.dump(18, b"")
    assert error.value.errno == errno.EPERM


def test_silence_of_the_kernel_is_an_error_and_not_a_wait_for_ever(wire):
    mine, _ = wire
    mine._socket.setblocking(False)
    with pytest.raises(KernelError, match="no answer"):
        mine.request([(24, 0, b"")])
