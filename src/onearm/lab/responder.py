"""A light server that says who answered, to whom and from which address: TCP and UDP.

`GET /bytes/N` is answered with N bytes, `/bytes/N?rate=R` with R of them per second; everything
else with the line `HOST CLIENT_ADDRESS LOCAL_ADDRESS`, as JSON for `/json`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import ipaddress
import os
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from onearm.lab.answers import PORTION, STEP_S, Answer, line, reply

TCP_PORTS = (80, 443, 8080)
SCTP_PORTS = (3868,)  # where the kernel has SCTP: nothing here loads it
UDP_PORTS = (53, 5353)
PID_FILE = Path("/run/responder.pid")
HEAD_LIMIT = 8192  # a request head longer than this is no request
TICK_S = STEP_S / 2
TURNS = 16  # portions written in one go
ACCEPTS = 64  # new connections taken in one go
MOST_FDS = 4096
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Family(NamedTuple):
    """How one address family names the address that a datagram was sent to."""

    family: int
    any: str
    level: int
    wants: int
    info: int
    pattern: struct.Struct


IP_PKTINFO = 8  # linux/in.h; Python has no name for it before 3.14
FAMILIES = (
    Family(
        socket.AF_INET,
        "0.0.0.0",  # noqa: S104 - every address is the point
        socket.IPPROTO_IP,
        IP_PKTINFO,
        IP_PKTINFO,
        struct.Struct("=I4s4s"),
    ),
    Family(
        socket.AF_INET6,
        "::",
        socket.IPPROTO_IPV6,
        socket.IPV6_RECVPKTINFO,
        socket.IPV6_PKTINFO,
        struct.Struct("=16sI"),
    ),
)


class Ear:
    """A listening socket."""

    def __init__(
        self,
        family: Family,
        kind: int,
        address: str,
        port: int,
        *,
        careless: bool = False,
        protocol: int = 0,
    ) -> None:
        """Bind, and unless for datagrams listen; IPv6 apart from IPv4."""
        self.family = family
        self.careless = careless
        self.udp = kind == socket.SOCK_DGRAM
        self.socket = socket.socket(family.family, kind, protocol)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family.family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if self.udp:
            self.socket.setsockopt(family.level, family.wants, 1)
        self.socket.settimeout(0)
        self.socket.bind((address, port))
        if not self.udp:
            self.socket.listen(1024)

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def answer_datagrams(self) -> None:
        """Answer each from the address that it was sent to, whatever the route would choose.

        A careless one lets the route choose, as a server does that binds every address and no more.
        """
        with contextlib.suppress(BlockingIOError):
            for _ in range(ACCEPTS):
                _, extras, _, peer = self.socket.recvmsg(PORTION, 256)
                for level, kind, data in extras:
                    if (level, kind) == (self.family.level, self.family.info):
                        self._answer(data, peer)

    def _answer(self, info: bytes, peer: tuple[str, int]) -> None:
        fields = self.family.pattern.unpack_from(info)
        if self.family.family == socket.AF_INET:
            local, back = fields[2], self.family.pattern.pack(0, fields[2], bytes(4))
        else:
            local, back = fields[0], self.family.pattern.pack(fields[0], 0)
        text = line(peer[0], str(ipaddress.ip_address(local))).encode()
        with contextlib.suppress(OSError):
            extras = [] if self.careless else [(self.family.level, self.family.info, back)]
            self.socket.sendmsg([text], extras, 0, peer)


class Talk:
    """One TCP connection: read a head, write an answer, again."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over an accepted socket."""
        connection.settimeout(0)
        self.socket = connection
        self.events = 0  # that it waits for
        self.head = bytearray()
        self.answer: Answer | None = None
        self.ended = False

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def read(self) -> None:
        """Take more of the head."""
        data = self.socket.recv(HEAD_LIMIT)
        self.ended = not data
        self.head += data
        self._next()

    @property
    def reading(self) -> bool:
        """Whether more may come; requests sent ahead wait in the kernel."""
        return not self.ended and len(self.head) <= HEAD_LIMIT

    @property
    def over(self) -> bool:
        return self.answer is None and not self.reading

    def _next(self) -> None:
        """Start the answer to the first whole request that has come."""
        if self.answer is None and b"\r\n\r\n" in self.head:
            head, self.head = self.head.split(b"\r\n\r\n", 1)
            peer, local = self.socket.getpeername()[0], self.socket.getsockname()[0]
            self.answer = reply(head.decode("latin-1"), peer, local)

    def write(self) -> None:
        """Write what goes, but not for ever: others wait too."""
        for _ in range(TURNS):
            if self.answer is None:
                return
            portion = self.answer.portion(time.monotonic())
            if portion:
                self.answer.sent(self.socket.send(portion))
            elif not self.answer.over:
                return  # paced: later
            else:
                self.ended = self.ended or self.answer.last
                self.answer = None
                self._next()

    @property
    def paced(self) -> bool:
        """Whether the answer waits for time alone."""
        return self.answer is not None and not self.answer.portion(time.monotonic())


