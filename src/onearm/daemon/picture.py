"""The daemon's state as one frozen picture; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onearm.daemon.probes import probes_by_slot
from onearm.daemon.record import Record
from onearm.daemon.tally import Tally
from onearm.facts import Counters, DestinationFact, HostFacts, ServiceFact
from onearm.model import Address, Key
from onearm.rotation import Decision, Rotation, Slot, Verdict, full_weight
from onearm.snapshot import CheckView, Claimant, ServerView, ServiceView, VipView
from onearm.spec import Spec, VirtualService, servers_of


@dataclass(frozen=True)
class Scenery:
    """All that the picture is made of."""

    spec: Spec
    facts: HostFacts
    rotation: Rotation
    tallies: Mapping[Key, Tally]
    record: Record
    claimants: Mapping[Address, Mapping[str, Claimant]]
    link: str = ""


def services(scene: Scenery) -> tuple[ServiceView, ...]:
    """Show every service of the spec."""
    standing = {fact.identity: fact for fact in scene.facts.services}
    probes = probes_by_slot(scene.spec)
    return tuple(
        _service(scene, service, standing.get(service.identity), probes)
        for service in scene.spec.services
    )


def _service(
    scene: Scenery, service: VirtualService, seen: ServiceFact | None, probes: Mapping[Slot, Key]
) -> ServiceView:
    key = service.key
    decision = scene.rotation.decisions.get(key, Decision({}))
    facts = {fact.server: fact for fact in (seen.destinations if seen else ())}
    addresses = servers_of(scene.spec, service.vip.version)
    return ServiceView(
        vip=service.vip,
        port=service.port,
        protocol=service.protocol,
        scheduler=service.scheduler,
        servers=tuple(
            _server(
                scene,
                (*key, host),
                verdict,
                facts.get(addresses[host]),
                scene.tallies.get(probes.get((*key, host), ())),
            )
            for host, verdict in decision.verdicts.items()
        ),
        counters=seen.counters if seen else Counters(),
        panic=decision.panic,
        sorry=decision.sorry,
        quorum=service.policy.quorum,
        quorum_met=decision.quorum_met,
    )


def _server(
    scene: Scenery,
    slot: Slot,
    verdict: Verdict,
    fact: DestinationFact | None,
    tally: Tally | None,
) -> ServerView:
    history = tuple(scene.record.changes.get(slot, ()))
    address = servers_of(scene.spec, slot[1].version)[slot[3]]
    return ServerView(
        host=slot[3],
        address=address,
        state=verdict.state,
        since=history[-1].at if history else "",
        reason=verdict.reason,
        weight=fact.weight if fact else None,
        wanted=_wanted(scene.spec, slot),
        active=fact.active if fact else 0,
        inactive=fact.inactive if fact else 0,
        counters=fact.counters if fact else Counters(),
        check=_check(tally),
        history=history,
        drain_deadline=verdict.cut.isoformat() if verdict.cut else None,
        sorry=verdict.sorry,
    )


def _wanted(spec: Spec, slot: Slot) -> int:
    """Give the weight when all is well, in the kernel's scale; the sorry server has none."""
    found = [
        full_weight(service, member)
        for service in spec.services
        for member in service.members
        if (service.protocol, service.vip, service.port, member.host) == slot
    ]
    return found[0] if found else 0


def _check(tally: Tally | None) -> CheckView | None:
    if tally is None:
        return None
    return CheckView(
        kind=tally.check.kind,
        through=tally.check.through,
        good=tally.good,
        bad=tally.bad,
        last_latency_s=tally.last_latency_s,
        latencies=tuple(tally.latencies),
        latency_sum_s=tally.latency_sum_s,
        reason=tally.health.reason,
    )


def vips(scene: Scenery) -> tuple[VipView, ...]:
    """Show every VIP, and who else claims it."""
    link = scene.facts.link(scene.link)
    held = {(fact.address, fact.link) for fact in scene.facts.addresses}
    return tuple(
        VipView(
            vip=vip,
            link=scene.link,
            mac=link.mac if link else "",
            announced=(vip, scene.link) in held,
            claimants=tuple(scene.claimants.get(vip, {}).values()),
        )
        for vip in dict.fromkeys(vip for service in scene.spec.services for vip in service.vips)
    )
