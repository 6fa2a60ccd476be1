"""One round on the daemon's own host: observe, diff, apply, and an account of what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from onearm.daemon.local import LocalPlace
from onearm.daemon.record import Record
from onearm.diff import Plan, diff
from onearm.drain import connections_cut
from onearm.facts import HostFacts, ServiceFact, tunnel_words
from onearm.model import (
    Action,
    AnnouncedVip,
    CheckMark,
    Destination,
    Drain,
    Key,
    Resource,
    Service,
    State,
    Sysctl,
    state_key,
)
from onearm.reconcile import Outcome, Run
from onearm.words import describe

MOST_TEXTS, LONGEST_TEXT = 200, 1000
MOST_TOLD = 200  # actions of one round, each in a line of its own


def bounded(texts: Iterable[str]) -> list[str]:
    """Give so many texts of such a length that they fit one line of the wire."""
    found = [text[:LONGEST_TEXT] for text in texts]
    more = len(found) - MOST_TEXTS
    return [*found[:MOST_TEXTS], f"and {more} more"] if more > 0 else found


@dataclass
class Told:
    """Tells of each action in a line, up to so many, and of all that cut connections; counts them.

    A start with ten thousand destinations would fill the log, and take as long as all the rest.
    """

    how: str
    say: Callable[[str], None]
    number: int = 0
    untold: int = 0

    def __call__(self, action: Action, cut: int = 0) -> None:
        """Tell of one."""
        self.number += 1
        if self.number <= MOST_TOLD or cut:
            self.say(self.how.format(describe(action)) + _cut(cut))
        else:
            self.untold += 1

    def end(self) -> None:
        """Tell how many there were that were not told."""
        if self.untold:
            self.say(self.how.format(f"and {self.untold} more, {self.number} in all"))


@dataclass
class Rounds:
    """Makes the kernel as it is wanted, again and again. It owns what was wanted last."""

    name: str
    host: str
    place: LocalPlace
    record: Record
    adopt: bool = False
    desired: State = field(default_factory=dict)
    converged: bool = False
    left: tuple[str, ...] = ()
    made: int = 0
    failed: int = 0
    healed: int = 0
    cut: dict[str, int] = field(default_factory=dict)  # by the drained host
    drain_cut: int = 0
    noted: dict[Key, Resource] = field(default_factory=dict)  # what carries our mark, as we know

    def renote(self, facts: HostFacts) -> bool:
        """Mark again what the ledger lost since the last round; say whether there was any.

        It is no accident of ours: somebody removed the file. What it named would be foreign now,
        and a dead server could not be taken out any more. Raises PlaceError.
        """
        ours = {state_key(m.resource): m.resource for m in facts.marks if self.name in m.names}
        lost = [resource for key, resource in self.noted.items() if key not in ours]
        if lost:
            self.place.note(lost)
            what = "1 thing" if len(lost) == 1 else f"{len(lost)} things"
            self._say("drift", f"the ledger lost {what} of ours: noted again", "warning")
        self.noted |= ours
        return bool(lost)

    def converge(self, desired: State, facts: HostFacts, drained: Mapping[str, object]) -> Outcome:
        """Make the kernel so; raises PlaceError and Refused, with nothing half-said."""
        world = {self.host: desired}
        observed = {self.host: self.place.observe(desired)}
        plan = diff(self.name, world, observed, adopt=self.adopt)
        if not len(plan) and not plan.refusals:
            self.desired = desired
            self._went(Outcome())
            return Outcome()
        counts = connections_cut(plan, {self.host: facts})
        done = Told(f"{self.host}: {{}}", lambda text: self._say("round", text))
        drift = Told("healed: {}", lambda text: self._say("drift", text, "warning"))
        healed: list[Action] = []

        def progress(action: Action) -> None:
            self._follow(action)
            cut = counts.get(action, 0) if counts else 0
            done(action, cut)
            if self._is_drift(action, desired):
                healed.append(action)
            self._count_cut(action, cut, drained)

        places = {self.host: self.place}
        outcome = Run(
            self.name, world, places, adopt=self.adopt, looked=(plan, observed), progress=progress
        ).converge()
        done.end()
        self.healed += len(healed)
        for action in healed:
            drift(action)
        drift.end()
        self.desired = desired
        self._went(outcome)
        return outcome

    def plan(self, desired: State | None = None) -> Plan:
        """Say what differs at this moment; change nothing."""
        wanted = self.desired if desired is None else desired
        observed = {self.host: self.place.observe(wanted)}
        return diff(self.name, {self.host: wanted}, observed, adopt=self.adopt)

    def noted_drains(self) -> dict[str, Drain]:
        """Read from the marks who is drained by hand; raises PlaceError."""
        services = {k: r for k, r in self.desired.items() if isinstance(r, Service)}
        marks = (seen.marked for seen in self.place.observe(services).values())
        drains = (drain for r in marks if isinstance(r, Service) for drain in r.drains)
        return {drain.host: drain for drain in drains}

    def _follow(self, action: Action) -> None:
        if action.after is None:
            self.noted.pop(action.state_key, None)
        else:
            self.noted[action.state_key] = action.after

    def _is_drift(self, action: Action, desired: State) -> bool:
        """Say whether the kernel was changed by other hands: we want what we wanted before."""
        key = action.state_key
        same = self.desired.get(key) == desired.get(key)
        return self.converged and same and action.verb != "keep"

    def _count_cut(self, action: Action, cut: int, drained: Mapping[str, object]) -> None:
        gone = action.before
        if action.after is None and isinstance(gone, Destination) and gone.host in drained:
            self.drain_cut += cut
            self.cut[gone.host] = self.cut.get(gone.host, 0) + cut

    def _went(self, outcome: Outcome) -> None:
        left = tuple(describe(action) for action in outcome.left)
        errors = tuple(str(error) for error in outcome.out.values())
        if left or errors:
            self.fails(errors or left)
            return
        if self.left:
            self._say("round", "all stands as wanted again")
        self.left, self.converged = (), True

    def fails(self, why: tuple[str, ...]) -> None:
        """Note that a round did not go through; what is new of it is logged."""
        for text in why if why != self.left else ():
            self._say("round", f"not done: {text}", "error")
        self.left, self.converged = why, False
        self.failed += 1

    def looks_right(self, services: Iterable[ServiceFact]) -> bool:
        """Compare figures that were read for their own sake with what is wanted: drift shows so
        before the next round is due. What could not be made so is no news.
        """
        return not self.converged or _wanted_table(self.desired) <= _table(services)

    def way(self) -> list[Resource]:
        """List what probes through a VIP lean on here: marks, replies let in, and the VIP itself:
        where it is not this host's, they go where the network takes them.
        """
        return [
            r
            for r in self.desired.values()
            if isinstance(r, (CheckMark, AnnouncedVip)) or (isinstance(r, Sysctl) and is_way_in(r))
        ]

    def _say(self, kind: str, text: str, level: str = "info") -> None:
        self.record.add(datetime.now(timezone.utc), kind, text, level)


def is_way_in(sysctl: Sysctl) -> bool:
    """Say whether this one lets the replies to probes in."""
    return sysctl.name.endswith("/accept_local")


Row = tuple[object, ...]


def _table(services: Iterable[ServiceFact]) -> set[Row]:
    found: set[Row] = set()
    for service in services:
        key = service.key
        if service.vip is None:
            found |= {
                (service.fwmark, f.server, f.forwarding, f.tunnel) for f in service.destinations
            }
            continue
        found.add((*key, service.scheduler))
        found |= {
            (*key, f.server, f.port, f.weight, f.forwarding, f.tunnel) for f in service.destinations
        }
    return found


def _wanted_table(desired: State) -> set[Row]:
    found: set[Row] = set()
    for r in desired.values():
        if isinstance(r, Service):
            found.add((*r.key, r.scheduler))
        elif isinstance(r, Destination):
            row = (*r.service_key, r.server, r.server_port, r.weight, r.forwarding)
            found.add((*row, tunnel_words(r.tunnel, r.tunnel_port)))
        elif isinstance(r, CheckMark):
            kind = tunnel_words(r.tunnel, r.tunnel_port)
            found.add((r.mark, r.server, r.forwarding, kind))
    return found


def _cut(connections: int) -> str:
    return f" ({connections} connections cut)" if connections else ""
