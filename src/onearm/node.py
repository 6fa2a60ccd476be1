"""The node side: JSON lines in, JSON lines out, on the host itself; standard library only."""

from __future__ import annotations

import importlib
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Optional

from onearm import collector, traffic, wire
from onearm.errors import Denied, OnearmError, PlaceError
from onearm.facts import split
from onearm.kernel import packets
from onearm.kernel.faults import translate
from onearm.kernel.frames import Frame
from onearm.kernel.links import Links
from onearm.model import Action, Address, Resource, Sysctl, state
from onearm.places import daemons, lock, look
from onearm.places.host import HostPlace, identity
from onearm.serve import client
from onearm.vitals import split_rules

PERMANENT = 0x80 | 0x40  # NUD_PERMANENT | NUD_NOARP: not learned, so not to be forgotten
MOST_ROWS = 2_000_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # as the spec has it
LONGEST_S = 600.0  # that a daemon may take for an answer
MOST_FLOWS = 5000  # of other people, that a capture tells of
MANY = ("services", "marks", "routes", "neighbours", "addresses")  # facts sent row by row

Rows = list[Any]
Reply = dict[str, Any]


class Node:
    """One conversation. It keeps nothing but the lock and open captures; nothing outlives it."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        """Send lines through `write`."""
        self._write = write
        self._lock: Optional[int] = None
        self._captures: dict[str, packets.Capture] = {}
        self._verbs: dict[str, tuple[Callable[[dict[str, Any], Rows], Any], str]] = {
            "look": (self._look, "question"),
            "observe": (self._observe, "name daemon peek"),
            "apply": (self._apply, "name adopt daemon"),
            "lock": (self._take_lock, "name wait_s"),
            "hosts": (self._hosts, "name hosts daemon"),
            "forget": (self._forget, "addresses"),
            "who_has": (self._who_has, "link address sender seconds"),
            "capture": (self._capture, "name vips"),
            "captured": (self._captured, "name ports"),
            "connect": (self._connect, "errand"),
            "vitals": (self._vitals, "vips back"),
            "connections": (self._connections, "wanted"),
            "daemon": (self._daemon, "name request deadline_s"),
        }

    def answer(self, request: dict[str, Any], rows: Rows) -> Reply:
        """Do what is asked and return the last line of the reply."""
        verb = request.get("do")
        if not isinstance(verb, str) or verb not in self._verbs:
            return _error(PlaceError(f"the node knows no {ascii(verb)[:60]}"))
        answer, fields = self._verbs[verb]
        unknown = request.keys() - {"do", *fields.split()}
        if unknown:
            return _error(PlaceError(f"{verb} knows no field {ascii(min(unknown))[:60]}"))
        try:
            return {"ok": wire.encode(answer(request, rows))}
        except OnearmError as error:
            return _error(error)
        except OSError as error:
            return _error(translate(error, verb))

    def _emit(self, reply: Reply) -> None:
        self._write(wire.line(reply))

    def _parts(self, rows: Iterable[Any], *path: str) -> None:
        """Send many values in lines of bounded length."""
        for line in wire.bulk(("part", *path), rows):
            self._write(line)

    def _look(self, request: dict[str, Any], _rows: Rows) -> Any:
        facts = look.look(wire.decode(look.Question, request.get("question", {})))
        facts = replace(facts, daemon=daemons.fact())
        for name in MANY:
            rows = getattr(facts, name)
            self._parts(split(rows) if name == "services" else rows, name)
        sent: dict[str, Any] = dict.fromkeys(MANY, ())
        return replace(facts, **sent)

    def _observe(self, request: dict[str, Any], rows: Rows) -> Any:
        """Show what stands; `peek`: in the kernel itself, though a daemon answers for it."""
        wanted = wire.decode(tuple[Resource, ...], rows)
        peek = wire.decode(bool, request.get("peek", False))
        name = "" if peek else _through_daemon(request)
        place = _place(request)
        found = daemons.observe(name, wanted) if name else place.observe(state(wanted))
        self._parts(found.values())
        return None

    def _apply(self, request: dict[str, Any], rows: Rows) -> Any:
        through = _through_daemon(request)
        if self._lock is None and not through:
            raise Denied("apply without the lock of this host")
        batch = wire.decode(tuple[Action, ...], rows)
        turn = {id(action): n for n, action in enumerate(batch)}
        adopt = wire.decode(bool, request.get("adopt", False))

        def done(action: Action) -> None:
            self._emit({"part": {"done": turn[id(action)]}})

        if through:
            refused = daemons.apply(through, batch, done)
        else:
            refused = _place(request, adopt=adopt).apply(batch, done)
        for action, error in refused.items():
            self._emit({"part": {"refused": turn[id(action)], **_error(error)}})
        return None

    def _take_lock(self, request: dict[str, Any], _rows: Rows) -> Any:
        """Hold the host's lock until this process ends; wait for another holder a while.

        The daemon of the same spec may hold it: then nothing is changed but through the daemon.
        """
        if daemons.running(wire.decode(str, request.get("name"))):
            return None
        if self._lock is not None:
            return None  # it would wait for itself: flock tells open files apart, not processes
        self._lock = lock.take("a run of onearm", wire.decode(float, request.get("wait_s", 0)))
        return None

    def _hosts(self, request: dict[str, Any], _rows: Rows) -> Any:
        hosts = wire.decode(tuple[str, ...], request.get("hosts"))
        through = _through_daemon(request)
        if through:
            return daemons.remember_hosts(through, hosts)
        return _place(request).remember_hosts(hosts)

    def _forget(self, request: dict[str, Any], _rows: Rows) -> Any:
        """Delete learned neighbour entries, so that the kernel must ask again; say which."""
        wanted = set(wire.decode(tuple[Address, ...], request.get("addresses")))
        forgotten = []
        with Links() as links:
            for entry in links.neighbours():
                if entry.address in wanted and not entry.state & PERMANENT:
                    links.delete_neighbour(entry.link, entry.address)
                    forgotten.append(entry)
        return forgotten

    def _who_has(self, request: dict[str, Any], _rows: Rows) -> Any:
        """Ask for an address on the link that leads to it; list the MACs that answer."""
        address = wire.decode(Address, request.get("address"))
        link = wire.decode(str, request.get("link"))
        sender = wire.decode(Optional[Address], request.get("sender"))
        seconds = min(wire.decode(float, request.get("seconds", 1.0)), 5.0)
        with Links() as links:
            mac = next((fact.mac for fact in links.links() if fact.name == link), "")
        return packets.who_has(link, address, sender, mac, seconds)

    def _capture(self, request: dict[str, Any], _rows: Rows) -> Any:
        name = wire.decode(str, request.get("name"))
        vips = wire.decode(tuple[Address, ...], request.get("vips"))
        if name in self._captures:
            self._captures.pop(name).close()
        self._captures[name] = packets.Capture(vips)

    def _captured(self, request: dict[str, Any], _rows: Rows) -> Any:
        """Hand over what was captured so far and end the capture.

        `ports` are those of connections that the asker follows; none: everything is of interest.
        """
        name = wire.decode(str, request.get("name"))
        if name not in self._captures:
            raise PlaceError(f"there is no capture {name!r}")
        capture = self._captures.pop(name)
        frames, lost = capture.drain()
        capture.close()
        ports = frozenset(wire.decode(tuple[int, ...], request.get("ports", [])))
        self._parts(_of_interest(frames, ports) if ports else frames)
        return {"lost": lost}

    def _connect(self, request: dict[str, Any], _rows: Rows) -> Any:
        self._parts(traffic.run(wire.decode(traffic.Errand, request.get("errand"))))

    def _daemon(self, request: dict[str, Any], _rows: Rows) -> Any:
        """Hand a request on to the daemon of this host that has that name, and its answer back."""
        name = wire.decode(str, request.get("name"))
        asked = request.get("request")
        if not NAME.fullmatch(name) or not isinstance(asked, dict):
            raise PlaceError("daemon wants the name of one, and a request for it")
        seconds = min(wire.decode(float, request.get("deadline_s", 10.0)), LONGEST_S)
        part = lambda rows: self._emit({"part": rows})  # noqa: E731 - a name for the callback
        return client.ask(client.path_of(name), asked, part, seconds)

    def _vitals(self, request: dict[str, Any], _rows: Rows) -> Any:
        """Tell what only a diagnosis asks; all that may be long goes row by row."""
        from onearm.places.examine import examine  # every start of a node pays for what it loads

        vips = wire.decode(tuple[Address, ...], request.get("vips", []))
        back = wire.decode(tuple[tuple[Address, ...], ...], request.get("back", []))
        found = examine(vips, [_pair(pair) for pair in back])
        rows: dict[str, Iterable[Any]] = {
            "listeners": found.listeners,
            "back": found.back,
            "sysctls": (Sysctl(name, value) for name, value in found.sysctls.items()),
            "rules": split_rules(found.rules),
            "connections": found.connections,
            "services": split(found.services),
        }
        for name, values in rows.items():
            self._parts(values, name)
        sent: dict[str, Any] = {**dict.fromkeys(rows, ()), "sysctls": {}}
        return replace(found, **sent)

    def _connections(self, request: dict[str, Any], rows: Rows) -> Any:
        """Show the connection table as it is read: its own lines, then the groups they make."""
        from onearm.places import table  # every start of a node pays for what it loads

        wanted = wire.decode(table.Wanted, request.get("wanted", {}))
        scan, own, marked = table.scan(wanted, wire.decode(tuple[table.Served, ...], rows))
        self._parts(own, "own")
        self._parts(marked, "marked")
        with table.opened() as lines:
            told = scan.lines(lines, lambda read: self._emit({"part": {"read": read}}))
            self._parts(told, "lines")
        self._parts(scan.facts(), "groups")
        return {"read": scan.read, "missed": scan.missed}


def _pair(addresses: tuple[Address, ...]) -> tuple[Address, Address]:
    if len(addresses) != 2:  # noqa: PLR2004 - a pair
        raise wire.WireError(f"expected a client and a VIP, got {len(addresses)} addresses")
    return addresses[0], addresses[1]


def _of_interest(frames: Iterable[Frame], ports: frozenset[int]) -> Iterator[Frame]:
    """Keep every frame of the ports; of other connections, which may be very many, only the first.

    That one shows that others are there, and that is all that is asked of them.
    """
    seen: set[tuple[str, int, str, int, bool]] = set()
    for frame in frames:
        if (
            frame.kind not in ("tcp", "udp", "sctp")
            or {frame.source_port, frame.target_port} & ports
        ):
            yield frame
            continue
        ends = (frame.source, frame.source_port, frame.target, frame.target_port)
        flow = (*ends, frame.outgoing)
        if flow not in seen and len(seen) < MOST_FLOWS:
            seen.add(flow)
            yield frame


def _through_daemon(request: dict[str, Any]) -> str:
    """Name the spec whose daemon answers here; empty where none does and none should."""
    name = wire.decode(str, request.get("name"))
    expected = wire.decode(bool, request.get("daemon", False))
    daemons.agree(name, expected=expected)
    return name if expected else ""


def _place(request: dict[str, Any], *, adopt: bool = False) -> HostPlace:
    return HostPlace(wire.decode(str, request.get("name")), adopt=adopt)


def _error(error: OnearmError) -> Reply:
    return {"error": {"kind": type(error).__name__, "text": str(error)}}


class Channel:
    """The two ends of the conversation. When nobody reads any more, the batch in hand goes on."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        """Read requests from `source`, write replies to `sink`."""
        self._source, self._sink, self.open = source, sink, True

    def emit(self, reply: Reply) -> None:
        """Write one reply."""
        self.write(wire.line(reply))

    def write(self, line: bytes) -> None:
        """Write one line; a reader that is gone is noticed, not raised."""
        if not self.open:
            return
        try:
            self._sink.write(line)
            self._sink.flush()
        except OSError:
            self.open = False

    def next(self) -> Optional[tuple[dict[str, Any], Rows]]:
        """Read the next request with the rows that precede it; None at the end of input."""
        rows: Rows = []
        while self.open:
            data = self._source.readline(wire.LINE_LIMIT + 1)
            if not data.endswith(b"\n"):
                return None
            request = wire.parse_line(data)
            if "do" in request:
                return request, rows
            rows += _row_list(request)
            if len(rows) > MOST_ROWS:
                return None
        return None


def _row_list(request: dict[str, Any]) -> Rows:
    rows = request.get("rows")
    if not isinstance(rows, list):
        raise wire.WireError("expected a request with `do`, or rows that belong to the next one")
    return rows


def main() -> None:
    """Say hello, then answer until the input ends."""
    collector.patient()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost caller ends the input: enough
    channel = Channel(sys.stdin.buffer, sys.stdout.buffer)
    channel.emit({"onearm": 1, "kind": "hello", "build": build(), **identity()})
    node = Node(channel.write)
    while True:
        try:
            asked = channel.next()
            if asked is None:
                return
            channel.emit(node.answer(*asked))
        except wire.WireError as error:
            channel.emit(_error(error))
            return
        except Exception:  # noqa: BLE001 - a bug of ours must reach the operator whole
            import traceback

            channel.emit({"error": {"kind": "bug", "text": traceback.format_exc()[-8000:]}})
            return


def build() -> str:
    """Name this build by the digest of the very file that runs."""
    data = Path(sys.argv[0]).read_bytes()
    try:  # CPython's own, because hashlib would load all of OpenSSL
        digest = importlib.import_module("_sha256").sha256(data)
    except ImportError:
        digest = importlib.import_module("hashlib").sha256(data)
    return str(digest.hexdigest())
