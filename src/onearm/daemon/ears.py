"""The daemon's ears, each in a thread of its own: the kernel, the spec's folder, and ARP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onearm.kernel.arp_guard import ArpGuard
from onearm.kernel.events import Events
from onearm.model import Address

Tell = Callable[[tuple[Any, ...]], None]
ASK_S = 0.5  # each VIP is asked for this often: who answers for it is known within a second
WAIT_S = 1.0


@dataclass(frozen=True)
class Beat:
    """What the guard of the VIPs does at present: where it asks, in whose names (one of each
    address family), for which VIPs.
    """

    link: str
    mac: str
    owns: Mapping[int, Address]
    vips: tuple[Address, ...]


class Ears:
    """Threads that only tell; who listens decides. They end with the process."""

    def __init__(self, tell: Tell, spec_path: Path) -> None:
        """Start hearing the kernel and the spec's folder."""
        self._tell = tell
        self._beat: Beat | None = None
        self._events = Events(spec_path)
        self._start(self._hear_events, "events")
        self._start(self._guard, "arp-guard")

    @staticmethod
    def _start(work: Callable[[], None], name: str) -> None:
        threading.Thread(target=work, name=name, daemon=True).start()

    def watch(self, beat: Beat | None) -> None:
        """Let the ARP guard do this from now on."""
        self._beat = beat

    def _hear_events(self) -> None:
        while True:
            try:
                for what in self._events.wait():
                    self._tell((what,))
            except OSError as error:  # the resync goes on, and finds what was missed
                self._tell(("trouble", f"events of the kernel: {error.strerror or error}"))
                time.sleep(WAIT_S)

    def _guard(self) -> None:
        idle = threading.Event()
        guard: ArpGuard | None = None
        last: Beat | None = None
        while True:
            try:
                beat = self._beat
                if beat != last or guard is None:
                    if guard is not None:
                        guard.close()
                    guard = _guard_of(beat) if beat else None
                    last = beat
                if guard is None or beat is None:
                    idle.wait(WAIT_S)
                    continue
                self._one(guard, beat.vips)
            except OSError as error:  # the link is down or gone: it is tried again
                self._tell(("deaf", f"{error.strerror or error}"))
                guard, last = None, None
                idle.wait(WAIT_S)

    def _one(self, guard: ArpGuard, vips: Iterable[Address]) -> None:
        wanted = {str(vip): vip for vip in vips}
        guard.ask()
        for text, mac in guard.hear(ASK_S):
            if text in wanted:
                self._tell(("claim", wanted[text], mac))


def _guard_of(beat: Beat) -> ArpGuard:
    return ArpGuard(beat.link, beat.mac, beat.owns, beat.vips)
