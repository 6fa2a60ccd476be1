"""The one JSON codec, derived from the fields of our frozen values; strict on the way in."""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Union

from onearm import model
from onearm.errors import PlaceError

LINE_LIMIT = 1 << 20  # bytes of one JSON line, newline included
HIGHEST = 1e15  # of a number with a fraction: what is above is no time and no rate
TAG = "is"  # names the type where several are possible; no field is called so
BULK_BYTES = LINE_LIMIT // 2  # where a line of many rows ends, so that one row more still fits

_TEXTUAL = (IPv4Address, IPv6Address, IPv4Network, IPv6Network)


class WireError(PlaceError):
    """What came over the wire is not what this build speaks."""


def encode(value: Any) -> Any:
    """Turn one of our values into plain JSON data; fields at their default are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_fields(value)
    if isinstance(value, _TEXTUAL):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    return value


def _encode_fields(value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if type(value).__name__ in model.KINDS:
        data[TAG] = type(value).__name__
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        if not _is_default(field, held):
            data[field.name] = encode(held)
    return data


def _is_default(field: dataclasses.Field[Any], held: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(held == field.default_factory())
    return field.default is not dataclasses.MISSING and held == field.default


def decode(hint: Any, data: Any) -> Any:
    """Build a value of type `hint` from plain JSON data.

    Unknown fields, missing fields and wrong types raise WireError: input from other hosts is
    hostile until parsed. Unprintable characters in text become `?`, so that nothing that a host
    says can move the reader's cursor.
    """
    return _decoder(hint)(data)


@functools.cache
def _decoder(hint: Any) -> Callable[[Any], Any]:
    if hint in _SCALARS:
        return _SCALARS[hint]
    if dataclasses.is_dataclass(hint):
        return _dataclass_decoder(typing.cast("type[Any]", hint))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return _tuple_decoder(_decoder(arguments[0]))
    if origin is dict:
        return _dict_decoder(_decoder(arguments[1]))
    if origin is Union:
        return _union_decoder(arguments)
    raise TypeError(f"wire.py cannot carry {hint!r}")


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise _bad("text", data)
    if data.isprintable():
        return data
    return "".join(c if c.isprintable() else "?" for c in data)


def _exact(kind: type, name: str) -> Callable[[Any], Any]:
    def check(data: Any) -> Any:
        if type(data) is not kind:
            raise _bad(name, data)
        return data

    return check


def _number(data: Any) -> float:
    if type(data) not in (int, float) or not abs(data) <= HIGHEST:  # NaN is not <= anything
        raise _bad("a number", data)
    return float(data)


def _parsed(parse: Callable[[str], Any], name: str) -> Callable[[Any], Any]:
    @functools.lru_cache(maxsize=65536)
    def remembered(data: str) -> Any:
        try:
            return parse(data)
        except ValueError as error:
            raise _bad(name, data) from error

    def check(data: Any) -> Any:
        # no % of RFC 4007: ipaddress takes any characters behind it, control characters too
        if not isinstance(data, str) or "%" in data:
            raise _bad(name, data)
        return remembered(data)

    return check


def _tuple_decoder(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def build(data: Any) -> Any:
        if not isinstance(data, list):
            raise _bad("a list", data)
        return tuple(item(entry) for entry in data)

    return build


def _dict_decoder(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def build(data: Any) -> Any:
        if not isinstance(data, dict):
            raise _bad("an object", data)
        return {_text(key): item(entry) for key, entry in data.items()}

    return build


def _dataclass_decoder(kind: type[Any]) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    fields = {f.name: _decoder(hints[f.name]) for f in dataclasses.fields(kind)}

    def build(data: Any) -> Any:
        if not isinstance(data, dict):
            raise _bad(kind.__name__, data)
        found = {name: entry for name, entry in data.items() if name != TAG}
        unknown = found.keys() - fields.keys()
        if unknown:
            raise _bad(f"{kind.__name__} without {min(unknown)!r}", data)
        try:
            return kind(**{name: fields[name](entry) for name, entry in found.items()})
        except TypeError as error:
            raise _bad(f"a whole {kind.__name__}", data) from error

    return build


def _union_decoder(arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
    options = [hint for hint in arguments if hint is not type(None)]
    optional = len(options) < len(arguments)
    single = _option_decoder(options)
    return lambda data: None if optional and data is None else single(data)


def _option_decoder(options: list[Any]) -> Callable[[Any], Any]:
    if len(options) == 1:
        return _decoder(options[0])
    if set(options) == {IPv4Address, IPv6Address}:
        return _parsed(ip_address, "an address")
    if set(options) == {IPv4Network, IPv6Network}:
        return _parsed(ip_network, "a network")
    return _resource_decoder({option.__name__: _decoder(option) for option in options})


def _resource_decoder(kinds: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def build(data: Any) -> Any:
        kind = data.get(TAG) if isinstance(data, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise _bad("a known kind of resource", data)
        return kinds[kind](data)

    return build


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    str: _text,
    int: _exact(int, "a whole number"),
    bool: _exact(bool, "true or false"),
    float: _number,
}


def _bad(wanted: str, data: Any) -> WireError:
    shown = ascii(data)[:120]
    return WireError(f"expected {wanted} on the wire, got {shown}; both ends must be one build")


def line(value: Any) -> bytes:
    """Write one JSON line; the caller keeps it below LINE_LIMIT."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def bulk(path: Sequence[str], rows: Iterable[Any]) -> Iterator[bytes]:
    """Write many values as lines of bounded length: {"a": {"b": [row, …]}} for path a, b."""
    head = "".join(f'{{"{name}":' for name in path) + "["
    tail = "]" + "}" * len(path) + "\n"
    texts: list[str] = []
    size = 0
    for row in rows:
        text = json.dumps(encode(row), separators=(",", ":"), ensure_ascii=True)
        if texts and size + len(text) > BULK_BYTES:
            yield (head + ",".join(texts) + tail).encode()
            texts, size = [], 0
        texts.append(text)
        size += len(text) + 1
    if texts:
        yield (head + ",".join(texts) + tail).encode()


def parse_line(data: bytes) -> dict[str, Any]:
    """Read one JSON line that must hold an object."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad("a line of JSON", data) from error
    if not isinstance(found, dict):
        raise _bad("a JSON object", data)
    return found


def ending(line: Callable[[], bytes], part: Callable[[Any], None], most: int) -> dict[str, Any]:
    """Read a reply line by line and hand over its parts; return the line that ends it.

    All its lines have at most so many bytes.
    """
    size = 0
    while size <= most:
        data = line()
        size += len(data)
        reply = parse_line(data)
        if "part" not in reply:
            return reply
        part(reply["part"])
    raise WireError(f"over {most} bytes came back")
