"""The one owner of a director's state: events in, rounds out."""

from __future__ import annotations

import hashlib
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from onearm import spec as spec_module
from onearm.checks import Checks, Result
from onearm.daemon import asked
from onearm.daemon.ears import Beat, Ears
from onearm.daemon.guard import Guard
from onearm.daemon.local import LocalPlace
from onearm.daemon.notify import Notify
from onearm.daemon.picture import Scenery, services, vips
from onearm.daemon.probes import allocate, probes_by_slot, shadow, targets
from onearm.daemon.record import Record
from onearm.daemon.tally import Tally
from onearm.desire import Watch, desire, director_link
from onearm.diff import Plan, diff
from onearm.drain import connections_cut
from onearm.errors import OnearmError, PlaceError, Refused, SpecError, UsageError
from onearm.facts import HostFacts
from onearm.health import Health
from onearm.kernel.packets import announce
from onearm.kernel.rules import marked_rules
from onearm.model import Action, CheckMark, Destination, Drain, Key, State, World, state_key
from onearm.places import check_marks
from onearm.places.look import Question
from onearm.places import check_marks
from onearm.places.look import services as kernel_services
from onearm.reconcile import Outcome, Run
from onearm.rotation import Decision, Rotation, Scene, Slot, decide, drains_in
from onearm.snapshot import DOWN, DRAINING, UNKNOWN, Snapshot
from onearm.spec import Spec
from onearm.words import describe

TICK_S = 1.0  # weights that grow, drains that end, figures for those who look on
REFRESH_S = 60.0  # how often a VIP is announced anew: a cache that was misled recovers
SETTLE_S = 0.02  # events come in bursts: one round for all of them
QUIET_S = 0.25  # the longest that a picture waits for more news


@dataclass
class Waiting:
    """Somebody who waits for the world to stand as a spec says."""

    reply: Callable[[dict[str, Any]], None]
    digest: str | None
    until: float


