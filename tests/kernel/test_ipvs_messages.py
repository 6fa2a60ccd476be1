"""IPVS messages byte for byte, and readers that survive any bytes."""

import struct
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.facts import Counters
from onearm.kernel import ipvs_messages as m
from onearm.kernel.netlink import attribute, nested

WEB = m.IpvsService(protocol=6, address=ip_address("203.0.113.2"), port=80, scheduler="rr")
DNS6 = m.IpvsService(10, 17, ip_address("2001:db8::2"), 53, scheduler="mh")
SERVER = m.IpvsDestination(ip_address("203.0.113.4"), 80, weight=3, upper=100, lower=10)


def flat(text):
    return bytes.fromhex(text.replace("|", "").replace(" ", "").replace("\n", ""))


# Written out by hand from include/uapi/linux/ip_vs.h, for a little-endian machine.
KEY4 = """06000100 02000000 | 06000200 06000000 | 14000300 cb007102 000000000000000000000000 |
          06000400 00500000"""
WHOLE4 = f"""01010000 | 54000180 | {KEY4} | 07000600 72720000 | 0c000700 00000000 ffffffff |
             08000800 00000000 | 08000900 ffffffff"""


def test_a_service_byte_for_byte():
    assert m.change_body("add", WEB, None) == flat(WHOLE4)
    assert m.change_body("set", WEB, None) == b"\x02" + flat(WHOLE4)[1:]
    assert m.change_body("delete", WEB, None) == flat(f"03010000 | 30000180 | {KEY4}")


def test_a_persistent_service_masks_in_network_order():
    made = m.service_whole(replace(WEB, flags=m.PERSISTENT, timeout_s=300, netmask=0xFFFFFF00))
    assert flat("08000800 2c010000 | 08000900 ffffff00") in made
    assert flat("0c000700 01000000 ffffffff") in made


def test_a_service_of_ipv6_masks_by_prefix_length():
    made = m.change_body("add", DNS6, None)
    assert flat("06000100 0a000000 | 06000200 11000000") in made
    assert flat("14000300 20010db8000000000000000000000002 | 06000400 00350000") in made
    assert flat("08000900 80000000") in made


def test_a_service_by_mark_has_no_address():
    made = m.service_key(m.IpvsService(fwmark=5))
    assert made == flat("14000180 | 06000100 02000000 | 08000500 05000000")


def test_a_persistence_engine_is_named_last():
    assert m.service_whole(replace(WEB, pe="sip")).endswith(flat("08000b00 73697000"))


def test_a_destination_byte_for_byte():
    assert m.change_body("add", WEB, SERVER) == flat(
        f"""05010000 | 30000180 | {KEY4} | 48000280 | 06000b00 02000000 |
        14000100 cb007104 000000000000000000000000 | 06000200 00500000 | 08000300 03000000 |
        08000400 03000000 | 08000500 64000000 | 08000600 0a000000"""
    )
    assert m.change_body("delete", WEB, SERVER)[:4] == flat("07010000")
    assert flat("08000400") not in m.change_body("delete", WEB, SERVER)


def test_a_tunnel_port_is_in_network_order():
    gue = replace(SERVER, forwarding=m.TUNNEL, tunnel_type=1, tunnel_port=6080, tunnel_flags=1)
    tail = flat("05000d00 01000000 | 06000e00 17c00000 | 06000f00 01000000")
    assert m.destination_whole(gue).endswith(tail)


def dumped(kind, inner, *after):
    return m.GENL.pack(1, 1, 0) + nested(kind, *inner) + b"".join(after)


def stats(*, wide):
    width, pads = ("=Q", attribute(11, b"")) if wide else ("=I", b"")
    numbers = (struct.pack("=Q" if n in (4, 5) else width, n * 10) for n in range(1, 11))
    return b"".join(pads + attribute(n, data) for n, data in enumerate(numbers, 1))


COUNTED = Counters(*range(10, 110, 10))


