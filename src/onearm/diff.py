"""The one diff: from what is wanted and what was seen to a plan in a safe order; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from onearm.errors import Refused
from onearm.model import (
    NEUTRON,
    ORDER,
    STEP,
    Action,
    Address,
    AnnouncedVip,
    ArpSilence,
    Destination,
    HeldVip,
    Key,
    Observed,
    PortSecurity,
    Resource,
    Seen,
    State,
    Sysctl,
    Timeout,
    World,
    notes,
    state_key,
)

TOP = len(ORDER) - 1
Step = dict[str, tuple[Action, ...]]
Sighting = Mapping[Key, Seen]


@dataclass(frozen=True)
class Plan:
    """Steps in a safe order; `refusals` are sentences why it may not be carried out as it is."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Action]:
        return (action for step in self.steps for batch in step.values() for action in batch)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def diff(name: str, desired: World, observed: Observed, *, adopt: bool = False) -> Plan:
    """List every change that the places we can see need, in a safe order. Pure.

    What is not marked as ours and differs is refused unless `adopt`; so is what another spec wants
    otherwise. Sysctls, silences and port security are replaced in any case: what was there is kept
    in the mark.
    """
    actions: list[Action] = []
    refusals: list[str] = []
    for place, sighting in observed.items():
        for seen, after in _differing(name, sighting, desired.get(place, {})):
            try:
                actions += _change(name, place, seen, after, adopt=adopt)
            except Refused as refusal:
                refusals.append(str(refusal))
    actions += _announcements(desired, observed, actions)
    told = _with_silence_told(name, desired, observed, actions)
    return Plan(_steps(told), tuple(refusals))


def _differing(
    name: str, sighting: Sighting, wanted: State
) -> Iterator[tuple[Seen | None, Resource | None]]:
    """Pair what stands with what is wanted; what is ours and the very same value is left out.

    Of a large world that is nearly all, and it costs a look-up.
    """
    # without strict: its tests run under Python 3.9, too
    for seen, after in zip(sighting.values(), map(wanted.get, sighting)):  # noqa: B905
        if seen.resource is not after or name not in seen.names:
            yield seen, after
    absent = set(wanted).difference(sighting)  # at once, where both are dictionaries
    for key in (key for key in wanted if key in absent) if absent else ():
        yield None, wanted[key]


def _change(
    name: str, place: str, seen: Seen | None, after: Resource | None, *, adopt: bool
) -> list[Action]:
    if seen is None:
        return [Action(place, None, after)]
    if after is None:
        return [Action(place, seen.resource, None)] if name in seen.names else []
    if seen.resource == after:
        return _keep(name, place, seen, after, adopt=adopt)
    _may_replace(name, place, seen, after, adopt=adopt)
    return [Action(place, seen.resource, after)]


def _keep(name: str, place: str, seen: Seen, after: Resource, *, adopt: bool) -> list[Action]:
    joins = name not in seen.names and (bool(seen.names) or adopt)
    renoted = name in seen.names and notes(seen.resource) != notes(after)
    return [Action(place, seen.resource, after)] if joins or renoted else []


def _may_replace(name: str, place: str, seen: Seen, after: Resource, *, adopt: bool) -> None:
    others = [other for other in seen.names if other != name]
    if others and seen.marked is not None and _values(seen.marked) != _values(after):
        raise Refused(
            f"{place}: {describe(after)}: the spec {others[0]!r} wants {describe(seen.marked)};"
            " let both specs say the same, or use different VIPs and ports"
        )
    replaceable = isinstance(after, (Sysctl, Timeout, ArpSilence, PortSecurity))
    if not seen.names and not replaceable and not adopt:
        raise Refused(
            f"{place}: {describe(seen.resource)} stands there and is in no record of ours, and the"
            f" spec wants {describe(after)}; apply with --adopt to take it over, or remove it"
        )


def _values(resource: Resource) -> Resource:
    """Strip what only tells how far we are: no two specs can want it otherwise."""
    return replace(resource, announced=True) if isinstance(resource, ArpSilence) else resource


def describe(resource: Resource) -> str:
    """Name a resource with its values, for logs and sentences."""
    shown = [
        f"{name}={value}" if name not in ("vip", "link", "name", "path") else str(value)
        for name, value in _shown_fields(resource)
    ]
    return f"{type(resource).__name__}({', '.join(shown)})"


def _shown_fields(resource: Resource) -> list[tuple[str, object]]:
    hidden = {"announced", "kind", "up", "prefix_length", "upper", "lower", "forwarding"}
    hidden |= {"tunnel", "tunnel_port", "own_port", "loose"}
    hidden |= {"persistence_mask", "engine", "mark"}
    return [
        (name, getattr(resource, name))
        for name, spec in type(resource).__dataclass_fields__.items()
        if spec.compare and (name not in hidden or getattr(resource, name) != spec.default)
        if name != "text"
    ]


