"""Packet sockets: a filtered recorder of frames, and ARP and its successor spoken by hand."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Optional, final

from onearm.kernel import nd
from onearm.kernel.frames import (
    ARP_REPLY,
    ARP_REQUEST,
    ETH_P_ARP,
    ETH_P_IP,
    ETHERNET_BYTES,
    PACKET_HOST,
    PACKET_OUTGOING,
    Frame,
    arp,
    parse,
    unwrapped,
)
from onearm.kernel.netlink import SO_RCVBUFFORCE
from onearm.kernel.packet_filter import SNAP_BYTES, attach, filter_for
from onearm.model import IPV4, IPV6, Address

__all__ = ["Capture", "Frame", "announce", "filter_for", "who_has"]

ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8  # include/uapi/linux/if_packet.h
SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h
ARPHRD_ETHERNET = (1, 772)  # Ethernet, and loopback which looks like it
BUFFER_BYTES = 16 << 20
_AUXDATA = struct.Struct("=IIIHHHH")
_TIMESPEC = struct.Struct("ll")
_BROADCAST = b"\xff" * 6
_NO_MAC = bytes(6)


def _bind_all(s: socket.socket) -> None:
    """Take in every protocol on every link: socket.bind() wants the name of one link."""
    import ctypes

    everywhere = struct.pack("=H2sI12x", socket.AF_PACKET, struct.pack("!H", ETH_P_ALL), 0)
    if ctypes.CDLL(None, use_errno=True).bind(s.fileno(), everywhere, len(everywhere)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@final
class Capture:
    """A recorder of every frame of the VIPs on all links of this network namespace.

    The kernel's buffer is the tape: `drain` empties it. Raises OSError (EPERM without root).
    """

    def __init__(self, vips: Iterable[Address]) -> None:
        """Start recording."""
        wanted = frozenset(vips)
        self._texts = frozenset(map(str, wanted))
        # Protocol 0 takes nothing in: the filter stands before the first frame does.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            attach(self._socket, filter_for(wanted))
            self._prepare()
            _bind_all(self._socket)
        except BaseException:
            self._socket.close()
            raise

    def _prepare(self) -> None:
        s = self._socket
        s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        try:
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        except PermissionError:  # CAP_NET_RAW without CAP_NET_ADMIN: what the system allows
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)

    def close(self) -> None:
        """Stop recording; closing twice is fine."""
        self._socket.close()

    def __enter__(self) -> Capture:
        """Return it open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop recording."""
        self.close()

    def drain(self) -> tuple[list[Frame], int]:
        """Return the frames so far in their order, and how many were lost for want of buffer."""
        frames: list[Frame] = []
        while True:
            try:
                data, control, _, sender = self._socket.recvmsg(SNAP_BYTES, 256)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                continue  # a link went down; what the others bring is still to come
            frame = self._frame(data, control, sender)
            if frame and (frame.source in self._texts or frame.target in self._texts):
                frames.append(frame)
        counted = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        return frames, struct.unpack("=II", counted)[1]

    def _frame(
        self, data: bytes, control: list[tuple[int, int, bytes]], sender: tuple[str, int, int, int]
    ) -> Optional[Frame]:
        link, protocol, packet_type, hardware = sender[:4]
        length, time_s = len(data), 0.0
        for level, kind, payload in control:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA) and len(payload) >= _AUXDATA.size:
                length = _AUXDATA.unpack_from(payload)[1]
            elif (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack_from(payload)
                time_s = seconds + nanoseconds / 1e9
        base = Frame(
            link,
            outgoing=packet_type == PACKET_OUTGOING,
            to_us=packet_type == PACKET_HOST,
            length=length,
            time_s=time_s,
        )
        ethernet = hardware in ARPHRD_ETHERNET
        frame = parse(base, data, protocol, ethernet=ethernet)
        if frame is None or protocol != ETH_P_IP:
            return frame
        inner = unwrapped(frame, data[ETHERNET_BYTES if ethernet else 0 :])
        ours = inner is not None and self._texts & {inner.source, inner.target}
        return inner if ours else frame


def packed_mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def arp_frame(mac: bytes, payload: bytes) -> bytes:
    """Return a broadcast ARP frame, as short as Ethernet allows."""
    return (_BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + payload).ljust(60, b"\0")


def arp_socket(link: str) -> socket.socket:
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        s.bind((link, ETH_P_ARP))
    except BaseException:
        s.close()
        raise
    return s


def who_has(
    link: str,
    address: Address,
    sender_ip: Optional[Address],
    sender_mac: str,
    seconds: float = 1.0,
    *,
    requests: int = 3,
) -> list[str]:
    """Ask on `link` who has `address`; return the MACs that claim it, first come first.

    By ARP, or for IPv6 by neighbour solicitations. `requests` questions to all are spread over the
    first half of `seconds`. `sender_ip` None asks as a probe in nobody's name (RFC 5227 §2.1.1,
    RFC 4862 §5.4.2): it fills no cache. Our own MAC is left out. Raises OSError: EPERM, ENODEV,
    ENETDOWN.
    """
    question = question_for(address, sender_ip, packed_mac(sender_mac))
    found: dict[str, None] = {}
    start = time.monotonic()
    with question_socket(link, [address]) as s:
        for n in range(requests):
            s.send(question)
            last = n == requests - 1
            share = seconds if last else seconds / 2 * (n + 1) / requests
            _collect(s, str(address), start + share, found)
    found.pop(sender_mac.lower(), None)
    return list(found)


def question_for(address: Address, own: Optional[Address], mac: bytes) -> bytes:
    """Return the frame that asks for an address in the name of `own`, or in nobody's."""
    if isinstance(address, IPv6Address):
        return nd.solicitation(mac, own if isinstance(own, IPv6Address) else None, address)
    sender = own.packed if isinstance(own, IPv4Address) else bytes(4)
    return arp_frame(mac, arp(ARP_REQUEST, (mac, sender), (_NO_MAC, address.packed)))


