"""The one thread that asks: epoll for what is in flight, a wheel for what is due."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from select import EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll
from socket import SocketType
from time import monotonic

from onearm.checks.idle import Idle
from onearm.checks.kinds import KINDS
from onearm.checks.place import Place
from onearm.checks.probe import Probe
from onearm.checks.target import Counts, Result, Target, Trouble
from onearm.checks.troubles import Troubles
from onearm.checks.verdict import Down, Ours, Verdict
from onearm.checks.wheel import TICK_S, Wheel

log = logging.getLogger(__name__)

SOONEST, LATEST = 0.90, 0.98  # of an interval: what is left over is for the verdict and the round
LONG_S = 10 * TICK_S  # a timeout as long as that spares a tick, for the same
PHASE_S = 1.0  # within which new targets begin
EVENTS_MOST = 4096
STREAM = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET  # set once: no epoll_ctl on the way
LAG_S = 2 * TICK_S  # of a beginning, that the next one makes up for; no two are closer than that
AT_ONCE = 16  # probes begun before answers are looked at again, or latencies would grow with it


def patience_s(timeout_s: float) -> float:
    """Say how long an answer is waited for: its end is a tick's, and never after the timeout."""
    spared = TICK_S if timeout_s >= LONG_S else 0.0
    return timeout_s - spared - TICK_S


