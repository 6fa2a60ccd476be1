"""Netlink framing: byte for byte, and against bytes that no kernel sends."""

import errno
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.kernel import netlink
from onearm.kernel.netlink import Netlink, NetlinkError


def test_an_attribute_is_padded_but_its_length_is_not():
    assert netlink.attribute(3, b"\x01\x02") == b"\x06\x00\x03\x00\x01\x02\x00\x00"
    assert netlink.text_attribute(6, "rr") == b"\x07\x00\x06\x00rr\x00\x00"
    assert netlink.nested(1, netlink.attribute(2, b"")) == b"\x08\x00\x01\x80\x04\x00\x02\x00"


def test_a_message_carries_its_header():
    made = netlink.message(16, 5, 7, b"\x01\x02\x03")
    assert made == b"\x13\0\0\0\x10\0\x05\0\x07\0\0\0\0\0\0\0\x01\x02\x03\0"
    assert list(netlink.split(made + made)) == [(16, 5, 7, b"\x01\x02\x03")] * 2


def test_walk_skips_nothing_and_stops_at_a_malformed_tail():
    good = netlink.attribute(1, b"a") + netlink.attribute(0, b"") + netlink.attribute(0x8002, b"bc")
    assert list(netlink.walk(good)) == [(1, b"a"), (0, b""), (2, b"bc")]
    for tail in (b"\x03\0\x01\0", b"\xff\0\x01\0abc", b"\x05"):
        assert list(netlink.walk(good + tail)) == [(1, b"a"), (0, b""), (2, b"bc")]


def test_the_kernels_words_are_found_behind_a_capped_and_a_whole_echo():
    words = netlink.text_attribute(netlink.ERROR_TEXT, "Unknown device type")
    echo = netlink.HEADER.pack(20, 16, 5, 1, 0)
    capped = struct.pack("=i", -95) + echo + words
    whole = struct.pack("=i", -95) + echo + b"body" + words
    flags = netlink.F_ACK_TLVS
    for payload, marks in ((capped, flags | netlink.F_CAPPED), (whole, flags)):
        error = netlink.verdict(netlink.TYPE_ERROR, marks, payload)
        assert (error.errno, error.text) == (errno.EOPNOTSUPP, "Unknown device type")
    done = netlink.verdict(netlink.TYPE_DONE, flags, struct.pack("=i", -22) + words)
    assert (done.errno, done.text) == (errno.EINVAL, "Unknown device type")
    assert netlink.verdict(netlink.TYPE_ERROR, 0, struct.pack("=i", 0) + echo) is None


def test_a_number_that_is_no_error_of_linux_is_said_as_such():
    for number in (-4096, -(1 << 31)):
        error = netlink.verdict(netlink.TYPE_ERROR, 0, struct.pack("=i", number))
        assert error.errno == errno.EPROTO and f"{number} is no error number" in str(error)


@given(st.binary(max_size=200), st.integers(0, 0xFFFF))
def test_no_bytes_break_the_walk(data, flags):
    list(netlink.walk(data))
    for kind, marks, _, payload in netlink.split(data):
        netlink.verdict(kind, marks, payload)
    netlink.verdict(netlink.TYPE_ERROR, flags, data)
    netlink.verdict(netlink.TYPE_DONE, flags, data)
    netlink.text(data)


class Wire:
    """A socket of scripted datagrams: a function of what was sent, or an errno to raise."""

    def __init__(self, *script, sndbuf=1 << 20, rcvbuf=1 << 20):
        self.script, self.sent = list(script), []
        self.sizes = {socket.SO_SNDBUF: sndbuf, socket.SO_RCVBUF: rcvbuf}

    def send(self, data):
        self.sent.append(data)

    def recv_into(self, buffer):
        assert len(buffer) >= 1 << 16  # the dump size of the kernel is sticky
        step = self.script.pop(0) if self.script else errno.EAGAIN
        if isinstance(step, int):
            raise OSError(step, os.strerror(step))
        data = step(self.sent[-1])
        buffer[: len(data)] = data
        return len(data)

    def getsockopt(self, _level, option):
        return self.sizes[option]

    def close(self):
        pass


def sequences(sent):
    return [(flags, sequence) for _, flags, sequence, _ in netlink.split(sent)]


def entry(payload, flags=netlink.F_MULTI, kind=16):
    return lambda sent: netlink.message(kind, flags, sequences(sent)[0][1], payload)


