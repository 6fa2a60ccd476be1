"""keepalived.conf -> Found: every virtual server, and what else stands there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, summarize_address_range

from onearm.imports import values, whole
from onearm.imports.found import Cannot, Check, Found, Lost, Note, Server, Service, Value, must
from onearm.imports.keepalived_blocks import blocks, written
from onearm.imports.keepalived_checks import Asked, check
from onearm.imports.keepalived_table import CHECKERS, OTHER, TABLE, TOP
from onearm.imports.keepalived_text import Expander, File, Include
from onearm.imports.table import Gathered, Statement, gather

MOST_SERVICES = 4096
MOST_STATEMENTS = 200_000  # of one virtual_server, once for each address of its group
MOST_NAMED = 20
NOT_DIRECT = "{} is not carried: import writes direct routing only"
DEFAULT = "no lb_kind stands here, which is NAT to keepalived"
UDP_BY_DEFAULT = "no protocol stands here, which is UDP to keepalived"
PORTS = "direct routing hands packets on with the VIP's port: this server has to listen on {}"
NO_SORRY = "no sorry server is carried here"
MIXED = "some of this service's servers have it and some not: a spec has one on_failure for all"
TOO_MANY = "its group has too many addresses for so many lines: the rest of them is missing"

PROTOCOLS = "a spec has TCP and UDP only"

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
    others = [one for one in tree if one.word != "virtual_server"]
    rest = [one for one in others if not _is_group(one) or one.words[0] not in used]
    return Found("keepalived", tuple(services), (*notes, *map(_other, rest)))


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
        raise Cannot("a spec has no services by firewall mark")
    if kind != "group":
        yield one.at, kind, rest[0] if rest else "0"
        return
    group = groups.get(rest[0] if rest else "")
    if group is None or not group.body:
        raise Cannot("there is no such virtual_server_group")
    for entry in group.body:
        if entry.word == "fwmark":
            raise Cannot(f"{entry.at}: {entry.shown}: a spec has no services by firewall mark")
        port = entry.words[0] if entry.words else "0"
        for address in _range(entry.word):
            yield entry.at, address, port


def _range(text: str) -> Iterator[str]:
    """Give the addresses of 10.0.0.1-9, 10.0.0.1-10.0.1.9 or 10.0.0.8/29."""
    begin, dash, end = text.partition("-")
    base, slash, length = text.partition("/")
    if ":" in text or not (dash or slash):
        yield text
        return
    first = values.address(begin if dash else base)
    if slash:
        span = 1 << (32 - values.number(length, 0, 32))
        last = int(first) + span - 1
    else:
        last = int(values.address(end if "." in end else f"{begin.rpartition('.')[0]}.{end}"))
    if not int(first) <= last < 1 << 32 or last - int(first) >= MOST_SERVICES:
        raise Cannot(f"{text} is no range, or one of more than {MOST_SERVICES} addresses")
    for network in summarize_address_range(first, IPv4Address(last)):
        yield from map(str, network)


def _service(
    one: Statement, at: str, where: tuple[str, str], body: tuple[str, ...]
) -> Service | Lost:
    found = gather(TABLE, "virtual_server", one.body or ())
    protocol = str(found.values.get("protocol", "udp"))
    what = one.head if at == one.at else f"{one.head}: {' '.join(where)}"
    try:
        vip, port = values.address(where[0]), _port(where[1])
        must(protocol in {"tcp", "udp"}, f"protocol {protocol.upper()}: {PROTOCOLS}")
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
    """Add servers, policy and check; without any server that is reached directly it is lost."""
    statements = [s for s in one.body or () if s.word == "real_server" and s.body is not None]
    asked = Asked(service.port, service.protocol, _below(found.values))
    servers, checks, inhibits = [], [], []
    methods = set()
    for statement in statements:
        inner = gather(TABLE, "real_server", statement.body or ())
        methods.add(method := str(_first("forwarding", inner, found) or "masq"))
        try:
            server = _server(statement, inner, found, service.port)
            must(method == "direct", NOT_DIRECT.format(_named(method)))
        except Cannot as reason:
            found.notes.append(Note(statement.at, statement.shown, str(reason), differs=True))
            continue
        servers.append(server)
        checks.append((server, statement.at, _check(statement, inner, asked)))
        inhibits.append((statement, bool(_first("on_failure", inner, found))))
        found.notes += inner.notes
    if statements and not servers and methods != {"direct"}:
        why = NOT_DIRECT.format(_named(*sorted(methods - {"direct"})))
        return service.lost(why if "forwarding" in found.values else f"{DEFAULT}: {why}")
    chosen, differing = whole.one_check(checks)
    keys = _keys(found, inhibits, servers, service.protocol)
    sorry = _sorry(found, service.port)
    notes = (*found.notes, *differing)
    return replace(
        service, keys=keys, servers=tuple(servers), sorry=sorry, check=chosen, notes=notes
    )


def _named(*methods: str) -> str:
    words = {"masq": "NAT", "tunnel": "TUN", "direct": "DR"}
    return " and ".join(words[method] for method in methods)


def _first(key: str, *levels: Gathered) -> Value | None:
    return next((level.values[key] for level in levels if key in level.values), None)


def _server(statement: Statement, inner: Gathered, outer: Gathered, port: int) -> Server:
    address = values.address(values.first(statement))
    own = statement.words[1] if len(statement.words) > 1 else "0"
    if own.strip("0") and values.port(own) != port:
        raise Cannot(PORTS.format(port))
    weight = _first("weight", inner, outer)
    return Server(address, 1 if weight is None else int(str(weight)), *whole.bounds(inner))


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
    protocol: str,
) -> tuple[tuple[str, Value], ...]:
    keys: dict[str, Value] = {"scheduler": found.values.get("scheduler", "wlc")}
    if flags := whole.flags(found, protocol):
        keys["flags"] = flags
    if stay := whole.persistence(found, protocol):
        keys["persistence"] = stay
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


def _sorry(found: Gathered, port: int) -> IPv4Address | None:
    given = found.values.get("sorry_server")
    if not isinstance(given, tuple):
        if "sorry.forwarding" in found.values:
            found.drop("sorry.forwarding", NO_SORRY, differs=False)
        return None
    address, own = given
    method = str(_first("sorry.forwarding", found) or _first("forwarding", found) or "masq")
    if method != "direct":
        found.drop("sorry_server", NOT_DIRECT.format(_named(method)))
    elif own and own != port:
        found.drop("sorry_server", PORTS.format(port))
    else:
        return IPv4Address(str(address))
    return None
