"""`ipvsadm -Sn` -> Found: the kernel's table as commands."""

from __future__ import annotations

import shlex
from dataclasses import replace

from onearm.imports import values, whole
from onearm.imports.found import Cannot, Found, Lost, Note, Server, Service, Value, must, shown
from onearm.imports.ipvsadm_table import ALIASES, BARE, KNOWN, TABLE
from onearm.imports.table import Gathered, Statement, gather
from onearm.spec_load.fields import HIGHEST_PORT

MOST_LINES = 100_000
NOT_DIRECT = {"masq": "it is reached by NAT (-m)", "tunnel": "it is reached by a tunnel (-i)"}
ONLY_DIRECT = "import writes direct routing only"
PORTS = "direct routing hands packets on with the VIP's port: this server has to listen on {}"
TWICE = "this service stands above already"
NO_SERVICE = "it belongs to no service above it"
OTHER = "a spec has a place for services (-A) and destinations (-a) only"
TOO_MANY = f"the file goes on: more than {MOST_LINES} lines"

Key = tuple[str, str]  # -t, -u or -f, and what stands behind it
Command = tuple[Statement, list[Statement]]  # the line, and its options


def parse(text: str) -> Found:
    """Read the commands, in their order."""
    services: dict[Key, tuple[Command, list[Command]]] = {}
    notes: list[Note] = []
    lines = text.split("\n")
    for number, line in enumerate(lines[:MOST_LINES], 1):
        if line.strip() and not line.lstrip().startswith("#"):
            _line(Statement(f"line {number}", "", rest=line.strip()), services, notes)
    if len(lines) > MOST_LINES:
        notes.append(Note(f"line {MOST_LINES}", "...", TOO_MANY, differs=True))
    made = (_service(key, *each) for key, each in services.items())
    return Found("ipvsadm", tuple(made), tuple(notes))


def _line(
    line: Statement, services: dict[Key, tuple[Command, list[Command]]], notes: list[Note]
) -> None:
    try:
        command, options = options_of(line)
        key = next((o.word, o.words[0]) for o in options if o.word in {"-t", "-u", "-f"})
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
        must(key[0] != "-f", "a spec has no services by firewall mark")
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
    keys: dict[str, Value] = {"scheduler": found.values.get("scheduler", "wlc")}
    protocol = "udp" if key[0] == "-u" else "tcp"
    if flags := whole.flags(found, protocol):
        keys["flags"] = flags
    if stay := whole.persistence(found, protocol):
        keys["persistence"] = stay
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
    method = str(found.values.get("forwarding", "direct"))
    must(method == "direct", f"{NOT_DIRECT.get(method)}: {ONLY_DIRECT}")
    must(port in {0, service_port}, PORTS.format(service_port))
    weight = int(str(found.values.get("weight", 1)))
    return Server(values.address(address), weight, *whole.bounds(found))
