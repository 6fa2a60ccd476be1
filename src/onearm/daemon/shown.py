"""The daemon's state as those who look on get it: the frozen snapshot of one moment."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from onearm.daemon.picture import Scenery, services, vips
from onearm.daemon.rounds import bounded
from onearm.desire import director_link
from onearm.snapshot import Snapshot

if TYPE_CHECKING:
    from onearm.daemon.core import Core


def snapshot(core: Core) -> Snapshot:
    """Take a picture of all that it knows at this moment."""
    still = (trouble.text for trouble in core.checks.troubles)
    link = director_link(core.spec, core.facts)
    seen = Scenery(
        core.spec,
        core.facts,
        core.rotation,
        core.checking.tallies,
        core.record,
        core.guard.claimants,
        link,
    )
    return Snapshot(
        name=core.spec.name,
        host=core.host,
        at=core.wall().isoformat(),
        started=core.started.isoformat(),
        spec_path=str(core.source.path),
        spec_digest=core.source.digest,
        build=core.build,
        pid=os.getpid(),
        services=services(seen),
        vips=vips(seen),
        events=tuple(core.record.events),
        rounds=core.rounds.made,
        rounds_failed=core.rounds.failed,
        last_round_s=core.last_round_s,
        drift_healed=core.rounds.healed,
        drain_cut=core.rounds.drain_cut,
        reloads=core.source.taken,
        reloads_failed=core.source.refused,
        converged=core.rounds.converged,
        left=tuple(bounded(core.rounds.left)),
        spec_error=core.source.error,
        troubles=core.troubles.lately(time.monotonic(), still),
    )
