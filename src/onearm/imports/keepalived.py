"""keepalived.conf -> Found: every virtual server, and what else stands there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from onearm.imports import forwarding, values, whole
from onearm.imports.found import (
    MARKED,
    Cannot,
    Check,
    Found,
    Lost,
    Note,
    Server,
    Service,
    Value,
    must,
)
from onearm.imports.keepalived_blocks import blocks, written
from onearm.imports.keepalived_checks import Asked, check
from onearm.imports.keepalived_table import CHECKERS, OTHER, TABLE, TOP
from onearm.imports.keepalived_text import Expander, File, Include
from onearm.imports.table import Gathered, Statement, gather
from onearm.model import Address
from onearm.spec import Forwarding

MOST_SERVICES = 4096
MOST_STATEMENTS = 200_000  # of one virtual_server, once for each address of its group
MOST_NAMED = 20
GLOBAL = "global_defs"
DEFAULT = "no lb_kind stands here, which is NAT to keepalived"
UDP_BY_DEFAULT = "no protocol stands here, which is UDP to keepalived"
PORTS = "a sorry server has the VIP's port: this one has to listen on {}"
NO_SORRY = "no sorry server is carried here"
MIXED = "some of this service's servers have it and some not: a spec has one on_failure for all"
TOO_MANY = "its group has too many addresses for so many lines: the rest of them is missing"

PROTOCOLS = "a spec has TCP, UDP and SCTP only"

Groups = Mapping[str, Statement]


def parse(file: File, include: Include, identity: str) -> Found:
    """Read a configuration; `identity` is what its @conditions are compared with."""
    expander = Expander(include, identity)
    tree = blocks(expander.file(file), expander.notes)
    return of_tree(tree, tuple(expander.notes))


def of_tree(tree: Sequence[Statement], notes: tuple[Note, ...] = ()) -> Found:
    """Make a Found of a configuration's blocks."""
    groups = {one.words[0]: one for one in tree if one.word == "virtual_server_group" and one.words}
    services: list[Service | Lost] = []
    used: set[str] = set()
    for one in tree:
        if one.word == "virtual_server":
            services += _services(one, groups, MOST_SERVICES - len(services))
            used |= set(one.words[1:2]) if one.words[:1] == ("group",) else set()
    defs = [one for block in tree if block.word == GLOBAL for one in block.body or ()]
    timed = gather(TABLE, GLOBAL, [one for one in defs if (GLOBAL, one.word) in TABLE])
    others = [_untimed(one) for one in tree if one.word != "virtual_server"]
    rest = [one for one in others if one and (not _is_group(one) or one.words[0] not in used)]
    told = (*notes, *map(_other, rest), *timed.notes)
    return Found("keepalived", tuple(services), told, values.pairs(timed.values.get("timeouts")))


def _untimed(one: Statement) -> Statement | None:
    """Leave out of a block what is carried; nothing where that was all."""
    if one.word != GLOBAL or not one.body:
        return one
    body = tuple(inner for inner in one.body if (GLOBAL, inner.word) not in TABLE)
    return one._replace(body=body) if body else None


def _is_group(one: Statement) -> bool:
    return one.word == "virtual_server_group" and bool(one.words)


def _other(one: Statement) -> Note:
    """Name a block that is no virtual server, with its keywords."""
    inner = list(dict.fromkeys(each.word for each in one.body or ()))
    more = ", ..." if len(inner) > MOST_NAMED else ""
    what = f"{one.head} ({', '.join(inner[:MOST_NAMED])}{more})" if inner else one.head
    return Note(one.at, what, TOP.get(one.word, OTHER))


