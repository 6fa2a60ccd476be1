"""IP addresses that know their hash: one value, however often and by whomever it is read."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TypeVar, cast

T = TypeVar("T", bound="ipaddress.IPv4Address | ipaddress.IPv6Address")
MOST = 1 << 17  # different addresses that are shared


class IPv4Address(ipaddress.IPv4Address):
    """An IPv4 address in many dictionaries: the standard library makes its hash anew each time."""

    __slots__ = ("_hash", "packed")

    def __init__(self, address: int | str | bytes) -> None:
        """Read it as the standard library does."""
        super().__init__(address)
        self._hash = super().__hash__()
        self.packed = super().packed  # type: ignore[misc]

    def __hash__(self) -> int:
        """Give the same hash as the standard library's."""
        return self._hash


class IPv6Address(ipaddress.IPv6Address):
    """An IPv6 address in many dictionaries."""

    __slots__ = ("_hash", "packed")

    def __init__(self, address: int | str | bytes) -> None:
        """Read it as the standard library does."""
        super().__init__(address)
        self._hash = super().__hash__()
        self.packed = super().packed  # type: ignore[misc]

    def __hash__(self) -> int:
        """Give the same hash as the standard library's."""
        return self._hash


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
