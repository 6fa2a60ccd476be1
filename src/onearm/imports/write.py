"""Found -> the text of a spec, made to be read: each comment stands where its key would."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from onearm.imports.found import Found, Keys, Lost, Note, Server, Service, Value
from onearm.imports.settle import hosts_of

WIDTH = 100
MOST_BODY = 200  # lines of a service that was not carried
FILL_IN = "FILL-IN"
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*", re.ASCII)  # reads as text in YAML
UNQUOTED = re.compile(r"weight 0|[1-5][0-9]{2}-[1-5][0-9]{2}|([0-9]{1,3}\.){3}[0-9]{1,3}", re.ASCII)
WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
SPANS = ("interval", "timeout")
REMARK = "   # as {} asks; leave it out to ask through the VIP, as clients do"


@dataclass(frozen=True)
class Director:
    """The director's name, and its address where that is known."""

    name: str
    address: IPv4Address | None = None


def text(found: Found, source: str, director: Director, names: Mapping[IPv4Address, str]) -> str:
    """Write the whole spec."""
    return "\n".join(_lines(found, source, director, names)) + "\n"


def _lines(
    found: Found, source: str, director: Director, names: Mapping[IPv4Address, str]
) -> Iterator[str]:
    yield from _wrapped(f"From {source}, by `onearm import {found.tool}`.", "")
    if found.notes:
        yield "#"
        yield from _comments(found.notes, "")
    yield "directors:"
    if director.address:
        yield f"  {scalar(director.name)}: {director.address}"
    else:
        yield f"  {scalar(director.name)}: {FILL_IN}   # its own address in the VIP's network"
    hosts = hosts_of(found.services)
    yield "real_servers:" if hosts else "real_servers: {}"
    yield from (f"  {scalar(names[address])}: {address}" for address in hosts)
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


def _service(one: Service, names: Mapping[IPv4Address, str], remark: str | None) -> Iterator[str]:
    """Write a service; without its check, where `remark` is None."""
    keys = dict(one.keys)
    yield f"  - vip: {one.vip}"
    yield f"    port: {one.port}/{one.protocol}"
    for key in ("scheduler", "flags"):
        if key in keys:
            yield f"    {key}: {scalar(keys.pop(key))}"
    if stay := keys.pop("persistence", ()):
        yield f"    persistence: {_stay(stay)}"
    yield from _servers(one.servers, names)
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


def _servers(servers: tuple[Server, ...], names: Mapping[IPv4Address, str]) -> Iterator[str]:
    if any((server.weight, server.upper) != (1, 0) for server in servers):
        yield "    real_servers:"
        for server in servers:
            bounds = f", upper: {server.upper}" if server.upper else ""
            bounds += f", lower: {server.lower}" if server.lower else ""
            yield f"      {scalar(names[server.address])}: {{weight: {server.weight}{bounds}}}"
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
