"""`ipvsadm -Sn` -> Found: the kernel's table as commands."""

from __future__ import annotations

import shlex
from dataclasses import replace

from onearm.imports import forwarding, values, whole
from onearm.imports.found import (
    MARKED,
    Cannot,
    Found,
    Lost,
    Note,
    Server,
    Service,
    must,
    shown,
)
from onearm.imports.ipvsadm_table import ALIASES, BARE, KNOWN, PROTOCOLS, SET, TABLE, timeouts
from onearm.imports.table import Gathered, Statement, gather
from onearm.spec import DIRECT, Forwarding
from onearm.spec_load.fields import HIGHEST_PORT

MOST_LINES = 100_000
NO_TUNNEL = "it is not reached by a tunnel"
TWICE = "this service stands above already"
NO_SERVICE = "it belongs to no service above it"
OTHER = "a spec has a place for services (-A) and destinations (-a) only"
TOO_MANY = f"the file goes on: more than {MOST_LINES} lines"

Key = tuple[str, str]  # -t, -u, --sctp-service or -f, and what stands behind it
Command = tuple[Statement, list[Statement]]  # the line, and its options


def parse(text: str) -> Found:
    """Read the commands, in their order."""
    services: dict[Key, tuple[Command, list[Command]]] = {}
    notes: list[Note] = []
    timed: dict[str, int] = {}
    lines = text.split("\n")
    for number, line in enumerate(lines[:MOST_LINES], 1):
        if line.strip() and not line.lstrip().startswith("#"):
            one = Statement(f"line {number}", "", rest=line.strip())
            if not _timed(one, timed, notes):
                _line(one, services, notes)
    if len(lines) > MOST_LINES:
        notes.append(Note(f"line {MOST_LINES}", "...", TOO_MANY, differs=True))
    made = (_service(key, *each) for key, each in services.items())
    return Found("ipvsadm", tuple(made), tuple(notes), tuple(timed.items()))


def _timed(line: Statement, timed: dict[str, int], notes: list[Note]) -> bool:
    """Read `--set TCP TCPFIN UDP`; say whether it was one."""
    words = line.rest.split()
    words = words[1:] if words and words[0].rpartition("/")[2] == "ipvsadm" else words
    if words[:1] != [SET]:
        return False
    try:
        timed |= timeouts(words[1:])
    except Cannot as reason:
        notes.append(Note(line.at, shown(line.rest), str(reason), differs=True))
    return True


def _line(
    line: Statement, services: dict[Key, tuple[Command, list[Command]]], notes: list[Note]
) -> None:
    try:
        command, options = options_of(line)
        key = next((o.word, o.words[0]) for o in options if o.word in {*PROTOCOLS, "-f"})
    except (Cannot, ValueError, StopIteration, IndexError):
        notes.append(Note(line.at, shown(line.rest), OTHER, differs=True))
        return
    if command == "-A" and key not in services:
        services[key] = (line, options), []
    elif command == "-a" and key in services:
        services[key][1].append((line, options))
    else:
        why = {"-a": NO_SERVICE, "-A": TWICE}.get(command, OTHER)
        notes.append(Note(line.at, shown(line.rest), why, differs=True))


def options_of(line: Statement) -> tuple[str, list[Statement]]:
    """Take a command apart: what it does, and its options with their values."""
    words = shlex.split(line.rest, comments=True)
    words = words[1:] if words and words[0].rpartition("/")[2] == "ipvsadm" else words
    if not words:
        raise Cannot(OTHER)
    command, *rest = (ALIASES.get(word, word) for word in words)
    options: list[Statement] = []
    for word in rest:
        waits = options and not options[-1].words and options[-1].word not in BARE
        if waits and word not in KNOWN:
            options[-1] = options[-1]._replace(words=(word,), rest=word)
        else:
            options.append(Statement(line.at, word))
    return command, options


def _service(key: Key, head: Command, behind: list[Command]) -> Service | Lost:
    line, options = head
    found = gather(TABLE, "-A", _spread(options))
    body = tuple(shown(each.rest) for each, _ in (head, *behind))
    try:
        must(key[0] != "-f", MARKED)
        address, port = endpoint(key[1])
        must(port > 0, "it has no port, which a spec's services have")
        vip = values.address(address)
    except Cannot as reason:
        return Lost((Note(line.at, body[0], str(reason), differs=True),), body)
    servers = []
    for each, its in behind:
        inner = gather(TABLE, "-a", its)
        try:
            servers.append(_server(inner, port))
            found.notes += inner.notes
        except Cannot as reason:
            found.notes.append(Note(each.at, shown(each.rest), str(reason), differs=True))
    protocol = PROTOCOLS[key[0]]
    keys = whole.kind(found, "wlc", protocol, vip)
    service = Service(line.at, body[0], vip, port, protocol, tuple(keys.items()), tuple(servers))
    return replace(service, notes=tuple(found.notes), body=body)


def _spread(options: list[Statement]) -> list[Statement]:
    """Give each of the flags behind -b as an option of its own."""
    plain = [one for one in options if one.word != "-b"]
    names = [name for one in options if one.word == "-b" for name in one.rest.split(",")]
    return plain + [Statement(options[0].at, name) for name in names if name]


def endpoint(text: str) -> tuple[str, int]:
    """Split `203.0.113.2:80` or `[2001:db8::1]:80`; without a port it is 0."""
    address, colon, port = text.rpartition(":")
    if not colon or (":" in address and not text.startswith("[")):
        return text, 0
    return address, values.number(port, 0, HIGHEST_PORT)


def _server(found: Gathered, service_port: int) -> Server:
    address, port = endpoint(str(found.values.get("real_servers", "")))
    way = _way(found)
    own = forwarding.own_port(way, port, service_port)
    weight = int(str(found.values.get("weight", 1)))
    return Server(values.address(address), weight, *whole.bounds(found), way, own)


def _way(found: Gathered) -> Forwarding:
    """Give the way to a real server; what is said of a tunnel that is none is noted."""
    method = str(found.values.get("forwarding", "direct"))
    if method != "tunnel":
        for key in ("type", "port", "checksum"):
            if f"forwarding.{key}" in found.values:
                found.drop(f"forwarding.{key}", NO_TUNNEL, differs=False)
    tunnel, port = (found.values.get(f"forwarding.{key}", 0) for key in ("type", "port"))
    return forwarding.way((method, tunnel or "", port)) or DIRECT
