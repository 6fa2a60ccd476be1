"""Found -> the text of a spec, made to be read: each comment stands where its key would."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from onearm.imports import forwarding
from onearm.imports.found import Found, Keys, Lost, Note, Server, Service, Value
from onearm.imports.settle import hosts_of
from onearm.model import IPV4, Address
from onearm.spec import DIRECT, Forwarding

WIDTH = 100
MOST_BODY = 200  # lines of a service that was not carried
FILL_IN = "FILL-IN"
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*", re.ASCII)  # reads as text in YAML
UNQUOTED = re.compile(r"weight 0|[1-5][0-9]{2}-[1-5][0-9]{2}|([0-9]{1,3}\.){3}[0-9]{1,3}", re.ASCII)
ALPHA = re.compile(r"[a-f]")
WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
SPANS = ("interval", "timeout")
APART = (
    "an address of either family is a host of its own here: where two are one machine, write them"
    " as one, {address: IPV4, address6: IPV6}, or give both one name in a hosts file (--names)"
)
REMARK = "   # as {} asks; leave it out to ask through the VIP, as clients do"


@dataclass(frozen=True)
class Director:
    """The director's name, and its own addresses as far as they are known, one of a family."""

    name: str
    addresses: tuple[Address, ...] = ()

    def needed(self, services: Iterable[Service | Lost]) -> dict[int, Address | None]:
        """Give the addresses that the spec needs, by family; None for one that nobody told."""
        known: dict[int, Address | None] = {own.version: own for own in self.addresses}
        vips: set[int] = {one.vip.version for one in services if isinstance(one, Service)}
        missing = vips or (set() if known else {IPV4})
        return dict(sorted((dict.fromkeys(missing) | known).items()))


def text(found: Found, source: str, director: Director, names: Mapping[Address, str]) -> str:
    """Write the whole spec."""
    return "\n".join(_lines(found, source, director, names)) + "\n"


def _lines(
    found: Found, source: str, director: Director, names: Mapping[Address, str]
) -> Iterator[str]:
    yield from _wrapped(f"From {source}, by `onearm import {found.tool}`.", "")
    if found.notes:
        yield "#"
        yield from _comments(found.notes, "")
    yield "directors:"
    needed = director.needed(found.services)
    remark = "" if all(needed.values()) else "   # its own address in the VIP's network"
    yield f"  {_host(director.name, needed.values())}{remark}"
    hosts: dict[str, list[Address]] = {}
    for address in hosts_of(found.services):
        hosts.setdefault(names[address], []).append(address)
    yield "real_servers:" if hosts else "real_servers: {}"
    families = {tuple({address.version for address in both}) for both in hosts.values()}
    if len(families & {(4,), (6,)}) > 1:
        yield from _wrapped(APART, "  ")
    for name, both in hosts.items():
        both.sort(key=_family)
        yield f"  {_host(name, both)}"
    if found.timeouts:
        yield f"timeouts: {{{', '.join(f'{key}: {value}s' for key, value in found.timeouts)}}}"
    kept = [one for one in found.services if isinstance(one, Service)]
    remark = REMARK.format(found.tool)
    common = _common(kept)
    if common:
        yield from _check(common, "", remark)
    first = next((id(one) for one in kept if one.check), 0)
    yield "services:" if kept else "services: []"
    for one in found.services:
        if isinstance(one, Lost):
            yield from _lost(one)
        else:
            written = None if common else remark if id(one) == first else ""
            yield from _service(one, names, written)


def _host(name: str, own: Iterable[Address | None]) -> str:
    """Write a host with its one address, or with both."""
    written = [located(address) if address else FILL_IN for address in own]
    if len(written) == 1:
        return f"{scalar(name)}: {written[0]}"
    return f"{scalar(name)}: {{address: {written[0]}, address6: {written[1]}}}"


def _family(address: Address) -> int:
    return address.version


def located(address: Address) -> str:
    """Write an address; one that YAML would take for something else stands in quotes."""
    text = str(address)
    colons = address.version != IPV4 and (":" in (text[0], text[-1]) or not ALPHA.search(text))
    return f'"{text}"' if colons else text


def _lost(one: Lost) -> Iterator[str]:
    yield from _comments(one.notes, "  ")
    yield from (f"  #     {line}" for line in one.body[:MOST_BODY])
    if len(one.body) > MOST_BODY:
        yield f"  #     and {len(one.body) - MOST_BODY} lines more"


