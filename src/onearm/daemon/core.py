"""The one owner of a director's state: events in, rounds out."""

from __future__ import annotations

import contextlib
import queue
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from onearm.checks import Checks, Result
from onearm.daemon import asked, between
from onearm.daemon.checking import Checking
from onearm.daemon.ears import Ears
from onearm.daemon.guard import Guard
from onearm.daemon.local import LocalPlace
from onearm.daemon.notify import Notify
from onearm.daemon.probes import allocate
from onearm.daemon.record import LOG, Record
from onearm.daemon.rounds import Rounds, bounded
from onearm.daemon.shown import snapshot
from onearm.daemon.source import Source
from onearm.daemon.troubles import Troubles
from onearm.daemon.waits import ForDrain, Waits
from onearm.desire import Watch, desire, director_link
from onearm.errors import OnearmError, PlaceError, Refused, UsageError
from onearm.facts import HostFacts
from onearm.kernel.faults import translate
from onearm.kernel.rules import marked_rules
from onearm.model import Address, Drain, State
from onearm.places.look import Question
from onearm.rotation import Rotation, Scene, decide, drains_in
from onearm.spec import Forwarding, Spec

SETTLE_S = 0.02  # events come in bursts: one round for all of them
SUSPECTED = (
    "no check through the VIP was answered since the start, so nobody is taken out: the real"
    " servers may lack the VIP, or a firewall of this director drops the answers; onearm doctor"
    " says which"
)
UNLINKED = "the link {} of this director is down, so nothing is known of the real servers"


