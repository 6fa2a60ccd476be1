"""Who else answers for an address: asked again and again on one link."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from typing import final

from onearm.kernel.frames import ARP_REQUEST, ETH_P_ARP, Frame, arp, parse
from onearm.kernel.packet_filter import SNAP_BYTES
from onearm.kernel.packets import arp_frame, arp_socket, packed_mac
from onearm.model import Address


@final
class ArpGuard:
    """Asks for addresses in our own name, and hears who claims them. Raises OSError."""

    def __init__(self, link: str, mac: str, own: Address) -> None:
        """Listen on `link`; our own MAC is nobody else's."""
        self._mac, self._own = mac.lower(), own
        self._socket: socket.socket = arp_socket(link)

    def ask(self, addresses: Iterable[Address]) -> None:
        """Ask who has each of them: one broadcast each."""
        mac = packed_mac(self._mac)
        for address in addresses:
            question = arp(ARP_REQUEST, (mac, self._own.packed), (bytes(6), address.packed))
            self._socket.send(arp_frame(mac, question))

    def hear(self, seconds: float) -> Iterator[tuple[str, str]]:
        """Yield (address, MAC) of every claim that is made within `seconds` by somebody else."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data, sender = self._socket.recvfrom(SNAP_BYTES)
            except (TimeoutError, socket.timeout):
                return
            frame = parse(Frame(sender[0], outgoing=False, to_us=True), data, ETH_P_ARP)
            if frame and frame.kind != "other" and frame.claimed_mac.lower() != self._mac:
                yield frame.source, frame.claimed_mac.lower()

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