class Checks:
    """Asks the targets until stopped. Results and troubles are told from its own thread.

    Results are told once a tick, all that there are: to wake who takes them costs as much as half
    a check.
    """

    def __init__(
        self, results: Callable[[Sequence[Result]], object], troubles: Callable[[Trouble], object]
    ) -> None:
        self._tell = results
        self._untold: list[Result] = []
        self._troubles = Troubles(troubles)
        self._epoll = epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, EPOLLIN)
        self._lock = threading.Lock()
        self._wanted: tuple[Target, ...] | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="checks", daemon=True)
        self._places: dict[Hashable, Place] = {}
        self._flying: dict[int, Probe] = {}
        self._idle = Idle()
        self._due: deque[Place] = deque()
        self._wheel: Wheel[Place, Probe] = Wheel(monotonic())
        self._in_flight = self._started = self._good = self._bad = self._starved = (
            self._troubled
        ) = 0
        self._late_s = self._late_most_s = self._paused_s = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; every socket is closed and every script killed. Nothing goes on after."""
        self._stopping = True
        os.eventfd_write(self._bell, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._bell)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def set_targets(self, targets: tuple[Target, ...]) -> None:
        """Say what is to be asked from now on; a last result of one that is gone may come yet."""
        with self._lock:
            self._wanted = targets
        os.eventfd_write(self._bell, 1)

    @property
    def counts(self) -> Counts:
        return Counts(
            targets=len(self._places),
            in_flight=self._in_flight,
            started=self._started,
            good=self._good,
            bad=self._bad,
            starved=self._starved,
            troubled=self._troubled,
            late_s=self._late_s,
            late_most_s=self._late_most_s,
            paused_s=self._paused_s,
        )

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Give what has troubled us within the last minute."""
        return self._troubles.lately(monotonic())

    # What a probe sees: Watch.

    def watch(self, fd: int, events: int, probe: Probe) -> None:
        self._epoll.register(fd, events)
        self._flying[fd] = probe

    def unwatch(self, fd: int) -> None:
        if self._flying.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def connect(self, probe: Probe) -> SocketType:
        """Begin a probe's connection, on a socket that served before where that is as good."""
        place = probe.place
        sock = self._idle.take(place.family) if place.plain else None
        if sock is None:
            sock = place.stream()
            self.watch(sock.fileno(), STREAM, probe)
        else:
            place.connect(sock)
            self._flying[sock.fileno()] = probe
        return sock

    def hang_up(self, probe: Probe, sock: SocketType) -> None:
        """End a connection; a socket without address or mark of its own is kept for the next."""
        place, fd = probe.place, sock.fileno()
        del self._flying[fd]
        if place.plain and self._idle.give(place.family, sock):
            return
        self._epoll.unregister(fd)
        sock.close()

    # The thread.

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        finally:
            for place in self._places.values():
                self._leave(place)
            for probe in [*self._flying.values()]:  # what scripts left behind
                probe.close(self)
            self._idle.close()

    def _turn(self) -> None:
        """Look at answers first, at the time then: what has come is never called late."""
        wait_s = 0.0 if self._due else self._wheel.wait_s(monotonic())
        events = self._epoll.poll(wait_s, EVENTS_MOST)
        now = monotonic()
        for fd, mask in events:
            probe = self._flying.get(fd)
            if probe is not None:
                self._step(probe, mask, now)
            elif fd == self._bell:
                self._answer_bell(now)
        if self._due:
            self._begin_some()
        elif len(events) < EVENTS_MOST:
            self._tick(now)

    def _tick(self, now: float) -> None:
        late_s = self._wheel.late_s(now)
        if late_s is None:
            return
        self._late_s = late_s
        self._late_most_s = max(self._late_most_s, late_s)
        if late_s > TICK_S:
            self._wheel.pause(late_s)
            self._paused_s += late_s
        slot = self._wheel.take()
        for probe in slot.expiries:
            if not probe.over:
                self._finish(probe, probe.expired(), now)
        self._due.extend(slot.begins)
        self._tell_all()

    def _tell_all(self) -> None:
        untold, self._untold = self._untold, []
        if untold:
            self._tell(untold)

    def _begin_some(self) -> None:
        for _ in range(min(AT_ONCE, len(self._due))):
            place = self._due.popleft()
            if not place.gone:
                self._begin(place)

    def _begin(self, place: Place) -> None:
        """Begin a probe, and have its end and the next one's beginning put on the wheel."""
        now = monotonic()
        time = self._wheel.time(now)
        if place.probe is not None:  # a timeout as long as the interval ends first
            self._wheel.slot(time).begins.append(place)  # the next tick
            return
        check = place.check
        jitter = random.uniform(SOONEST, LATEST)  # noqa: S311
        place.due = max(place.due, time - LAG_S) + check.interval_s * jitter
        self._wheel.slot(place.due).begins.append(place)
        self._started += 1
        self._in_flight += 1
        place.probe = probe = KINDS[check.kind](place)
        probe.begun = now
        self._step(probe, None, now)
        if not probe.over:
            self._wheel.slot(time + patience_s(check.timeout_s)).expiries.append(probe)

    def _step(self, probe: Probe, mask: int | None, now: float) -> None:
        """Let a probe begin or go on. What goes wrong with one is no reason to leave the others."""
        try:
            verdict = probe.begin(self) if mask is None else probe.ready(mask, self)
        except Down as down:
            verdict = down.verdict
        except Ours as trouble:
            self._drop(probe)
            self._trouble(trouble, now)
            return
        except Exception as error:  # a bug of ours: said loudly, and no verdict on a server
            what = f"a {probe.place.check.kind} check of {probe.place.target.host}"
            log.exception("%s failed", what)
            self._drop(probe)
            self._trouble(Ours("bug", f"{what}: {error!r}"), now)
            return
        if verdict is not None:
            self._finish(probe, verdict, now)

    def _finish(self, probe: Probe, verdict: Verdict, now: float) -> None:
        self._drop(probe)
        ok, reason = verdict
        if ok:
            self._good += 1
        else:
            self._bad += 1
        if not self._untold:
            self._wheel.slot(self._wheel.time(now))  # the next tick tells them, due or not
        self._untold.append(Result(probe.place.target.key, ok, reason, now - probe.begun, now))

    def _drop(self, probe: Probe) -> None:
        if not probe.over:
            probe.over = True
            self._in_flight -= 1
            probe.place.probe = None
        probe.close(self)

    def _trouble(self, trouble: Ours, now: float) -> None:
        if trouble.kind == "starved":
            self._starved += 1
        self._troubled += 1
        self._troubles.add(Trouble(trouble.kind, str(trouble)), now)

    def _answer_bell(self, now: float) -> None:
        os.eventfd_read(self._bell)
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        by_key = {target.key: target for target in wanted}
        gone = [p for key, p in self._places.items() if by_key.get(key) != p.target]
        for place in gone:
            self._leave(place)
        if not any(place.plain for place in self._places.values() if not place.gone):
            self._idle.close()
        for place in gone:
            del self._places[place.target.key]
        for key, target in by_key.items():
            if key not in self._places:
                phase_s = min(target.check.interval_s, PHASE_S) * random.random()  # noqa: S311
                place = Place(target, self._wheel.time(now) + phase_s)
                self._places[key] = place
                self._wheel.slot(place.due).begins.append(place)

    def _leave(self, place: Place) -> None:
        place.gone = True
        if isinstance(place.probe, Probe):
            self._drop(place.probe)
