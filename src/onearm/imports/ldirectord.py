"""ldirectord.cf -> Found: every virtual, with what the global lines say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from onearm.imports import forwarding, values, whole
from onearm.imports import ldirectord_values as special
from onearm.imports.found import (
    MARKED,
    Cannot,
    Check,
    Found,
    Lost,
    Note,
    Server,
    Service,
    must,
    shown,
)
from onearm.imports.ldirectord_checks import Told, check
from onearm.imports.ldirectord_table import TABLE
from onearm.imports.names import Addresses
from onearm.imports.table import Gathered, Statement, gather
from onearm.model import IPV4, IPV6, Address
from onearm.spec import DIRECT, Forwarding
from onearm.spec_load.fields import HIGHEST_WEIGHT
from onearm.spec_load.kinds import MOST
from onearm.spec_load.services import ONE_PACKET

MOST_LINES = 100_000
MOST_RANGE = 4096
VIRTUAL = re.compile(r"(virtual6?)\s*=\s*(.*)")
DIRECTIVE = re.compile(r"([\w-]+)\s*(?:=\s*(.*))?")
FULL = re.compile(
    r"(?P<first>[\w.-]+|\[[0-9A-Fa-f:]*\])(?:->(?P<last>[\w.-]+|\[[0-9A-Fa-f:]*\]))?"
    r"(?::(?P<port>[\w-]+))?(?:\s+(?P<method>gate|masq|ipip))?(?:\s+(?P<weight>[0-9]+))?"
    r"(?P<own>\s+\"(?![lu]:)[^\"]*\"[, ]\s*\"[^\"]*\")?(?P<limits>(?:\s+\"?[lu]:[0-9]+\"?)*)\s*"
)
BOUND = re.compile(r"([lu]):([0-9]{1,9})")
PORTS = "a sorry server has the VIP's port: this one has to listen on {}"
LIMITS = "a lower limit goes with an upper one, which is not smaller"
OWN = "a service has one check: this server's own request is not made"
FAMILIES = {"virtual": IPV4, "virtual6": IPV6}
REAL = {IPV4: "real", IPV6: "real6"}
SORRY = {IPV4: "fallback", IPV6: "fallback6"}
NOBODY = "no virtual of its family is here"
OTHER_FAMILY = "an IPv{} address belongs here"
STRANGER = "no name of an address here: give a hosts file with it (--names)"
PROTOCOLS = "a spec has tcp and udp only"
NO_RANGE = f"no range, or one of more than {MOST_RANGE} addresses"
OFF = "checktype off: the old daemon put no real server into the table"


def parse(text: str, addresses: Addresses) -> Found:
    """Read a configuration; `addresses` says whose the names in it are."""
    globals_, virtuals, notes = _split(text)
    common = gather(TABLE, "global", globals_)
    services = [_service(head, body, common, addresses) for head, body in virtuals]
    families = {FAMILIES[head.word] for head, _ in virtuals}
    for version, key in SORRY.items():
        if key in common.values and version not in families:
            common.note(common.origin[key], NOBODY)
    return Found("ldirectord", tuple(services), (*notes, *common.notes))


Virtual = tuple[Statement, list[Statement]]


def _split(text: str) -> tuple[list[Statement], list[Virtual], list[Note]]:
    """Split a file into global lines and virtuals with the indented lines behind them."""
    globals_: list[Statement] = []
    virtuals: list[Virtual] = []
    notes: list[Note] = []
    lines = text.split("\n")
    if len(lines) > MOST_LINES:
        notes.append(Note(f"line {MOST_LINES}", "...", "the file is too long", differs=True))
    inside = False
    for number, raw in enumerate(lines[:MOST_LINES], 1):
        at, plain = f"line {number}", _plain(raw)
        if raw.lstrip().startswith("#"):
            continue
        inside = inside and plain.startswith("    ")
        if found := VIRTUAL.match(plain):
            virtuals.append((Statement(at, found[1], (found[2].strip(),), found[2].strip()), []))
            inside = True
        elif plain.strip():
            one = _directive(at, plain.strip())
            (virtuals[-1][1] if inside else globals_).append(one)
    return globals_, virtuals, notes


def _plain(raw: str) -> str:
    """Strip a comment, and give tabs the width that the tool gives them."""
    return raw.partition("#")[0].replace("\t", "    ").rstrip()


def _directive(at: str, plain: str) -> Statement:
    found = DIRECTIVE.fullmatch(plain)
    if not found:
        return Statement(at, shown(plain))
    rest = (found[2] or "").strip()
    return Statement(at, found[1], tuple(rest.split()), rest)


def _service(
    head: Statement, lines: list[Statement], common: Gathered, addresses: Addresses
) -> Service | Lost:
    what = f"{head.word} = {head.rest}"
    body = tuple(one.shown.replace(" ", " = ", 1) for one in lines)
    found = gather(TABLE, "virtual", lines)
    try:
        vip, port = _endpoint(head.rest, addresses, FAMILIES[head.word])
        protocol = str(found.values.get("protocol", "udp" if port == 53 else "tcp"))  # noqa: PLR2004
        must(protocol in {"tcp", "udp"}, f"protocol {shown(protocol)}: {PROTOCOLS}")
        must(found.values.get("type") != "off", OFF)
    except Cannot as reason:
        return Lost((Note(head.at, shown(what), str(reason), differs=True),), body)
    service = Service(head.at, shown(what), vip, port, protocol, body=body)
    return _filled(service, lines, found, common, addresses)


def _endpoint(text: str, addresses: Addresses, version: int) -> tuple[Address, int]:
    host, colon, port = text.rpartition(":")
    if not colon and text.isdigit():
        raise Cannot(MARKED)
    if not colon or not special.port(port.strip()):
        raise Cannot("it has no port, which a spec's services have")
    return _address(host.strip(), addresses, version), special.port(port.strip())


def _address(word: str, addresses: Addresses, version: int) -> Address:
    """Read an address of a family, or a name that has one there."""
    if re.fullmatch(r"[0-9.]+", word) or ":" in word:
        found = values.address(word)
        must(found.version == version, OTHER_FAMILY.format(version))
        return found
    if (word, version) not in addresses:
        raise Cannot(f"{shown(word)} is {STRANGER}")
    return values.address(str(addresses[word, version]))


def _filled(
    service: Service,
    lines: Iterable[Statement],
    found: Gathered,
    common: Gathered,
    addresses: Addresses,
) -> Service | Lost:
    """Add servers, policy and check."""
    servers: list[Server] = []
    checks: list[tuple[Server, str, Check | None]] = []
    made: dict[int, Check | None] = {}  # by the port that is asked
    for one in lines:
        if one.word in REAL.values():
            for server in _servers(one, service, found, addresses):
                servers.append(server)
                port = server.port or service.port
                if port not in made:
                    told = Told(service.at, service.port, port, service.protocol, found, common)
                    made[port] = check(told)
                checks.append((server, one.at, made[port]))
    chosen, differing = whole.one_check(checks)
    flags = found.values.get("flags", ())
    one_packet = (ONE_PACKET,) if found.values.get("ops") else ()
    found.values["flags[]"] = (*(flags if isinstance(flags, tuple) else ()), *one_packet)
    for key in ("ops", "flags"):
        if key in found.origin:
            found.origin["flags[]"] = found.origin[key]
    keys = whole.kind(found, "wrr", service.protocol, service.vip)
    if found.values.get("on_failure", common.values.get("on_failure", 0)):
        keys["on_failure"] = "weight 0"
    service = replace(service, keys=tuple(keys.items()), servers=tuple(servers), check=chosen)
    service = _with_sorry(service, found, common, addresses)
    return replace(service, notes=tuple(dict.fromkeys((*found.notes, *differing))))


def _servers(
    one: Statement, service: Service, found: Gathered, addresses: Addresses
) -> list[Server]:
    """Read a real server, or a range of them."""
    version = service.vip.version
    try:
        must(one.word == REAL[version], f"{REAL[version]} belongs here, as the VIP is")
        match = _full(one.rest)
        way = _way(match)
        own = forwarding.own_port(way, special.port(match["port"] or "0"), service.port)
        first = _address(match["first"], addresses, version)
        last = _address(match["last"], addresses, version) if match["last"] else first
        must(int(first) <= int(last) < int(first) + MOST_RANGE, NO_RANGE)
        weight = values.number(match["weight"] or "1", 0, HIGHEST_WEIGHT)
    except Cannot as reason:
        found.note(one, str(reason), differs=True)
        return []
    if match["own"]:
        found.note(one, OWN, differs=True)
    bounds = {key: int(most) for key, most in BOUND.findall(match["limits"])}
    upper, lower = min(bounds.get("u", 0), MOST), bounds.get("l", 0)
    if lower > upper:
        found.note(one, LIMITS, differs=True)
        lower = 0
    every = (type(first)(number) for number in range(int(first), int(last) + 1))
    return [
        Server(values.address(str(address)), weight, upper, lower, way, own) for address in every
    ]


def _full(text: str) -> re.Match[str]:
    """Read host, port and method of a real server or fallback."""
    match = FULL.fullmatch(text)
    if match is None:
        raise Cannot("no real server as the tool writes them")
    return match


def _way(match: re.Match[str]) -> Forwarding:
    """Give the way to a real server or fallback; the tool's tunnels are of one type."""
    return forwarding.way((forwarding.METHODS[match["method"] or "gate"], "", 0)) or DIRECT


def _with_sorry(
    service: Service, found: Gathered, common: Gathered, addresses: Addresses
) -> Service:
    for version, key in SORRY.items():
        if key in found.values and version != service.vip.version:
            found.note(
                found.origin[key], f"{SORRY[service.vip.version]} belongs here", differs=True
            )
    key = SORRY[service.vip.version]
    level = found if key in found.values else common
    if key not in level.values:
        return service
    origin = level.origin[key]
    try:
        match = _full(origin.rest)
        port = special.port(match["port"] or "0")
        must(port in {0, service.port}, PORTS.format(service.port))
        sorry = _address(match["first"], addresses, service.vip.version)
    except Cannot as reason:
        found.note(origin, str(reason), differs=True)
        return service
    return replace(service, sorry=sorry, sorry_way=_way(match))