def question_socket(link: str, addresses: Sequence[Address]) -> socket.socket:
    """Open the socket on which addresses of one family are asked for, and their claims heard."""
    if all(address.version == IPV4 for address in addresses):
        return arp_socket(link)
    s = nd.packet_socket(link)
    attach(s, filter_for(addresses))
    return s


def _collect(s: socket.socket, address: str, until: float, found: dict[str, None]) -> None:
    """Note every MAC that calls itself the owner of `address`, in a reply or an announcement."""
    while True:
        left = until - time.monotonic()
        if left <= 0:
            return
        s.settimeout(left)
        try:
            data, sender = s.recvfrom(SNAP_BYTES)
        except (TimeoutError, socket.timeout):
            return
        frame = parse(Frame(sender[0], outgoing=False, to_us=True), data, sender[1])
        if frame and frame.source == address and frame.claims:
            found[frame.claimed_mac] = None


def announce(link: str, address: Address, mac: str, times: int = 5, pause_s: float = 0.2) -> None:
    """Tell every neighbour on `link` that `address` is at `mac`, blocking for about a second.

    For IPv4 by gratuitous ARP, each time as a request (RFC 5227 §3) and as a reply, for there are
    stacks that heed only one. For IPv6 by neighbour advertisements, closer to each other than RFC
    4861 §7.2.6 has it: clients wait for a VIP that moves. Raises OSError: EPERM, ENODEV, ENETDOWN.
    """
    own = packed_mac(mac)
    if isinstance(address, IPv6Address):
        frames = [nd.advertisement(own, address)]
        times = min(times, nd.TIMES_MOST)
    else:
        party = (own, address.packed)
        frames = [
            arp_frame(own, arp(ARP_REQUEST, party, (_NO_MAC, party[1]))),
            arp_frame(own, arp(ARP_REPLY, party, party)),
        ]
    with nd.packet_socket(link) if address.version == IPV6 else arp_socket(link) as s:
        for n in range(times):
            if n:
                time.sleep(pause_s)
            for frame in frames:
                s.send(frame)