# A server that held the VIP unsilenced may have put its MAC into the neighbours' caches. When it
# falls silent, the director announces the VIP again; the silence's mark says `announced=False`
# until that is done, so that a run killed in between is repaired by the next one.


def _announcements(desired: World, observed: Observed, actions: list[Action]) -> list[Action]:
    """List the VIPs to announce again; one that is not ours is announced, but not marked."""
    silences = [action for action in actions if isinstance(action.after, ArpSilence)]
    vips = {
        vip for action in silences for vip in _untold_vips(action, observed.get(action.place, {}))
    }
    if not vips:
        return []
    fresh = {state_key(a.resource) for a in actions if isinstance(a.resource, AnnouncedVip)}
    return [
        Action(place, observed[place][key].resource, resource)
        for place, wanted in desired.items()
        for key, resource in wanted.items()
        if isinstance(resource, AnnouncedVip) and resource.vip in vips
        if place in observed and key in observed[place] and key not in fresh
    ]


def _untold_vips(action: Action, sighting: Sighting) -> set[Address]:
    """List the VIPs that a silence about to be built (or just built) had let slip."""
    silence = action.after
    if not isinstance(silence, ArpSilence):
        return set()
    before = action.before
    if isinstance(before, ArpSilence) and before.announced and before.deaf and before.mute:
        return set()
    if before is None and _silent_already(silence, sighting):
        return set()
    held = {s.resource.vip for s in sighting.values() if isinstance(s.resource, HeldVip)}
    return {vip for vip in held if silence.vip in (None, vip)}


def _silent_already(silence: ArpSilence, sighting: Sighting) -> bool:
    """Say whether another policy silences the link already, as during a change of policy."""
    others = [s.resource for s in sighting.values() if isinstance(s.resource, ArpSilence)]
    return any(o.link == silence.link and o.deaf and o.mute for o in others)


def _with_silence_told(
    name: str, desired: World, observed: Observed, actions: list[Action]
) -> list[Action]:
    """Let every silence that must be announced be built untold first, then told at the end."""
    if not any(isinstance(action.after, ArpSilence) for action in actions):
        return actions
    announcers = {
        resource.vip: place
        for place, wanted in desired.items()
        for resource in wanted.values()
        if isinstance(resource, AnnouncedVip)
    }
    told: list[Action] = []
    for action in actions:
        if not isinstance(action.after, ArpSilence):
            told.append(action)
            continue
        vips = _untold_vips(action, observed.get(action.place, {}))
        if vips:
            seen = observed.get(action.place, {}).get(state_key(action.after))
            ours = seen is not None and name in seen.names
            there = all(announcers.get(vip) in observed for vip in vips)
            told += _told_chain(action, action.after, ours=ours, announcer_is_there=there)
        else:
            told.append(action)
    return told


def _told_chain(
    action: Action, silence: ArpSilence, *, ours: bool, announcer_is_there: bool
) -> list[Action]:
    """Build the silence untold, then tell. What another spec has yet to tell, we join at once."""
    untold = replace(silence, announced=False)
    stands = action.before == untold
    chain = [] if stands and (ours or announcer_is_there) else [replace(action, after=untold)]
    return [*chain, Action(action.place, untold, silence)] if announcer_is_there else chain


def builds(action: Action) -> bool:
    """Say whether an action adds. What ends the flow of packets takes down, also as an update."""
    before, after = action.before, action.after
    if after is None:
        return False
    if isinstance(after, Destination) and isinstance(before, Destination):
        return not (before.weight and not after.weight)
    if isinstance(after, ArpSilence) and isinstance(before, ArpSilence):
        loses = (before.deaf and not after.deaf) or (before.mute and not after.mute)
        tells = after.announced and not before.announced  # the last thing of all
        return not loses and not tells
    return True


def turn(action: Action) -> int:
    """Give an action its place in the order: up through ORDER, then down in reverse.

    The director's VIP alone is taken down before it is built: two hosts must never announce it.
    """
    step = STEP[type(action.resource)]
    if builds(action):
        return 2 * step
    return 2 * TOP - 1 if step == TOP else 2 * (2 * TOP - step)


def _steps(actions: list[Action]) -> tuple[Step, ...]:
    found: dict[int, dict[str, list[Action]]] = {}
    for action in actions:
        found.setdefault(turn(action), {}).setdefault(action.place, []).append(action)
    return tuple(
        {place: tuple(sorted(batch, key=_within_batch)) for place, batch in found[n].items()}
        for n in sorted(found)
    )


_RANK = {kind: n for kinds in ORDER for n, kind in enumerate(kinds)}


def _within_batch(action: Action) -> tuple[int, str]:
    """Order a batch for the reader, and so that two directors get the same table.

    In the cloud a port is in its group before it has a wide pair, and loses that before it goes
    back: one request does both, but somebody may type it as commands.
    """
    resource = action.resource
    rank = _RANK[type(resource)]
    if action.place == NEUTRON and builds(action):
        rank = -rank
    return rank, "', '".join(map(str, resource.key)) + "'"
