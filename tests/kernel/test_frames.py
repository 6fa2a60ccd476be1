"""Frames from bytes: the kinds that count, and any bytes at all."""

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from onearm.kernel import frames, nd
from onearm.kernel.frames import Frame, parse

BASE = Frame("eth0", outgoing=False, to_us=True)
ETHERNET = bytes.fromhex("020000000003 020000000001 0800")
A, B = ip_address("198.51.100.10").packed, ip_address("203.0.113.2").packed


def ipv4(protocol, rest, fragment=0, words=5, total=40):
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, total, 0, fragment, 64, protocol, 0)
    return head + A + B + bytes(4 * (words - 5)) + rest


TCP = struct.pack("!HHIIBBHHH", 40000, 80, 1, 2, 0x50, 0x12, 0, 0, 0)


def test_tcp_with_and_without_ip_options():
    for words in (5, 15):
        found = parse(BASE, ETHERNET + ipv4(6, TCP, words=words), frames.ETH_P_IP)
        assert (found.kind, found.source_port, found.target_port) == ("tcp", 40000, 80)
        assert (found.source, found.target, found.tcp_flags) == ("198.51.100.10", "203.0.113.2", 18)
        assert (found.target_mac, found.source_mac) == ("02:00:00:00:00:03", "02:00:00:00:00:01")


def test_what_tcp_and_udp_carry_by_the_words_of_the_headers():
    long = TCP[:12] + bytes([0x80]) + TCP[13:] + bytes(12)  # twelve bytes of TCP options
    for words, segment, total, payload in (
        (5, TCP, 40, 0),
        (5, TCP, 1500, 1460),
        (15, TCP, 81, 1),
        (5, long, 1500, 1448),
        (5, TCP, 0, 0),  # segmentation offload of more than 64 KiB: the header does not tell
        (5, TCP, 39, 0),
    ):
        data = ETHERNET + ipv4(6, segment, words=words, total=total)
        found = parse(BASE, data, frames.ETH_P_IP)
        assert (found.seq, found.ack, found.payload, found.ttl) == (1, 2, payload, 64)
    found = parse(BASE, ETHERNET + ipv4(17, TCP, total=128), frames.ETH_P_IP)
    assert (found.payload, found.seq) == (100, 0)


def test_sctp_says_by_tcps_flags_what_its_first_chunk_does():
    head = struct.pack("!HHII", 40000, 3868, 1, 2)
    for chunk, flags, payload in ((1, 0x02, 0), (2, 0x12, 0), (6, 0x04, 0), (0, 0x10, 28)):
        packet = ipv4(132, head + bytes([chunk, 0, 0, 28]), total=60)
        found = parse(BASE, ETHERNET + packet, frames.ETH_P_IP)
        assert (found.kind, found.target_port, found.tcp_flags) == ("sctp", 3868, flags)
        assert found.payload == payload
    found = parse(BASE, ETHERNET + ipv4(132, head[:6]), frames.ETH_P_IP)
    assert (found.kind, found.target_port, found.tcp_flags) == ("sctp", 3868, 0)


def test_what_is_cut_short_keeps_its_addresses():
    found = parse(BASE, ETHERNET + ipv4(6, TCP[:6]), frames.ETH_P_IP)
    assert (found.kind, found.target_port, found.tcp_flags) == ("tcp", 80, 0)
    assert (found.seq, found.ack, found.payload) == (0, 0, 0)
    assert parse(BASE, ETHERNET + ipv4(6, b""), frames.ETH_P_IP).kind == "tcp"
    assert parse(BASE, (ETHERNET + ipv4(6, b""))[:-1], frames.ETH_P_IP) is None


def test_a_later_fragment_has_no_ports():
    found = parse(BASE, ETHERNET + ipv4(17, TCP, fragment=5), frames.ETH_P_IP)
    assert (found.kind, found.source_port) == ("other", 0)


