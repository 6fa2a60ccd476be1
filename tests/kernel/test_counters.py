"""The kernel's counters by name, from text as kernels print it and from any other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm import errors
from onearm.kernel import counters

# Recorded on the lab's router and server-2 (kernel 6.1), some columns left out.
SNMP = """\
Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams
Ip: 1 64 36 0 0 18
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens
Tcp: 1 200 120000 -1 0 3
IcmpMsg: InType3
IcmpMsg: 1
"""
NETSTAT = """\
TcpExt: SyncookiesSent IPReversePathFilter TCPPureAcks
TcpExt: 0 7 9
IpExt: InNoRoutes InTruncatedPkts InOctets
IpExt: 0 0 1185
MPTcpExt: MPCapableSYNRX
"""


def test_names_with_their_group_and_no_zeroes():
    assert counters.parse(SNMP) == {
        "Ip.Forwarding": 1,
        "Ip.DefaultTTL": 64,
        "Ip.InReceives": 36,
        "Ip.ForwDatagrams": 18,
        "Tcp.RtoAlgorithm": 1,
        "Tcp.RtoMin": 200,
        "Tcp.RtoMax": 120000,
        "Tcp.MaxConn": -1,
        "Tcp.PassiveOpens": 3,
        "IcmpMsg.InType3": 1,
    }
    assert counters.parse(NETSTAT) == {
        "TcpExt.IPReversePathFilter": 7,
        "TcpExt.TCPPureAcks": 9,
        "IpExt.InOctets": 1185,
    }


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "snmp").write_text(SNMP)
    (tmp_path / "netstat").write_text(NETSTAT)
    (tmp_path / "net/netfilter").mkdir(parents=True)
    return str(tmp_path), str(tmp_path)


def test_connection_tracking_is_told_even_when_it_is_empty(folders, tmp_path):
    assert "nf_conntrack.count" not in counters.counters(*folders)
    (tmp_path / "net/netfilter/nf_conntrack_count").write_text("0\n")
    (tmp_path / "net/netfilter/nf_conntrack_max").write_text("4096\n")
    found = counters.counters(*folders)
    assert (found["nf_conntrack.count"], found["nf_conntrack.max"]) == (0, 4096)
    assert (found["IcmpMsg.InType3"], found["TcpExt.IPReversePathFilter"]) == (1, 7)


def test_a_table_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises((OSError, errors.PlaceError)):
        counters.counters(str(tmp_path))


PIECES = st.sampled_from(["Ip:", " ", "\n", "Forwarding", "1", "-1", "x", "٣", "9" * 30, "\0", ":"])


@given(st.text() | st.lists(PIECES, max_size=40).map("".join))
def test_any_text_gives_counters(text):
    for name, value in counters.parse(text).items():
        group, _, rest = name.partition(".")
        assert group and rest and value
        assert name.isprintable()
