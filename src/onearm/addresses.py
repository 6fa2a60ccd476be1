"""IP addresses that know their hash and text: one value, however often and by whom it is read."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TypeVar, cast

T = TypeVar("T", bound="ipaddress.IPv4Address | ipaddress.IPv6Address")
MOST = 1 << 17  # different addresses that are shared


class IPv4Address(ipaddress.IPv4Address):
    """An IPv4 address in many dictionaries: the standard library makes its hash anew each time."""

    __slots__ = ("_hash", "_shown", "packed")

    def __init__(self, address: int | str | bytes) -> None:
        """Read it as the standard library does."""
        super().__init__(address)
        self._hash = super().__hash__()
        self._shown = ""
        self.packed = super().packed  # type: ignore[misc]

    def __hash__(self) -> int:
        """Give the same hash as the standard library's."""
        return self._hash

    def __str__(self) -> str:
        """Give the same text as the standard library's."""
        self._shown = self._shown or "{}.{}.{}.{}".format(*self.packed)
        return self._shown


class IPv6Address(ipaddress.IPv6Address):
    """An IPv6 address in many dictionaries."""

    __slots__ = ("_hash", "_shown", "packed")

    def __init__(self, address: int | str | bytes) -> None:
        """Read it as the standard library does."""
        super().__init__(address)
        self._hash = super().__hash__()
        self._shown = ""
        self.packed = super().packed  # type: ignore[misc]

    def __hash__(self) -> int:
        """Give the same hash as the standard library's."""
        return self._hash

    def __str__(self) -> str:
        """Give the same text as the standard library's."""
        self._shown = self._shown or super().__str__()
        return self._shown


@lru_cache(maxsize=MOST)
def unpacked(packed: bytes) -> IPv4Address | IPv6Address:
    """Give the address of 4 or 16 bytes."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)  # noqa: PLR2004


@lru_cache(maxsize=MOST)
def parsed(text: str) -> IPv4Address | IPv6Address:
    """Read an address; raises ValueError as the standard library does."""
    found = ipaddress.ip_address(text)
    return IPv6Address(text) if "%" in text else unpacked(found.packed)


def shared(address: T) -> T:
    """Give the one value that is shared by all who have this address."""
    return cast("T", unpacked(address.packed))
