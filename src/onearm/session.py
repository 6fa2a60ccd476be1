"""One command's run over its hosts: reach them, look, desire, plan, apply."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from onearm.cloud_checks import cloud_findings, for_an_admin
from onearm.cloud_facts import CloudFacts
from onearm.desire import desire
from onearm.diff import Plan, diff
from onearm.drain import connections_cut, draining
from onearm.each import Watch, each
from onearm.errors import Busy, PlaceError, Unreachable
from onearm.facts import Facts, HostFacts
from onearm.finding import Finding, by_severity
from onearm.foresight import foresee, scripts
from onearm.model import NEUTRON, Action, SpecFile, World
from onearm.places.look import Question
from onearm.places.remote import RemotePlace
from onearm.preflight import cloud_left, preflight, vips_of
from onearm.reach import prefix, timeout_s
from onearm.reconcile import Outcome, Place, Run, observe
from onearm.spec import NAME, Spec
from onearm.ways import tunnel_needs

if TYPE_CHECKING:
    from typing_extensions import Self


class CloudPlace(Place, Protocol):
    """The place that is no host."""

    def look(self) -> CloudFacts:
        """Say what is there, and what this identity may do."""

    def close(self) -> None:
        """End the connection."""


class Foreseen(NamedTuple):
    """What the daemon of a place will do, and who joins only after a first good check."""

    place: str
    plan: Plan
    joins: tuple[str, ...]


@dataclass
class Session:
    """The hosts of a spec and its cloud, looked at once. Close it: each host has a node process."""

    spec: Spec
    limit: frozenset[str] = frozenset()
    deadline_s: float = field(default_factory=timeout_s)  # per request and host
    ask_drops: bool = False  # whether foreign ARP drop rules are searched, which takes tools
    ask_vips: bool = True  # whether a director asks in ARP for VIPs that it does not hold
    places: dict[str, RemotePlace] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    out: dict[str, PlaceError] = field(default_factory=dict)
    forgotten: dict[str, PlaceError] = field(default_factory=dict)
    neutron: CloudPlace | None = None
    cloud: CloudFacts | None = None
    watch: Watch = field(default_factory=Watch)

    def __enter__(self) -> Self:
        """Return it; nothing is reached yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all node processes, and the connection to the cloud."""
        each({name: place.close for name, place in self.places.items()})
        if self.neutron is not None:
            self.neutron.close()

    def open(self, *, lock: bool = False, cloud: bool = False) -> None:
        """Look at every host of the spec, then at those that left it since the last apply.

        `cloud`: at Neutron as well, where the spec has one, with the hosts' locks in hand. What it
        denies at this point ends the run before anything is changed.
        """
        names = [host.name for host in (*self.spec.directors, *self.spec.real_servers)]
        for name in names:
            if self.limit and name not in self.limit:
                self.out[name] = Unreachable(f"{name}: left aside by --limit")
        self.out |= self._visit([name for name in names if name not in self.out], lock=lock)
        gone = self._left_behind(names)
        if not self.limit:
            self.forgotten = self._visit(gone, lock=lock)
        if cloud:
            self.open_cloud()

    def open_cloud(self) -> None:
        """Look at Neutron, where the spec has a cloud; raises what it denies."""
        if self.spec.openstack is None:
            return
        if self.limit and NEUTRON not in self.limit:
            self.out[NEUTRON] = Unreachable(f"{NEUTRON}: left aside by --limit")
            return
        self.neutron = _neutron(self.spec)
        seen, lost = each({NEUTRON: self.neutron.look}, watch=self.watch, what="looking at")
        for error in lost.values():
            if not isinstance(error, Unreachable):
                raise error
        self.cloud = seen.get(NEUTRON)
        self.out |= lost

    def _left_behind(self, names: Iterable[str]) -> list[str]:
        """List the hosts that ledgers name; a host wrote them, so only names become arguments."""
        known = {
            host
            for facts in self.facts.values()
            for host in facts.known_hosts.get(self.spec.name, ())
            if NAME.fullmatch(host)
        }
        return sorted(known - {NEUTRON, *names})

    def _visit(self, names: Iterable[str], *, lock: bool) -> dict[str, PlaceError]:
        fresh = {n: self.place(n) for n in names}
        lost = _locked(fresh, self._directors(), self.watch) if lock else {}
        jobs = {n: partial(p.look, self._question(n)) for n, p in fresh.items() if n not in lost}
        seen, failed = each(jobs, watch=self.watch, what="looking at")
        self.facts |= seen
        return lost | failed

    def _directors(self) -> set[str]:
        return {director.name for director in self.spec.directors}

    def place(self, name: str) -> RemotePlace:
        """Return the place of a host by its name, the same one each time."""
        if name not in self.places:
            reached = prefix(self.spec.reach, name)
            self.places[name] = RemotePlace(name, reached, self.spec.name, self.deadline_s)
        return self.places[name]

    def _question(self, name: str) -> Question:
        vips = tuple(vips_of(self.spec))
        if name in self._directors():
            groups = tuple(sorted({s.vip.version for s in self.spec.services if s.ends}))
            near = tuple(own for host in self.spec.real_servers for own in host.addresses)
            return Question(
                role="director",
                near=near,
                probe=vips if self.ask_vips else (),
                schedulers=tuple(sorted({service.scheduler for service in self.spec.services})),
                sctp=any(service.protocol == "sctp" for service in self.spec.services),
                engines=tuple(sorted({s.engine for s in self.spec.services if s.engine})),
                groups=groups,
                marking=groups,
            )
        for host in self.spec.real_servers:
            if host.name == name:
                drops = vips if self.ask_drops else ()
                kinds = tuple(sorted(tunnel_needs(self.spec, name)))
                return Question("real_server", host.arp, drops=drops, tunnels=kinds)
        return Question()

    def again(self) -> None:
        """Look again at the hosts that answered."""
        jobs = {n: partial(self.places[n].look, self._question(n)) for n in self.facts}
        seen, lost = each(jobs)
        self.facts = seen
        self.out |= lost

    @property
    def reached(self) -> dict[str, RemotePlace]:
        """The hosts of which there are facts."""
        return {name: self.places[name] for name in self.facts}

    def _all_places(self) -> dict[str, Place]:
        """Give the hosts and the cloud, where there are facts of them."""
        found: dict[str, Place] = dict(self.reached)
        if self.neutron is not None and self.cloud is not None:
            found[NEUTRON] = self.neutron
        return found

    @property
    def marked(self) -> Facts:
        """Where marks are looked up: the hosts' facts, and for the cloud its marks alone."""
        marks = self.cloud.marks if self.cloud else ()
        return self.facts | ({NEUTRON: HostFacts(marks=marks)} if self.cloud else {})

    def desired(self) -> World:
        """Say what should stand on the hosts that were reached."""
        return desire(self.spec, self.facts, _now(), self.cloud)

    def findings(self) -> list[Finding]:
        """Try the preflight rules.

        They guard what is built; nothing may keep anyone from taking it down, but that somebody
        else's thing in the cloud would go with it.
        """
        found = preflight(self.spec, self.facts) if self.spec.services else []
        found += cloud_left(self.spec, self.facts)
        if self.cloud is not None:
            found += cloud_findings(self.spec, self.facts, self.cloud)
        return by_severity(found)

    def for_an_admin(self, plan: Plan) -> list[Action]:
        """List the actions that this identity may not do in the cloud."""
        return [a for a in plan if self.cloud is not None and for_an_admin(a, self.cloud)]

    def plan(self, *, adopt: bool = False) -> Plan:
        """Observe and diff; a host that fails now is out."""
        desired = self.desired()
        observed, lost = observe(desired, self._all_places(), self.out, self.watch)
        self.out |= lost
        for name in lost:
            self.facts.pop(name, None)
        if NEUTRON in lost:
            self.cloud = None
        return diff(self.spec.name, desired, observed, adopt=adopt)

    def run(
        self,
        shown: Plan | None,
        *,
        adopt: bool,
        progress: Callable[[Action], None],
        stop: Callable[[], bool],
    ) -> Outcome:
        """Carry out what was shown; every host keeps the names of all hosts of this apply."""
        self._remember({*self._known(), *self._names()})
        for place in self.reached.values():
            place.adopt = adopt
        outcome = Run(
            name=self.spec.name,
            desired=self.desired(),
            places=self._all_places(),
            adopt=adopt,
            shown=shown,
            out=dict(self.out),
            progress=progress,
            stop=stop,
            watch=self.watch,
        ).converge()
        if not outcome.out and not outcome.interrupted and not len(outcome.left):
            self._remember(self._names())
        return outcome

    def _names(self) -> set[str]:
        """Name the places that hold something of ours, now that the spec is as it is."""
        return {name for name, wanted in self.desired().items() if wanted}

    def _noted(self, name: str) -> set[str]:
        return set(self.facts[name].known_hosts.get(self.spec.name, ()))

    def _known(self) -> set[str]:
        known = {place for name in self.facts for place in self._noted(name)}
        return known & {NEUTRON, *self.facts}

    def _remember(self, names: set[str]) -> None:
        """Let each host that is named note all names, and the others none.

        A cloud that the spec does not name any more is still noted: nothing was taken down there.
        """
        fresh = {name: names if name in names else set() for name in self.facts}
        if self.spec.openstack is None:
            fresh = {name: kept | (self._noted(name) & {NEUTRON}) for name, kept in fresh.items()}
        jobs = {
            name: partial(place.remember_hosts, fresh[name])
            for name, place in self.reached.items()
            if self._noted(name) != fresh[name]
        }
        _, lost = each(jobs)
        self.out |= lost

    def cut(self, plan: Iterable[Action]) -> dict[Action, int]:
        """Count the connections that each action would cut."""
        return connections_cut(plan, self.facts)

    def foreseen(self, plan: Plan) -> list[Foreseen]:
        """Say what the daemons will do that are handed a new spec by this plan."""
        handed = _handed(plan)
        ahead = {p: foresee(self.spec, p, self.facts[p], _now()) for p in handed}
        seen, _ = each({p: partial(self.places[p].peek, ahead[p].wanted) for p in handed})
        name = self.spec.name
        return [Foreseen(p, ahead[p].plan(name, seen[p]), ahead[p].joins) for p in sorted(seen)]

    def scripts(self, plan: Plan) -> dict[str, list[tuple[str, ...]]]:
        """Say what the daemons that are handed a new spec by this plan will run, by host."""
        found = scripts(self.spec)
        return dict.fromkeys(_handed(plan), found) if found else {}

    def draining(self) -> int:
        """Count the destinations that are still draining."""
        return sum(len(kept) for kept in draining(self.spec, self.facts, _now()).values())