def test_icmp_errors():
    found = parse(BASE, ETHERNET + ipv4(1, bytes([3, 4, 0, 0])), frames.ETH_P_IP)
    assert (found.kind, found.icmp_type, found.icmp_code) == ("icmp", 3, 4)
    assert found.icmp_mtu == 0
    for code, mtu in ((4, 1400), (3, 0)):
        quoted = struct.pack("!BBHHH", 3, code, 0, 0, 1400) + ipv4(6, TCP[:8])
        found = parse(BASE, ETHERNET + ipv4(1, quoted), frames.ETH_P_IP)
        assert (found.icmp_code, found.icmp_mtu) == (code, mtu)
        assert (found.source_port, found.target_port) == (80, 40000)


def test_arp_both_ways():
    mac = bytes.fromhex("020000000004")
    for operation, kind in ((1, "arp-request"), (2, "arp-reply"), (9, "other")):
        data = ETHERNET + frames.arp(operation, (mac, A), (bytes(6), B))
        found = parse(BASE, data, frames.ETH_P_ARP)
        assert (found.kind, found.source, found.target) == (kind, "198.51.100.10", "203.0.113.2")
        assert found.claimed_mac == "02:00:00:00:00:04"
    foreign = b"\0\x06" + frames.arp(1, (mac, A), (bytes(6), B))[2:]
    assert parse(BASE, ETHERNET + foreign, frames.ETH_P_ARP) is None


def test_a_link_without_ethernet_and_ipv6():
    found = parse(BASE, ipv4(17, TCP), frames.ETH_P_IP, ethernet=False)
    assert (found.kind, found.source_mac, found.target_port) == ("udp", "", 80)
    six = struct.pack("!IHBB", 6 << 28, 20, 6, 64) + bytes(15) + b"\1" + bytes(15) + b"\2" + TCP
    found = parse(BASE, six, frames.ETH_P_IPV6, ethernet=False)
    assert (found.source, found.target, found.target_port) == ("::1", "::2", 80)
    assert (found.ttl, found.payload, found.seq) == (64, 0, 1)


PROTOCOLS = st.sampled_from([frames.ETH_P_IP, frames.ETH_P_ARP, frames.ETH_P_IPV6, 0, 0x8100])


@given(st.binary(max_size=160), PROTOCOLS, st.booleans())
def test_any_bytes_give_a_frame_or_none(data, protocol, ethernet):
    found = parse(BASE, data, protocol, ethernet=ethernet)
    assert found is None or sane(found)


@given(st.binary(max_size=160), st.integers(0, 255), st.integers(0, 15))
def test_any_transport_gives_a_frame(data, protocol, words):
    head = bytes([0x40 | words]) + bytes(8) + bytes([protocol]) + bytes(10)
    assert sane(parse(BASE, head + data, frames.ETH_P_IP, ethernet=False))


@given(st.binary(max_size=160), st.integers(0, 0xFFFF), st.sampled_from([1, 6, 17]))
def test_any_lengths_give_a_sane_frame(data, total, protocol):
    assert sane(parse(BASE, ipv4(protocol, data, total=total), frames.ETH_P_IP, ethernet=False))
    six = struct.pack("!IHBB", 6 << 28, total, protocol, 1) + bytes(32) + data
    assert sane(parse(BASE, six, frames.ETH_P_IPV6, ethernet=False))


def sane(frame):
    """Say that every number is one that its header can hold."""
    words = (frame.payload, frame.icmp_mtu, frame.source_port, frame.target_port)
    return (
        isinstance(frame, Frame)
        and all(0 <= word <= 0xFFFF for word in words)
        and 0 <= frame.ttl <= 0xFF
        and 0 <= min(frame.seq, frame.ack) <= max(frame.seq, frame.ack) <= 0xFFFFFFFF
    )


SIX_A, SIX_B = ip_address("2001:db8:5::10"), ip_address("2001:db8:203::2")
ETHERNET6 = ETHERNET[:12] + b"\x86\xdd"


