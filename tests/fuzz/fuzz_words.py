"""Pieces that inputs are made of, and whole inputs to begin with, by what reads them."""

from onearm.kernel import ipvs_messages, netlink

SIZES = (0, 1, 2, 4, 8, 16)
ATTRIBUTES = (
    *(netlink.attribute(kind, bytes(size)) for kind in range(1, 16) for size in SIZES),
    *(netlink.HEADER.pack(36, kind, flag, 1, 0) for kind in (2, 3, 16, 24, 30) for flag in (0, 2)),
    netlink.HEADER.pack(60, netlink.TYPE_ERROR, netlink.F_ACK_TLVS, 1, 0),
    ipvs_messages.GENL.pack(1, 1, 0),
    b"\x02\x00",
    b"\x0a\x00",
    b"\xff\xff\xff\xff",
)
SPEC = (
    b"directors real_servers services vip port scheduler weight flags name clients reach arp drain"
    b" check kind interval timeout openstack cloud network on_failure expect send shared_director"
    b" lab ssh local rr wlc mh mh-port 80/tcp 53/udp 203.0.113.2 203.0.113.4 2001:db8::2 server-1"
    b" sysctl nft 300s 0 1 -1 true null persistence forwarding tunnel mark address default"
)
SIGNS = (
    b": |- |\n|\n  |\n    |{|}|[|]|, |&a |*a|'|\"|<<|!!|!!python/object:os.system |---\n|...\n|> \n"
    b"|? |\xef\xbb\xbf|#|%YAML 1.1\n|\t"
)
YAML = (*SPEC.split(), *SIGNS.split(b"|"))
JSON = tuple(
    b'{ } [ ] : , "v" "is" "part" "ok" "error" "rows" "do" "lines" "groups" "own" "kind" "hello"'
    b' "onearm" 1 -1 0 1e999 NaN null true "203.0.113.2" "::1" "links" "services" "marks"'
    b' "resource" "names" "hosts" "Sysctl" "name" "value" "x" \n'.split(b" ")
)
TABLE = tuple(
    word + b" "
    for word in b"TCP UDP C633640A CB007102 0050 0000 4000 NONE SYN_RECV 57 sip ::".split()
)
TABLE += (b"2001:0db8:0000:0000:0000:0000:0000:0002 ", b"\n", b"\r", b"\x0b")
HTTP = (
    b"HTTP/1.1 200 OK\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n",
    b"ffffffff\r\n",
    b"abc",
)
DNS = (b"\xc0\x0c", b"\x00\x01", b"\x03www", b"\x00\x10", b"\x00\x07\x81\x80")
FRAMES = (b"\x45\x00", b"\x60\x00", b"\x08\x06", b"\x00\x01\x08\x00\x06\x04", b"\x06", b"\x11")
PROC = (b"Ip: ", b"0100007F:0050 ", b"0A ", b"07 ", b"\n", b"1 ", b"Udp: ")
PIECES = (
    b"virtual_server |real_server |{\n|}\n|203.0.113.2 |80 |-A |-a |-t |-u |-f |-r |-s |wlc|"
    b"TCP_CHECK |"
    b"$A=|$A|@x |virtual=|real=|gate|\n\t|~SEQ(N,1,9)|!|#|\\\n|include |protocol TCP|lb_kind DR\n"
)
CONFIG = tuple(PIECES.split(b"|"))

HELLO = b'?{"onearm": 1, "kind": "hello", "build": "x"}\n{"part": {"lines": []}}\n{"ok": {}}\n'
REQUEST = b'{"rows": [1]}\n{"do": "look"}\n'
LEDGER = (
    b'{"onearm": 1, "kind": "ledger", "marks": [{"resource": {"is": "Sysctl", "name": "a",'
    b' "value": "1"}, "names": ["x"]}], "hosts": {"x": ["a"]}}'
)
PLAN = b'{"onearm": 1, "kind": "plan", "spec": "", "spec_digest": "sha256:", "actions": []}'
TABLE_LINES = b"""Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP C633640A CF8A CB007102 01BB CB007105 01BB SYN_RECV         57
TCP C633640A 0000 CB007102 1F90 CB007105 1F90 ASSURED         294 sip a@b
"""
SNMP = b"Ip: Forwarding InReceives\nIp: 1 200\nUdp: NoPorts\nUdp: 3\n"
SOCKETS = b"  sl  local_address\n   0: 0100007F:0050 00000000:0000 0A 00000000:00000000\n"