def _services(one: Statement, groups: Groups, room: int) -> list[Service | Lost]:
    body = tuple(written(one.body or ()))
    made: list[Service | Lost] = []
    size = 1 + _size(one)
    try:
        for at, address, port in _addresses(one, groups):
            must(len(made) < min(room, 1 + MOST_STATEMENTS // size), TOO_MANY)
            made.append(_service(one, at, (address, port), body))
    except Cannot as reason:
        made.append(Lost((Note(one.at, one.head, str(reason), differs=True),), body))
    return [made[0], *(_briefly(service, made[0]) for service in made[1:])] if made else []


def _size(one: Statement) -> int:
    return sum(1 + _size(inner) for inner in one.body or ())


def _briefly(service: Service | Lost, first: Service | Lost) -> Service | Lost:
    """Leave out what the first of a group has said already."""
    if isinstance(service, Lost):
        return service
    said = set(first.notes)
    notes = tuple(note for note in service.notes if note not in said)
    check = service.check and replace(service.check, notes=())
    return replace(service, notes=notes, check=check)


def _addresses(one: Statement, groups: Groups) -> Iterator[tuple[str, str, str]]:
    """Give place, address and port of each service of a virtual server."""
    kind, *rest = one.words or ("",)
    if kind == "fwmark":
        raise Cannot(MARKED)
    if kind != "group":
        yield one.at, kind.partition("/")[0], rest[0] if rest else "0"  # it passes over a mask
        return
    group = groups.get(rest[0] if rest else "")
    if group is None or not group.body:
        raise Cannot("there is no such virtual_server_group")
    for entry in group.body:
        if entry.word == "fwmark":
            raise Cannot(f"{entry.at}: {entry.shown}: {MARKED}")
        port = entry.words[0] if entry.words else "0"
        for address in _range(entry.word):
            yield entry.at, address, port


def _range(text: str) -> Iterator[str]:
    """Give the addresses of 10.0.0.1-9, 10.0.0.1-10.0.1.9, 10.0.0.8/29 or 2001:db8::1-f."""
    begin, dash, end = text.partition("-")
    base, slash, length = text.partition("/")
    if not (dash or slash):
        yield text
        return
    first = values.address(begin if dash else base)
    if slash:
        last = int(first) + (1 << (first.max_prefixlen - _length(length, first))) - 1
    else:
        mark = ":" if ":" in begin else "."
        whole_end = end if mark in end else f"{begin.rpartition(mark)[0]}{mark}{end}"
        last = int(values.address(whole_end))
    kind = type(first)
    if not int(first) <= last < 1 << first.max_prefixlen or last - int(first) >= MOST_SERVICES:
        raise Cannot(f"{text} is no range, or one of more than {MOST_SERVICES} addresses")
    yield from (str(kind(number)) for number in range(int(first), last + 1))


def _length(text: str, first: Address) -> int:
    return values.number(text, 0, first.max_prefixlen)


def _service(
    one: Statement, at: str, where: tuple[str, str], body: tuple[str, ...]
) -> Service | Lost:
    found = gather(TABLE, "virtual_server", one.body or ())
    protocol = str(found.values.get("protocol", "udp"))
    what = one.head if at == one.at else f"{one.head}: {' '.join(where)}"
    try:
        vip, port = values.address(where[0]), _port(where[1])
        must(protocol in {"tcp", "udp", "sctp"}, f"protocol {protocol.upper()}: {PROTOCOLS}")
        if "protocol" not in found.values:
            found.notes.insert(0, Note(one.at, one.word, UDP_BY_DEFAULT))
        service = Service(at, what, vip, port, protocol, body=body)
        return _filled(service, one, found)
    except Cannot as reason:
        return Lost((Note(at, what, str(reason), differs=True),), body)


def _port(text: str) -> int:
    if not text.strip("0"):
        raise Cannot("it has no port, which a spec's services have")
    return values.port(text)


def _filled(service: Service, one: Statement, found: Gathered) -> Service | Lost:
    """Add servers, policy and check."""
    statements = [s for s in one.body or () if s.word == "real_server" and s.body is not None]
    asked = Asked(service.port, service.protocol, _below(found.values))
    servers, checks, inhibits = [], [], []
    way = _way(one, found)
    for statement in statements:
        inner = gather(TABLE, "real_server", statement.body or ())
        to = forwarding.with_note(inner, "forwarding") or way
        try:
            server = _server(statement, inner, found, service.port, to)
        except Cannot as reason:
            found.notes.append(Note(statement.at, statement.shown, str(reason), differs=True))
            continue
        servers.append(server)
        there = replace(asked, port=server.port or service.port)
        checks.append((server, statement.at, _check(statement, inner, there)))
        inhibits.append((statement, bool(_first("on_failure", inner, found))))
        found.notes += inner.notes
    chosen, differing = whole.one_check(checks)
    keys = _keys(found, inhibits, servers, service)
    service = replace(service, keys=keys, servers=tuple(servers), check=chosen)
    service = _with_sorry(service, found, way)
    return replace(service, notes=(*found.notes, *differing))


def _way(one: Statement, found: Gathered) -> Forwarding:
    """Give the way to real servers that say none of their own."""
    if way := forwarding.with_note(found, "forwarding"):
        return way
    found.notes.insert(0, Note(one.at, one.word, DEFAULT))
    return Forwarding("masq")


def _first(key: str, *levels: Gathered) -> Value | None:
    return next((level.values[key] for level in levels if key in level.values), None)


def _server(
    statement: Statement, inner: Gathered, outer: Gathered, port: int, way: Forwarding
) -> Server:
    address = values.address(values.first(statement))
    text = statement.words[1] if len(statement.words) > 1 else ""
    own = forwarding.own_port(way, values.port(text) if text.strip("0") else 0, port)
    weight = _first("weight", inner, outer)
    many = 1 if weight is None else int(str(weight))
    return Server(address, many, *whole.bounds(inner), way, own)


def _below(found: Mapping[str, Value]) -> dict[str, Value]:
    """Give what a level says about checks."""
    return {k.partition(".")[2]: v for k, v in found.items() if k.startswith("check.")}


def _check(statement: Statement, inner: Gathered, asked: Asked) -> Check | None:
    """Make a server's check of the first one that stands there; the others are noted."""
    own = {k: v for k, v in _below(inner.values).items() if k != "kind"}
    level = replace(asked, defaults=asked.defaults | own)
    made: list[Check] = []
    for one in statement.body or ():
        if one.word not in CHECKERS or one.body is None:
            continue
        found, notes = check(one, level)
        if found is None:
            inner.notes += notes
        elif made:
            inner.note(one, "a service has one check: this one is not made", differs=True)
        else:
            made.append(found)
    return made[0] if made else None


def _keys(
    found: Gathered,
    inhibits: list[tuple[Statement, bool]],
    servers: list[Server],
    service: Service,
) -> tuple[tuple[str, Value], ...]:
    keys = whole.kind(found, "wlc", service.protocol, service.vip)
    if inhibits and all(inhibit for _, inhibit in inhibits):
        keys["on_failure"] = "weight 0"
    else:
        for statement, inhibit in inhibits:
            if inhibit:
                what = f"inhibit_on_failure of {statement.head}"
                found.notes.append(Note(statement.at, what, MIXED, differs=True))
    if (quorum := whole.quorum(found, servers)) is not None:
        keys["quorum"] = quorum
    return tuple(keys.items())


def _with_sorry(service: Service, found: Gathered, way: Forwarding) -> Service:
    given = found.values.get("sorry_server")
    if not isinstance(given, tuple):
        if "sorry.forwarding" in found.values:
            found.drop("sorry.forwarding", NO_SORRY, differs=False)
        return service
    address, own = given
    if own and own != service.port:
        found.drop("sorry_server", PORTS.format(service.port))
        return service
    way = forwarding.with_note(found, "sorry.forwarding") or way
    return replace(service, sorry=values.address(str(address)), sorry_way=way)
