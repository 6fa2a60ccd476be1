"""Each kind against real servers: what is up, what is down, and the words for it."""

import contextlib
import os
import socket
import ssl
import struct
import time

import pytest
from asking import (
    Heard,
    Tcp,
    Udp,
    asked,
    check,
    free_port,
    http,
    patient,
    says,
    says_and_closes,
    target,
    until_closed,
)

from onearm.checks import dns_message
from onearm.checks.icmp import Icmp
from onearm.checks.place import Place


def test_tcp_is_up_where_somebody_listens():
    with Tcp(until_closed) as server:
        result = asked(patient("tcp"), server.port)
    assert (result.ok, result.reason) == (True, "connected")
    assert result.latency_s > 0


@pytest.mark.parametrize("kind", ["tcp", "http", "https", "tls"])
def test_a_closed_port_refuses(kind):
    result = asked(patient(kind), free_port())
    assert (result.ok, result.reason) == (False, "connection refused")


@contextlib.contextmanager
def full_backlog():
    """Listen and accept nothing, with no room for one more: further SYNs are dropped."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(server.getsockname())
        time.sleep(0.2)
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["tcp", "http", "tls"])
def test_a_server_that_does_not_answer_is_down_in_time(kind):
    with full_backlog() as port:
        result = asked(check(kind), port)
    assert (result.ok, result.reason) == (False, "no answer within 0.1 s")


GOOD = http(b"200 OK", b"all is well")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
HTTP = [
    ({}, [GOOD], True, "HTTP 200"),
    ({"method": "HEAD"}, [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"], True, "HTTP 200"),
    ({"method": "POST"}, [GOOD], True, "HTTP 200"),
    ({}, [b"HTTP/1.0 301 Moved\nContent-Length: 0\n\n"], True, "HTTP 301"),
    ({}, [b"HTTP/1.1 204\r\n\r\n"], True, "HTTP 204"),
    ({}, [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + GOOD], True, "HTTP 200"),
    ({}, [http(b"503 Busy")], False, "HTTP 503, wanted 200-399"),
    ({"codes": ((200, 200), (204, 206))}, [http(b"301 X")], False, "wanted 200, 204-206"),
    ({"codes": ((500, 599),)}, [http(b"503 Busy")], True, "HTTP 503"),
    ({"body": "is w"}, [GOOD], True, "HTTP 200, body as wanted"),
    ({"body": "^all is well$"}, [GOOD[:-4], GOOD[-4:]], True, "body as wanted"),
    ({"body": "ill"}, [http(b"200 OK", b"well")], False, "body without the pattern 'ill'"),
    ({"body": "w"}, [http(b"500 OK", b"well")], False, "HTTP 500, wanted 200-399"),
    ({"body": "w"}, [b"HTTP/1.1 204 None\r\n\r\n"], False, "body without the pattern"),
    ({"body": "abcdef$"}, [CHUNKED, b"3\r\nabc\r\n3;x=y\r\nde", b"f\r\n0\r\n\r\n"], True, "wanted"),
    ({"body": "de"}, [CHUNKED + b"3\r\nabc\r\nrubbish\r\nde"], False, "without the pattern"),
    ({}, [b"SSH-2.0-OpenSSH\r\n"], False, "no HTTP/1 answer but 'SSH-2.0-OpenSSH'"),
    ({}, [b"HTTP/2 200\r\n\r\n"], False, "no HTTP/1 answer"),
    ({}, [b"\x16\x03\x01\x00\n"], False, "no HTTP/1 answer"),
    ({}, [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 3000], False, "more than 16 KiB of HTTP head"),
    ({}, [b"HTTP/1.1 200 " + b"x" * 20_000], False, "more than 16 KiB of HTTP head"),
    (
        {"body": "z"},
        [b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 70_000 + b"z"],
        False,
        "without the pattern",
    ),
]


@pytest.mark.parametrize(("more", "pieces", "ok", "reason"), HTTP)
def test_http(more, pieces, ok, reason):
    with Tcp(says(*pieces)) as server:
        result = asked(patient("http", **more), server.port)
    assert result.ok is ok
    assert reason in result.reason


ENDS = [
    ({}, [], "connection closed without an answer"),
    ({}, [b"HTTP/1.1 200 OK\r\nX: "], "connection closed within the HTTP head"),
    ({"body": "c"}, [b"HTTP/1.1 200 OK\r\n\r\nab"], "body without the pattern 'c'"),
    (
        {"body": "c"},
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"],
        "body without the pattern",
    ),
]


@pytest.mark.parametrize(("more", "pieces", "reason"), ENDS)
def test_http_when_the_server_closes_early(more, pieces, reason):
    with Tcp(says_and_closes(*pieces)) as server:
        result = asked(patient("http", **more), server.port)
    assert not result.ok
    assert reason in result.reason


def test_a_body_that_ends_with_the_connection():
    with Tcp(says_and_closes(b"HTTP/1.0 200 OK\r\n\r\nab", b"c")) as server:
        assert asked(patient("http", body="abc$"), server.port).ok


@pytest.mark.parametrize(
    ("more", "pieces", "ok", "reason"),
    [
        ({}, [], False, "connected, but no HTTP answer within 0.1 s"),
        ({}, [b"HTTP/1.1 "], False, "connected, but no end of the HTTP head within"),
        ({"body": "b"}, [b"HTTP/1.1 200 OK\r\n\r\na"], False, "HTTP 200 and no end of the body"),
        ({}, [b"HTTP/1.1 200 OK\r\n\r\na"], True, "HTTP 200"),
    ],
)
def test_http_from_a_server_that_hangs(more, pieces, ok, reason):
    with Tcp(says(*pieces)) as server:
        result = asked(check("http", interval_s=1, **more), server.port)
    assert result.ok is ok
    assert reason.replace("0.1 s", "") in result.reason


def test_a_server_that_drips_is_down_in_time():
    def drip(connection):
        for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * 9999:
            connection.sendall(bytes([byte]))
            time.sleep(0.01)

    with Tcp(drip) as server:
        result = asked(check("http"), server.port)
    assert "no end of the HTTP head within 0.1 s" in result.reason


def test_what_is_asked_is_what_the_check_says():
    heard = []

    def listen(connection):
        heard.append(connection.recv(4096))
        connection.sendall(GOOD)
        until_closed(connection)

    with Tcp(listen) as server:
        asked(patient("http", path="/a?b=c", host="www.example.org"), server.port)
        asked(patient("http", method="POST"), server.port)
    first, second = (words.decode().split("\r\n") for words in heard)
    assert first[0] == "GET /a?b=c HTTP/1.1"
    assert "Host: www.example.org" in first and "Connection: close" in first
    assert second[0] == "POST / HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in second and "Content-Length: 0" in second


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_connection_ends_with_a_reset(kind):
    ends = []

    def listen(connection):
        try:
            if connection.recv(4096):
                connection.sendall(GOOD)
                connection.recv(4096)
            ends.append("closed")
        except ConnectionResetError:
            ends.append("reset")

    with Tcp(listen) as server:
        assert asked(patient(kind), server.port).ok
    assert ends == (["reset"] if kind == "http" else [])  # tcp is over before accept() sees it


def over_tls(context, behave):
    def wrapped(connection):
        with contextlib.suppress(ssl.SSLError):
            with context.wrap_socket(connection, server_side=True) as inner:
                behave(inner)

    return wrapped


def test_tls_is_up_after_the_handshake(server_tls):
    with Tcp(over_tls(server_tls, until_closed)) as server:
        result = asked(patient("tls"), server.port)
    assert (result.ok, result.reason) == (True, "TLSv1.3 handshake")


CERTIFICATES = [
    ("www.example.org", True, ""),
    (None, True, ""),
    ("www.example.com", True, "certificate refused: Hostname mismatch"),
    ("www.example.org", False, "certificate refused: unable to get local issuer"),
]


@pytest.mark.parametrize("kind", ["tls", "https"])
@pytest.mark.parametrize(("host", "trusted", "refused"), CERTIFICATES)
def test_certificates_are_verified_where_that_is_wanted(
    *, server_tls, ca, kind, host, trusted, refused
):
    more = {"verify": True, "ca": str(ca / "ca.pem")} if trusted else {"verify": True}
    with Tcp(over_tls(server_tls, says(GOOD))) as server:
        result = asked(patient(kind, host=host, **more), server.port)
    assert result.ok is not bool(refused)
    assert refused in result.reason


def test_the_name_is_asked_for(server_tls):
    names = []
    server_tls.sni_callback = lambda _, name, __: names.append(name)
    with Tcp(over_tls(server_tls, until_closed)) as server:
        assert asked(patient("tls", host="www.example.org."), server.port).ok
    server_tls.sni_callback = None
    assert names == ["www.example.org"]


@pytest.mark.parametrize(
    ("more", "answer", "ok", "reason"),
    [
        ({}, says(GOOD), True, "HTTP 200"),
        ({"body": "well$"}, says(GOOD[:30], GOOD[30:]), True, "body as wanted"),
        ({}, says(http(b"500 X", b"y" * 30_000)), False, "HTTP 500, wanted 200-399"),
        ({}, says_and_closes(b"HTTP/1.1 200"), False, "closed within the HTTP head"),
        ({}, says(b"220 mail ESMTP\r\n"), False, "no HTTP/1 answer but '220 mail ESMTP'"),
    ],
)
def test_https(server_tls, more, answer, ok, reason):
    with Tcp(over_tls(server_tls, answer)) as server:
        result = asked(patient("https", **more), server.port)
    assert result.ok is ok
    assert reason in result.reason


@pytest.mark.parametrize("kind", ["tls", "https"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says(GOOD), "TLS failed: wrong version number"),
        (says_and_closes(), "connection closed within the TLS handshake"),
        (says_and_closes(b"\x15\x03\x03\x00\x02\x02\x28"), "handshake failure"),
    ],
)
def test_what_is_no_tls(kind, answer, reason):
    with Tcp(answer) as server:
        result = asked(patient(kind), server.port)
    assert not result.ok
    assert reason in result.reason


def test_a_ca_that_changes_is_read_again(server_tls, ca, tmp_path):
    copy = tmp_path / "ca.pem"
    copy.write_bytes((ca / "server.pem").read_bytes())
    wanted = patient("tls", verify=True, ca=str(copy), host="www.example.com")
    with Tcp(over_tls(server_tls, until_closed)) as server:
        first = asked(wanted, server.port)
        copy.write_bytes((ca / "ca.pem").read_bytes())
        os.utime(copy, ns=(1, 1))
        second = asked(wanted, server.port)
    assert "local issuer" in first.reason or "mismatch" in first.reason
    assert "mismatch" in second.reason


UDP = [
    ({"send": b"ping"}, lambda data: [data], True, "replied"),
    ({"send": b"\x00\xff", "expect": r"^\x00\xff$"}, lambda data: [data], True, "as wanted"),
    ({"expect": "pong"}, lambda _: [b"\x01ping\n"], False, "replied 'ping', wanted 'pong'"),
    ({"expect": "^$"}, lambda data: [data], True, "replied as wanted"),
]


@pytest.mark.parametrize(("more", "answer", "ok", "reason"), UDP)
def test_udp(more, answer, ok, reason):
    with Udp(answer) as server:
        result = asked(patient("udp", **more), server.port)
    assert result.ok is ok
    assert reason in result.reason


def test_udp_that_says_nothing_is_up_unless_a_reply_is_expected():
    with Udp(lambda _: None) as server:
        assert asked(check("udp"), server.port)[1:3] == (True, "not refused")
        wanted = asked(check("udp", expect="x"), server.port)
    assert wanted[1:3] == (False, "no answer within 0.1 s")


@pytest.mark.parametrize(("kind", "more"), [("udp", {}), ("dns", {"query": "a.example"})])
def test_an_icmp_port_unreachable_is_down(kind, more):
    result = asked(patient(kind, **more), free_port())
    assert (result.ok, result.reason) == (False, "connection refused")


def dns_reply(query, *records, code=0, name=b"\xc0\x0c"):
    """Answer a question with records given as (type, data)."""
    head = struct.pack(
        ">HHHHHH", struct.unpack(">H", query[:2])[0], 0x8180 | code, 1, len(records), 0, 0
    )
    rows = [name + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for kind, data in records]
    return head + query[12:] + b"".join(rows)


A, AAAA, TXT, CNAME, SOA = (
    dns_message.TYPES[name] for name in ("A", "AAAA", "TXT", "CNAME", "SOA")
)
ONE = (A, bytes([192, 0, 2, 1]))
DNS = [
    ({}, lambda q: [dns_reply(q, ONE)], True, "1 records A"),
    ({}, lambda q: [dns_reply(q, (CNAME, b"\x01b\xc0\x0e"), ONE)], True, "1 records A"),
    ({"answer": "192.0.2.1"}, lambda q: [dns_reply(q, (A, b"\1\2\3\4"), ONE)], True, "2 records"),
    ({"answer": "192.0.2.9"}, lambda q: [dns_reply(q, ONE)], False, "is 192.0.2.1, wanted"),
    (
        {"record": "AAAA", "answer": "2001:DB8:0::1"},
        lambda q: [dns_reply(q, (AAAA, bytes.fromhex("20010db8" + "0" * 23 + "1")))],
        True,
        "1 records AAAA",
    ),
    (
        {"record": "CNAME", "answer": "B.example."},
        lambda q: [dns_reply(q, (CNAME, b"\x01b\xc0\x0e"))],
        True,
        "CNAME",
    ),
    ({"record": "TXT", "answer": "ab"}, lambda q: [dns_reply(q, (TXT, b"\1a\1b"))], True, "TXT"),
    ({"record": "SOA", "query": "."}, lambda q: [dns_reply(q, (SOA, b"x"))], True, "SOA"),
    ({}, lambda q: [dns_reply(q, code=3)], False, "DNS NXDOMAIN for a.example"),
    ({}, lambda q: [dns_reply(q, code=5)], False, "DNS REFUSED"),
    ({}, lambda q: [dns_reply(q)], False, "no record A for a.example"),
    ({}, lambda q: [dns_reply(q, (A, b"123"))], False, "malformed DNS answer: a record A of 3"),
    ({}, lambda q: [dns_reply(q, ONE)[:-1]], False, "malformed DNS answer: it ends within"),
    ({}, lambda q: [dns_reply(q, ONE, name=b"\xc0\x19\xc0\x19")], False, "malformed DNS answer"),
    (
        {},
        lambda q: [b"\0\0" + dns_reply(q, code=3)[2:], q, b"", dns_reply(q, ONE)],
        True,
        "1 records",
    ),
    ({}, lambda q: [dns_reply(q[:12] + b"\x01x" + q[14:], ONE), dns_reply(q, ONE)], True, "1 rec"),
]


@pytest.mark.parametrize(("more", "answer", "ok", "reason"), DNS)
def test_dns(more, answer, ok, reason):
    with Udp(answer) as server:
        result = asked(patient("dns", **{"query": "a.example", **more}), server.port)
    assert result.ok is ok, result.reason
    assert reason in result.reason


def test_icmp_hears_its_echo_or_says_what_it_may_not():
    with Heard(target(patient("icmp"), 0)) as heard:
        if os.geteuid():
            assert "CAP_NET_RAW" in heard.trouble().text
        else:
            assert heard.next()[1:3] == (True, "echo reply")


def test_icmp_takes_no_packet_but_its_own_reply():
    probe = Icmp(Place(target(check("icmp"), 0)))  # loopback answers always, so without a socket
    assert probe.expired() == (False, "no answer within 0.1 s")
    request = b"\x45" + bytes(19) + probe.payload()
    assert probe.judge(request) is None
    reply = request[:20] + b"\0" + request[21:]
    assert probe.judge(reply) == (True, "echo reply")
    assert probe.judge(reply[:-1] + bytes([reply[-1] ^ 1])) is None