def ipv6(protocol, rest, hops=64, source=SIX_A, target=SIX_B):
    head = struct.pack("!IHBB", 6 << 28, len(rest), protocol, hops)
    return ETHERNET6 + head + source.packed + target.packed + rest


def six(*args, **more):
    return parse(BASE, ipv6(*args, **more), frames.ETH_P_IPV6)


def test_tcp_and_udp_over_ipv6_behind_extension_headers():
    headers = {6: b"", 0: bytes([6, 1]) + bytes(14), 44: bytes([6, 0, 0, 1]) + bytes(4)}
    headers |= {60: headers[0], 43: headers[0], 51: bytes([6, 1]) + bytes(10)}
    for protocol, header in headers.items():
        found = six(protocol, header + TCP + bytes(7))
        assert (found.kind, found.target_port, found.tcp_flags) == ("tcp", 80, 18), protocol
        assert (found.payload, found.ttl, found.target) == (7, 64, "2001:db8:203::2")
    later = six(44, bytes([6, 0, 0, 8]) + bytes(4) + TCP)
    assert (later.kind, later.source_port) == ("other", 0)
    assert six(0, b"\x00\x00" * 400).kind == "other"  # more headers than anybody sends


def test_errors_of_icmpv6_show_the_flow_and_the_mtu():
    quoted = ipv6(6, TCP, source=SIX_B, target=SIX_A)[14:]
    found = six(58, struct.pack("!BBHI", 2, 0, 0, 1280) + quoted)
    assert (found.kind, found.icmp_type, found.icmp_mtu) == ("icmp", 2, 1280)
    assert (found.source_port, found.target_port) == (80, 40000)
    echo = six(58, struct.pack("!BBHI", 128, 0, 0, 1) + quoted)
    assert (echo.kind, echo.source_port) == ("icmp", 0)


def test_neighbour_discovery_as_it_is_spoken_by_ourselves():
    mac = bytes.fromhex("020000000003")
    asked = parse(BASE, nd.solicitation(mac, SIX_A, SIX_B), frames.ETH_P_IPV6)
    assert (asked.kind, asked.source, asked.target) == ("nd-solicitation", str(SIX_A), str(SIX_B))
    assert (asked.claimed_mac, asked.target_mac) == ("02:00:00:00:00:03", "33:33:ff:00:00:02")
    probe = parse(BASE, nd.solicitation(mac, None, SIX_B), frames.ETH_P_IPV6)
    assert (probe.source, probe.claimed_mac, probe.claims) == ("::", "", False)
    told = parse(BASE, nd.advertisement(mac, SIX_B), frames.ETH_P_IPV6)
    assert (told.kind, told.source, told.target) == ("nd-advertisement", str(SIX_B), "ff02::1")
    assert (told.claimed_mac, told.claims, told.target_mac) == (
        "02:00:00:00:00:03", True, "33:33:00:00:00:01",
    )  # fmt: skip


def test_what_a_router_passed_on_is_no_neighbour_discovery():
    spoken = bytearray(nd.advertisement(bytes(6), SIX_B))
    spoken[14 + 7] = 254
    found = parse(BASE, bytes(spoken), frames.ETH_P_IPV6)
    assert (found.kind, found.claims) == ("icmp", False)


def test_an_advertisement_without_its_option_claims_the_frames_own_mac():
    spoken = nd.advertisement(bytes.fromhex("020000000003"), SIX_B)[: 14 + 40 + 24]
    assert parse(BASE, spoken, frames.ETH_P_IPV6).claimed_mac == "02:00:00:00:00:03"


@given(
    st.binary(max_size=120),
    st.sampled_from([0, 6, 17, 43, 44, 51, 58, 60, 255]),
    st.integers(0, 255),
)
def test_any_ipv6_payload_gives_a_frame(rest, protocol, hops):
    found = six(protocol, rest, hops=hops)
    assert found.ttl == hops
    assert found.payload >= 0
    assert ip_address(found.source) and ip_address(found.target)
