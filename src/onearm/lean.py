"""Frozen dataclasses of which there are very many: made and copied at a fraction of the cost."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, replace
from typing import Any, TypeVar

T = TypeVar("T")


def lean(kind: type[T]) -> type[T]:
    """Let a frozen dataclass fill its instances at once.

    The standard library goes through object.__setattr__ for each field, and most of what a large
    plan cost went there. Signature, defaults and values are the same, and as frozen.
    """
    given = fields(kind)  # type: ignore[arg-type]
    if hasattr(kind, "__post_init__") or not all(found.init for found in given):
        raise TypeError(f"{kind.__name__} does more than fill its fields, which a lean one cannot")
    known: dict[str, Any] = {"MISSING": MISSING}
    told = ", ".join(_parameter(found, known) for found in given)
    lines = "".join(f"\n    filled[{f.name!r}] = {_value(f, known)}" for f in given)
    text = f"def __init__(self, {told}):\n    filled = self.__dict__{lines}\n"
    exec(text, known)  # noqa: S102 - as dataclasses does; there are but names of our own fields
    known["__init__"].__qualname__ = f"{kind.__qualname__}.__init__"
    setattr(kind, "__init__", known["__init__"])  # noqa: B010 - mypy refuses the plain form
    return kind


def _parameter(found: Field[Any], known: dict[str, Any]) -> str:
    if found.default_factory is not MISSING:
        return f"{found.name}=MISSING"
    if found.default is MISSING:
        return found.name
    known[f"default_{found.name}"] = found.default
    return f"{found.name}=default_{found.name}"


def _value(found: Field[Any], known: dict[str, Any]) -> str:
    if found.default_factory is MISSING:
        return found.name
    known[f"make_{found.name}"] = found.default_factory
    return f"make_{found.name}() if {found.name} is MISSING else {found.name}"


def like(base: T, **changes: Any) -> T:
    """Copy a frozen value but for some fields, as dataclasses.replace does."""
    number = len(base.__dataclass_fields__)  # type: ignore[attr-defined]
    if len(base.__dict__) != number:  # it has more than its fields, made of these
        return replace(base, **changes)  # type: ignore[type-var]
    made = object.__new__(type(base))
    filled = made.__dict__
    filled.update(base.__dict__)
    filled.update(changes)
    if len(filled) != number:
        raise TypeError(f"{type(base).__name__} has not all of the fields {', '.join(changes)}")
    return made
