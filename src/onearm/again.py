"""What was made of the same values the last time need not be made again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import is_
from typing import Any, Generic, TypeVar

T = TypeVar("T")
MOST = 1 << 14  # things by default; past that all is forgotten, and made anew


def identical(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    """Say whether they are the very same objects."""
    return len(some) == len(others) and all(map(is_, some, others))


class Again(Generic[T]):
    """The last result of a pure function for each key, as long as its values are the very same.

    Our values are frozen, so that one that is the same object is the same. What is given is kept,
    so that no other object can come to stand where it stood. Where equal values have all things
    equal, notes included, `alike` may be operator.eq: then a spec that is read anew counts.
    """

    def __init__(
        self,
        make: Callable[..., T],
        most: int = MOST,
        alike: Callable[[tuple[Any, ...], tuple[Any, ...]], bool] = identical,
    ) -> None:
        """Remember results of `make`, for so many keys at most."""
        self._make, self._most, self._alike = make, most, alike
        self._held: dict[Hashable, tuple[tuple[Any, ...], T]] = {}

    def __call__(self, key: Hashable, *given: Any) -> T:
        """Give what `make` makes of what is given."""
        held = self._held.get(key)
        if held is not None and self._alike(held[0], given):
            if self._alike is not identical:  # those given now are sooner told to be the same
                self._held[key] = (given, held[1])
            return held[1]
        if len(self._held) >= self._most:
            self._held.clear()
        made = self._make(*given)
        self._held[key] = (given, made)
        return made
