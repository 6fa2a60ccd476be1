"""Every value survives the wire whole, and nothing else gets through it."""

import contextlib
import dataclasses
import inspect
import json
from ipaddress import ip_address
from typing import Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onearm import facts, model, traffic, vitals, wire
from onearm.facts import HostFacts, LinkFact, joined, split
from onearm.kernel import frames
from onearm.model import Destination, Resource, Service, Sysctl
from onearm.places import look
from worlds import values

MODULES = (model, facts, traffic, frames, look, vitals)
KINDS = sorted(
    {
        kind
        for module in MODULES
        for kind in vars(module).values()
        if inspect.isclass(kind) and dataclasses.is_dataclass(kind)
    },
    key=lambda kind: kind.__name__,
)
THOROUGH = settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
MAYBE = Optional[Resource]
VIP = ip_address("203.0.113.2")


def there_and_back(hint, value):
    return wire.decode(hint, wire.parse_line(wire.line({"it": wire.encode(value)}))["it"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_survives(kind):
    @THOROUGH
    @given(values(kind))
    def check(value):
        assert there_and_back(kind, value) == value
        assert json.loads(wire.text(value)) == wire.encode(value)
        assert model.notes(there_and_back(kind, value)) == model.notes(value)

    check()


@THOROUGH
@given(values(Resource), values(MAYBE))
def test_what_is_one_of_several(resource, maybe):
    assert there_and_back(Resource, resource) == resource
    assert there_and_back(MAYBE, maybe) == maybe


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
)


@given(PLAIN)
def test_text_is_the_json_of_what_encode_gives(value):
    assert wire.text(value) == json.dumps(wire.encode(value), separators=(",", ":"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["is", "name", "vip", "links", "marks", "x"]), inner, max_size=3
        )
    ),
)


@pytest.mark.parametrize("hint", [*KINDS, Resource, MAYBE], ids=str)
def test_any_json_is_a_value_or_a_wire_error(hint):
    @THOROUGH
    @given(JSON)
    def check(data):
        with contextlib.suppress(wire.WireError):
            value = wire.decode(hint, data)
            assert value is None or dataclasses.is_dataclass(value)

    check()


@pytest.mark.parametrize(
    ("hint", "data"),
    [
        (Sysctl, {"name": "a", "value": "1", "more": 1}),
        (Sysctl, {"name": "a"}),
        (Sysctl, {"name": "a", "value": 1}),
        (Sysctl, []),
        (LinkFact, {"index": "1", "name": "x"}),
        (LinkFact, {"index": True, "name": "x"}),
        (LinkFact, {"index": 1.0, "name": "x"}),
        (LinkFact, {"index": 1, "name": "x", "up": 1}),
        (LinkFact, {"index": 1, "name": None}),
        (Service, {"protocol": "tcp", "vip": "203.0.113.2/32", "port": 80}),
        (Service, {"protocol": "tcp", "vip": 3405803778, "port": 80}),
        (Service, {"protocol": "tcp", "vip": "fe80::1%\x1b[2J", "port": 80}),
        (Service, {"protocol": "tcp", "vip": "203.0.113.2", "port": 80, "flags": "ops"}),
        (Service, {"protocol": "tcp", "vip": "203.0.113.2", "port": 80, "flags": {"a": 1}}),
        (Resource, {"is": "Mark", "names": []}),
        (Resource, {"is": ["Sysctl"], "name": "a", "value": "1"}),
        (Resource, {"name": "a", "value": "1"}),
        (Resource, None),
        (HostFacts, {"sysctls": {"a": 1}}),
        (HostFacts, {"known_hosts": {"a": "b"}}),
        (HostFacts, {"routes": [{"network": "203.0.113.1/24", "link": "x"}]}),
        (HostFacts, {"routes": [{"network": "::%x/1", "link": "x"}]}),
        (float, float("nan")),
        (float, float("inf")),
        (float, -float("inf")),
        (float, 10**400),
        (float, "1"),
        (float, True),
        (int, 1.5),
    ],
    ids=repr,
)
def test_what_is_not_of_the_type_is_refused(hint, data):
    with pytest.raises(wire.WireError, match="both ends must be one build"):
        wire.decode(hint, data)


@given(st.text())
def test_no_text_moves_the_cursor(text):
    found = wire.decode(str, text)
    assert len(found) == len(text)
    assert found.isprintable()
    assert all(a == b for a, b in zip(text, found) if a.isprintable())


def test_keys_are_cleaned_too():
    assert wire.decode(dict[str, str], {"\x1b[2J": "\ud800"}) == {"?[2J": "?"}


@pytest.mark.parametrize("depth", [100, 500, 900, 990, 100_000])
@pytest.mark.parametrize("hint", [int, HostFacts, Resource, str])
def test_deep_nesting_is_a_wire_error(depth, hint):
    with pytest.raises(wire.WireError):
        wire.decode(hint, wire.parse_line(b'{"a":' + b"[" * depth + b"]" * depth + b"}\n")["a"])


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"[]", b"1", b'"x"', b"null", b"{", b"{}{}", b"\xff", b"\x00", b"9" * 5000,
     b'{"a":' + b"9" * 5000 + b"}", b"\xff\xfe{\x00}\x00x"],
)  # fmt: skip
def test_a_line_that_is_no_object(line):
    with pytest.raises(wire.WireError):
        wire.parse_line(line)


def test_what_is_at_its_default_is_left_out():
    assert wire.encode(Sysctl("a", "b")) == {"is": "Sysctl", "name": "a", "value": "b"}
    assert wire.encode(HostFacts()) == {}
    assert "weight" not in wire.encode(Destination("tcp", VIP, 80, VIP))


@given(st.lists(st.integers(0, 400_000), max_size=12))
def test_many_rows_go_in_lines_below_the_limit(sizes):
    rows = ["x" * size for size in sizes]
    lines = list(wire.bulk(("part", "a"), rows))
    assert all(len(line) <= wire.LINE_LIMIT and line.endswith(b"\n") for line in lines)
    assert [row for line in lines for row in json.loads(line)["part"]["a"]] == rows


def test_twenty_thousand_rows():
    rows = [Sysctl(f"net/{n}", "1") for n in range(20_000)]
    lines = list(wire.bulk(("rows",), rows))
    assert len(lines) == sum(map(len, lines)) // wire.BULK_BYTES + 1
    back = [
        row for line in lines for row in wire.decode(tuple[Resource, ...], json.loads(line)["rows"])
    ]
    assert back == rows


@THOROUGH
@given(st.integers(0, 5000))
def test_a_service_with_many_destinations_is_split_and_joined(count):
    fact = facts.DestinationFact(VIP, 80, 1, "direct")
    service = facts.ServiceFact("tcp", VIP, 80, 0, "rr", destinations=(fact,) * count)
    pieces = list(split([service]))
    assert all(len(piece.destinations) <= facts.DESTINATIONS_AT_ONCE for piece in pieces)
    assert joined(pieces) == (service,)
    for piece in pieces[:1]:
        assert len(wire.line(wire.encode(piece))) < wire.LINE_LIMIT
