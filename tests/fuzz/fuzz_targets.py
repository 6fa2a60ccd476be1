"""What reads foreign bytes: each as a function of bytes that raises nothing, with seeds and words.

A target swallows the errors that are ours and of its kind; whatever else comes out is a finding.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import fuzz_words as words

from onearm import entries, ledger, planfile, spec, wire
from onearm.checks import dns_message
from onearm.checks.http_reply import Reply
from onearm.errors import OnearmError, PlaceError, SpecError, UsageError
from onearm.facts import HostFacts
from onearm.imports import names, settle, values, write
from onearm.imports.command import PARSERS, Source
from onearm.kernel import (
    connections,
    counters,
    frames,
    ipvs,
    ipvs_messages,
    links,
    netlink,
    sockets,
)
from onearm.kernel.generic import family
from onearm.model import Action, Mark, Resource, Seen
from onearm.node import Channel
from onearm.places import conversation
from onearm.places.look import Question
from onearm.places.remote import RemotePlace
from onearm.spec import Check
from onearm.spec_load import document
from onearm.traffic import Attempt
from onearm.vitals import Vitals

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VIP = ip_address("203.0.113.2")
NAME = "www.example.org"


@dataclass(frozen=True)
class Target:
    """`words` are pieces that its inputs are made of."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()
    longest: int = 4096


def _plain(value: object) -> None:
    """See that a value can go over the wire, whatever it was read from."""
    json.dumps(wire.encode(value))


class _Kernel:
    """A netlink socket whose messages answer what was asked, whatever they are."""

    def __init__(self, data: bytes) -> None:
        self.data, self.sequence = data, 0

    def send(self, data: bytes) -> None:
        self.sequence = netlink.HEADER.unpack_from(data)[3]

    def recv_into(self, buffer: memoryview) -> int:
        data, self.data = self.data, b""
        if not data:
            raise BlockingIOError
        answers = (
            netlink.message(kind, flags, self.sequence, payload)
            for kind, flags, _, payload in netlink.split(data)
        )
        whole = b"".join(answers)[: len(buffer)]
        buffer[: len(whole)] = whole
        return len(whole)

    def close(self) -> None:
        pass


def _socket(data: bytes) -> netlink.Netlink:
    made = netlink.Netlink.__new__(netlink.Netlink)
    made._socket, made._sequence = _Kernel(data), 0
    made._buffer = memoryview(bytearray(8192))
    return made


WEB = ipvs.IpvsService(protocol=6, address=VIP, port=80)
ASKED = (
    lambda i: i.info(),
    lambda i: i.timeouts(),
    lambda i: i.services(),
    lambda i: i.destinations(WEB),
    lambda i: family(i._netlink, "IPVS"),
    lambda i: i.zero(),
    lambda i: i.daemons(),
)
LINKED = (
    lambda k: k.links(),
    lambda k: k.addresses(),
    lambda k: k.routes(),
    lambda k: k.neighbours(),
    lambda k: k.route_get(VIP),
    lambda k: k.route_back(VIP, VIP),
)


def _netlink(data: bytes) -> None:
    for kind, flags, _, payload in netlink.split(data):
        netlink.verdict(kind, flags, payload)
    for payload in (data, *(payload for *_, payload in netlink.split(data))):
        _plain(ipvs_messages.parse_service(payload))
        _plain(ipvs_messages.parse_destination(payload, 10))
    for kind, verbs in ((ipvs.Ipvs, ASKED), (links.Links, LINKED)):
        for verb in verbs:
            asked = kind.__new__(kind)
            asked._netlink, asked._type = _socket(data), 30
            with contextlib.suppress(OSError, PlaceError):
                _plain(verb(asked))