def answer(code, nth=-1, kind=netlink.TYPE_ERROR):
    return lambda sent: netlink.message(kind, 0, sequences(sent)[nth][1], struct.pack("=i", -code))


def both(*makers):
    return lambda sent: b"".join(make(sent) for make in makers)


DONE = answer(0, kind=netlink.TYPE_DONE)


def scripted(*script, **sizes):
    netlink_ = Netlink.__new__(Netlink)
    netlink_._socket, netlink_._sequence = Wire(*script, **sizes), 0
    netlink_._buffer = memoryview(bytearray(netlink.RECEIVE_BYTES))
    return netlink_


def test_a_request_returns_what_came_before_its_acknowledgement():
    late = lambda _sent: netlink.message(16, 0, 99, b"late")
    wire = scripted(late, entry(b"reply"), answer(0))
    assert wire.request(16, b"") == [b"reply"]
    with pytest.raises(NetlinkError) as refused:
        scripted(answer(errno.EPERM)).request(16, b"")
    assert refused.value.errno == errno.EPERM


def test_a_lost_acknowledgement_does_not_hang():
    for call in (
        lambda n: n.request(16, b""),
        lambda n: n.dump(16, b""),
        lambda n: n.batch(16, [b""]),
    ):
        with pytest.raises(NetlinkError) as lost:
            call(scripted())
        assert lost.value.errno == errno.ETIMEDOUT


def test_done_may_end_the_last_datagram_of_a_dump():
    assert scripted(entry(b"a"), both(entry(b"b"), DONE)).dump(16, b"") == [b"a", b"b"]


def test_an_interrupted_dump_is_read_again_but_not_for_ever():
    torn = both(entry(b"old", netlink.F_MULTI | netlink.F_DUMP_INTR), DONE)
    assert scripted(torn, both(entry(b"new"), DONE)).dump(16, b"") == [b"new"]
    with pytest.raises(NetlinkError) as given_up:
        scripted(*[torn] * netlink.ATTEMPTS, DONE).dump(16, b"")
    assert given_up.value.errno == errno.EAGAIN


def test_a_dump_that_lost_a_datagram_is_read_again():
    wire = scripted(entry(b"a"), errno.ENOBUFS, DONE, both(entry(b"a"), entry(b"b"), DONE))
    assert wire.dump(16, b"") == [b"a", b"b"]


def test_a_dump_reports_the_error_in_its_end():
    for kind in (netlink.TYPE_DONE, netlink.TYPE_ERROR):
        with pytest.raises(NetlinkError) as failed:
            scripted(answer(errno.ENODEV, kind=kind)).dump(16, b"")
        assert failed.value.errno == errno.ENODEV


def test_a_batch_asks_for_one_acknowledgement_and_maps_errors_to_their_messages():
    wire = scripted(both(answer(17, 1), answer(2, 3)), answer(0))
    assert wire.batch(16, [b"x"] * 5) == {1: 17, 3: 2}
    (sent,) = wire._socket.sent
    assert [flags & netlink.F_ACK for flags, _ in sequences(sent)] == [0, 0, 0, 0, netlink.F_ACK]


def test_a_batch_is_split_by_both_buffers():
    small = scripted(*[answer(errno.EEXIST)] * 5, sndbuf=32 + 2 * 20)
    assert small.batch(16, [b"abcd"] * 5) == {1: 17, 3: 17, 4: 17}
    assert [len(sequences(sent)) for sent in small._socket.sent] == [2, 2, 1]
    few = scripted(*[answer(0)] * 5, rcvbuf=2 * netlink.ERROR_COST_BYTES)
    assert few.batch(16, [b""] * 5) == {}
    assert [len(sequences(sent)) for sent in few._socket.sent] == [2, 2, 1]
    assert scripted().batch(16, []) == {}
    one = scripted(answer(0), sndbuf=0, rcvbuf=0)  # one always goes: the kernel then says why not
    assert one.batch(16, [b""]) == {}


def test_sequence_numbers_wrap_without_using_zero():
    wire = scripted(answer(0), answer(0))
    wire._sequence = 0xFFFFFFFE
    assert wire.batch(16, [b""] * 3) == {}
    assert [s for _, s in sequences(wire._socket.sent[0])] == [1, 2, 3]
