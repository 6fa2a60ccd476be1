"""Who listens, from tables as kernels print them, and from any text at all."""

import sys
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from onearm.kernel import sockets
from onearm.vitals import Listener

# Recorded on the lab's server-2 (kernel 6.1), the later columns left out: its responder, a
# connection on loopback and its two ends, sockets bound to the VIP and to a mapped address.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F91 00000000:0000 0A 00000000:00000001 00:00000000 00000000     0        0 1873 2
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 371 1
   4: 0100007F:1F91 0100007F:8BEE 01 00000000:00000000 00:00000000 00000000     0        0 0 1
   5: 0100007F:8BEE 0100007F:1F91 01 00000000:00000000 00:00000000 00000000     0        0 1874 2
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue
   0: 0000000000000000FFFF00000200007F:1F98 00000000000000000000000000000000:0000 0A 00000000:0
   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:0
"""
UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   23: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 374 2
  150: 027100CB:14B4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1877 2
  301: 0100007F:B74B 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 1876 2
"""


def native(table):
    """Turn the recorded addresses into the order of this machine."""
    assert sys.byteorder == "little", "recorded on a little-endian machine"
    return table.splitlines()


def shown(table, protocol):
    return [(str(f.address), f.port) for f in sockets.parse(native(table), protocol)]


def test_listening_sockets_and_no_connections():
    assert shown(TCP, "tcp") == [("127.0.0.1", 8081), ("0.0.0.0", 80)]
    assert shown(UDP, "udp") == [("0.0.0.0", 53), ("203.0.113.2", 5300)]


def test_a_mapped_address_is_what_it_maps():
    assert shown(TCP6, "tcp") == [("127.0.0.2", 8088), ("::", 80)]
    six = "0: B80D0120000000000000000002000000:0035 0:0 0A"
    assert shown(six, "tcp") == [("2001:db8::2", 53)]


def test_every_address_and_the_vip_come_before_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(sockets, "LISTENERS_MOST", 3)
    (tmp_path / "tcp").write_text(TCP)
    (tmp_path / "udp").write_text(UDP)  # and no IPv6
    found, cut = sockets.listeners({ip_address("203.0.113.2")}, str(tmp_path))
    assert (cut, {str(f.address) for f in found}) == (True, {"0.0.0.0", "203.0.113.2"})
    monkeypatch.setattr(sockets, "LISTENERS_MOST", 4)
    found, cut = sockets.listeners(set(), str(tmp_path))
    assert (cut, len(found)) == (False, 4)
    assert Listener("tcp", ip_address("127.0.0.1"), 8081) in found


WORDS = st.sampled_from(["0A", "07", "00000000:0050", "0100007F:FFFFF", ":", "0:0", "zz:10"])
LINES = st.lists(st.text(max_size=60) | st.lists(WORDS, max_size=6).map(" ".join), max_size=6)


@given(LINES, st.sampled_from(["tcp", "udp"]))
def test_any_lines_give_listeners_or_none(lines, protocol):
    for found in sockets.parse(lines, protocol):
        assert found.protocol == protocol
        assert 0 < found.port <= 0xFFFF


@given(st.binary(max_size=20), st.integers(0, 0x1FFFF))
def test_any_address_gives_one_or_none(packed, port):
    line = f"0: {packed.hex()}:{port:X} 0:0 0A"
    for found in sockets.parse([line], "tcp"):
        assert len(packed) in (4, 16)
        assert found.port == port
