"""Which frames a recorder keeps, as a classic BPF program for the kernel."""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Iterable

from onearm.kernel.frames import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6
from onearm.model import IPV4, Address

SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h
SNAP_BYTES = 128
# Classic BPF (include/uapi/linux/bpf_common.h, filter.h). Loads are relative to the network header,
# which is right for every kind of link and whether or not a VLAN tag was taken off.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _JUMP, _JUMP_EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x06
_NETWORK, _PROTOCOL = 0xFFF00000, 0xFFFFF000  # SKF_NET_OFF, SKF_AD_OFF + SKF_AD_PROTOCOL
# The kernel's own form of a program has up to two instructions for each of ours, of 8 bytes, and
# all of it has to fit net.core.optmem_max, 20 KiB before Linux 6.8 (net/core/filter.c).
_INSTRUCTIONS_MAX = 1100
_GROUP = 100  # comparisons that share what follows them: jumps are 8 bits
# Where source and target stand, and in neighbour discovery the address that it is about. Of an
# IPv6 address only the last word is compared: that tells neighbours apart, and Capture sifts.
_ADDRESSES = {ETH_P_IP: (12, 16), ETH_P_ARP: (14, 24), ETH_P_IPV6: (20, 36, 60)}


def filter_for(vips: Iterable[Address], snap_bytes: int = SNAP_BYTES) -> bytes:
    """Return the program that keeps IP from or to a VIP, and ARP or neighbour discovery of one.

    It may keep more. VIPs that do not fit (250 of IPv4) give one that keeps all IP and ARP.
    """
    wanted = list(vips)
    code = _program(wanted, snap_bytes, every=False)
    fits = len(code) <= _INSTRUCTIONS_MAX * _INSTRUCTION.size
    return code if fits else _program(wanted, snap_bytes, every=True)


def attach(s: socket.socket, program: bytes) -> None:
    """Let the kernel apply a program to a socket."""
    code = array("B", program)  # stays alive, at one place, until the kernel has copied it
    address, length = code.buffer_info()
    s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", length // 8, address))


def _program(vips: list[Address], snap_bytes: int, *, every: bool) -> bytes:
    keep = _INSTRUCTION.pack(_RETURN, 0, 0, snap_bytes)
    drop = _INSTRUCTION.pack(_RETURN, 0, 0, 0)
    four = sorted({int(vip) for vip in vips if vip.version == IPV4})
    six = sorted({int(vip) & 0xFFFFFFFF for vip in vips if vip.version != IPV4})
    wanted = {ETH_P_IP: four, ETH_P_ARP: four, ETH_P_IPV6: six}
    code = _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _PROTOCOL)
    for protocol, offsets in _ADDRESSES.items():
        numbers = wanted[protocol]
        block = b"".join(_compare(offset, numbers, keep) for offset in offsets) + drop
        if every and numbers:
            block = keep
        # equal: into the block; else: to the jump that leads over it (32 bits)
        over = _INSTRUCTION.pack(_JUMP, 0, 0, len(block) // _INSTRUCTION.size)
        code += _INSTRUCTION.pack(_JUMP_EQUAL, 1, 0, protocol) + over + block
    return code + drop


def _compare(offset: int, numbers: list[int], keep: bytes) -> bytes:
    """Keep what has one of the numbers there; else go on behind this."""
    code = _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _NETWORK + offset)
    for start in range(0, len(numbers), _GROUP):
        group = numbers[start : start + _GROUP]
        for left, number in zip(range(len(group), 0, -1), group):
            code += _INSTRUCTION.pack(_JUMP_EQUAL, left, 0, number)
        code += _INSTRUCTION.pack(_JUMP, 0, 0, 1) + keep
    return code
