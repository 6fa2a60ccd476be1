"""What the probes tell: a record for each, the health of each destination, where probes go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from onearm.checks import Result, Target
from onearm.daemon.probes import Marks, probes_by_slot, shadow, targets
from onearm.daemon.rounds import is_way_in
from onearm.daemon.tally import Tally
from onearm.errors import PlaceError
from onearm.health import Health
from onearm.model import Action, Address, AnnouncedVip, CheckMark, Key, Resource, Sysctl
from onearm.places import director
from onearm.rotation import Slot
from onearm.snapshot import DOWN, UP
from onearm.spec import Spec


def _standing(wanted: Sequence[Resource]) -> list[Resource]:
    return list(director.read(wanted).values())


def _leans(resource: Resource, vip: object, server: object) -> bool:
    """Say whether a probe of this server through this VIP leans on that part of the way."""
    if isinstance(resource, CheckMark):
        return resource.server == server
    return not isinstance(resource, AnnouncedVip) or resource.vip == vip


@dataclass
class Checking:
    """The records of all probes of the spec, and of none other."""

    tallies: dict[Key, Tally] = field(default_factory=dict)
    standing: Callable[[Sequence[Resource]], list[Resource]] = _standing
    proven: bool = False  # a probe through a VIP was answered since we began
    suspected: bool = False  # none ever was, and servers answer for themselves

    def keep(self, spec: Spec) -> None:
        """Keep a record for each probe of the spec, and for the shadows of those that fail."""
        wanted = set(probes_by_slot(spec).values())
        shadows = {other for key in self._failing(wanted) if (other := shadow(key))}
        for key in (wanted | shadows) - self.tallies.keys():
            self.tallies[key] = Tally(key[3])
        for key in self.tallies.keys() - wanted - shadows:
            del self.tallies[key]

    def _failing(self, keys: Iterable[Key]) -> set[Key]:
        """Choose those whose last result was bad, also before that turns the health: then the
        reason can say from the start what their shadows tell.
        """
        return {key for key in keys if key in self.tallies and self.tallies[key].health.reason}

    def take(
        self, result: Result, way: Iterable[Resource], now: datetime, *, linked: bool = True
    ) -> bool:
        """Take a result in; say whether it asks for a round.

        One that turns the health counts only if its way stands (`way`): without its mark's service
        a probe of the VIP ends on this very host, without the VIP it never begins there, and with
        accept_local off no reply comes in. None of it says anything of the real server: somebody's
        `ipvsadm -C` must not take all out. Nor does a bad one say anything while this host's own
        link is dead (`linked`).
        """
        key: Key = tuple(result.key)  # type: ignore[arg-type] # ours come back as they went
        tally = self.tallies.get(key)
        if tally is None:
            return False
        before = tally.health
        if not linked and not result.ok:
            tally.health = replace(before, streak=0)
            return False
        if not tally.take(result, now):
            return not before.reason and bool(tally.health.reason)  # its shadow may begin
        if not self._way_stands(key, way) or self._unproven(key, tally):
            tally.health = replace(before, reason=tally.health.reason, streak=0)
        self.proven |= result.ok and key[3].through == "vip"
        return True

    def _unproven(self, key: Key, tally: Tally) -> bool:
        """Say whether this very host may be to blame: no probe through a VIP was ever answered.

        A stateful firewall here, say, drops all answers to probes and lets the clients pass. So
        nobody is taken out before one was answered, unless the server itself does not answer.
        """
        if self.proven or key[3].through == "host" or tally.health.status != DOWN:
            return False
        other = self.tallies.get(shadow(key) or ())
        dead = other is not None and other.bad > 0 and other.health.status != UP
        self.suspected |= not dead
        return not dead

    def _way_stands(self, key: Key, way: Iterable[Resource]) -> bool:
        vip, server, _, check = key
        if check.through == "host":
            return True
        wanted = [r for r in way if _leans(r, vip, server)]
        marked = any(isinstance(resource, CheckMark) for resource in wanted)
        try:
            standing = self.standing(wanted)
        except PlaceError:
            return False
        return marked and all(resource in standing for resource in wanted)

    def forgive(self, done: Iterable[Action]) -> None:
        """Count no bad result that was got while its way did not stand."""
        mended = [action.after for action in done]
        servers = {r.server for r in mended if isinstance(r, CheckMark)}
        vips = {r.vip for r in mended if isinstance(r, AnnouncedVip)}
        let_in = any(isinstance(r, Sysctl) and is_way_in(r) for r in mended)
        for key, tally in self.tallies.items():
            if key[3].through == "vip" and (let_in or key[1] in servers or key[0] in vips):
                tally.health = replace(tally.health, streak=0)

    def healths(self, spec: Spec) -> dict[Slot, Health]:
        """Give the health of every destination that is checked."""
        found = {}
        for slot, key in probes_by_slot(spec).items():
            other = shadow(key)
            found[slot] = self.tallies[key].explained(self.tallies.get(other) if other else None)
        return found

    def targets(
        self, spec: Spec, marks: Marks, sources: Mapping[int, Address]
    ) -> tuple[Target, ...]:
        """List every probe that shall run."""
        return targets(spec, marks, sources, self._failing(probes_by_slot(spec).values()))

    def told(self) -> bool:
        """Say whether every probe of the spec told something."""
        return all(t.good or t.bad for key, t in self.tallies.items() if key[3].through == "vip")
