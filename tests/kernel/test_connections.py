"""The connection table in groups, from lines as kernels print them and from any other."""

import tracemalloc
from collections import Counter
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.entries import CONNECTION, PROBE, TEMPLATE, Marked, Served, Wanted, marked_as
from onearm.kernel import connections
from onearm.vitals import ConnectionsFact

VIP, VIP6 = ip_address("203.0.113.2"), ip_address("2001:db8::2")
HEAD = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
# Recorded on the lab's director (kernel 6.1): a server that drops SYNs, a persistent service with
# its template, UDP, and IPv6.
RECORDED = f"""{HEAD}\
TCP C633640A CF8A CB007102 01BB CB007105 01BB SYN_RECV         57
TCP C633640A 0000 CB007102 1F90 CB007105 1F90 ASSURED         294
TCP C633640A BB7E CB007102 0050 CB007105 0050 ESTABLISHED     899
TCP 2001:0db8:0000:0000:0000:0000:0000:0002 E330 2001:0db8:0000:0000:0000:0000:0000:0002 0050\
 2001:0db8:0000:0000:0000:0000:0000:0004 0050 SYN_RECV         52
TCP C633640A DA96 CB007102 1F90 CB007105 1F90 FIN_WAIT        114
TCP C633640A CF90 CB007102 01BB CB007105 01BB SYN_RECV         58
UDP C633640A D7A0 CB007102 0035 CB007104 0035 UDP             299
"""


def test_a_line_with_characters_that_no_kernel_writes_is_of_no_group():
    line = RECORDED.splitlines()[1]
    for other in (line.replace("SYN", "\0SYN"), line.replace("TCP", "\x1b[1mTCP"), HEAD):
        assert connections.parse([other]) == ((), False)
    assert len(connections.parse([line])[0]) == 1


def fact(server, port, state, count, *, old=0, vip=VIP, protocol="tcp", kind=CONNECTION):
    return ConnectionsFact(protocol, vip, port, ip_address(server), state, count, old, kind)


def test_entries_are_grouped_by_destination_and_state():
    found, cut = connections.parse(RECORDED.splitlines(keepends=True))
    assert not cut
    assert set(found) == {
        fact("203.0.113.5", 443, "SYN_RECV", 2, old=1),
        fact("203.0.113.5", 8080, "ASSURED", 1, kind=TEMPLATE),
        fact("203.0.113.5", 8080, "FIN_WAIT", 1),
        fact("203.0.113.5", 80, "ESTABLISHED", 1),
        fact("203.0.113.4", 53, "UDP", 1, protocol="udp"),
        fact("2001:db8::4", 80, "SYN_RECV", 1, old=1, vip=VIP6),
    }


def test_memory_is_bounded_and_the_vips_asked_for_come_first(monkeypatch):
    monkeypatch.setattr(connections, "GROUPS_MOST", 10)
    line = "TCP C633640A EB4A {:08X} 0050 CB007104 0050 FIN_WAIT        118\n"
    lines = [line.format(0x0A000000 + n) for n in range(15)] + [line.format(int(VIP))] * 3
    found, cut = connections.parse(lines, {VIP})
    assert (len(found), cut, found[0]) == (10, True, fact("203.0.113.4", 80, "FIN_WAIT", 3))
    found, cut = connections.parse([*lines, *(line.format(n) for n in range(100))], {VIP})
    assert (len(found), cut, found[0].count) == (10, True, 3)
    assert connections.parse(lines[:10], {VIP})[1] is False


def test_what_checks_leave_behind_is_no_client_s():
    line = "TCP CB007103 {:04X} CB007102 0050 CB007104 0050 SYN_RECV        5\n"
    lines = [line.format(port) for port in (16384, 32767, 32768)]
    found, _ = connections.parse(lines, own=[ip_address("203.0.113.3"), VIP6])
    assert found == (fact("203.0.113.4", 80, "SYN_RECV", 1, old=1),)
    found, _ = connections.parse(lines, own=[VIP])
    assert found == (fact("203.0.113.4", 80, "SYN_RECV", 3, old=3),)


def test_a_host_without_ipvs_has_none_and_is_told_apart(tmp_path):
    assert connections.connections((), str(tmp_path)) == ((), False)
    assert not connections.loaded(str(tmp_path))
    assert connections.parameters(str(tmp_path / "nowhere")) == {}
    (tmp_path / "ip_vs_conn").write_text(HEAD)
    (tmp_path / "ip_vs").write_text("")
    assert connections.loaded(str(tmp_path))
    assert connections.connections((), str(tmp_path)) == ((), False)


def test_a_table_beyond_the_bound_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "LINES_MOST", 3)
    (tmp_path / "ip_vs_conn").write_text(RECORDED)
    found, cut = connections.connections((), str(tmp_path))
    assert (len(found), cut) == (2, True)  # one line is the heading


def test_only_a_line_feed_ends_a_line(tmp_path):
    """A client of SIP chooses what stands there; it must not be able to write lines of its own."""
    forged = "TCP C633640A 0001 CB007102 0050 CB007104 0050 ESTABLISHED     899"
    said = "UDP C633640A 0000 CB007102 13C4 CB007104 13C4 NONE            899"
    line = f"{said} sip \r{forged}\x0b\x85{forged}\x1c\n"
    (tmp_path / "ip_vs_conn").write_bytes(HEAD.encode() + line.encode("latin-1"))
    found, _ = connections.connections((), str(tmp_path))
    assert found == (fact("203.0.113.4", 5060, "NONE", 1, protocol="udp", kind=TEMPLATE),)


def scanned(wanted, services=(), **options):
    scan = connections.Scan(wanted, services, **options)
    return scan, list(scan.lines(RECORDED.splitlines(keepends=True)))


