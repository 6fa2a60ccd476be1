"""A load on a virtual service: so many new connections a second, and transfers that go on.

Runs on the lab's `client`, until its time is over or a signal comes; says what became of all.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

from onearm.lab import load_words
from onearm.lab.load_count import Second, Tally, Wish
from onearm.lab.load_talk import FINISHED, INTEREST, TIMED_OUT, Talk
from onearm.lab.topology import HOSTS

TICK_S = 0.02  # events wait that long for others: in a guest kernel it is waking up that costs
RETRY_S = 1.0  # before a transfer that failed is tried again
MOST_FDS = 65536
MOST_EVENTS = 4096
PORTS = range(10_000, 32_000)  # below those that the kernel hands out
PORTS_PER_S = 10  # of each address: more than a run uses
TIMES = {"rate", "timeout", "seconds"}
DIFFERS = 5  # as the product's commands end where a fault was found
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ADDRESSES = [address.partition("/")[0] for address, _ in HOSTS["client"].addresses]
SOURCES = tuple(address for address in ADDRESSES if ":" not in address)  # its sockets are of IPv4


def sources(now: float) -> Iterator[tuple[str, int]]:
    """Every address and port in turn, each again as late as can be.

    IPVS keeps an entry for two minutes, and who comes from its address and port goes where that
    one went: such a connection shows nothing of the rotation. So a later run begins elsewhere.
    """
    first = int(now * PORTS_PER_S)
    for turn in count(first):
        for address in SOURCES:
            yield address, PORTS[turn % len(PORTS)]


class Load:
    """The connections that are open, and when the next are due."""

    def __init__(self, wish: Wish, say: Callable[[int, Second], None]) -> None:
        """Start with none; every second that is over is said."""
        host = f"Host: {wish.vip}\r\nConnection: close\r\n\r\n"
        self.wish = wish
        self.say = say
        self.short = f"GET / HTTP/1.1\r\n{host}".encode()
        path = f"/bytes/{wish.length}?rate={wish.pace}"
        self.long = f"GET {path} HTTP/1.1\r\n{host}".encode()
        self.epoll = select.epoll()
        self.sources = sources(time.time())
        self.talks: dict[int, Talk] = {}
        self.oldest: deque[Talk] = deque()  # short ones, by their beginning
        self.transfers: set[Talk] = set()
        self.retry_at = 0.0
        self.due = 0  # short ones begun or skipped so far
        self.stopping = False
        self.tally = Tally(wish, time.monotonic())

    def run(self) -> None:
        """Load until the time is over; then let those under way come to their end."""
        for number in STOPS:
            signal.signal(number, self._stop)
        self.tally = Tally(self.wish, time.monotonic())
        while not self.stopping or self.oldest:
            now = time.monotonic()
            if self.wish.seconds and now - self.tally.begun >= self.wish.seconds:
                self.stopping = True
            if not self.stopping:
                self._begin(now)
            self._expire(now)
            self._serve()
            if time.monotonic() - self.tally.begun >= len(self.tally.seconds) + 1:
                self._second()
        self._second()

    def _stop(self, *_: object) -> None:
        self.stopping = True

    # --- beginnings

    def _begin(self, now: float) -> None:
        """Begin what is due; what is late by more than a second is skipped, not crammed in."""
        passed = now - self.tally.begun
        due = int(passed * self.wish.rate)
        late = due - self.due - max(1, int(self.wish.rate))
        if late > 0:
            self.tally.skipped += late
            self.due += late
        if due > self.due:
            self.tally.behind_s = max(self.tally.behind_s, passed - (self.due + 1) / self.wish.rate)
        for _ in range(due - self.due):
            self._open(self.short, now, long=False)
        self.due = due
        if now >= self.retry_at:
            for _ in range(self.wish.transfers - len(self.transfers)):
                self._open(self.long, now, long=True)

    def _open(self, request: bytes, now: float, *, long: bool) -> None:
        talk = Talk(request, now, long=long)
        self.tally.of(talk).started += 1
        fd = talk.socket.fileno()
        self.talks[fd] = talk
        (self.transfers.add if long else self.oldest.append)(talk)
        failed = talk.connect(self.sources, (self.wish.vip, self.wish.port))
        if failed is None:
            self.epoll.register(fd, INTEREST)
        else:
            self._end(talk, failed, now)

    # --- what comes

    def _serve(self) -> None:
        """Move all on that can, once per tick."""
        time.sleep(max(0.0, TICK_S - (time.monotonic() - self.tally.begun) % TICK_S))
        for fd, mask in self.epoll.poll(0, MOST_EVENTS):
            talk, now = self.talks[fd], time.monotonic()
            bytes_before, last = talk.bytes, talk.last
            outcome = talk.turn(mask, now)
            if talk.bytes > bytes_before:
                gap_s = now - last if bytes_before else 0.0
                self.tally.of(talk).received(talk.bytes - bytes_before, gap_s)
            if outcome is not None:
                self._end(talk, outcome, now)

    def _expire(self, now: float) -> None:
        """End what has been silent for too long."""
        while self.oldest and self._over(self.oldest[0], now):
            self.oldest.popleft()
        for talk in [talk for talk in self.transfers if talk.quiet_s(now) >= self.wish.timeout]:
            self._end(talk, TIMED_OUT, now)

    def _over(self, talk: Talk, now: float) -> bool:
        if talk.socket.fileno() >= 0 and talk.quiet_s(now) >= self.wish.timeout:
            self._end(talk, TIMED_OUT, now)
        return talk.socket.fileno() < 0

    def _end(self, talk: Talk, outcome: str, now: float) -> None:
        if talk.long:
            self.transfers.discard(talk)
            self.tally.long.received(0, now - talk.last if talk.bytes else 0.0)
            if outcome != FINISHED:
                self.retry_at = now + RETRY_S
        self.tally.ended(talk, outcome, now)
        del self.talks[talk.socket.fileno()]
        talk.socket.close()

    def _second(self) -> None:
        """Close the books of one second."""
        now = time.monotonic()
        for talk in self.transfers:
            self.tally.long.received(0, now - talk.last if talk.bytes else 0.0)
        on = Counter(talk.server for talk in self.transfers if talk.bytes)
        self.say(
            len(self.tally.seconds), self.tally.close(len(self.talks) - len(self.transfers), on)
        )


def as_text(number: int, found: Second) -> None:
    say(load_words.second(number, found))


def as_line(number: int, found: Second) -> None:
    say(compact({"onearm": 1, "kind": "load.second", **found.as_object(number)}))


def compact(found: object) -> str:
    return json.dumps(found, separators=(",", ":"))


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def command(wish: Mapping[str, object], *, live: bool, as_json: bool) -> list[str]:
    """Build what starts this on the client."""
    words = ["python3", "-ISsB", str(Path(__file__).with_name("start.py")), "load"]
    words += [f"--{name}={value}" for name, value in wish.items()]
    return words + ["--live"] * live + ["--json"] * as_json


def parser() -> argparse.ArgumentParser:
    """The options, which `onearm lab load` hands on: each has its default there."""
    words = argparse.ArgumentParser(prog="load", description=__doc__)
    for name in Wish._fields:
        kind = str if name == "vip" else float if name in TIMES else int
        words.add_argument(f"--{name}", type=kind, required=True)
    words.add_argument("--live", action="store_true", help="with --json: a line per second")
    words.add_argument("--json", action="store_true")
    return words


def main() -> None:
    options = vars(parser().parse_args())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, MOST_FDS), most))
    live, in_json = options.pop("live"), options.pop("json")
    seconds = (as_line if live else lambda *_: None) if in_json else as_text
    load = Load(Wish(**options), seconds)
    load.run()
    tally = load.tally
    if in_json:
        say(compact(tally.as_object(time.monotonic(), time.process_time())))
    else:
        say(load_words.whole(tally))
    sys.exit(DIFFERS if tally.failures else 0)


if __name__ == "__main__":
    main()