@pytest.mark.parametrize("wide", [True, False])
def test_statistics_of_either_width_with_padding_attributes(wide):
    kinds = (m.DEST_STATS64, m.SVC_STATS64) if wide else (m.DEST_STATS, m.SVC_STATS)
    inner = m.destination_whole(SERVER)[4:], attribute(0, b""), nested(kinds[0], stats(wide=wide))
    assert m.parse_destination(dumped(m.CMD_DEST, inner)).counters == COUNTED
    inner = m.service_whole(WEB)[4:], nested(kinds[1], stats(wide=wide))
    assert m.parse_service(dumped(m.CMD_SERVICE, inner)).counters == COUNTED


def test_wide_statistics_win_over_narrow_ones():
    both = (
        nested(m.DEST_STATS, attribute(1, b"\x01\0\0\0")),
        nested(m.DEST_STATS64, stats(wide=True)),
    )
    found = m.parse_destination(dumped(m.CMD_DEST, (m.destination_whole(SERVER)[4:], *both)))
    assert found.counters == COUNTED


SERVICES = [WEB, DNS6, m.IpvsService(fwmark=7, netmask=0xFFFFFF00), m.IpvsService(10, fwmark=7)]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_comes_back_as_it_went(service):
    host = m.HOST_MASK6 if service.family == 10 else m.HOST_MASK
    unknown = attribute(99, b"news of a later kernel")
    found = m.parse_service(dumped(m.CMD_SERVICE, (unknown, m.service_whole(service)[4:]), unknown))
    assert found == replace(service, netmask=service.netmask or host)


@pytest.mark.parametrize("address", ["203.0.113.4", "2001:db8::4"])
def test_a_destination_comes_back_as_it_went(address):
    sent = replace(SERVER, address=ip_address(address), forwarding=m.TUNNEL, tunnel_port=6080)
    found = m.parse_destination(dumped(m.CMD_DEST, (m.destination_whole(sent)[4:],)))
    assert found == sent


def test_a_destination_of_an_old_kernel_has_the_family_of_its_service():
    inner = attribute(m.DEST_ADDR, ip_address("2001:db8::4").packed)
    assert m.parse_destination(dumped(m.CMD_DEST, (inner,)), 10).address == ip_address(
        "2001:db8::4"
    )
    inner = attribute(m.DEST_ADDR, bytes([203, 0, 113, 4]) + bytes(12))
    assert m.parse_destination(dumped(m.CMD_DEST, (inner,))).address == ip_address("203.0.113.4")


@given(st.binary(max_size=300), st.sampled_from([2, 10, 0, 77]))
def test_no_bytes_break_the_readers(data, family):
    for head in (b"", m.GENL.pack(1, 1, 0)):
        m.parse_service(head + data)
        m.parse_destination(head + data, family)
    m.parse_service(dumped(m.CMD_SERVICE, (attribute(m.SVC_AF, b"\x02\0"), data)))
    m.parse_destination(dumped(m.CMD_DEST, (attribute(m.DEST_ADDR, data[:20]), data)), family)


SCHEDULERS = st.sampled_from(["rr", "wlc", "sh", "mh", "lblc"])


@given(SCHEDULERS, st.sets(st.sampled_from([4, 8, 16, 32])))
def test_flags_round_trip(scheduler, bits):
    number = sum(bits)
    names = m.bits_to_flags(scheduler, number | m.PERSISTENT | m.HASHED)
    assert m.flags_to_bits(scheduler, names) == number
    assert list(names) == sorted(names)


def test_flags_are_named_as_ipvsadm_prints_them():
    assert m.bits_to_flags("sh", 24) == ("sh-fallback", "sh-port")
    assert m.bits_to_flags("mh", 0x16) == ("mh-port", "ops")
    assert m.bits_to_flags("rr", 8 | 32 | 1 | 2) == ("flag-1", "flag-3")
    assert m.flags_to_bits("mh", ["flag-1", "mh-port"]) == 24
    with pytest.raises(ValueError, match=r"rr has no flag 'mh-port'; it has ops, flag-1"):
        m.flags_to_bits("rr", ["mh-port"])
