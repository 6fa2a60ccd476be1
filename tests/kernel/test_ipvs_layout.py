"""Reading destinations by a learned layout gives what the walk over attributes gives, always."""

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.facts import Counters
from onearm.kernel import ipvs_layout
from onearm.kernel import ipvs_messages as m
from onearm.kernel.ipvs_layout import NOTHING, Destinations, Learned
from onearm.kernel.netlink import (
    F_MULTI,
    RECEIVE_BYTES,
    TYPE_DONE,
    Netlink,
    NetlinkError,
    Payloads,
    attribute,
    message,
    nested,
)

KIND, FAMILY = 25, 2
WEB = m.IpvsDestination(ip_address("203.0.113.4"), 80, weight=3, upper=100, lower=10)


def u32(kind, value):
    return attribute(kind, struct.pack("=I", value))


def payload(found, *, pads, family=True):
    """Write an entry of a dump in the kernel's order (ip_vs_genl_fill_dest)."""
    six = isinstance(found.address, IPv6Address)
    pad = attribute(11, b"") if pads else b""
    numbers = [getattr(found.counters, name) for name in Counters.__dataclass_fields__]
    narrow = b"".join(
        (pad if kind in (4, 5) else b"")
        + attribute(kind, struct.pack("=Q" if kind in (4, 5) else "=I", value & 0xFFFFFFFF))
        for kind, value in enumerate(numbers, 1)
    )
    wide = b"".join(
        pad + attribute(kind, struct.pack("=Q", value)) for kind, value in enumerate(numbers, 1)
    )
    return m.GENL.pack(m.NEW_DEST, 1, 0) + nested(
        m.CMD_DEST,
        attribute(m.DEST_ADDR, found.address.packed.ljust(16, b"\0")),
        attribute(m.DEST_PORT, struct.pack("!H", found.port)),
        u32(m.DEST_FWD, found.forwarding),
        u32(m.DEST_WEIGHT, found.weight),
        attribute(m.DEST_TUN_TYPE, bytes([found.tunnel_type])),
        attribute(m.DEST_TUN_PORT, struct.pack("!H", found.tunnel_port)),
        attribute(m.DEST_TUN_FLAGS, struct.pack("=H", found.tunnel_flags)),
        u32(m.DEST_UPPER, found.upper),
        u32(m.DEST_LOWER, found.lower),
        u32(m.DEST_ACTIVE, found.active),
        u32(m.DEST_INACTIVE, found.inactive),
        u32(m.DEST_PERSISTENT, found.persistent),
        attribute(m.DEST_AF, struct.pack("=H", 10 if six else 2)) if family else b"",
        nested(m.DEST_STATS, narrow),
        nested(m.DEST_STATS64, wide),
    )


class Script:
    """A socket that answers the first request with these datagrams, then each with its end."""

    def __init__(self, datagrams):
        self.datagrams, self.sequence = list(datagrams), 0

    def send(self, _data):
        self.sequence += 1

    def recv_into(self, buffer):
        end = message(TYPE_DONE, F_MULTI, self.sequence, bytes(4))
        data = self.datagrams.pop(0) if self.datagrams else end
        buffer[: len(data)] = data
        return len(data)


def dumped(datagrams, reader):
    link = Netlink.__new__(Netlink)
    link._socket, link._sequence = Script(datagrams), 0
    link._buffer = memoryview(bytearray(RECEIVE_BYTES))
    link.dump_into(reader, KIND, b"")
    return reader.found


def slowly(datagrams, family=FAMILY):
    found = (m.parse_destination(p, family) for p in dumped(datagrams, Payloads()))
    return [whole(one) for one in found if one]


def fast(datagrams, learned, family=FAMILY):
    return [whole(one) for one in dumped(datagrams, Destinations(family, learned))]


def whole(found):
    """Show a destination with what equality leaves out."""
    return (found, found.active, found.inactive, found.persistent, found.counters)


def idle(found):
    return whole(found) == whole(
        replace(found, active=0, inactive=0, persistent=0, counters=NOTHING)
    )


def framed(found, **how):
    return message(KIND, F_MULTI, 1, payload(found, **how))


NUMBERS = st.one_of(st.just(0), st.integers(0, 2**32 - 1))
COUNTED = st.one_of(st.just(Counters()), st.builds(Counters, *[NUMBERS] * 10))
FOUND = st.builds(
    m.IpvsDestination,
    address=st.one_of(
        st.sampled_from([IPv4Address(n) for n in (1, 2, 0xCB007104)]), st.ip_addresses()
    ),
    port=st.sampled_from([0, 80, 65535]),
    forwarding=st.sampled_from([0, 1, 2, 3]),
    weight=st.sampled_from([0, 1, 7]),
    tunnel_port=st.sampled_from([0, 6080]),
    active=NUMBERS,
    inactive=NUMBERS,
    persistent=NUMBERS,
    counters=COUNTED,
)


@given(st.lists(FOUND, max_size=8), st.booleans(), st.sampled_from([2, 10]), st.integers(0, 8))
def test_what_was_written_is_read(entries, pads, family, cut):
    learned = Learned()
    datagrams = [
        b"".join(framed(e, pads=pads) for e in part) for part in (entries[:cut], entries[cut:])
    ]
    for _ in range(3):  # the first teaches
        assert fast(datagrams, learned, family) == [whole(entry) for entry in entries]
    assert not any(idle(entry) for entry in entries) or learned.of(family)


