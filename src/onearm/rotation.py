"""Who serves with which weight: (service, health, drains, kernel) -> verdicts; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import NamedTuple

from onearm.drain import live
from onearm.facts import DestinationFact, HostFacts
from onearm.health import Health
from onearm.lean import lean
from onearm.model import Address, Drain, Key, Service
from onearm.snapshot import DOWN, DRAINED, DRAINING, RAMPING, UNCHECKED, UNKNOWN, UP
from onearm.spec import Member, Spec, VirtualService, servers_of

SCALE = 100  # with slow start the greatest weight of a service is about this, so that it can grow
GRACE = timedelta(seconds=2)  # a connection that is being made when draining begins is not cut
SORRY_WEIGHT = 1

Slot = tuple[str, Address, int, str]  # a service's key and the host: one destination by its name


@lean
@dataclass(frozen=True)
class Verdict:
    """What one destination shall be: its weight (None: not in the table), in which state and why.

    `cut` is when a drain ends by its deadline.
    """

    weight: int | None
    state: str
    reason: str = ""
    since: datetime | None = None
    cut: datetime | None = None
    sorry: bool = False


@lean
@dataclass(frozen=True)
class Decision:
    """A service's verdicts by host."""

    verdicts: Mapping[str, Verdict]
    panic: bool = False
    sorry: bool = False
    quorum_met: bool = True


@dataclass(frozen=True)
class Rotation:
    """Who was served at the last look, and since when the weights of those that came back grow.

    `served` None: nothing was decided yet, and the kernel's table says who is served.
    """

    served: frozenset[Slot] | None = None
    ramps: Mapping[Slot, datetime] = field(default_factory=dict)
    decisions: Mapping[Key, Decision] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """All that a decision looks at. `healths` None: nobody checks, so all are trusted."""

    spec: Spec
    host: HostFacts
    now: datetime
    healths: Mapping[Slot, Health] | None = None
    drains: Mapping[str, Drain] = field(default_factory=dict)
    isolated: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def _serves(weight: int, state: str, since: datetime | None) -> Verdict:
    """Give the verdict on one that serves as the spec says; most are alike."""
    return Verdict(weight, state, "", since)


