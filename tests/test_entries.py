"""One line of the connection table: as kernels print it, and any other."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm import entries
from onearm.entries import CONNECTION, PROBE, TEMPLATE, Entry

VIP, CLIENT, SERVER = map(ip_address, ("203.0.113.2", "198.51.100.10", "203.0.113.5"))
OWN = {ip_address("203.0.113.3")}
SIX = [ip_address(f"2001:db8::{n}") for n in (9, 2, 4)]
PREFIX = "2001:0db8:0000:0000:0000:0000:0000:000"
TCP = ("tcp", CLIENT, 0xCF8A, VIP, 443, SERVER, 443)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "TCP C633640A CF8A CB007102 01BB CB007105 01BB SYN_RECV         57\n",
            Entry(CONNECTION, *TCP, "SYN_RECV", 57),
        ),
        (
            "TCP C633640A 0000 CB007102 01BB CB007105 01BB ASSURED         294",
            Entry(TEMPLATE, "tcp", CLIENT, 0, VIP, 443, SERVER, 443, "ASSURED", 294),
        ),
        (
            "UDP C633640A 0000 CB007102 01BB CB007105 01BB UDP             294",
            Entry(CONNECTION, "udp", CLIENT, 0, VIP, 443, SERVER, 443, "UDP", 294),
        ),
        (
            "TCP CB007103 4000 CB007102 01BB CB007105 01BB ESTABLISHED     899",
            Entry(PROBE, "tcp", *OWN, 16384, VIP, 443, SERVER, 443, "ESTABLISHED", 899),
        ),
        (
            f"TCP {PREFIX}9 E330 {PREFIX}2 0050 {PREFIX}4 0050 SYN_RECV         52",
            Entry(CONNECTION, "tcp", SIX[0], 0xE330, SIX[1], 80, SIX[2], 80, "SYN_RECV", 52),
        ),
        (
            "UDP C633640A 0000 CB007102 13C4 CB007105 13C4 NONE            300 sip 1 2@x\n",
            Entry(TEMPLATE, "udp", CLIENT, 0, VIP, 5060, SERVER, 5060, "NONE", 300, "sip", "1 2@x"),
        ),
    ],
)
def test_what_kernels_write(line, expected):
    assert entries.parse(line, OWN) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n",
        "TCP C633640A CF8A CB007102 01BB CB007105 01BB SYN_RECV",
        "TCP C633640A CF8A CB007102 101BB CB007105 01BB SYN_RECV 57",
        "TCP C633640A CF8A CB007102 +1BB CB007105 01BB SYN_RECV 57",
        "TCP C633640A CF8A CB00 7102 01BB CB007105 01BB SYN_RECV 57",
        "TCP C633640A CF8A CB007102 01BB fe80::1%eth0 01BB SYN_RECV 57",
        "TCP C633640A CF8A CB007102 01BB CB007105 01BB SYN_RECV -1",
        "TCP C633640A CF8A CB007102 01BB CB007105 01BB SYN_RECV ٣",
        "TCP C633640A CF8A CB007102 01BB CB007105 01BB SYN_RECV 99999999999",
        "TCP C633640A CF8A CB007102 01BB CB007105 01BB \0ASSURED 57",
        "\x1b[1mTCP C633640A CF8A CB007102 01BB CB007105 01BB SYN_RECV 57",
    ],
)
def test_what_none_writes(line):
    assert entries.parse(line) is None


def test_only_waiting_for_long_is_old():
    waiting = {left for left in ("-1", "x", "0", "57", "58", "60") if entries.old("SYN_RECV", left)}
    assert waiting == {"0", "57"}
    assert not entries.old("ESTABLISHED", "0")


@given(st.text(max_size=200))
def test_any_text_is_an_entry_or_none(text):
    found = entries.parse(text, OWN)
    assert found is None or (found.kind in entries.KINDS and 0 <= found.port <= 0xFFFF)


@given(st.lists(st.sampled_from(["TCP", "C633640A", "0000", "NONE", "7", "::", "GG"]), min_size=9))
def test_any_words_are_an_entry_or_none(words):
    found = entries.parse(" ".join(words))
    assert found is None or found.expires_s in {0, 7}