def _handed(plan: Plan) -> list[str]:
    """List the hosts whose daemon is handed a spec."""
    return sorted({a.place for a in plan if isinstance(a.after, SpecFile)})


def _locked(
    places: Mapping[str, RemotePlace], first: set[str], watch: Watch
) -> dict[str, PlaceError]:
    """Start all nodes at once, then lock `first` before the rest; return the places that are lost.

    Two runs that each held a host the other waits for would both give up: the director decides.
    """
    _, lost = each({n: place.open for n, place in places.items()}, watch=watch, what="reaching")
    for turn in (first, places.keys() - first):
        jobs = {n: p.lock for n, p in places.items() if n in turn and n not in lost}
        _, failed = each(jobs)
        busy = [error for error in failed.values() if isinstance(error, Busy)]
        if busy:
            raise busy[0]
        lost |= failed
    return lost


def _neutron(spec: Spec) -> CloudPlace:
    """Open the cloud's place. It is found by name: only a spec that has a cloud may load it."""
    place: CloudPlace = importlib.import_module("onearm.places.neutron").NeutronPlace(spec)
    return place


def without_services(spec: Spec) -> Spec:
    """Return the spec that wants nothing: what destroy converges to."""
    return replace(spec, services=())


def _now() -> datetime:
    return datetime.now(timezone.utc)
