"""Servers on loopback that behave in all ways, and a run of the checks against them."""

import contextlib
import os
import queue
import socket
import subprocess
import threading
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from onearm.checks import Checks, Target
from onearm.spec import Check

HERE = IPv4Address("127.0.0.1")
PATIENCE_S = 30  # for what happens at once on a quiet machine


def check(kind, **more):
    """Make a check that does not let a test wait."""
    return Check(kind, **{"through": "host", "interval_s": 0.1, "timeout_s": 0.1, **more})


def patient(kind, **more):
    """Make a check whose timeout a busy machine does not reach."""
    return check(kind, interval_s=PATIENCE_S, timeout_s=PATIENCE_S, **more)


def target(check, port, **more):
    return Target(
        **{"key": "one", "address": HERE, "host": "server-2", **more}, check=check, port=port
    )


class Heard:
    """Checks that run, and what they tell."""

    def __init__(self, *targets):
        self.results = queue.SimpleQueue()
        self.troubles = queue.SimpleQueue()
        self.checks = Checks(self._take, self.troubles.put)
        self.checks.set_targets(targets)

    def _take(self, results):
        for result in results:
            self.results.put(result)

    def __enter__(self):
        self.checks.start()
        return self

    def __exit__(self, *_):
        self.checks.stop()

    def next(self):
        return self.results.get(timeout=PATIENCE_S)

    def of(self, *keys):
        """Wait for the next result of each key."""
        found = {}
        while set(keys) - set(found):
            result = self.next()
            found.setdefault(result.key, result)
        return found

    def trouble(self):
        return self.troubles.get(timeout=PATIENCE_S)


def asked(check, port, **more):
    """Give the first result of one target; nothing of ours may trouble it."""
    with Heard(target(check, port, **more)) as heard:
        result = heard.next()
        assert heard.troubles.empty(), heard.troubles.get()
        return result


class Tcp:
    """A server that hands each connection to a function, and forgives what that meets."""

    def __init__(self, behave, address="127.0.0.1"):
        self.behave = behave
        self.socket = socket.create_server((address, 0), backlog=256)
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()

    def _serve(self):
        running = []
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                one = threading.Thread(target=self._one, args=(connection,))
                one.start()
                running = [thread for thread in (*running, one) if thread.is_alive()]
        for thread in running:
            thread.join()

    def _one(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE_S)
            self.behave(connection)


class Udp:
    """A server that answers each datagram with a function of it; None is no answer."""

    def __init__(self, answer):
        self.answer = answer
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bell:
            bell.sendto(b"stop" * 9, ("127.0.0.1", self.port))
        self.thread.join()
        self.socket.close()

    def _serve(self):
        while True:
            data, peer = self.socket.recvfrom(65536)
            if data == b"stop" * 9:
                return
            for reply in self.answer(data) or ():
                with contextlib.suppress(OSError):
                    self.socket.sendto(reply, peer)


def until_closed(connection):
    """Read until the other side is gone."""
    with contextlib.suppress(OSError):
        while connection.recv(4096):
            pass


def says(*pieces):
    """Answer the first words with some of one's own, then wait for the end."""

    def behave(connection):
        connection.recv(4096)
        for piece in pieces:
            connection.sendall(piece)
        until_closed(connection)

    return behave


def says_and_closes(*pieces):
    def behave(connection):
        connection.recv(4096)
        for piece in pieces:
            connection.sendall(piece)

    return behave


def http(status, body=b"", headers=b""):
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %s\r\n%s%s\r\n%s" % (status, headers, length, body)


def open_files():
    """Give this process's descriptors, each with what it is: numbers are given away again."""
    found = set()
    for path in [*Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(FileNotFoundError):  # that of the list itself, or closed meanwhile
            found.add((int(path.name), str(path.readlink())))
    return found


def children():
    """Give the numbers of this process's children, those that nobody waited for among them."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            pid, _, rest = path.read_text().partition(" (")
            if int(rest.rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(pid))
    return found


def free_port():
    """Give a port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def named(target, key):
    return replace(target, key=key)


def certificates(folder):
    """Make a CA, and a server's certificate for www.example.org and 127.0.0.1 signed by it."""

    def openssl(*argv):
        subprocess.run(["openssl", *argv], check=True, capture_output=True, cwd=folder)

    names = "subjectAltName=DNS:www.example.org,IP:127.0.0.1"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    openssl(
        *("req", "-x509", *curve, "-keyout", "server.key", "-out", "server.pem"),
        *("-subj", "/CN=server", "-addext", names, "-addext", "basicConstraints=CA:FALSE"),
        *("-CA", "ca.pem", "-CAkey", "ca.key"),
    )
