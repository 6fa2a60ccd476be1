"""The web server: it gives its few pages to whom they are for, and nobody can do it harm."""

import json
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pictures
from onearm.errors import UsageError
from onearm.serve import metrics, web

pytestmark = pytest.mark.enable_socket
LOCAL = ("127.0.0.1", 0)


@pytest.fixture(scope="module")
def served():
    snapshot = pictures.hostile()
    opened = web.Web(LOCAL, lambda: snapshot, ("lb.example.com",))
    opened.open()
    yield opened
    opened.close()


def talk(served, data):
    """Send bytes; give all that comes back."""
    with socket.create_connection(served.address, 20) as sock:
        sock.sendall(data)
        said = b""
        while part := sock.recv(65536):
            said += part
    return said


def get(served, path, host="127.0.0.1", method="GET"):
    said = talk(served, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first.split(" ", 1)[1], dict(line.split(": ", 1) for line in lines), body


def test_the_snapshot_is_one_documented_object(served):
    status, headers, body = get(served, "/snapshot.json?x=1")
    found = json.loads(body)
    assert (status, headers["Content-Type"]) == ("200 OK", "application/json")
    assert (found["onearm"], found["kind"]) == (1, "snapshot")
    assert found["alerts"] and found["verdict"]["level"] == "bad" and found["now"]


def test_metrics_are_there(served):
    status, headers, body = get(served, "/metrics")
    assert status == "200 OK" and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert body == metrics.exposition(pictures.hostile())


PATHS = ["/", "/index.html", "/main.js", "/style.css", "/icon.svg", "/snapshot.json", "/metrics"]


@pytest.mark.parametrize("path", PATHS)
def test_every_page_keeps_scripts_of_others_out(served, path):
    status, headers, body = get(served, path)
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert status == "200 OK" and body
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert int(headers["Content-Length"]) == len(body)


def test_the_page_asks_nobody_else(served):
    for path in PATHS[:5]:
        text = get(served, path)[2].decode().replace("http://www.w3.org/", "")
        assert "http://" not in text and "https://" not in text and "//cdn" not in text
        assert "innerHTML" not in text and "eval(" not in text and "onclick" not in text


def test_head_has_no_body(served):
    status, headers, body = get(served, "/", method="HEAD")
    assert status == "200 OK" and int(headers["Content-Length"]) > 1000 and body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "X"])
def test_it_is_for_reading(served, method):
    assert get(served, "/", method=method)[0] == "405 Method Not Allowed"


@pytest.mark.parametrize(
    "path", ["/x", "/../cli.py", "/page/../web.py", "//etc/passwd", "*", "/%2e%2e/"]
)
def test_there_is_nothing_else(served, path):
    assert get(served, path)[0] == "404 Not Found"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9611", "200 OK"),
        ("203.0.113.3:9611", "200 OK"),
        ("[::1]:9611", "200 OK"),
        ("[2001:db8::1]", "200 OK"),
        ("localhost:9611", "200 OK"),
        ("LOCALHOST", "200 OK"),
        (socket.gethostname(), "200 OK"),
        ("lb.example.com:9611", "200 OK"),
        ("evil.example.com", "403 Forbidden"),
        ("127.0.0.1.evil.example.com", "403 Forbidden"),
        ("localhost.evil.example.com:9611", "403 Forbidden"),
        ("", "403 Forbidden"),
        ("a\r\nHost: 127.0.0.1", "403 Forbidden"),
    ],
)
def test_a_name_that_was_pointed_here_gets_nothing(served, host, status):
    for path in ("/", "/snapshot.json", "/metrics"):
        assert get(served, path, host)[0] == status


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"GET / HTTP/2\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"403"),
        (b"\xff\xfe\x00\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9000, b"400"),
    ],
)
def test_what_is_no_request_is_told(served, data, status):
    assert talk(served, data).startswith(b"HTTP/1.1 " + status)


@settings(max_examples=60)
@given(st.binary(max_size=10000))
def test_no_bytes_do_it_harm(served, data):
    with socket.create_connection(served.address, 20) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        except ConnectionError:
            pass
    assert get(served, "/snapshot.json")[0] == "200 OK"


def test_slow_ones_hold_no_place(served):
    before = threading.active_count()
    slow = [socket.create_connection(served.address, 20) for _ in range(3 * web.MOST)]
    for sock in slow:
        sock.sendall(b"GET / HT")
    assert get(served, "/snapshot.json")[0] == "200 OK"
    assert threading.active_count() <= before + web.MOST + 2
    for sock in slow:
        sock.close()


def test_a_head_that_trickles_has_one_deadline(served, monkeypatch):
    monkeypatch.setattr(web, "HEAD_S", 0.3)
    with socket.create_connection(served.address, 20) as sock:
        try:
            while True:
                sock.sendall(b"x")
                time.sleep(0.05)
        except ConnectionError:
            pass  # it hung up


def test_without_prometheus_client_the_page_is_there_all_the_same(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    opened = web.Web(LOCAL, pictures.small)
    opened.open()
    try:
        status, _, body = get(opened, "/metrics")
        assert status == "503 Service Unavailable" and b"onearm[metrics]" in body
        assert get(opened, "/")[0] == "200 OK"
    finally:
        opened.close()


def test_an_address_in_use_is_told(served):
    with pytest.raises(UsageError, match=r"--listen 127\.0\.0\.1:\d+: nothing can listen there"):
        web.Web(served.address, pictures.small).open()


@pytest.mark.parametrize(
    "text", ["9611", "localhost:9611", ":9611", "1.2.3.4", "1.2.3.4:0", "::1", "[::1]:x"]
)
def test_what_is_no_address_is_told(text):
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:9611"):
        web.parsed(text)


@pytest.mark.parametrize(
    ("text", "wanted"), [("127.0.0.1:9611", ("127.0.0.1", 9611)), ("[::1]:80", ("::1", 80))]
)
def test_an_address_is_read_and_written(text, wanted):
    assert web.parsed(text) == wanted
    assert web.shown(*wanted) == text
