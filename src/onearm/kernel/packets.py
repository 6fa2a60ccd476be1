"""Packet sockets: a filtered recorder of frames, and ARP spoken by hand."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from array import array
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Optional, final

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
from onearm.kernel.netlink import SO_RCVBUFFORCE, NetlinkError
from onearm.model import Address

__all__ = ["Capture", "Frame", "announce", "filter_for", "who_has"]

ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8  # include/uapi/linux/if_packet.h
SO_ATTACH_FILTER, SO_TIMESTAMPNS = 26, 35  # include/uapi/asm-generic/socket.h
ARPHRD_ETHERNET = (1, 772)  # Ethernet, and loopback which looks like it
BUFFER_BYTES = 16 << 20
SNAP_BYTES = 128
_AUXDATA = struct.Struct("=IIIHHHH")
_TIMESPEC = struct.Struct("ll")
_BROADCAST = b"\xff" * 6
_NO_MAC = bytes(6)

# Classic BPF (include/uapi/linux/bpf_common.h, filter.h). Loads are relative to the network header,
# which is right for every kind of link and whether or not a VLAN tag was taken off.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NETWORK, _PROTOCOL = 0xFFF00000, 0xFFFFF000  # SKF_NET_OFF, SKF_AD_OFF + SKF_AD_PROTOCOL
_INSTRUCTIONS_MAX = 4096  # BPF_MAXINSNS
_ADDRESSES = {ETH_P_IP: (12, 16), ETH_P_ARP: (14, 24)}  # where source and target stand


def filter_for(vips: Iterable[IPv4Address], snap_bytes: int = SNAP_BYTES) -> bytes:
    """Return the classic BPF program that keeps IPv4 from or to a VIP, and ARP of or for one.

    More VIPs than fit (510) give a program that keeps all IPv4 and ARP; Capture then sifts.
    """
    numbers = sorted({int(vip) for vip in vips})
    code = _program(numbers, snap_bytes)
    return code if len(code) <= _INSTRUCTIONS_MAX * 8 else _program(None, snap_bytes)


def _program(numbers: Optional[list[int]], snap_bytes: int) -> bytes:
    keep = _INSTRUCTION.pack(_RETURN, 0, 0, snap_bytes)
    drop = _INSTRUCTION.pack(_RETURN, 0, 0, 0)
    # Each comparison steps over the `keep` behind it: jumps are 8 bits and never grow.
    tests = [_INSTRUCTION.pack(_JUMP_EQUAL, 0, 1, n) + keep for n in numbers or ()]
    code = _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _PROTOCOL)
    for protocol, offsets in _ADDRESSES.items():
        block = b"".join(
            _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _NETWORK + offset) + b"".join(tests)
            for offset in offsets
        )
        block = keep if numbers is None else block + drop
        # equal: into the block; else: to the jump that leads over it (32 bits, BPF_JA)
        over = _INSTRUCTION.pack(0x05, 0, 0, len(block) // 8)
        code += _INSTRUCTION.pack(_JUMP_EQUAL, 1, 0, protocol) + over + block
    return code + drop


def _attach(s: socket.socket, program: bytes) -> None:
    code = array("B", program)  # stays alive, at one place, until the kernel has copied it
    address, length = code.buffer_info()
    s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", length // 8, address))


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
        """Start recording; only IPv4 VIPs are recorded."""
        self._vips = frozenset(vip for vip in vips if isinstance(vip, IPv4Address))
        self._texts = frozenset(map(str, self._vips))
        # Protocol 0 takes nothing in: the filter stands before the first frame does.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            _attach(self._socket, filter_for(self._vips))
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
    """Ask on `link` by ARP who has `address`; return the MACs that claim it, first come first.

    `requests` broadcasts are spread over the first half of `seconds`. `sender_ip` None asks as a
    probe in nobody's name (RFC 5227 §2.1.1): it fills no cache. Our own MAC is left out. Raises
    OSError: EPERM, ENODEV, ENETDOWN.
    """
    mac, wanted = packed_mac(sender_mac), _packed(address)
    own = _packed(sender_ip) if sender_ip else bytes(4)
    question = arp_frame(mac, arp(ARP_REQUEST, (mac, own), (_NO_MAC, wanted)))
    found: dict[str, None] = {}
    start = time.monotonic()
    with arp_socket(link) as s:
        for n in range(requests):
            s.send(question)
            last = n == requests - 1
            share = seconds if last else seconds / 2 * (n + 1) / requests
            _collect(s, str(address), start + share, found)
    found.pop(sender_mac.lower(), None)
    return list(found)


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
        frame = parse(Frame(sender[0], outgoing=False, to_us=True), data, ETH_P_ARP)
        if frame and frame.source == address and frame.kind != "other":
            found[frame.claimed_mac] = None


def _packed(address: Address) -> bytes:
    if not isinstance(address, IPv4Address):
        raise NetlinkError(errno.EAFNOSUPPORT, f"ARP is for IPv4, not for {address}")
    return address.packed


def announce(link: str, address: Address, mac: str, times: int = 5, pause_s: float = 0.2) -> None:
    """Tell every neighbour on `link` that `address` is at `mac`: gratuitous ARP, blocking ~1 s.

    Each time as a request (RFC 5227 §3) and as a reply, for there are stacks that heed only one.
    Raises OSError: EPERM, ENODEV, ENETDOWN.
    """
    own = (packed_mac(mac), _packed(address))
    frames = [
        arp_frame(own[0], arp(ARP_REQUEST, own, (_NO_MAC, own[1]))),
        arp_frame(own[0], arp(ARP_REPLY, own, own)),
    ]
    with arp_socket(link) as s:
        for n in range(times):
            if n:
                time.sleep(pause_s)
            for frame in frames:
                s.send(frame)
