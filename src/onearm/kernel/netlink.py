"""Netlink framing: attributes, messages, and one socket that requests, dumps and batches."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Optional, Protocol, Union, final

# include/uapi/linux/netlink.h
NETLINK_ROUTE = 0
NETLINK_GENERIC = 16
F_REQUEST, F_MULTI, F_ACK = 0x1, 0x2, 0x4
F_DUMP_INTR = 0x10
F_CAPPED, F_ACK_TLVS = 0x100, 0x200
F_DUMP = 0x300
F_EXCL, F_CREATE = 0x200, 0x400
F_REPLACE = 0x100
TYPE_ERROR, TYPE_DONE = 2, 3
ERROR_TEXT = 1  # NLMSGERR_ATTR_MSG
SOL_NETLINK, CAP_ACK, EXT_ACK = 270, 10, 11
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # include/uapi/asm-generic/socket.h
KIND_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
NESTED = 0x8000

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
FLAGS, FLAGS_AT = struct.Struct("=H"), 6
INT = struct.Struct("=i")

# The kernel never sends a longer dump than the largest receive ever asked for on a socket, and
# cuts off what does not fit: so every receive is this long (net/netlink/af_netlink.c).
RECEIVE_BYTES = 1 << 16
BUFFER_BYTES = 8 << 20
ERROR_COST_BYTES = 2048  # what one queued error costs of the receive buffer, at most
MAX_ERRNO = 4095  # include/linux/err.h
ATTEMPTS = 5
TIMEOUT_S = 10.0

Datagram = memoryview


class NetlinkError(OSError):
    """The kernel's refusal: `errno`, and the kernel's own words where it gave any."""

    def __init__(self, code: int, text: str = "") -> None:
        """Keep the extended acknowledgement's `text` beside the standard one."""
        super().__init__(code, f"{os.strerror(code)}{': ' + text if text else ''}")
        self.text = text


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    length = ATTRIBUTE.size + len(payload)
    return ATTRIBUTE.pack(length, kind) + payload + bytes(-length & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def text_attribute(kind: int, text: str) -> bytes:
    """Return an attribute that holds a zero-terminated string."""
    return attribute(kind, text.encode() + b"\0")


def walk(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (kind, payload) of each attribute; a malformed tail ends the walk."""
    end = len(data)
    while start + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < ATTRIBUTE.size or start + length > end:
            return
        yield kind & KIND_MASK, data[start + ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Return the attributes by kind; of a repeated kind the last (as nla_parse does)."""
    return dict(walk(data, start))


def number(payload: bytes, order: str = "") -> int:
    """Read an unsigned number of up to 64 bits, which are all that the kernel sends.

    The host's byte order unless `order` is "big".
    """
    return int.from_bytes(payload[:8], "big" if order else _ORDER)  # type: ignore[arg-type]


def text(payload: bytes) -> str:
    """Read a zero-terminated string; any bytes give some text."""
    return payload.split(b"\0", 1)[0].decode(errors="replace")


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return one whole message, padded to four bytes."""
    length = HEADER.size + len(body)
    return HEADER.pack(length, kind, flags, sequence, 0) + body + bytes(-length & 3)


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (type, flags, sequence, payload) of each message in a datagram."""
    start, end = 0, len(data)
    while start + HEADER.size <= end:
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, start)
        if length < HEADER.size or start + length > end:
            return
        yield kind, flags, sequence, data[start + HEADER.size : start + length]
        start += (length + 3) & ~3


def verdict(kind: int, flags: int, payload: bytes) -> Optional[NetlinkError]:
    """Return the error that an ERROR or DONE message carries; None when it says "done, fine"."""
    code = -INT.unpack_from(payload)[0] if len(payload) >= INT.size else 0
    if code <= 0:
        return None
    if code > MAX_ERRNO:  # the largest negative one does not even fit a C int when turned around
        return NetlinkError(errno.EPROTO, f"the kernel's answer {-code} is no error number")
    words = attributes(payload, _words_start(kind, flags, payload)) if flags & F_ACK_TLVS else {}
    return NetlinkError(code, text(words.get(ERROR_TEXT, b"")))


def _words_start(kind: int, flags: int, payload: bytes) -> int:
    """Skip the code and, behind an ERROR, the echo of the request (the header alone if capped)."""
    if kind == TYPE_DONE or len(payload) < INT.size + HEADER.size:
        return INT.size
    echoed = HEADER.size if flags & F_CAPPED else HEADER.unpack_from(payload, INT.size)[0]
    return INT.size + ((int(echoed) + 3) & ~3)


class Reader(Protocol):
    """What takes the messages of a dump out of the buffer that receives them."""

    def begin(self) -> None:
        """Forget what was taken: the dump begins, perhaps anew."""

    def take(self, datagram: Datagram, start: int, stop: int) -> int:
        """Take the message at `start`, which is whole and belongs to the dump.

        It may go on with those behind it that have the very same header. Return where it ended.
        """


@final
class Payloads:
    """A reader that keeps the payload of each message."""

    def __init__(self) -> None:
        """Begin with none."""
        self.found: list[bytes] = []

    def begin(self) -> None:
        """Forget them."""
        self.found = []

    def take(self, datagram: Datagram, start: int, _stop: int) -> int:
        """Keep one."""
        length: int = HEADER.unpack_from(datagram, start)[0]
        self.found.append(bytes(datagram[start + HEADER.size : start + length]))
        return start + ((length + 3) & ~3)


@final
class Netlink:
    """One netlink socket in the network namespace of the thread that opens it.

    Every method raises NetlinkError: the kernel's refusal, or ETIMEDOUT when an answer was lost.
    """

    def __init__(self, protocol: int, timeout_s: float = TIMEOUT_S) -> None:
        """Open the socket; `timeout_s` bounds the wait for each datagram."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._sequence = 0
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        try:
            self._prepare(timeout_s)
        except BaseException:
            self.close()
            raise

    def _prepare(self, timeout_s: float) -> None:
        s = self._socket
        s.bind((0, 0))
        s.connect((0, 0))  # from now on only the kernel can send to us
        whole, part = divmod(timeout_s, 1)
        s.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(whole), int(part * 1e6))
        )
        for option in (CAP_ACK, EXT_ACK):
            s.setsockopt(SOL_NETLINK, option, 1)
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            try:
                s.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
            except PermissionError:  # without CAP_NET_ADMIN: smaller sends, nothing else
                break

    def close(self) -> None:
        """Close the socket; closing twice is fine."""
        self._socket.close()

    def __enter__(self) -> Netlink:
        """Return the open socket."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self.close()

    def _next(self, count: int = 1) -> int:
        """Reserve `count` sequence numbers and return the first; 0 is never used."""
        if self._sequence + count > 0xFFFFFFFF:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return first

    def _fill(self) -> int:
        """Receive one datagram into the buffer, which every receive uses again."""
        try:
            return self._socket.recv_into(self._buffer)
        except BlockingIOError:
            raise NetlinkError(errno.ETIMEDOUT, "the kernel did not answer") from None
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO) from error

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        return split(bytes(self._buffer[: self._fill()]))

    def _send(self, data: Union[bytes, bytearray]) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO) from error

    def request(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        """Send one message with ACK; return the payloads that came before the acknowledgement."""
        sequence = self._next()
        self._send(message(kind, F_REQUEST | F_ACK | flags, sequence, body))
        replies: list[bytes] = []
        while True:
            for found, marks, number_, payload in self._receive():
                if number_ != sequence:
                    continue  # a late answer to an earlier, timed out request
                if found != TYPE_ERROR:
                    replies.append(payload)
                    continue
                error = verdict(found, marks, payload)
                if error:
                    raise error
                return replies

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the payload of each message of a whole table."""
        payloads = Payloads()
        self.dump_into(payloads, kind, body)
        return payloads.found

    def dump_into(self, reader: Reader, kind: int, body: bytes) -> None:
        """Let `reader` take the messages of a whole table, out of the buffer.

        A table that changed under the dump is read again, five times at most, then EAGAIN.
        """
        for _ in range(ATTEMPTS):
            reader.begin()
            if self._dump(reader, kind, body):
                return
        raise NetlinkError(errno.EAGAIN, "the table kept changing while it was read")

    def _dump(self, reader: Reader, kind: int, body: bytes) -> bool:
        sequence = self._next()
        self._send(message(kind, F_REQUEST | F_DUMP, sequence, body))
        whole = True
        while True:
            try:
                stop = self._fill()
            except NetlinkError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                whole = False  # something was lost: read on to the end, then once more
                continue
            start = 0
            while start + HEADER.size <= stop:
                length, found, flags, number_, _ = HEADER.unpack_from(self._buffer, start)
                if length < HEADER.size or start + length > stop:
                    break
                if number_ == sequence:
                    whole = whole and not flags & F_DUMP_INTR
                    if found in (TYPE_ERROR, TYPE_DONE):  # DONE may end a datagram of entries
                        end = bytes(self._buffer[start + HEADER.size : start + length])
                        failure = verdict(found, flags, end)
                        if failure:
                            raise failure
                        return whole
                    start = reader.take(self._buffer, start, stop)
                    continue
                start += (length + 3) & ~3

    def batch(self, kind: int, bodies: Sequence[bytes]) -> dict[int, int]:
        """Send many messages of one type in as few sends as fit.

        Return {index: errno} of those refused. Not atomic: what comes after a refused message is
        still applied, in the given order.
        """
        refused: dict[int, int] = {}
        step = self._fitting(bodies)
        for start in range(0, len(bodies), step):
            refused.update(self._burst(kind, bodies[start : start + step], start))
        return refused

    def _fitting(self, bodies: Sequence[bytes]) -> int:
        """Say how many fit into a send: by their size, and by the answers if all are refused."""
        room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 32
        answers = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // ERROR_COST_BYTES
        longest = HEADER.size + ((max(map(len, bodies), default=0) + 3) & ~3)
        return max(1, min(room // longest, answers))

    def _burst(self, kind: int, bodies: Sequence[bytes], start: int) -> dict[int, int]:
        """Send messages of which only the last asks for an answer; read the refusals before it."""
        first = self._next(len(bodies))
        last = first + len(bodies) - 1
        self._send(_joined(kind, bodies, first))
        refused: dict[int, int] = {}
        while True:
            for found, marks, sequence, payload in self._receive():
                if found != TYPE_ERROR or not first <= sequence <= last:
                    continue
                error = verdict(found, marks, payload)
                if error:
                    refused[start + sequence - first] = error.errno or errno.EIO
                if sequence == last:
                    return refused


def _joined(kind: int, bodies: Sequence[bytes], first: int) -> bytearray:
    """Frame messages one behind the other; the last asks for an acknowledgement."""
    pack = HEADER.pack
    parts: list[bytes] = []
    for sequence, body in enumerate(bodies, first):
        length = HEADER.size + len(body)
        parts += (pack(length, kind, F_REQUEST, sequence, 0), body)
        if length & 3:
            parts.append(bytes(-length & 3))
    data = bytearray().join(parts)
    last = len(data) - HEADER.size - ((len(bodies[-1]) + 3) & ~3)
    FLAGS.pack_into(data, last + FLAGS_AT, F_REQUEST | F_ACK)
    return data


_ORDER = "little" if struct.pack("=H", 1) == b"\1\0" else "big"
