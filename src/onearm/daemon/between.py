"""What the daemon does between its rounds: figures, drains that end, announcements."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from onearm.daemon.ears import Beat
from onearm.daemon.shown import snapshot
from onearm.desire import director_link
from onearm.drain import draining
from onearm.errors import PlaceError
from onearm.kernel.packets import announce
from onearm.snapshot import DRAINING

if TYPE_CHECKING:
    from onearm.daemon.core import Core

TICK_S = 1.0  # weights that grow, drains that end, figures for those who look on
REFRESH_S = 60.0  # how often a VIP is announced anew: a cache that was misled recovers
SHARE = 0.05  # of its time, at most, that the daemon reads figures of a very large table
QUIET_S = 0.25  # so shortly before a round the figures are not read for themselves


def tick(core: Core) -> None:
    """Once a second: see who drains or ramps, read figures, announce, answer who waited enough."""
    if time.monotonic() < core.ticked + TICK_S:
        return
    core.ticked = time.monotonic()
    core.dirty |= core.guard.forget(core.now()) and core.spec.isolate
    core.dirty |= bool(core.rotation.ramps) or _drains(core)
    if not core.dirty and core.due - core.ticked > QUIET_S and core.ticked >= core.refreshable:
        refresh(core)
    if core.ticked >= core.announced + REFRESH_S:
        _announce(core)
    core.answer()


def _drains(core: Core) -> bool:
    """Say whether somebody drains: by hand, or because the spec names it no more."""
    decisions = core.rotation.decisions.values()
    by_hand = any(v.state == DRAINING for d in decisions for v in d.verdicts.values())
    return by_hand or bool(draining(core.spec, {core.host: core.facts}, core.now()))


def refresh(core: Core) -> None:
    """Read the figures anew for those who look on; they show it when the table was changed."""
    try:
        core.facts = replace(core.facts, services=core.here.services())
        core.dirty |= not core.rounds.looks_right(core.facts.services)
    except PlaceError as error:
        core.trouble(str(error))
    core.latest = snapshot(core)
    cost_s = time.monotonic() - core.ticked
    core.refreshable = core.ticked + cost_s / SHARE


def _announce(core: Core) -> None:
    """Announce what we hold once more; the first time it was just announced."""
    first, core.announced = not core.announced, core.ticked
    for view in () if first else core.latest.vips:
        if view.announced and view.mac:
            try:
                announce(view.link, view.vip, view.mac, times=1)
            except OSError as error:
                core.deafened(error.strerror or str(error))


def beat(core: Core) -> Beat | None:
    """Say what the ARP guard shall do; nothing while there is no link to hear on."""
    link = core.facts.link(director_link(core.spec, core.facts))
    if link is None or not link.mac or not link.up:
        return None
    asked_for = tuple(dict.fromkeys(vip for service in core.spec.services for vip in service.vips))
    return Beat(link.name, link.mac, core.own_addresses(), asked_for)