def _common(kept: list[Service]) -> Keys:
    """Give the check that every one of several services has."""
    checks = {one.check.keys if one.check else () for one in kept}
    return checks.pop() if len(kept) > 1 and len(checks) == 1 else ()


def _check(keys: Keys, indent: str, remark: str) -> Iterator[str]:
    yield f"{indent}check:"
    for key, value in keys:
        written = span(value) if key in SPANS else scalar(value, listed=key == "argv")
        yield f"{indent}  {key}: {written}{remark if key == 'through' else ''}"


def _service(one: Service, names: Mapping[Address, str], remark: str | None) -> Iterator[str]:
    """Write a service; without its check, where `remark` is None."""
    keys = dict(one.keys)
    yield f"  - vip: {located(one.vip)}"
    yield f"    port: {one.port}/{one.protocol}"
    for key in ("scheduler", "flags"):
        if key in keys:
            yield f"    {key}: {scalar(keys.pop(key))}"
    if stay := keys.pop("persistence", ()):
        yield f"    persistence: {_stay(stay)}"
    way = _way(one)
    if way != DIRECT:
        yield f"    forwarding: {forwarding.written(way)}"
    yield from _servers(one.servers, way, names)
    yield from (f"    {key}: {scalar(value)}" for key, value in keys.items())
    if one.sorry:
        yield f"    sorry_server: {scalar(names[one.sorry])}"
    if one.check and remark is not None:
        yield from _check(one.check.keys, "    ", remark)
    yield from _comments(one.check.notes if one.check else (), "      ")
    yield from _comments(one.notes, "    ")


def _stay(pairs: Value) -> str:
    """Write persistence: the time alone where that is all."""
    given = pairs if isinstance(pairs, tuple) else ()
    found = [": ".join(map(str, pair)) for pair in given if isinstance(pair, tuple)]
    return f"{{{', '.join(found)}}}" if len(found) > 1 else found[0].removeprefix("timeout: ")


def _way(one: Service) -> Forwarding:
    """Give the way that a service names: the sorry server's, else that of all its servers."""
    ways = {server.way for server in one.servers}
    if one.sorry:
        return one.sorry_way
    return ways.pop() if len(ways) == 1 else DIRECT


def _servers(
    servers: tuple[Server, ...], way: Forwarding, names: Mapping[Address, str]
) -> Iterator[str]:
    if any(one != Server(one.address, way=way) for one in servers):
        yield "    real_servers:"
        for one in servers:
            yield f"      {scalar(names[one.address])}: {{{', '.join(_member(one, way))}}}"
        return
    listed = ", ".join(scalar(names[server.address]) for server in servers)
    yield from textwrap.wrap(
        f"real_servers: [{listed}]",
        WIDTH,
        initial_indent="    ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _member(server: Server, way: Forwarding) -> Iterator[str]:
    """Write what a service says of one of its real servers."""
    yield f"weight: {server.weight}"
    numbers = {"upper": server.upper, "lower": server.lower, "port": server.port}
    yield from (f"{key}: {number}" for key, number in numbers.items() if number)
    if server.way != way:
        yield f"forwarding: {forwarding.written(server.way)}"


def _comments(notes: Iterable[Note], indent: str) -> Iterator[str]:
    for note in notes:
        yield from _wrapped(str(note), indent)


def _wrapped(comment: str, indent: str) -> list[str]:
    return textwrap.wrap(
        comment,
        WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}#   ",
        break_on_hyphens=False,
    )


def span(value: Value) -> str:
    """Write seconds as a spec does."""
    milliseconds = round(float(str(value)) * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def scalar(value: Value, *, listed: bool = False) -> str:
    """Write a value so that YAML reads it back as it is; `listed`: even one stands in a list."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, tuple):
        return f"[{', '.join(map(scalar, value))}]"
    if not isinstance(value, str):
        return str(value)
    plain = PLAIN.fullmatch(value) and value.lower() not in WORDS
    if plain or UNQUOTED.fullmatch(value):
        return f"[{value}]" if listed else value
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    number = ord(char)
    return f"\\x{number:02x}" if number < 1 << 8 else f"\\U{number:08x}"