@dataclass
class Core:
    """All state of the daemon. Other threads use `tell`, `ask` and `latest`, and nothing else."""

    source: Source
    build: str = ""
    adopt: bool = False
    notify: Notify = field(default_factory=Notify)
    place: LocalPlace | None = None  # None: this very host
    rules: Callable[[], list[tuple[int, int]]] = marked_rules
    checks_made: Callable[..., Checks] = Checks

    def __post_init__(self) -> None:
        """Begin with nothing known: the first round looks."""
        self.host = self.source.host
        self.inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.record, self.guard, self.checking = Record(), Guard(), Checking()
        self.here = self.place or LocalPlace(
            self.spec.name, self.adopt, lambda text: self.note("round", text, "warning")
        )
        self.rounds = Rounds(self.spec.name, self.host, self.here, self.record, self.adopt)
        self.checks = self.checks_made(
            lambda results: self.tell(("results", results)),
            lambda trouble: self.tell(("trouble", trouble.text)),
        )
        self.drains: dict[str, Drain] | None = None  # None: not read from the marks yet
        self.rotation, self.facts = Rotation(), HostFacts()
        self.marks: dict[tuple[str, Forwarding], int] = {}
        self.waits = Waits()
        self.troubles = Troubles()
        self.deaf = self.status = self.unlinked = ""
        self.started, self.began = self.wall(), time.monotonic()
        self.last_round_s = self.due = self.ticked = self.announced = self.refreshable = 0.0
        self.dirty, self.stopping, self.withdrawing = True, False, False
        self.ready = False  # systemd was told so since the start, or since it asked for a reload
        self.farewells: list[Callable[[Any], None]] = []  # those who wait for our end
        self.latest = snapshot(self)

    @property
    def spec(self) -> Spec:
        """The spec that is carried out."""
        return self.source.spec

    @property
    def drained_by_hand(self) -> dict[str, Drain]:
        """Who is drained, by host."""
        return self.drains or {}

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
        self.record.add(self.wall(), kind, text, level)

    @staticmethod
    def wall() -> datetime:
        """Give the time of day, in UTC: for those who read."""
        return datetime.now(timezone.utc)

    def now(self) -> datetime:
        """Give a clock that nobody sets while we run: for all that lasts some time."""
        return self.started + timedelta(seconds=time.monotonic() - self.began)

    # The loop.

    def run(self) -> None:
        """Go on until told to stop."""
        ears = Ears(self.tell, self.source.path)
        self.checks.start()
        self.note("start", f"director {self.host} of the spec {self.spec.name} begins")
        try:
            while not self.stopping:
                self._hear()
                self.notify.alive()
                if self.dirty or time.monotonic() >= self.due:
                    self._round()
                    ears.watch(between.beat(self))
                between.tick(self)
        finally:
            self.checks.stop()
        self._end()

    def _hear(self) -> None:
        """Wait for events; take in all that come in one go."""
        until = min(self.due, self.ticked + between.TICK_S)
        wait = 0.0 if self.dirty else max(0.0, until - time.monotonic())
        wait = wait if self.notify.every_s is None else min(wait, self.notify.every_s)
        settled = time.monotonic() + wait
        while (left := settled - time.monotonic()) > 0 or not self.inbox.empty():
            try:
                event = self.inbox.get(timeout=max(0.0, left))
            except queue.Empty:
                return
            self._take(event)
            settle_s = 0.0 if event[0] == "results" else SETTLE_S  # a tick's come all at once
            settled = min(settled, time.monotonic() + settle_s) if self.dirty else settled
            if self.stopping:
                return

    def _take(self, event: tuple[Any, ...]) -> None:
        kind, *details = event
        with self._surviving(f"taking {kind} in"):
            getattr(self, f"_on_{kind}")(*details)

    @contextlib.contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Let a bug of ours cost one event or round, not the daemon: the next begins anew."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as above
            LOG.debug("a bug while %s", what, exc_info=True)
            where = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
            self.rounds.fails((f"a bug of ours while {what}, please report it: {said}",))

    def _on_results(self, results: Sequence[Result]) -> None:
        """Take in what a tick of the checks brought."""
        way, now, linked = self.rounds.way(), self.now(), not self.unlinked
        for result in results:
            with self._surviving("taking a result in"):
                self.dirty |= self.checking.take(result, way, now, linked=linked)
        if self.unlinked and not all(result.ok for result in results):
            self.trouble(UNLINKED.format(self.unlinked))
        if self.checking.suspected and not self.checking.proven:
            self.trouble(SUSPECTED)

    def _on_trouble(self, text: str) -> None:
        self.trouble(text)

    def trouble(self, text: str) -> None:
        """Record what troubles us; it is logged once in each spell of it."""
        if self.troubles.add(text, time.monotonic()):
            self.note("trouble", text, "error")

    def _on_links(self) -> None:
        self.dirty = True

    def _on_deaf(self, why: str) -> None:
        self.deafened(why)

    def deafened(self, why: str) -> None:
        """Note that ARP can be neither heard nor spoken."""
        if why != self.deaf:
            self.deaf = why
            self.note("arp", f"ARP cannot be watched: {why}", "warning")

    def _on_claim(self, vip: Address, mac: str) -> None:
        self.deaf = ""
        text = self.guard.heard(vip, mac, self.facts, self.spec, self.now())
        if text:
            self.note("arp", text, "error")
            self.dirty |= self.spec.isolate
            self.latest = snapshot(self)

    def _on_file(self) -> None:
        self.reload()

    def _on_hup(self) -> None:
        self.notify.reloading()
        self.reload()
        self.dirty, self.ready = True, False

    def _on_stop(self, withdraw: object) -> None:
        self.stopping, self.withdrawing = True, self.withdrawing or bool(withdraw)

    def _on_ask(self, do: str, request: dict[str, Any], reply: Callable[[Any], None]) -> None:
        try:
            if do not in asked.COMMANDS:
                raise UsageError(f"the daemon knows no command {do[:60]!r}")
            found: Any = asked.COMMANDS[do](self, request, reply)
        except OnearmError as error:
            found = error
        if found is not None:
            reply(found)

    def reload(self) -> None:
        """Take the file as it is now."""
        if self.source.reload():
            self.note("spec", self.source.said(), "error" if self.source.error else "info")
            self.dirty = True

    # A round.

    def _question(self) -> Question:
        near = tuple(own for host in self.spec.real_servers for own in host.addresses)
        groups = tuple(sorted({s.vip.version for s in self.spec.services if s.ends}))
        return Question(role="director", near=near, groups=groups)

    def _round(self) -> None:
        start = time.monotonic()
        self.dirty, self.due = False, start + self.spec.resync_s
        if self.source.touched():
            self.reload()
            self.dirty = False
        with self._surviving("making a round"):
            self._converge()
        with self._surviving("answering for drains"):
            self._settle_drains()
        self.checks.set_targets(self.checking.targets(self.spec, self.marks, self.own_addresses()))
        self.rounds.made += 1
        self.last_round_s = time.monotonic() - start
        self.latest = snapshot(self)
        self.answer()
        self._tell_systemd()

    def _converge(self) -> None:
        try:
            self.facts = self.here.look(self._question())
            if self.rounds.renote(self.facts):
                self.facts = self.here.look(self._question())
            self.unlinked = self._dead_link()
            outcome = self.rounds.converge(self._desired(), self.facts, self.drained_by_hand)
            self.checking.forgive(outcome.done)
            if outcome.done:
                self.facts = replace(self.facts, services=self.here.services())
        except (PlaceError, Refused) as error:
            self.rounds.fails((str(error),))
        except OSError as error:
            self.rounds.fails((str(translate(error, "making a round")),))

    def _dead_link(self) -> str:
        """Name the link to the real servers where it carries nothing; else give nothing."""
        name = director_link(self.spec, self.facts)
        link = self.facts.link(name)
        return "" if not name or (link is not None and link.up and link.carrier) else name

    def _tell_systemd(self) -> None:
        """Say how it goes where that is news, and after a start or a reload that it is done."""
        spec = f"; the spec in the file is not taken: {self.source.error}"
        how = f"director {self.host} of the spec {self.spec.name}: " + (
            "all stands as wanted" if self.rounds.converged else f"not done: {self.rounds.left[0]}"
        )
        status = " | ".join((how + (spec if self.source.error else "")).splitlines())
        if not self.ready:
            self.notify.say("READY=1", f"STATUS={status}")
        elif status != self.status:
            self.notify.say(f"STATUS={status}")
        self.ready, self.status = True, status

    def own_addresses(self) -> dict[int, Address]:
        """Give the addresses of this director by their family."""
        own = next(d for d in self.spec.directors if d.name == self.host)
        return {address.version: address for address in own.addresses}

    def _desired(self) -> State:
        now = self.now()
        if self.drains is None:
            self.drains = drains_in(self.facts, self.spec.name)
        known = {host for service in self.spec.services for host in service.hosts}
        for host in self.drains.keys() - known:
            self.note("drain", f"{host} left the spec, and its drain ends")
        self.drains = {host: drain for host, drain in self.drains.items() if host in known}
        self.marks = allocate(self.spec, self.facts, self.rules())
        self.checking.keep(self.spec)
        isolated = self.guard.isolated(self.spec, now) if self.spec.isolate else {}
        healths = self.checking.healths(self.spec)
        scene = Scene(self.spec, self.facts, now, healths, self.drains, isolated)
        before, self.rotation = self.rotation, decide(self.rotation, scene)
        self.record.follow(before, self.rotation, self.wall())
        watch = Watch(self.rotation, self.drains, self.marks)
        return desire(self.spec, {self.host: self.facts}, now, watch=watch)[self.host]

    # Who waits.

    def want_drain(self, host: str, wanted: Drain | None, reply: Callable[[Any], None]) -> None:
        """Want a host drained, or serving again; the answer comes after the round that notes it."""
        before = self.drained_by_hand
        self.drains = {h: d for h, d in before.items() if h != host}
        if wanted is not None:
            self.drains[host] = wanted
        self.waits.drain(ForDrain(reply, host, wanted, before.get(host)))
        self.dirty = True

    def _settle_drains(self) -> None:
        """Answer who had somebody drained; what could not be noted is taken back."""
        if not self.waits.drains:
            return
        noted, why = None, "; ".join(self.rounds.left) or "the spec changed"
        try:
            noted = self.rounds.noted_drains()
        except PlaceError as error:
            why = str(error)
        undone = self.waits.settle(noted, why)
        kept = {h: d for h, d in self.drained_by_hand.items() if h not in undone}
        self.drains = kept | {h: d for h, d in undone.items() if d is not None}
        for host in undone:
            self.dirty = True
            self.note("drain", f"{host} is as it was: {why}", "error")

    def answer(self) -> None:
        """Answer those who wait for a spec and have it, or never will."""
        stands = self.rounds.converged and not self.dirty and self.checking.told()
        hopeless = bool(self.source.error)
        for one in self.waits.met(self.source.digest, stands=stands, hopeless=hopeless):
            one.reply(self.state())

    def state(self) -> dict[str, Any]:
        """Tell those who asked how far we are."""
        return {
            "converged": self.rounds.converged,
            "digest": self.source.digest,
            "left": bounded(self.rounds.left),
            "spec_error": self.source.error,
            "path": str(self.source.path),
        }

    # The end.

    def _end(self) -> None:
        """Leave all that serves; take down what only we used, or all of it if told so."""
        self.notify.say("STOPPING=1")
        try:
            self.facts = self.here.look(self._question())
            watch = Watch(self.rotation, self.drained_by_hand)
            kept = desire(self.spec, {self.host: self.facts}, self.now(), watch=watch)[self.host]
            desired = {} if self.withdrawing else kept
            self.rounds.converge(desired, self.facts, self.drained_by_hand)
        except (PlaceError, Refused) as error:
            self.note("round", f"not done at the end: {error}", "error")
        self._settle_drains()
        for reply in self.farewells:
            reply(self.state())
        how = "withdrew the VIP and ends" if self.withdrawing else "ends; what serves goes on"
        self.note("start", f"director {self.host} {how}")