def listen(bind: str | None, *, careless: bool = False) -> list[Ear]:
    """Open every port on one address, or on all; without IPv6 in the kernel on IPv4 alone."""
    if bind:
        version = ipaddress.ip_address(bind).version
        family = FAMILIES[0 if version == 4 else 1]  # noqa: PLR2004 - IP versions
        return list(_ears(family, bind, careless=careless))
    ears = list(_ears(FAMILIES[0], FAMILIES[0].any, careless=careless))
    if Path("/proc/net/if_inet6").exists():
        ears += _ears(FAMILIES[1], FAMILIES[1].any, careless=careless)
    return ears


def _ears(family: Family, address: str, *, careless: bool) -> Iterator[Ear]:
    for port in TCP_PORTS:
        yield Ear(family, socket.SOCK_STREAM, address, port)
    for port in SCTP_PORTS if Path("/proc/net/sctp").exists() else ():
        yield Ear(family, socket.SOCK_STREAM, address, port, protocol=socket.IPPROTO_SCTP)
    for port in UDP_PORTS:
        yield Ear(family, socket.SOCK_DGRAM, address, port, careless=careless)


class Server:
    """All listening sockets and connections.

    Epoll itself, changed only where something else is waited for: in a guest kernel system calls
    are what costs.
    """

    def __init__(self, ears: list[Ear]) -> None:
        """Serve these."""
        self.epoll = select.epoll()
        self.ears = {ear.fileno(): ear for ear in ears}
        self.talks: dict[int, Talk] = {}
        self.paced: set[Talk] = set()
        for fd in self.ears:
            self.epoll.register(fd, select.EPOLLIN)

    def run(self) -> NoReturn:
        while True:
            for fd, mask in self.epoll.poll(TICK_S if self.paced else None):
                if fd in self.ears:
                    self._hear(self.ears[fd])
                else:
                    self._talk(self.talks[fd], mask)
            for talk in [talk for talk in self.paced if not talk.paced]:
                self._talk(talk, select.EPOLLOUT)

    def _hear(self, ear: Ear) -> None:
        if ear.udp:
            with contextlib.suppress(OSError):  # an error that an earlier answer met
                ear.answer_datagrams()
            return
        try:
            for _ in range(ACCEPTS):
                talk = Talk(ear.socket.accept()[0])
                self.talks[talk.fileno()] = talk
                self._wait_for(talk, select.EPOLLIN)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in FULL:
                time.sleep(TICK_S)  # until others have closed: it is still in the queue

    def _talk(self, talk: Talk, mask: int) -> None:
        over = False
        try:
            if mask & ~select.EPOLLOUT:  # also of an error: reading says which
                talk.read()
            talk.write()
        except BlockingIOError:
            pass
        except OSError:
            over = True
        self._settle(talk, over=over or talk.over)

    def _settle(self, talk: Talk, *, over: bool) -> None:
        """Wait for what the talk needs next, or end it."""
        self.paced.discard(talk)
        if over:
            del self.talks[talk.fileno()]
            talk.close()  # and so epoll forgets it
            return
        if talk.paced:
            self.paced.add(talk)
        writing = select.EPOLLOUT if talk.answer and not talk.paced else 0
        reading = select.EPOLLIN if talk.reading else 0
        self._wait_for(talk, reading | writing)

    def _wait_for(self, talk: Talk, events: int) -> None:
        """Wait for these; half closed and paced, a talk waits for time alone."""
        if not events and talk.events:
            self.epoll.unregister(talk.fileno())
        elif events and not talk.events:
            self.epoll.register(talk.fileno(), events)
        elif events != talk.events:
            self.epoll.modify(talk.fileno(), events)
        talk.events = events


def serve(ears: list[Ear]) -> NoReturn:
    """Write the pid file and serve for ever."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, MOST_FDS), most))
    PID_FILE.write_text(f"{os.getpid()}\n", "ascii")
    Server(ears).run()


def main() -> None:
    parser = argparse.ArgumentParser(prog="responder", description=__doc__)
    parser.add_argument("--bind", metavar="ADDRESS", help="listen on this address alone")
    parser.add_argument(
        "--careless", action="store_true", help="answer datagrams from the host's own address"
    )
    parser.add_argument("--background", action="store_true", help="return once it listens")
    options = parser.parse_args()
    try:
        ears = listen(options.bind, careless=options.careless)
    except (OSError, ValueError) as error:
        sys.exit(f"responder: cannot listen on {options.bind or 'every address'}: {error}")
    pid = os.fork() if options.background else 0
    if not pid:
        serve(ears)
    PID_FILE.write_text(f"{pid}\n", "ascii")


if __name__ == "__main__":
    main()
