"""ldirectord.cf -> Found: every virtual, with what the global lines say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from onearm.imports import ldirectord_values as special
from onearm.imports import values, whole
from onearm.imports.found import (
    Cannot,
    Check,
    Found,
    Lost,
    Note,
    Server,
    Service,
    Value,
    must,
    shown,
)
from onearm.imports.ldirectord_checks import Told, check
from onearm.imports.ldirectord_table import NO_SIX, TABLE
from onearm.imports.table import Gathered, Statement, gather
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
NOT_DIRECT = "{} is not carried: import writes direct routing only"
PORTS = "direct routing hands packets on with the VIP's port: this server has to listen on {}"
LIMITS = "a lower limit goes with an upper one, which is not smaller"
OWN = "a service has one check: this server's own request is not made"
STRANGER = "no name of an address here: give a hosts file with it (--names)"
PROTOCOLS = "a spec has tcp and udp only"
NO_RANGE = f"no range, or one of more than {MOST_RANGE} addresses"
OFF = "checktype off: the old daemon put no real server into the table"

Addresses = Mapping[str, IPv4Address]


def parse(text: str, addresses: Addresses) -> Found:
    """Read a configuration; `addresses` says whose the names in it are."""
    globals_, virtuals, notes = _split(text)
    common = gather(TABLE, "global", globals_)
    services = [_service(head, body, common, addresses) for head, body in virtuals]
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
        must(head.word == "virtual", NO_SIX)
        vip, port = _endpoint(head.rest, addresses)
        protocol = str(found.values.get("protocol", "udp" if port == 53 else "tcp"))  # noqa: PLR2004
        must(protocol in {"tcp", "udp"}, f"protocol {shown(protocol)}: {PROTOCOLS}")
        must(found.values.get("type") != "off", OFF)
    except Cannot as reason:
        return Lost((Note(head.at, shown(what), str(reason), differs=True),), body)
    service = Service(head.at, shown(what), vip, port, protocol, body=body)
    return _filled(service, lines, found, common, addresses)


def _endpoint(text: str, addresses: Addresses) -> tuple[IPv4Address, int]:
    host, colon, port = text.rpartition(":")
    if not colon and text.isdigit():
        raise Cannot("a spec has no services by firewall mark")
    if not colon or not special.port(port.strip()):
        raise Cannot("it has no port, which a spec's services have")
    return _address(host.strip(), addresses), special.port(port.strip())


def _address(word: str, addresses: Addresses) -> IPv4Address:
    """Read an address, or a name that is known."""
    if re.fullmatch(r"[0-9.]+", word) or ":" in word:
        return values.address(word)
    if word not in addresses:
        raise Cannot(f"{shown(word)} is {STRANGER}")
    return values.address(str(addresses[word]))


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
    told = Told(service.at, service.port, service.protocol, found, common)
    made = check(told)
    for one in lines:
        if one.word == "real":
            for server in _servers(one, service.port, found, addresses):
                servers.append(server)
                checks.append((server, one.at, made))
    chosen, differing = whole.one_check(checks)
    keys: list[tuple[str, Value]] = [("scheduler", str(found.values.get("scheduler", "wrr")))]
    flags = found.values.get("flags", ())
    one_packet = (ONE_PACKET,) if found.values.get("ops") else ()
    found.values["flags[]"] = (*(flags if isinstance(flags, tuple) else ()), *one_packet)
    for key in ("ops", "flags"):
        if key in found.origin:
            found.origin["flags[]"] = found.origin[key]
    if named := whole.flags(found, service.protocol):
        keys.append(("flags", named))
    if stay := whole.persistence(found, service.protocol):
        keys.append(("persistence", stay))
    if found.values.get("on_failure", common.values.get("on_failure", 0)):
        keys.append(("on_failure", "weight 0"))
    sorry = _sorry(service, found, common, addresses)
    notes = (*found.notes, *differing)
    return replace(
        service, keys=tuple(keys), servers=tuple(servers), sorry=sorry, check=chosen, notes=notes
    )


def _servers(one: Statement, port: int, found: Gathered, addresses: Addresses) -> list[Server]:
    """Read a real server, or a range of them."""
    try:
        match = _full(one.rest, port)
        first = _address(match["first"], addresses)
        last = _address(match["last"], addresses) if match["last"] else first
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
    every = (IPv4Address(number) for number in range(int(first), int(last) + 1))
    return [Server(values.address(str(address)), weight, upper, lower) for address in every]


def _full(text: str, port: int) -> re.Match[str]:
    """Read host, port and method of a real server or fallback."""
    match = FULL.fullmatch(text)
    if match is None:
        raise Cannot("no real server as the tool writes them")
    method = match["method"] or "gate"
    if method != "gate":
        raise Cannot(NOT_DIRECT.format(method))
    if special.port(match["port"] or "0") not in {0, port}:
        raise Cannot(PORTS.format(port))
    return match


def _sorry(
    service: Service, found: Gathered, common: Gathered, addresses: Addresses
) -> IPv4Address | None:
    level = found if "sorry_server" in found.values else common
    if "sorry_server" not in level.values:
        return None
    origin = level.origin["sorry_server"]
    try:
        return _address(_full(origin.rest, service.port)["first"], addresses)
    except Cannot as reason:
        found.note(origin, str(reason), differs=True)
        return None
