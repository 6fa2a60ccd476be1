"""A lean constructor makes what dataclasses would have made, as frozen, and refuses the same."""

from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from onearm import lean, model


@dataclass(frozen=True)
class Plain:
    """What the standard library makes."""

    name: str
    weight: int = 1
    notes: tuple[str, ...] = field(default=(), compare=False)
    more: dict[str, str] = field(default_factory=dict)


@lean.lean
@dataclass(frozen=True)
class Lean:
    """The same with a lean constructor."""

    name: str
    weight: int = 1
    notes: tuple[str, ...] = field(default=(), compare=False)
    more: dict[str, str] = field(default_factory=dict)


GIVEN = [
    (("a",), {}),
    (("a", 3), {"notes": ("n",)}),
    ((), {"name": "a", "more": {"b": "c"}}),
    ((), {}),
    (("a", 1, (), {}, 5), {}),
    (("a",), {"nobody": 1}),
    (("a",), {"name": "b"}),
]


@pytest.mark.parametrize(("words", "named"), GIVEN)
def test_the_same_fields_or_the_same_kind_of_refusal(words, named):
    assert outcome(Lean, words, named) == outcome(Plain, words, named)


def outcome(kind, words, named):
    try:
        made = kind(*words, **named)
    except TypeError:
        return TypeError
    return {f.name: getattr(made, f.name) for f in fields(made)}


def test_it_is_frozen_and_compares_and_hashes_as_its_fields_say():
    one, other = Lean("a", notes=("n",)), Lean("a")
    assert one == other
    assert one != Lean("b")
    assert replace(one, weight=2) == Lean("a", 2)
    with pytest.raises(FrozenInstanceError):
        one.weight = 5
    assert hash(model.Link("a")) == hash(model.Link("a"))


def test_each_has_a_default_of_its_own_that_is_made():
    assert Lean("a").more == {}
    assert Lean("a").more is not Lean("a").more


def test_what_does_more_than_fill_its_fields_is_refused():
    @dataclass(frozen=True)
    class Busy:
        name: str

        def __post_init__(self):
            raise AssertionError("a lean constructor would not call this")

    @dataclass(frozen=True)
    class Partly:
        name: str
        known: int = field(default=0, init=False)

    for kind in (Busy, Partly):
        with pytest.raises(TypeError, match="does more than fill"):
            lean.lean(kind)


def test_a_copy_is_what_replace_gives():
    base = Lean("a", 3, ("n",), {"b": "c"})
    for changes in ({}, {"name": "b"}, {"weight": 9, "notes": ()}):
        assert vars(lean.like(base, **changes)) == vars(replace(base, **changes))
    assert base.name == "a"
    with pytest.raises(TypeError):
        lean.like(base, nobody=1)


def test_a_copy_does_not_take_what_was_made_of_the_fields():
    one, other = model.Link("a"), model.Link("b")
    action = model.Action("d1", None, one)
    assert action.state_key == ("Link", "a")
    assert lean.like(action, after=other).state_key == ("Link", "b")
    with pytest.raises(TypeError):
        lean.like(action, nobody=1)
