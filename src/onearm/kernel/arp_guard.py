"""Who else answers for addresses: asked again and again on one link, by ARP or its successor."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import final

from onearm.kernel.frames import Frame, parse
from onearm.kernel.packet_filter import SNAP_BYTES
from onearm.kernel.packets import packed_mac, question_for, question_socket
from onearm.model import Address


@final
class ArpGuard:
    """Asks for addresses in our own name, and hears who claims them. Raises OSError."""

    def __init__(
        self, link: str, mac: str, owns: Mapping[int, Address], asked: Iterable[Address]
    ) -> None:
        """Listen on `link`; our own MAC is nobody else's. `owns`: our address of each family."""
        self._mac, self._owns, self._asked = mac.lower(), owns, tuple(asked)
        self._sockets: dict[int, socket.socket] = {}
        try:
            for version in sorted({address.version for address in self._asked}):
                same = [address for address in self._asked if address.version == version]
                self._sockets[version] = question_socket(link, same)
        except BaseException:
            self.close()
            raise

    def ask(self) -> None:
        """Ask who has each of them: one question to all each."""
        mac = packed_mac(self._mac)
        for address in self._asked:
            own = self._owns.get(address.version)
            self._sockets[address.version].send(question_for(address, own, mac))

    def hear(self, seconds: float) -> Iterator[tuple[str, str]]:
        """Yield (address, MAC) of every claim that is made within `seconds` by somebody else."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select(list(self._sockets.values()), (), (), left)
            for s in ready:
                data, sender = s.recvfrom(SNAP_BYTES)
                frame = parse(Frame(sender[0], outgoing=False, to_us=True), data, sender[1])
                if frame and frame.claims and frame.claimed_mac.lower() != self._mac:
                    yield frame.source, frame.claimed_mac.lower()

    def close(self) -> None:
        """Listen no more."""
        for s in self._sockets.values():
            s.close()
