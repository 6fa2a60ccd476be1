"""What happened: events for the log and for those who look on, and the changes of each server."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from onearm.model import Key, endpoint
from onearm.rotation import Decision, Rotation, Slot
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

    def follow(self, before: Rotation, after: Rotation, now: datetime) -> None:
        """Note what changed for each server and service since the last decision, and log it."""
        gone = set(self.changes)
        for key, decision in after.decisions.items():
            self._service(key, before.decisions.get(key), decision, now)
            for host, verdict in decision.verdicts.items():
                slot = (key[0], key[1], key[2], host)
                gone.discard(slot)
                self._one(slot, verdict.state, verdict.reason, now)
        for slot in gone:
            del self.changes[slot]

    def _service(self, key: Key, before: Decision | None, after: Decision, now: datetime) -> None:
        where = f"{endpoint(key[1], key[2])}/{key[0]}"
        if after.panic != (before is not None and before.panic):
            said = "too few are healthy: all are served (panic)" if after.panic else "panic ends"
            self.add(now, "health", f"{where}: {said}", "error" if after.panic else "info")
        if before is not None and after.quorum_met != before.quorum_met:
            said = "the quorum is met" if after.quorum_met else "fewer than the quorum are healthy"
            self.add(now, "health", f"{where}: {said}", "info" if after.quorum_met else "error")

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
            self.add(
                now, "health", f"{host} of {endpoint(vip, port)}/{protocol} is {state}{why}", level
            )
