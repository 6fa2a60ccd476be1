"""Health of one real server behind one VIP: (state, result) -> state; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from onearm.snapshot import DOWN, UNKNOWN, UP

# A server that came back FLAPS times within WINDOW has to prove more before it comes back again:
# its rise is doubled with each further return, up to STRICTEST times.
WINDOW = timedelta(minutes=10)
FLAPS = 3
STRICTEST = 8
REMEMBERED = 16


@dataclass(frozen=True)
class Health:
    """What is known of it. `streak` counts the results in a row that speak against `status`;
    `returns` are the moments at which it came back, within WINDOW.
    """

    status: str = UNKNOWN
    since: datetime | None = None
    reason: str = ""
    streak: int = 0
    returns: tuple[datetime, ...] = ()


def step(  # noqa: PLR0917 - a result, and the rule for it
    health: Health,
    ok: bool,  # noqa: FBT001
    reason: str,
    now: datetime,
    rise: int,
    fall: int,
) -> Health:
    """Take one result in. The first good result of an unknown one is enough to trust it."""
    if ok == (health.status == UP) and health.status != UNKNOWN:
        said = "" if ok else reason
        same = not health.streak and health.reason == said  # as nearly always
        return health if same else replace(health, streak=0, reason=said)
    streak = health.streak + 1 if health.status != UNKNOWN or not ok else 1
    health = replace(health, streak=streak, reason=reason if not ok else health.reason)
    if streak < _needed(health, ok, now, rise, fall):
        return health
    return _turned(health, ok, reason, now)


def _needed(health: Health, ok: bool, now: datetime, rise: int, fall: int) -> int:  # noqa: FBT001
    if not ok:
        return fall
    return 1 if health.status == UNKNOWN else rise * strictness(health, now)


def strictness(health: Health, now: datetime) -> int:
    """Say by how much its rise is multiplied, for how often it came back lately."""
    lately = sum(now - moment < WINDOW for moment in health.returns)
    return min(1 << max(0, lately - FLAPS + 1), STRICTEST)


def _turned(health: Health, ok: bool, reason: str, now: datetime) -> Health:  # noqa: FBT001
    if not ok:
        return replace(health, status=DOWN, since=now, reason=reason, streak=0)
    returns = health.returns if health.status == UNKNOWN else (*health.returns, now)
    recent = tuple(moment for moment in returns if now - moment < WINDOW)[-REMEMBERED:]
    return Health(UP, now, "", 0, recent)
