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
    ip_network,
)
from typing import Any, Union

from onearm import model
from onearm.addresses import parsed
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
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        encoder = _ENCODERS[type(value)] = _encoder(type(value))
    return encoder(value)


_ENCODERS: dict[type, Callable[[Any], Any]] = {}


def _encoder(kind: type) -> Callable[[Any], Any]:
    if dataclasses.is_dataclass(kind):
        return _dataclass_encoder(kind)
    if issubclass(kind, _TEXTUAL):
        return functools.lru_cache(maxsize=65536)(str)
    if issubclass(kind, (tuple, list)):
        return lambda value: [encode(item) for item in value]
    if issubclass(kind, dict):
        return lambda value: {str(key): encode(item) for key, item in value.items()}
    return lambda value: value


def _dataclass_encoder(kind: Any) -> Callable[[Any], Any]:
    tag = {TAG: kind.__name__} if kind.__name__ in model.KINDS else {}
    fields = [(field.name, _default(field)) for field in dataclasses.fields(kind)]

    def encode_fields(value: Any) -> dict[str, Any]:
        data: dict[str, Any] = dict(tag)
        for name, default in fields:
            held = getattr(value, name)
            if held is not default and held != default:
                data[name] = held if type(held) in _PLAIN else encode(held)
        return data

    return encode_fields


_PLAIN = {str, int, bool, float, type(None)}


def _default(field: dataclasses.Field[Any]) -> Any:
    """Give a field's default; a value that equals nothing where there is none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default  # MISSING equals nothing else


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
    if type(data) is str and data.isprintable():
        return data
    if not isinstance(data, str):
        raise _bad("text", data)
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
        found = {}
        for name, entry in data.items():
            if name in fields:
                found[name] = fields[name](entry)
            elif name != TAG:
                raise _bad(f"{kind.__name__} without {name!r}", data)
        try:
            return kind(**found)
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
        return _parsed(parsed, "an address")
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


_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True)


def text(value: Any) -> str:
    """Write one of our values as JSON: what `encode` gives, without the data in between."""
    return _WRITERS[type(value)](value)


class _Writers(dict[type, Callable[[Any], str]]):
    def __missing__(self, kind: type) -> Callable[[Any], str]:
        self[kind] = made = _writer(kind)
        return made


_WRITERS = _Writers(
    {
        str: json.encoder.encode_basestring_ascii,
        int: int.__repr__,
        bool: lambda value: "true" if value else "false",
        type(None): lambda _value: "null",
    }
)


def _writer(kind: type) -> Callable[[Any], str]:
    if dataclasses.is_dataclass(kind):
        return _dataclass_writer(kind)
    if issubclass(kind, _TEXTUAL):
        return lambda value: '"' + str(value) + '"'
    if issubclass(kind, (tuple, list)):
        return lambda value: f"[{','.join(map(text, value))}]"
    return lambda value: _JSON.encode(encode(value))


def _dataclass_writer(kind: Any) -> Callable[[Any], str]:
    """Write a function that reads the fields by their names: a table has tens of thousands."""
    known: dict[str, Any] = {"writers": _WRITERS}
    tag = f'"{TAG}":"{kind.__name__}",' if kind.__name__ in model.KINDS else ""
    lines = [f"def write(value):\n    text = {tag!r}"]
    for field in dataclasses.fields(kind):
        told = f"text += '\"{field.name}\":' + writers[held.__class__](held) + ','"
        default, always = _left_out(field)
        if not always:
            known[f"default_{field.name}"] = default
            unlike = f"held is not default_{field.name} and held != default_{field.name}"
            told = f"if {unlike}: {told}"
        lines.append(f"    held = value.{field.name}\n    {told}")
    exec("\n".join([*lines, "    return '{' + text[:-1] + '}'\n"]), known)  # noqa: S102 - our names
    return typing.cast("Callable[[Any], str]", known["write"])


def _left_out(field: dataclasses.Field[Any]) -> tuple[Any, bool]:
    """Give the value at which a field is left out, and whether there is none."""
    default = _default(field)
    return default, default is dataclasses.MISSING


def line(value: Any) -> bytes:
    """Write one JSON line; the caller keeps it below LINE_LIMIT."""
    return _JSON.encode(value).encode() + b"\n"


def bulk(path: Sequence[str], rows: Iterable[Any]) -> Iterator[bytes]:
    """Write many values as lines of bounded length: {"a": {"b": [row, …]}} for path a, b."""
    head = "".join(f'{{"{name}":' for name in path) + "["
    tail = "]" + "}" * len(path) + "\n"
    held: list[str] = []
    size = 0
    for row in map(text, rows):
        if held and size + len(row) > BULK_BYTES:
            yield (head + ",".join(held) + tail).encode()
            held, size = [], 0
        held.append(row)
        size += len(row) + 1
    if held:
        yield (head + ",".join(held) + tail).encode()


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