BYTE = st.integers(0, 255)
ANYWHERE = st.tuples(st.integers(0, 4000), BYTE)
IN_A_HEADER = st.builds(
    lambda nth, at, value: (nth, at, value), st.integers(0, 7), st.integers(0, 15), BYTE
)


@given(
    st.lists(FOUND, min_size=1, max_size=4),
    st.booleans(),
    st.lists(st.one_of(ANYWHERE, IN_A_HEADER), max_size=4),
    st.integers(0, 4000),
    st.sampled_from([2, 10, 77]),
)
def test_spoiled_bytes_are_read_as_by_the_walk(entries, pads, spoiled, cut, family):
    learned = Learned()
    made = [framed(entry, pads=pads, family=family != 77) for entry in entries]
    fast([b"".join(made)], learned, family)
    data = bytearray(b"".join(made * 2))
    for *where, value in spoiled:
        nth, at = where if len(where) == 2 else (0, where[0])
        data[(nth * len(made[0]) + at) % len(data)] = value
    datagrams = [bytes(data), bytes(data[: cut % len(data)])]
    slow = outcome(lambda: slowly(datagrams, family))
    assert outcome(lambda: fast(datagrams, learned, family)) == slow


def outcome(read):
    """Give what is read, or the code of the refusal that the bytes hold."""
    try:
        return read()
    except NetlinkError as error:
        return error.errno


def test_a_family_that_is_not_told_is_that_of_the_service():
    learned = Learned()
    data = [framed(WEB, pads=False, family=False) * 2]
    for family in (2, 10, 2, 10):
        assert fast(data, learned, family) == slowly(data, family)


def test_what_a_later_kernel_adds_is_passed_over():
    learned = Learned()
    inner = nested(m.CMD_DEST, payload(WEB, pads=True)[8:], attribute(40, b"news"))
    for news in (inner, payload(WEB, pads=True)[4:] + attribute(9, b"outside")):
        data = [message(KIND, F_MULTI, 1, m.GENL.pack(m.NEW_DEST, 1, 0) + news) * 3]
        for _ in range(2):
            assert fast(data, learned) == slowly(data) == [whole(WEB)] * 3


@given(st.lists(st.binary(max_size=400), max_size=3))
def test_any_bytes_are_read_as_by_the_walk(tails):
    learned = Learned()
    fast([framed(WEB, pads=True) * 2], learned)
    datagrams = [framed(WEB, pads=True) + tail for tail in tails]
    datagrams += [message(KIND, F_MULTI, 1, tail) for tail in tails]
    assert fast(datagrams, learned) == slowly(datagrams)


def test_known_messages_are_not_walked_again(monkeypatch):
    learned = Learned()
    busy = replace(WEB, active=3, counters=Counters(1, 2, 3))
    fast([framed(WEB, pads=True)], learned)

    def no_more(*_):
        raise AssertionError("walked")

    monkeypatch.setattr(ipvs_layout, "parse_destination", no_more)
    assert fast([framed(busy, pads=True) + framed(WEB, pads=True)], learned) == [
        whole(busy),
        whole(WEB),
    ]


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(ipvs_layout, "MOST_KNOWN", 2)
    learned = Learned()
    many = [replace(WEB, address=IPv4Address(n)) for n in range(5)]
    data = [b"".join(framed(one, pads=False) for one in many)]
    assert fast(data, learned) == fast(data, learned) == [whole(one) for one in many]
    assert 0 < len(learned.of(FAMILY)) <= 2


def test_the_like_of_what_is_known_is_read_by_its_address_alone(monkeypatch):
    learned = Learned()
    fast([framed(WEB, pads=True) * 2], learned)  # walked, then laid out
    fast([framed(replace(WEB, weight=7), pads=True)], learned)
    others = [replace(WEB, address=IPv4Address(n), weight=w) for n in (7, 8) for w in (3, 7)]
    monkeypatch.setattr(Destinations, "_laid_out", lambda *_: pytest.fail("laid out again"))
    data = [b"".join(framed(one, pads=True) for one in others)]
    assert fast(data, learned) == [whole(one) for one in others]


@given(
    st.lists(FOUND, min_size=2, max_size=2),
    st.integers(0, 400),
    st.integers(0, 255),
    st.sampled_from([2, 10]),
)
def test_the_like_with_another_byte_is_read_as_by_the_walk(entries, at, value, family):
    learned = Learned()
    one, other = (replace(e, active=0, inactive=0, persistent=0, counters=NOTHING) for e in entries)
    for _ in range(3):
        fast([framed(one, pads=True)], learned, family)
    data = bytearray(framed(replace(one, address=other.address), pads=True))
    data[16 + at % (len(data) - 16)] = value
    datagrams = [bytes(data)]
    slow = outcome(lambda: slowly(datagrams, family))
    assert outcome(lambda: fast(datagrams, learned, family)) == slow


def service_payload(address, **fields):
    told = m.IpvsService(2, 6, address, 80, scheduler="rr", **fields)
    counts = b"".join(attribute(kind, bytes(8)) for kind in range(1, 11))
    stats = nested(m.SVC_STATS64, counts)
    return m.GENL.pack(m.NEW_SERVICE, 1, 0) + nested(
        m.CMD_SERVICE, m.service_whole(told)[4:], stats
    )


def test_services_are_read_as_by_the_walk():
    learned = Learned()
    bodies = [service_payload(IPv4Address(n), timeout_s=t) for n in (1, 2, 3) for t in (0, 5)]
    for _ in range(2):
        for body in bodies:
            found = learned.service(body)
            assert found == m.parse_service(body)
            assert found.address == m.parse_service(body).address
            assert learned.service(body) is found