@dataclass
class Core:
    """All state of the daemon. Everything but `tell`, `latest` and `ask` belongs to one thread."""

    path: Path
    host: str
    spec: Spec
    adopt: bool = False
    build: str = ""
    inbox: queue.SimpleQueue[tuple[Any, ...]] = field(default_factory=queue.SimpleQueue)
    notify: Notify = field(default_factory=Notify)

    def __post_init__(self) -> None:
        self.place = LocalPlace(self.spec.name, self.adopt)
        self.record, self.guard = Record(), Guard()
        self.tallies: dict[Key, Tally] = {}
        self.drains: dict[str, Drain] | None = None  # None: not read from the marks yet
        self.cut: dict[str, int] = {}
        self.rotation, self.facts = Rotation(), HostFacts()
        self.marks: dict[str, int] = {}
        self.desired: State = {}
        self.checks = Checks(
            lambda result: self.tell(("result", result)), lambda text: self.tell(("trouble", text))
        )
        self.waiting: list[Waiting] = []
        self.troubles: dict[str, None] = {}
        self.left: tuple[str, ...] = ()
        self.figures = dict.fromkeys(
            ("rounds", "rounds_failed", "drift_healed", "drain_cut", "reloads", "reloads_failed"), 0
        )
        self.last_round_s, self.converged, self.spec_error = 0.0, False, ""
        self.digest = _digest(self.spec.text)
        self.started = _now()
        self.due = self.ticked = self.announced = 0.0
        self.dirty, self.stopping, self.withdrawing = True, False, False
        self.deaf = ""
        self.latest = self._picture()

    # -- what other threads use

    def tell(self, event: tuple[Any, ...]) -> None:
        """Put an event into the inbox; from any thread, and from a signal's handler."""
        self.inbox.put(event)

    def ask(self, do: str, request: dict[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
        """Have the owner carry out a command; raises our errors."""
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.tell(("ask", do, request, answers.put))
        try:
            found = answers.get(timeout=timeout_s)
        except queue.Empty:
            raise PlaceError(f"{self.host}: the daemon did not answer {do!r} in time") from None
        if isinstance(found, OnearmError):
            raise found
        return dict(found)

    def note(self, kind: str, text: str, level: str = "info") -> None:
        """Record an event, and log it."""
        self.record.add(self.now(), kind, text, level)

    @staticmethod
    def now() -> datetime:
        """Give the moment, in UTC."""
        return _now()

    # -- the loop

    def run(self) -> None:
        """Go on until told to stop."""
        ears = Ears(self.tell, self.path)
        self.checks.start()
        self.note("start", f"director {self.host} of spec {self.spec.name} begins")
        try:
            while not self.stopping:
                self._hear()
                self.notify.alive()
                if self.dirty or time.monotonic() >= self.due:
                    self._round()
                    ears.watch(self._beat())
                self._tick()
        finally:
            self.checks.stop()
        self._end()

    def _hear(self) -> None:
        """Wait for events; take in all that come in one go."""
        wait = (
            0.0 if self.dirty else max(0.0, min(self.due, self.ticked + TICK_S) - time.monotonic())
        )
        if self.notify.every_s is not None:
            wait = min(wait, self.notify.every_s)
        try:
            event = self.inbox.get(timeout=wait) if wait else self.inbox.get_nowait()
        except queue.Empty:
            return
        self._take(event)
        until = time.monotonic() + SETTLE_S
        while (left := until - time.monotonic()) > 0 and not self.stopping:
            try:
                self._take(self.inbox.get(timeout=left))
            except queue.Empty:
                return

    def _take(self, event: tuple[Any, ...]) -> None:
        kind, *details = event
        getattr(self, f"_on_{kind}")(*details)

    def _on_result(self, result: Result) -> None:
        """Take a result in; one that turns the health counts only if its way stands.

        Without its mark's service a probe of the VIP ends on this very host, and says nothing of
        the real server: somebody's `ipvsadm -C` must not take every server out.
        """
        tally = self.tallies.get(result.key)
        if tally is None:
            return
        before = tally.health
        if tally.take(result.ok, result.reason, result.latency_s, _now()):
            self.dirty = True
            if not self._way_stands(result.key):
                tally.health = replace(before, streak=0)

    def _way_stands(self, key: Key) -> bool:
        vip, server, _, _ = key
        if vip is None:
            return True
        wanted = [m for m in self.desired.values() if isinstance(m, CheckMark) and m.server == server]
        try:
            return bool(wanted) and check_marks.read(wanted) == wanted
        except PlaceError:
            return False

    def _on_trouble(self, text: str) -> None:
        if text not in self.troubles:
            self.troubles[text] = None
            self.note("trouble", text, "error")

    def _on_links(self) -> None:
        self.dirty = True

    def _on_deaf(self, why: str) -> None:
        if why != self.deaf:
            self.deaf = why
            self.note("arp", f"ARP cannot be watched: {why}", "warning")

    def _on_claim(self, vip: Any, mac: str) -> None:
        self.deaf = ""
        text = self.guard.heard(vip, mac, self.facts, self.spec, _now())
        if text:
            self.note("arp", text, "error")
            self.dirty |= self.spec.isolate
            self.latest = self._picture()

    def _on_file(self) -> None:
        self.reload()

    def _on_hup(self) -> None:
        self.reload(always=True)
        self.dirty = True

    def _on_stop(self, withdraw: bool = False) -> None:  # noqa: FBT001, FBT002 - as the event says
        self.stopping, self.withdrawing = True, self.withdrawing or withdraw

    def _on_ask(self, do: str, request: dict[str, Any], reply: Callable[[Any], None]) -> None:
        try:
            handler = asked.COMMANDS.get(do)
            if handler is None:
                raise UsageError(f"the daemon knows no command {do[:60]!r}")
            found = handler(self, request, reply)
        except OnearmError as error:
            found = error
        if found is not None:
            reply(found)

    # -- the spec

    def reload(self, *, always: bool = False) -> None:
        """Take the file as it is now; a bad one changes nothing, and says why."""
        try:
            spec = spec_module.load(self.path)
            if _digest(spec.text) == self.digest and not always:
                self.spec_error = ""
                return
            self._fits(spec)
        except (SpecError, UsageError) as error:
            if str(error) != self.spec_error:
                self.figures["reloads_failed"] += 1
                self.record.add(
                    _now(), "spec", f"the spec is not taken, the old one goes on: {error}", "error"
                )
            self.spec_error = str(error)
            return
        changed = _digest(spec.text) != self.digest
        self.spec, self.digest, self.spec_error = spec, _digest(spec.text), ""
        self.figures["reloads"] += 1
        self.dirty = True
        if changed:
            self.note("spec", f"the spec of {self.path} is taken")

    def _fits(self, spec: Spec) -> None:
        if spec.name != self.spec.name:
            raise UsageError(
                f"{self.path}: it is named {spec.name!r} now, and this daemon is that of"
                f" {self.spec.name!r}: stop it with --withdraw before the name changes"
            )
        if self.host not in {director.name for director in spec.directors}:
            raise UsageError(f"{self.path}: {self.host} is not among its directors any more")

    # -- a round

    def _question(self) -> Question:
        near = tuple(host.address for host in self.spec.real_servers)
        return Question(role="director", near=near)

    def _round(self) -> None:
        start = time.monotonic()
        self.dirty, self.due = False, start + self.spec.resync_s
        try:
            self.facts = self.place.look(self._question())
            outcome = self._converge(self._desired())
        except (PlaceError, Refused) as error:
            self._failed((str(error),))
        else:
            self._went(outcome)
        self.figures["rounds"] += 1
        self.last_round_s = time.monotonic() - start
        self._probe()
        self.latest = self._picture()
        self._answer()

    def _desired(self) -> State:
        now = _now()
        if self.drains is None:
            self.drains = drains_in(self.facts, self.spec.name)
        known = {host for service in self.spec.services for host in service.hosts}
        self.drains = {h: d for h, d in self.drains.items() if h in known}
        self.marks = allocate(self.spec, self.facts, marked_rules())
        self._tally()
        scene = Scene(
            self.spec,
            self.facts,
            now,
            self._healths(),
            self.drains,
            self.guard.isolated(self.spec, now) if self.spec.isolate else {},
        )
        before = self.rotation
        self.rotation = decide(before, scene)
        self._say_quorum(before)
        self.record.follow(self.rotation, now)
        watch = Watch(self.rotation, self.drains, self.marks)
        return desire(self.spec, {self.host: self.facts}, now, watch=watch)[self.host]

    def _say_quorum(self, before: Rotation) -> None:
        for key, decision in self.rotation.decisions.items():
            old = before.decisions.get(key, Decision({}))
            where = f"{key[1]}:{key[2]}/{key[0]}"
            if decision.panic != old.panic:
                text = (
                    "too few are healthy: all are served (panic)"
                    if decision.panic
                    else "panic ends"
                )
                self.note("health", f"{where}: {text}", "error" if decision.panic else "info")
            if decision.quorum_met != old.quorum_met and self.rotation.served is not None:
                text = (
                    "the quorum is met"
                    if decision.quorum_met
                    else "fewer than the quorum are healthy"
                )
                level = "info" if decision.quorum_met else "error"
                self.note("health", f"{where}: {text}", level)

    def _tally(self) -> None:
        """Keep a record for each probe of the spec, and none of any other."""
        wanted = set(probes_by_slot(self.spec).values())
        failing = {shadow(key) for key in self._failing(wanted)} - {None}
        for key in (wanted | failing) - self.tallies.keys():
            self.tallies[key] = Tally(key[3])
        for key in self.tallies.keys() - wanted - failing:
            del self.tallies[key]

    def _failing(self, keys: set[Key]) -> set[Key]:
        return {
            key
            for key in keys
            if key in self.tallies
            and self.tallies[key].health.reason
            and self.tallies[key].health.status in {DOWN, UNKNOWN}
        }

    def _healths(self) -> dict[Slot, Health]:
        found = {}
        for slot, key in probes_by_slot(self.spec).items():
            other = shadow(key)
            found[slot] = self.tallies[key].explained(self.tallies.get(other) if other else None)
        return found

    def _probe(self) -> None:
        """Let the checks go on with what stands: a mark that the kernel lacks probes nothing."""
        source = next(d.address for d in self.spec.directors if d.name == self.host)
        failing = self._failing(set(probes_by_slot(self.spec).values()))
        self.checks.set_targets(targets(self.spec, self.marks, source, failing))

    def _converge(self, desired: State) -> Outcome:
        """Make the kernel so. What differs although nobody here wanted it otherwise is drift."""
        world: World = {self.host: desired}
        healed: list[Action] = []
        counts = {}

        def progress(action: Action) -> None:
            if self._is_drift(action, desired):
                healed.append(action)
            self.note("round", self._told(action, counts.get(action, 0)))

        plan = diff(
            self.spec.name, world, {self.host: self.place.observe(desired)}, adopt=self.adopt
        )
        counts = connections_cut(plan, {self.host: self.facts})
        outcome = Run(
            self.spec.name, world, {self.host: self.place}, adopt=self.adopt, progress=progress
        ).converge()
        for action in healed:
            self.figures["drift_healed"] += 1
            self.note("drift", f"healed: {describe(action)}", "warning")
        self._count_cut(outcome, counts)
        self._forgive(outcome)
        self.desired = desired
        return outcome

    def _forgive(self, outcome: Outcome) -> None:
        """Count no bad result that was got while its way did not stand."""
        mended = {a.after.server for a in outcome.done if isinstance(a.after, CheckMark)}
        for key, tally in self.tallies.items():
            if key[0] is not None and key[1] in mended:
                tally.health = replace(tally.health, streak=0)

    def _is_drift(self, action: Action, desired: State) -> bool:
        key = state_key(action.resource)
        return (
            action.verb != "keep" and self.converged and (self.desired.get(key) == desired.get(key))
        )

    def _told(self, action: Action, cut: int) -> str:
        text = f"{self.host}: {describe(action)}"
        return f"{text} ({cut} connections cut)" if cut else text

    def _count_cut(self, outcome: Outcome, counts: dict[Action, int]) -> None:
        for action in outcome.done:
            gone = action.before
            if (
                action.after is None
                and isinstance(gone, Destination)
                and gone.host in self.drained_by_hand
            ):
                self.figures["drain_cut"] += counts.get(action, 0)
                self.cut[gone.host] = self.cut.get(gone.host, 0) + counts.get(action, 0)

    @property
    def drained_by_hand(self) -> dict[str, Drain]:
        return self.drains or {}

    def _went(self, outcome: Outcome) -> None:
        left = tuple(describe(action) for action in outcome.left)
        errors = tuple(str(error) for error in outcome.out.values())
        if left or errors:
            self._failed(errors or left)
        else:
            if self.left:
                self.note("round", "all stands as wanted again")
            self.left, self.converged = (), True

    def _failed(self, why: tuple[str, ...]) -> None:
        if why != self.left:
            for text in why:
                self.note("round", f"not done: {text}", "error")
        self.left, self.converged = why, False
        self.figures["rounds_failed"] += 1

    # -- between rounds

    def _tick(self) -> None:
        if time.monotonic() < self.ticked + TICK_S:
            return
        self.ticked = time.monotonic()
        self.dirty |= self.guard.forget(_now()) and self.spec.isolate
        if self.rotation.ramps or self._busy_drains():
            self.dirty = True
        elif self.due - self.ticked > QUIET_S:
            self._refresh()
        if self.ticked >= self.announced + REFRESH_S:
            self._announce()
        self._answer()

    def _busy_drains(self) -> bool:
        return any(
            verdict.state == DRAINING
            for decision in self.rotation.decisions.values()
            for verdict in decision.verdicts.values()
        )

    def _refresh(self) -> None:
        """Read the figures anew for those who look on."""
        try:
            self.facts = replace(self.facts, services=kernel_services())
        except PlaceError as error:
            self._on_trouble(str(error))
        self.latest = self._picture()

    def _announce(self) -> None:
        """Announce what we hold once more."""
        first, self.announced = not self.announced, self.ticked
        for view in vips(self._scenery()):
            if view.announced and view.mac and not first:
                try:
                    announce(view.link, view.vip, view.mac, times=1)
                except OSError as error:
                    self._on_deaf(error.strerror or str(error))

    def _beat(self) -> Beat | None:
        link = self.facts.link(director_link(self.spec, self.facts))
        own = next(d.address for d in self.spec.directors if d.name == self.host)
        if link is None or not link.mac or not link.up:
            return None
        asked = tuple(dict.fromkeys(service.vip for service in self.spec.services))
        return Beat(link.name, link.mac, own, asked)

    def _scenery(self) -> Scenery:
        link = director_link(self.spec, self.facts)
        return Scenery(
            self.spec,
            self.facts,
            self.rotation,
            self.tallies,
            self.record,
            self.guard.claimants,
            link,
        )

    def _picture(self) -> Snapshot:
        scenery = self._scenery()
        return Snapshot(
            name=self.spec.name,
            host=self.host,
            at=_now().isoformat(),
            started=self.started.isoformat(),
            spec_path=str(self.path),
            spec_digest=self.digest,
            build=self.build,
            pid=_pid(),
            services=services(scenery),
            vips=vips(scenery),
            events=tuple(self.record.events),
            last_round_s=self.last_round_s,
            converged=self.converged,
            left=self.left,
            spec_error=self.spec_error,
            troubles=tuple(self.troubles),
            **self.figures,
        )

    # -- who waits

    def wait_for(self, digest: str | None, until: float, reply: Callable[[Any], None]) -> None:
        """Answer when the world stands as the spec says, or at that moment."""
        self.waiting.append(Waiting(reply, digest, until))

    def _answer(self) -> None:
        now = time.monotonic()
        for one in list(self.waiting):
            if (self.converged and self._known(one.digest)) or now >= one.until:
                self.waiting.remove(one)
                one.reply(self.state())

    def _known(self, digest: str | None) -> bool:
        """Say whether this spec is the one, and every probe told something."""
        told = all(t.good or t.bad for k, t in self.tallies.items() if k[0] is not None)
        return (digest is None or digest == self.digest) and told

    def state(self) -> dict[str, Any]:
        """Tell those who asked how far we are."""
        return {
            "converged": self.converged,
            "digest": self.digest,
            "left": list(self.left),
            "spec_error": self.spec_error,
        }

    def plan(self) -> Plan:
        """Say what differs at this moment; change nothing."""
        observed = {self.host: self.place.observe(self.desired)}
        return diff(self.spec.name, {self.host: self.desired}, observed, adopt=self.adopt)

    # -- the end

    def _end(self) -> None:
        """Leave all that serves; take down what only we used, or all of it if told so."""
        try:
            self.facts = self.place.look(self._question())
            if self.withdrawing:
                desired: State = {}
            else:
                watch = Watch(self.rotation, self.drained_by_hand)
                desired = desire(self.spec, {self.host: self.facts}, _now(), watch=watch)[self.host]
            self._converge(desired)
        except (PlaceError, Refused) as error:
            self.note("round", f"not done at the end: {error}", "error")
        what = "withdrew the VIP and ends" if self.withdrawing else "ends; what serves goes on"
        self.note("start", f"director {self.host} {what}")


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _pid() -> int:
    import os

    return os.getpid()