def full_weight(service: VirtualService, member: Member) -> int:
    """Give a member's weight when all is well, in a scale in which it can grow."""
    if not service.policy.slow_start_s:
        return member.weight
    greatest = max(one.weight for one in service.members)
    return member.weight * max(1, SCALE // max(1, greatest))


def drains_in(host: HostFacts, name: str) -> dict[str, Drain]:
    """Read from the marks who is drained by hand."""
    marks = (mark.resource for mark in host.marks_of(Service) if name in mark.names)
    kept = [drain for r in marks if isinstance(r, Service) for drain in r.drains]
    return {drain.host: drain for drain in kept}


def decide(before: Rotation, scene: Scene) -> Rotation:
    """Decide every service of the spec anew, but those whose members are as they were."""
    decisions: dict[Key, Decision] = {}
    ramps: dict[Slot, datetime] = {}
    served: list[frozenset[Slot]] = []
    servers = {version: servers_of(scene.spec, version) for version in scene.spec.versions}
    table = _table(scene.host)
    for service in scene.spec.services:
        key = service.key
        basis = _basis(scene, service)
        held = _decided.get(key)
        if held is None or basis is None or (held.service, held.basis) != (service, basis):
            standing = Standing(servers[service.vip.version], table.get(service.identity, ()))
            one = _Deciding(before, scene, service, standing)
            held = _decided[key] = Decided(service, basis, *one.decided())
            ramps |= one.ramps
        elif held.service is not service:
            _decided[key] = held._replace(service=service)  # told apart sooner the next time
        decisions[key] = held.decision
        served.append(held.served)
    if len(_decided) > MOST_DECIDED:
        _decided.clear()
    return Rotation(frozenset().union(*served), ramps, decisions)


class Decided(NamedTuple):
    """A decision, and all that it was made of: the service and the health of its members.

    `basis` None: it was made of more, and must be made anew each time.
    """

    service: VirtualService
    basis: tuple[Health | None, ...] | None
    decision: Decision
    served: frozenset[Slot]


_decided: dict[Key, Decided] = {}  # the last one for each service
MOST_DECIDED = 1 << 14


def _basis(scene: Scene, service: VirtualService) -> tuple[Health | None, ...] | None:
    """Give the health of the members where nothing else counts: no drain, no time, no table."""
    policy = service.policy
    if scene.drains or scene.isolated or policy.slow_start_s or policy.sorry:
        return None
    if scene.healths is None:
        return ()
    found = tuple([scene.healths.get((*service.key, member.host)) for member in service.members])
    return None if any(h is not None and h.status not in {UP, DOWN} for h in found) else found


def _table(host: HostFacts) -> dict[Key, tuple[DestinationFact, ...]]:
    return {service.identity: service.destinations for service in host.services}


@lean
@dataclass(frozen=True)
class Standing:
    """The destinations that the kernel has behind a service, by their host; most ask for none."""

    servers: Mapping[str, Address]
    facts: Iterable[DestinationFact]

    def get(self, host: str, port: int) -> DestinationFact | None:
        return self._by_address.get((self.servers[host], port)) if host in self.servers else None

    @cached_property
    def _by_address(self) -> dict[tuple[Address, int], DestinationFact]:
        return {(fact.server, fact.port): fact for fact in self.facts}


@dataclass
class _Deciding:
    """One service in the making."""

    before: Rotation
    scene: Scene
    service: VirtualService
    standing: Standing

    def __post_init__(self) -> None:
        self.ramps: dict[Slot, datetime] = {}

    def fact(self, host: str) -> DestinationFact | None:
        return self.standing.get(host, self.service.port_at(host))

    def slot(self, host: str) -> Slot:
        return (self.service.protocol, self.service.vip, self.service.port, host)

    def decided(self) -> tuple[Decision, frozenset[Slot]]:
        """Decide, and list who is served then."""
        found = self.decision()
        serving = (h for h, v in found.verdicts.items() if v.weight and not v.sorry)
        return found, frozenset(map(self.slot, serving))

    def decision(self) -> Decision:
        members = {m.host: m for m in self.service.members}
        taken_out = {h: v for h in members if (v := self._by_hand(h))}
        rest = [m for h, m in members.items() if h not in taken_out]
        judged = {m.host: self._by_health(m) for m in rest}
        able = [m for m in rest if m.weight]
        healthy = sum(bool(judged[m.host].weight) for m in able)
        panic = bool(able) and 100 * healthy < self.service.policy.panic * len(able)
        met = healthy >= self.service.policy.quorum
        if panic:
            judged = {m.host: self._in_panic(m, judged[m.host]) for m in rest}
        verdicts = {**taken_out, **judged}
        sorry = not met and not panic and self._sorry_serves()
        if sorry:
            verdicts = self._sorry(verdicts)
        order = [*members, *(h for h in verdicts if h not in members)]
        return Decision({h: verdicts[h] for h in order}, panic, sorry, met)

    def _sorry_serves(self) -> bool:
        host = self.service.policy.sorry
        return host is not None and host not in {*self.scene.drains, *self.scene.isolated}

    def _by_hand(self, host: str) -> Verdict | None:
        """Say what a drain, or an isolation, makes of it."""
        scene = self.scene
        if host in scene.drains:
            return self._drained(host, scene.drains[host])
        if host in scene.isolated:
            return Verdict(0, DOWN, scene.isolated[host])
        return None

    def _drained(self, host: str, drain: Drain) -> Verdict:
        now = self.scene.now
        since = moment(drain.since, now)
        ends = since + timedelta(seconds=drain.deadline_s) if drain.deadline_s is not None else None
        fact = self.fact(host)
        busy = fact is not None and (live(self.service.protocol, fact) or now < since + GRACE)
        if fact is None or not busy or (ends is not None and now >= ends):
            return Verdict(None, DRAINED, "drained by hand; undrain brings it back", since)
        reason = f"{live(self.service.protocol, fact)} connections may end"
        return Verdict(0, DRAINING, reason, since, ends)

    def _by_health(self, member: Member) -> Verdict:
        """Say what its health makes of it."""
        full = full_weight(self.service, member)
        if self.scene.healths is None:
            return _serves(full, UNCHECKED, None)
        health = self.scene.healths.get(self.slot(member.host))
        if health is None:
            return self._grown(member, UNCHECKED, None)
        if health.status == UP:
            return self._grown(member, UP, health.since)
        if health.status == DOWN:
            weight = 0 if self.service.policy.on_failure == "weight 0" else None
            return Verdict(weight if full else 0, DOWN, health.reason, health.since)
        return self._unknown(member, health)

    def _unknown(self, member: Member, health: Health) -> Verdict:
        """Leave it as the kernel has it; a weight that was growing goes on from there."""
        fact, full = self.fact(member.host), full_weight(self.service, member)
        slow, slot = self.service.policy.slow_start_s, self.slot(member.host)
        if fact is not None and slow and 0 < fact.weight < full:
            began = self.scene.now - timedelta(seconds=slow * fact.weight / full)
            self.ramps[slot] = self.before.ramps.get(slot, began)
        reason = health.reason or "not checked yet"
        return Verdict(fact.weight if fact else None, UNKNOWN, reason, health.since)

    def _grown(self, member: Member, state: str, since: datetime | None) -> Verdict:
        """Give the weight of one that serves; it grows where it was not served before."""
        full, slow = full_weight(self.service, member), self.service.policy.slow_start_s
        if not slow or not full or self.scene.healths is None:
            return _serves(full, state, since)
        slot, now = self.slot(member.host), self.scene.now
        began = self._began(slot, full)
        grown = (now - began).total_seconds() / slow if began else 1.0
        if began is None or grown >= 1:
            return Verdict(full, state, "", since)
        self.ramps[slot] = began
        weight = max(1, int(full * max(0.0, grown)))
        return Verdict(weight, RAMPING, f"{weight} of {full}", began)

    def _began(self, slot: Slot, full: int) -> datetime | None:
        now, before = self.scene.now, self.before
        if slot in before.ramps:
            return before.ramps[slot]
        if before.served is not None:
            return None if slot in before.served else now
        fact = self.fact(slot[3])  # a ramp that a restart of ours interrupted goes on
        done = min(fact.weight / full, 1.0) if fact else 0.0
        return (
            None if done >= 1 else now - timedelta(seconds=self.service.policy.slow_start_s * done)
        )

    def _in_panic(self, member: Member, verdict: Verdict) -> Verdict:
        if verdict.state in {UP, UNCHECKED}:
            return verdict
        reason = f"served all the same (panic): {verdict.reason}"
        return replace(verdict, weight=full_weight(self.service, member), reason=reason)

    def _sorry(self, verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
        """Let the sorry server serve alone; connections of the others may go on."""
        why = f"{self.service.policy.sorry} serves alone"
        alone = {
            h: replace(
                v,
                weight=0 if v.weight is not None and self.fact(h) else None,
                reason=v.reason or why,
            )
            for h, v in verdicts.items()
        }
        host = self.service.policy.sorry or ""
        was = verdicts.get(host)
        reason = "the sorry server: fewer than the quorum are healthy"
        state = was.state if was else UNCHECKED
        return {**alone, host: Verdict(SORRY_WEIGHT, state, reason, sorry=True)}


def moment(text: str, now: datetime) -> datetime:
    """Read a time from a mark; what is none, by whoever wrote the mark, is now."""
    try:
        found = datetime.fromisoformat(text)
        return found if abs(found - now) < timedelta(days=3650) else now
    except (ValueError, TypeError):  # TypeError: a time without its zone
        return now
