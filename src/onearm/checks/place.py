"""Where a target's probes come from and go to: sockets with the right source, mark and end."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from socket import SocketType  # the C type: what socket.socket adds costs as much as a system call

from onearm.checks.target import Target
from onearm.checks.verdict import Down, Ours, early, ours

STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
DATAGRAM = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
RESET = struct.pack("ii", 1, 0)  # struct linger: close() sends a reset and leaves no TIME_WAIT
IP_RECVERR = 11  # linux/in.h; socket has their names from Python 3.14 on
IP_BIND_ADDRESS_NO_PORT = 24
STREAMS = ("tcp", "tls", "http", "https")


Option = tuple[int, int, int | bytes]


def _options(target: Target, family: int) -> Iterator[Option]:
    """Give what is set on each socket before it is bound or connected."""
    kind = target.check.kind
    if target.mark:
        yield socket.SOL_SOCKET, socket.SO_MARK, target.mark
    if kind in STREAMS:
        yield socket.SOL_SOCKET, socket.SO_LINGER, RESET
    elif family == socket.AF_INET:
        yield socket.IPPROTO_IP, IP_RECVERR, 1  # also what a router says, not the port alone


class Place:
    """A target as it is kept between its probes: where its sockets come from and go to.

    `due` and `probe` are the loop's: when it is asked next, in the wheel's time, and the probe in
    flight. `words` is what a kind says first, once it is worked out. `plain` ones can use each
    other's sockets: streams of which nothing is bound or marked.
    """

    __slots__ = (
        *("address", "check", "due", "family", "gone", "options", "plain", "ports", "probe"),
        *("source", "target", "turn", "where", "words"),
    )

    def __init__(self, target: Target, due: float = 0.0) -> None:
        self.target = target
        self.check = target.check
        self.family = socket.AF_INET if target.address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
        self.address = str(target.address)
        self.where = (self.address, target.port)
        self.options = tuple(_options(target, self.family))
        self.source = "" if target.source is None else str(target.source)
        self.ports = target.source_ports
        own = self.source or self.ports or target.mark
        self.plain = target.check.kind in STREAMS and not own
        self.turn = 0
        self.words = b""
        self.due = due
        self.gone = False
        self.probe: object = None

    def stream(self) -> SocketType:
        """Begin a connection on a new socket; raises Down or Ours."""
        if not self.plain:
            return self._bound(STREAM)
        sock = self._made(STREAM, 0)
        self.connect(sock)
        return sock

    def connect(self, sock: SocketType) -> None:
        """Begin a connection, also on a socket that had another; raises Down or Ours."""
        # The handshake's last packet waits for the first words; tcp says none, and resets.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        code = sock.connect_ex(self.where)
        if code != errno.EINPROGRESS:
            self._begun(sock, code)

    def datagrams(self) -> SocketType:
        """Open a connected socket for datagrams, which then hears what ICMP says of them."""
        return self._bound(DATAGRAM)

    def echoes(self, kind: int) -> SocketType:
        """Open a connected socket for ICMP, which has no ports."""
        six = self.family == socket.AF_INET6
        sock = self._made(kind, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
        self._bind(sock, 0)
        self._begun(sock, sock.connect_ex(self.where))
        return sock

    def _made(self, kind: int, protocol: int) -> SocketType:
        try:
            sock = SocketType(self.family, kind, protocol)
        except OSError as error:
            raise ours(error.errno or 0, "no socket") from None
        try:
            for level, name, value in self.options:
                sock.setsockopt(level, name, value)
        except OSError as error:
            sock.close()
            text = f"the probe of {self.target.host} cannot be set up"
            raise ours(error.errno or 0, text) from None
        return sock

    def _bound(self, kind: int) -> SocketType:
        """Try the source ports in turn until one is free."""
        for port in self._turns():
            sock = self._made(kind, 0)
            if self._bind(sock, port):
                if kind == STREAM:
                    self.connect(sock)
                else:
                    self._begun(sock, sock.connect_ex(self.where))
                return sock
            sock.close()
        ports = self.ports or range(0)
        text = f"no free source port for {self.target.host} among {ports.start}-{ports.stop - 1}"
        raise Ours("starved", f"{text}: other programs hold them")

    def _turns(self) -> Iterator[int]:
        if not self.ports:
            yield 0
            return
        for _ in range(len(self.ports)):
            self.turn = (self.turn + 1) % len(self.ports)
            yield self.ports[self.turn]

    def _bind(self, sock: SocketType, port: int) -> bool:
        """Bind; False when the port is taken."""
        if not self.source and not port:
            return True
        try:
            if not port and self.family == socket.AF_INET:  # connect() chooses it, from more
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((self.source, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port:
                return False
            sock.close()
            text = f"the probe of {self.target.host} from {self.source or 'any address'}"
            raise ours(error.errno or 0, text) from None
        return True

    def _begun(self, sock: SocketType, code: int) -> None:
        """Judge what connect() said."""
        if code not in {0, errno.EINPROGRESS}:
            sock.close()
            raise Down(early(code, f"the probe of {self.target.host} at {self.address}").reason)
