"""Whatever bytes a server sends: a verdict or more waiting, bounded, and never a crash."""

import contextlib
import os
import struct
from dataclasses import replace

import pytest
from asking import Heard, Tcp, Udp, check, target, until_closed
from hypothesis import given, settings
from hypothesis import strategies as st

from onearm.checks import dns_message
from onearm.checks.http_reply import BODY_MOST, HEAD_MOST, Reply
from onearm.checks.icmp import Icmp
from onearm.checks.place import Place
from onearm.checks.stream import HEARD_MOST, PIECE
from onearm.checks.udp import Udp as UdpProbe
from onearm.checks.verdict import Verdict, clean

HEADS = [b"HTTP/1.1 ", b"200", b" OK", b"100", b"Content-Length: ", b"Transfer-Encoding: chunked"]
ENDS = [b"\r\n", b"\n", b"\r\n\r\n", b"3", b"-1", b"0", b"ffffffff", b"abc", b";", b":", b" "]
WORDS = st.sampled_from(HEADS) | st.sampled_from(ENDS)
PIECES = st.lists(st.binary(max_size=40) | st.lists(WORDS, max_size=12).map(b"".join), max_size=9)
BODIES = st.sampled_from([None, "abc", "(a+)+$", "^.*c"])


@given(PIECES, BODIES, st.sampled_from(["GET", "HEAD"]))
def test_any_bytes_as_http(pieces, body, method):
    reply = Reply(check("http", body=body, method=method))
    for piece in pieces:
        verdict = reply.feed(piece)
        if verdict is not None:
            break
    else:
        assert reply.waits_for().isprintable()
        verdict = reply.end()
    assert verdict.reason.isprintable() and len(verdict.reason) < 300


@given(PIECES, BODIES)
def test_the_pieces_that_an_answer_comes_in_change_nothing(pieces, body):
    def whole(pieces):
        reply = Reply(check("http", body=body))
        for piece in pieces:
            verdict = reply.feed(piece)
            if verdict is not None:
                return verdict
        return reply.end()

    together = b"".join(pieces)
    each = [together[n : n + 1] for n in range(len(together))]
    assert whole(each).ok == whole([together] if together else []).ok


@pytest.mark.parametrize("body", [None, "never"])
@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
    + [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * n for n in (0, 1)
    ],
)
def test_an_answer_without_end_is_given_up(start, body):
    reply = Reply(check("http", body=body))
    verdict = reply.feed(start)
    heard = 0
    while verdict is None:
        heard += PIECE
        assert heard <= HEAD_MOST + BODY_MOST + PIECE
        assert len(reply._buffer) <= HEAD_MOST + PIECE
        verdict = reply.feed(b"x" * PIECE)


QUESTION = dns_message.question(7, "a.example", "A")
RECORDS = st.sampled_from(sorted(dns_message.TYPES))


@given(st.binary(max_size=300), RECORDS, st.integers(0, 9), st.booleans())
def test_any_bytes_as_dns(data, record, answers, asked):
    question = dns_message.question(7, "a.example", record)
    head = struct.pack(">HHHHHH", 7, 0x8180, 1, answers, 0, 0)
    message = head + question[12:] + data if asked else data
    with contextlib.suppress(dns_message.Malformed):
        found = dns_message.answer(message, 7, "a.example", record)
        assert found is None or found.code


@given(st.lists(st.integers(0, 511), max_size=60))
def test_names_that_point_at_each_other_end(targets):
    head = struct.pack(">HHHHHH", 7, 0x8180, 1, len(targets), 0, 0) + QUESTION[12:]
    rows = b"".join(
        struct.pack(">H", 0xC000 | at) + b"\0\5\0\1\0\0\0\0\0\2\xc0\x0c" for at in targets
    )
    with contextlib.suppress(dns_message.Malformed):
        dns_message.answer(head + rows, 7, "a.example", "CNAME")


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_as_an_echo_or_a_reply(data, raw):
    probe = Icmp(Place(target(check("icmp"), 0)))
    probe.raw = raw
    assert probe.judge(data) is None
    one = UdpProbe(Place(target(check("udp", expect="(a|b)*c$"), 1)))
    assert isinstance(one.judge(data), Verdict)


@given(st.binary(max_size=2000) | st.text(max_size=2000))
def test_what_strangers_say_becomes_one_short_line(data):
    said = clean(data)
    assert said.isprintable() and len(said) <= 200


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=3000), max_size=4), st.sampled_from(["http", "https", "tls"]))
def test_any_bytes_from_a_live_server(pieces, kind):
    def rave(connection):
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(1)
        until_closed(connection)

    with Tcp(rave) as server:
        wanted = check(kind, timeout_s=2, interval_s=2)
        with Heard(target(wanted, server.port)) as heard:
            assert heard.next().reason.isprintable()
            assert heard.troubles.empty()


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=3000), max_size=20), st.sampled_from(["udp", "dns"]))
def test_any_datagrams_from_a_live_server(datagrams, kind):
    more = {"query": "a.example"} if kind == "dns" else {"expect": "never (a|b)+$"}
    with Udp(lambda _: datagrams) as server:
        with Heard(target(check(kind, **more), server.port)) as heard:
            assert heard.next().reason.isprintable()
            assert heard.troubles.empty()


@pytest.mark.parametrize("kind", ["http", "https", "tls"])
@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"\x16\x03\x03\x40\x00"])
def test_a_flood_ends_and_the_others_are_asked_meanwhile(kind, start):
    sent = []

    def flood(connection):
        connection.sendall(start)
        with contextlib.suppress(OSError):
            while True:
                sent.append(connection.send(b"HTTP" * 4096))

    with Tcp(flood) as server, Tcp(until_closed) as quiet:
        wanted = check(
            kind, timeout_s=20, interval_s=20, **({} if kind == "tls" else {"body": "x"})
        )
        flooded = target(wanted, server.port, key="flooded")
        with Heard(flooded, target(check("tcp"), quiet.port, key="other")) as heard:
            found = heard.of("flooded", "other")
            assert heard.troubles.empty()
    assert not found["flooded"].ok and found["other"].ok
    assert HEARD_MOST >= HEAD_MOST + BODY_MOST


def test_a_flood_of_datagrams_that_are_not_the_answer_is_only_silence():
    with Udp(lambda _: [os.urandom(30)] * 500) as server:
        one = target(check("dns", query="a.example", timeout_s=0.5, interval_s=0.5), server.port)
        with Heard(one, replace(one, key="two")) as heard:
            found = heard.of("one", "two")
            assert heard.troubles.empty()
    assert {r.reason for r in found.values()} == {"no answer within 0.5 s"}