def _spec(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # document.read says so, with the line
    with contextlib.suppress(SpecError):
        found = spec.parse(text, "fuzz.yaml")
        assert spec.parse(text, "fuzz.yaml") == found
        document.without(text, "reach")


HINTS = (HostFacts, Vitals, Resource, Action, Seen, Mark, Attempt, tuple[frames.Frame, ...])


def _wire(data: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        said = wire.parse_line(data)
        for hint in HINTS:
            with contextlib.suppress(wire.WireError):
                found = wire.decode(hint, said.get("v", said))
                assert wire.decode(hint, wire.encode(found)) == found


class _Child:
    """A process behind a prefix that says what it is told to."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, _deadline: float) -> bytes:
        lump, self.data = self.data[:700], self.data[700:]
        return lump

    def wait(self, _deadline: float) -> int:
        return 0

    def complaint(self) -> str:
        return ""

    def feed(self, data: object, **_: object) -> None:
        pass

    def end(self) -> None:
        pass


SAID = (
    lambda p: p.look(Question()),
    lambda p: p.vitals([VIP], [(VIP, VIP)]),
    lambda p: p.connections(entries.Wanted(), (), lambda _entry: None),
    lambda p: p.observe({}),
    lambda p: p.captured("x"),
    lambda p: p.who_has("eth0", VIP, VIP, 1),
)


def _conversation(data: bytes) -> None:
    """Let a host say anything in answer: first instead of a hello, then instead of a reply."""
    place = RemotePlace("server-1", [], "web", 9)
    talk = place._conversation
    conversation.PAUSES_S = ()
    talk._launch = lambda *_: setattr(talk, "_child", _Child(data[1:])) or talk._child
    with contextlib.suppress(OnearmError):
        talk.open()
    talk.close()
    talk._child = _Child(data[1:])
    with contextlib.suppress(OnearmError):
        SAID[data[0] % len(SAID) if data else 0](place)


def _asked(data: bytes) -> None:
    """Let an operator ask a node anything; nothing is done of it."""
    import io

    channel = Channel(io.BytesIO(data), io.BytesIO())
    with contextlib.suppress(wire.WireError):
        while channel.next() is not None:
            pass


def _ledger(data: bytes) -> None:
    read = ledger.Ledger.__new__(ledger.Ledger)
    read._path, read.marks, read.hosts = Path("ledger.json"), {}, {}
    with contextlib.suppress(PlaceError):
        read._parse(data.decode(errors="replace"))


def _planfile(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        path = Path(file.name)
        planfile.looks_like_plan(path)
        with contextlib.suppress(UsageError, SpecError):
            planfile.read(path, None)


def _frames(data: bytes) -> None:
    base = frames.Frame("eth0", outgoing=False, to_us=True)
    for protocol in (frames.ETH_P_IP, frames.ETH_P_ARP, frames.ETH_P_IPV6, 0x88CC):
        for ethernet in (True, False):
            _plain(frames.parse(base, data, protocol, ethernet=ethernet))


def _http(data: bytes) -> None:
    size = 1 + (data[0] if data else 0)
    for body in (None, "(a|b)+c$"):
        reply = Reply(Check("http", expect=body))
        for start in range(1, len(data), size):
            if reply.feed(data[start : start + size]) is not None:
                break
        else:
            assert reply.waits_for().isprintable()
            reply.end()


def _dns(data: bytes) -> None:
    for record in ("A", "TXT", "MX"):
        dns_message.answer(data, 7, NAME, record)


def _imported(tool: str, data: bytes) -> None:
    with contextlib.suppress(UsageError):
        text = data.decode(errors="replace")
        found = PARSERS[tool](Source(Path("/nowhere/file"), text, "lb-1"))
        found = settle.settle(found, [values.address("203.0.113.3")])
        known = names.named(settle.hosts_of(found.services), {}, "lb-1")
        write.text(found, "file", write.Director("lb-1"), known)


def _table(data: bytes) -> None:
    lines = data.decode("ascii", "replace").split("\n")
    scan = connections.Scan(entries.Wanted(every=True), own=[VIP], most=8)
    for line in scan.lines(lines):
        entries.parse(line, {VIP})
    for fact in scan.facts():
        assert wire.decode(type(fact), wire.encode(fact)) == fact
    connections.parse(lines)


def _proc(data: bytes) -> None:
    text = data.decode("ascii", "replace")
    _plain(counters.parse(text))
    for protocol in ("tcp", "udp"):
        _plain(tuple(sockets.parse(text.split("\n"), protocol)))


def _files(pattern: str) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for path in sorted(ROOT.glob(pattern))]


def _kept(name: str) -> Callable[[], list[bytes]]:
    return _files(f"tests/fuzz/corpus/{name}/*")


def _both(*makers: Callable[[], list[bytes]]) -> Callable[[], list[bytes]]:
    return lambda: [seed for make in makers for seed in make()]


NONE: Callable[[], list[bytes]] = lambda: [b""]

TARGETS = {
    "netlink": Target(_netlink, _kept("netlink"), words.ATTRIBUTES),
    "spec": Target(_spec, _both(_files("examples/*.yaml"), _kept("spec")), words.YAML, 16384),
    "wire": Target(_wire, lambda: [words.LEDGER], words.JSON),
    "conversation": Target(_conversation, lambda: [words.HELLO], words.JSON),
    "node": Target(_asked, lambda: [words.REQUEST], words.JSON),
    "ledger": Target(_ledger, lambda: [words.LEDGER], words.JSON),
    "planfile": Target(_planfile, lambda: [words.PLAN], words.JSON),
    "frames": Target(_frames, list, words.FRAMES),
    "http": Target(_http, lambda: [b"".join(words.HTTP)], words.HTTP),
    "dns": Target(_dns, lambda: [dns_message.question(7, NAME, "A")], words.DNS),
    "table": Target(_table, lambda: [words.TABLE_LINES], words.TABLE),
    "proc": Target(_proc, lambda: [words.SNMP, words.SOCKETS], words.PROC),
    **{
        tool: Target(
            partial(_imported, tool), _files(f"tests/imports/cases/{tool}*/{tool}*"), words.CONFIG
        )
        for tool in PARSERS
    },
}