WEB = Served("tcp", VIP, 443)


@pytest.mark.parametrize(
    ("wanted", "services", "expected"),
    [
        (Wanted(every=True), (), 7),
        (Wanted(), (), 0),
        (Wanted(), (WEB,), 2),
        (Wanted(), (WEB, Served("udp", VIP, 53), Served("tcp", VIP, 53)), 3),
        (Wanted(every=True, vip=VIP6), (), 1),
        (Wanted(every=True, client=ip_network("198.51.100.0/24")), (), 6),
        (Wanted(every=True, client=ip_network("2001:db8::/32")), (), 1),
        (Wanted(every=True, client=ip_network("198.51.100.11/32")), (), 0),
        (Wanted(every=True, state="SYN_RECV"), (), 3),
        (Wanted(state="SYN_RECV"), (WEB,), 2),
    ],
)
def test_what_is_asked_for_is_shown_and_counted(wanted, services, expected):
    scan, lines = scanned(wanted, services)
    assert len(lines) == sum(fact.count for fact in scan.facts()) == expected
    assert (scan.read, scan.missed) == (8, 0)


def test_a_limit_cuts_what_is_shown_and_not_what_is_counted():
    for limit in (0, 3):
        scan, lines = scanned(Wanted(every=True, limit=limit))
        assert (len(lines), sum(fact.count for fact in scan.facts())) == (limit, 7)


def test_entries_without_a_group_are_told_and_counted_as_missed():
    scan, lines = scanned(Wanted(every=True), most=1)
    assert len(lines) == 7
    assert sum(fact.count for fact in scan.facts()) + scan.missed == 7
    assert scan.missed


def test_probes_are_told_by_address_and_port():
    line = "TCP {} {:04X} CB007102 0050 CB007104 0050 SYN_RECV        5\n"
    six = "2001:0db8:0000:0000:0000:0000:0000:0002"
    lines = [line.format(who, port) for who in ("CB007103", six) for port in (16383, 16384)]
    scan = connections.Scan(own=[ip_address("203.0.113.3"), VIP6])
    assert len(list(scan.lines(lines))) == 4
    assert {(f.kind, f.count) for f in scan.facts()} == {(PROBE, 2), (CONNECTION, 2)}


def test_a_million_entries_take_no_memory():
    line = "TCP {:08X} {:04X} CB007102 0050 CB007104 0050 ESTABLISHED     899\n"
    lines = (line.format(0x0A000000 + n, n & 0xFFFF) for n in range(1_000_000))
    scan, beats = connections.Scan(Wanted(every=True)), []
    tracemalloc.start()
    told = sum(1 for _ in scan.lines(lines, beats.append))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (told, len(beats), peak < 1 << 18) == (1_000_000, 1000, True), peak


WORDS = st.sampled_from(
    ["TCP", "CB007102", "0050", "SYN_RECV", "12", "-1", "٣", "zz", "2001:db8::%1", "::1", "FFFFF"]
)
LINES = st.lists(
    st.text(max_size=90) | st.lists(WORDS, min_size=8, max_size=11).map(" ".join), max_size=8
)


@given(LINES)
def test_any_lines_give_groups(lines):
    scan = connections.Scan(Wanted(every=True), own=[VIP])
    told = list(scan.lines(lines))
    assert len(told) == sum(f.count for f in scan.facts())
    found, _ = connections.parse(lines, own=[VIP])
    assert sum(f.count for f in found) <= len(lines)
    assert all(0 <= f.old <= f.count and 0 <= f.port <= 0xFFFF for f in found)


STATES = st.sampled_from(["SYN_RECV", "ESTABLISHED"])


@given(st.lists(st.tuples(STATES, st.integers(0, 900)), max_size=50))
def test_the_sums_are_right(entries):
    lines = [f"TCP C633640A 9C40 CB007102 0050 CB007104 0050 {s:11} {n:7}" for s, n in entries]
    found, _ = connections.parse(lines)
    assert {f.state: f.count for f in found} == Counter(state for state, _ in entries)
    waiting = sum(f.old for f in found)
    assert waiting == sum(state == "SYN_RECV" and left <= 57 for state, left in entries)


MARKED = """\
TCP CB007165 9C40 CB007102 1388 CB007104 1388 ESTABLISHED   890
TCP CB007165 9C41 CB007102 13EC CB007104 13EC ESTABLISHED   890
TCP CB007165 9C42 CB007102 13ED CB007104 13ED ESTABLISHED   890
IP  CB007165 0000 6F670001 0000 CB007104 0000 NONE          290
IP  CB007165 0000 6F670002 0000 CB007104 0000 NONE          290
"""


def test_what_keeps_a_client_of_a_group_has_the_groups_name():
    group = Served("tcp", VIP, 5000, 5100)
    marked = [Marked(marked_as(0x6F670001, 4), Served("tcp", VIP, 5000))]
    assert marked_as(0x6F670001, 6) == ip_address("6f67:1::")
    scan = connections.Scan(Wanted(), [group], marked=marked)
    lines = list(scan.lines(MARKED.splitlines(keepends=True)))
    assert [line.split()[4] for line in lines] == ["1388", "13EC", "0000"]
    kept = [(f.protocol, f.vip, f.port, f.kind) for f in scan.facts() if f.kind == TEMPLATE]
    assert kept == [("tcp", VIP, 5000, TEMPLATE)]
    at_vip = connections.Scan(Wanted(every=True, vip=VIP), marked=marked)
    assert len(list(at_vip.lines(MARKED.splitlines(keepends=True)))) == 4
    unknown = connections.Scan(Wanted(every=True))
    assert len(list(unknown.lines(MARKED.splitlines(keepends=True)))) == 5
    assert unknown.facts()[-1].vip == ip_address("111.103.0.2")
