"""Observe, diff, and one step after the other: how what is becomes what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from onearm.diff import Plan, Step, builds, diff
from onearm.each import Watch, each
from onearm.errors import Differs, PlaceError, Refused
from onearm.model import (
    NEUTRON,
    Action,
    AnnouncedVip,
    ArpSilence,
    BootVip,
    Destination,
    Key,
    MarkRule,
    Observed,
    Resource,
    Seen,
    Service,
    State,
    World,
)


class Place(Protocol):
    """Where state lives. Both verbs raise PlaceError only when the place is lost."""

    def observe(self, wanted: State) -> dict[Key, Seen]:
        """Show what stands under the wanted keys, and what carries our mark."""

    def apply(
        self, batch: tuple[Action, ...], done: Callable[[Action], None]
    ) -> dict[Action, PlaceError]:
        """Try every action, tell of each that took effect, return the refused; idempotent."""


@dataclass
class Outcome:
    """What a run did, what is left to do, and the places that are out with the reason.

    `undone` is what was planned for places that are out by now, as far as it is not done: the last
    that is known of them. Of a place that was never looked at it has nothing.
    """

    done: list[Action] = field(default_factory=list)
    left: Plan = field(default_factory=Plan)
    out: dict[str, PlaceError] = field(default_factory=dict)
    undone: list[Action] = field(default_factory=list)
    interrupted: bool = False


def held(action: Action, out: Mapping[str, object], observed: Observed, desired: World) -> bool:
    """Say whether an action must wait because a place is out.

    No VIP moves; no VIP, silence, link, pair, group, rule or reservation is removed; no sysctl is
    put back: what stays of a tunnel or of masq lives by it. No packet starts towards a server that
    is itself out, or to any while the cloud is: a pair may be missing.
    Taking traffic away goes on while its service keeps another destination with weight.
    """
    if not out:
        return False
    if builds(action):
        return _building_held(action, out, observed)
    return _taking_down_held(action, observed[action.place], desired.get(action.place, {}))


def _building_held(action: Action, out: Mapping[str, object], observed: Observed) -> bool:
    resource, before = action.resource, action.before
    if isinstance(resource, BootVip) and isinstance(before, BootVip):
        # no VIP is removed, not even with the next reboot
        return bool({*before.text.split("\\n")} - {*resource.text.split("\\n")})
    if isinstance(resource, AnnouncedVip):
        return _stands_elsewhere(resource, action.place, observed)
    if isinstance(resource, MarkRule):
        return _leads_nowhere_yet(resource, before, observed[action.place])
    if isinstance(resource, Destination):
        fed = isinstance(before, Destination) and before.weight > 0 and _same_way(before, resource)
        return resource.weight > 0 and not fed and (resource.host in out or NEUTRON in out)
    return False


def _leads_nowhere_yet(
    rule: MarkRule, before: Resource | None, sighting: Mapping[Key, Seen]
) -> bool:
    """Say whether a rule would take packets from a service with weight to one that has none yet."""
    seen = [s.resource for s in sighting.values() if isinstance(s.resource, Destination)]
    serving = [one for one in seen if one.weight > 0]
    if any(one.mark == rule.mark for one in serving):
        return False
    plain = [one for one in serving if not one.mark and _covers(rule, one)]
    return before is not None or bool(plain)


def _covers(rule: MarkRule, one: Destination) -> bool:
    same = (rule.protocol, rule.vip) == (one.protocol, one.vip)
    return same and rule.port <= one.port <= rule.last


def _same_way(before: Destination, after: Destination) -> bool:
    """Say whether packets get to a server as before: another way may need what is not there yet."""
    return all(
        getattr(before, name) == getattr(after, name)
        for name in ("forwarding", "tunnel", "tunnel_port")
    )


def _taking_down_held(action: Action, sighting: Mapping[Key, Seen], wanted: State) -> bool:
    resource = action.resource
    if isinstance(resource, Destination):
        return not _service_goes_on(resource, sighting, wanted)
    if isinstance(resource, Service):
        fed = any(_fed(seen.resource, resource.key) for seen in sighting.values())
        return fed or _vip_lingers(resource, sighting, wanted)
    return not _only_tells(action)


def _vip_lingers(gone: Service, sighting: Mapping[Key, Seen], wanted: State) -> bool:
    """Say whether the service's VIP is announced here only because its removal is held back, or a
    rule still leads to it.
    """
    return any(
        isinstance(seen.resource, MarkRule) and seen.resource.mark == gone.mark
        for seen in sighting.values()
    ) or any(
        isinstance(seen.resource, AnnouncedVip)
        and seen.resource.vip == gone.vip
        and key not in wanted
        for key, seen in sighting.items()
    )


def _only_tells(action: Action) -> bool:
    before = action.before
    return isinstance(before, ArpSilence) and replace(before, announced=True) == action.after


def _stands_elsewhere(resource: AnnouncedVip, place: str, observed: Observed) -> bool:
    return any(
        isinstance(seen.resource, AnnouncedVip) and seen.resource.vip == resource.vip
        for other, sighting in observed.items()
        if other != place
        for seen in sighting.values()
    )


def _fed(resource: Resource, service: Key) -> bool:
    return (
        isinstance(resource, Destination)
        and resource.service_key == service
        and resource.weight > 0
    )


def _service_goes_on(gone: Destination, sighting: Mapping[Key, Seen], wanted: State) -> bool:
    """Say whether another destination has weight now and keeps it."""
    return any(
        _fed(seen.resource, gone.service_key)
        and seen.resource.key != gone.key
        and key in wanted
        and _fed(wanted[key], gone.service_key)
        for key, seen in sighting.items()
    )


def observe(
    desired: World, places: Mapping[str, Place], out: Iterable[str], watch: Watch | None = None
) -> tuple[Observed, dict[str, PlaceError]]:
    """Look at every place that is not out."""
    skip = set(out)
    jobs = {
        name: partial(place.observe, desired.get(name, {}))
        for name, place in places.items()
        if name not in skip
    }
    return each(jobs, watch=watch, what="observing")


def _by_place(plan: Plan, observed: Observed) -> dict[str, tuple[Action, ...]]:
    """Give what a plan has for each place that was observed for it."""
    found: dict[str, list[Action]] = {place: [] for place in observed}
    for action in plan:
        found[action.place].append(action)
    return {place: tuple(actions) for place, actions in found.items()}


@dataclass
class Run:
    """One run: the name of the spec, what it wants, where, and who watches.

    `looked` is the plan for what the caller saw a moment ago: the first look is spared then.
    """

    name: str
    desired: World
    places: Mapping[str, Place]
    adopt: bool = False
    shown: Plan | None = None
    out: dict[str, PlaceError] = field(default_factory=dict)
    looked: tuple[Plan, Observed] | None = None
    progress: Callable[[Action], None] = lambda _action: None
    stop: Callable[[], bool] = lambda: False
    watch: Watch = field(default_factory=Watch)

    def converge(self) -> Outcome:
        """Do rounds until one goes through and leaves nothing, or nothing more can be done.

        The first observation must give the plan that was shown, or nothing is changed (Differs). A
        place that fails is out of the rounds that follow.
        """
        outcome = Outcome(out=dict(self.out))
        plan, observed = self._first_look(outcome)
        before: Plan | None = None
        known: dict[str, tuple[Action, ...]] = {}
        while len(plan) and plan != before and not plan.refusals and not outcome.interrupted:
            before = plan
            known |= _by_place(plan, observed)
            self._round(plan, observed, outcome)
            plan, observed = self._look(outcome)
        known |= _by_place(plan, observed)
        outcome.left = plan
        lost = [a for p in sorted(known.keys() & outcome.out.keys()) for a in known[p]]
        done = set(outcome.done) if lost else set()
        outcome.undone = [action for action in lost if action not in done]
        return outcome

    def _first_look(self, outcome: Outcome) -> tuple[Plan, Observed]:
        plan, observed = self._look(outcome)
        if self.shown is not None and plan != self.shown:
            raise Differs(
                "what stands there changed after the plan was made, so nothing was changed:"
                " look at the plan again"
            )
        if plan.refusals:
            raise Refused("\n".join(plan.refusals))
        return plan, observed

    def _look(self, outcome: Outcome) -> tuple[Plan, Observed]:
        looked, self.looked = self.looked, None
        if looked is not None:
            return looked
        observed, lost = observe(self.desired, self.places, outcome.out, self.watch)
        outcome.out |= lost
        return diff(self.name, self.desired, observed, adopt=self.adopt), observed

    def _round(self, plan: Plan, observed: Observed, outcome: Outcome) -> None:
        for number, step in enumerate(plan.steps, 1):
            if self.stop():
                outcome.interrupted = True
                return
            what = f"step {number} of {len(plan.steps)}"
            failed = self._step(step, observed, outcome, what)
            if failed:
                outcome.out |= failed
                return

    def _step(
        self, step: Step, observed: Observed, outcome: Outcome, what: str
    ) -> dict[str, PlaceError]:
        jobs: dict[str, Callable[[], dict[Action, PlaceError]]] = {}
        for place, batch in step.items():
            go = tuple(a for a in batch if not held(a, outcome.out, observed, self.desired))
            if go:
                jobs[place] = partial(self._apply, place, go, outcome)
        refused, lost = each(jobs, watch=self.watch, what=what)
        return lost | {
            place: PlaceError("; ".join(dict.fromkeys(str(error) for error in errors.values())))
            for place, errors in refused.items()
            if errors
        }

    def _apply(
        self, place: str, batch: tuple[Action, ...], outcome: Outcome
    ) -> dict[Action, PlaceError]:
        def done(action: Action) -> None:
            outcome.done.append(action)
            self.progress(action)

        return self.places[place].apply(batch, done)
