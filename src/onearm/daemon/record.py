"""What happened: events for the log and for those who look on, and the changes of each server."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from onearm.rotation import Rotation, Slot
from onearm.snapshot import Change, Event

EVENTS = 200
CHANGES = 50
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
LOG = logging.getLogger("onearm.director")


@dataclass
class Record:
    """Bounded: the newest events, and the newest changes of each destination."""

    events: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS))
    changes: dict[Slot, deque[Change]] = field(default_factory=dict)

    def add(self, now: datetime, kind: str, text: str, level: str = "info") -> None:
        """Note an event and log it."""
        self.events.append(Event(now.isoformat(), kind, text, level))
        LOG.log(LEVELS[level], "%s", text, extra={"kind": kind})

    def follow(self, rotation: Rotation, now: datetime) -> None:
        """Note what changed for each server since the last decision, and log it."""
        gone = set(self.changes)
        for (protocol, vip, port), decision in rotation.decisions.items():
            for host, verdict in decision.verdicts.items():
                slot = (protocol, vip, port, host)
                gone.discard(slot)
                self._one(slot, verdict.state, verdict.reason, now)
        for slot in gone:
            del self.changes[slot]

    def _one(self, slot: Slot, state: str, reason: str, now: datetime) -> None:
        known = self.changes.setdefault(slot, deque(maxlen=CHANGES))
        if known and known[-1].state == state:
            return
        first = not known
        known.append(Change(now.isoformat(), state, reason))
        protocol, vip, port, host = slot
        why = f": {reason}" if reason else ""
        level = "warning" if state == "down" else "info"
        if not first or state == "down":
            self.add(now, "health", f"{host} of {vip}:{port}/{protocol} is {state}{why}", level)
