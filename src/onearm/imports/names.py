"""Names for addresses: from a hosts file, else made of the address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address
from itertools import count

from onearm.model import NEUTRON
from onearm.spec import NAME

Names = Mapping[IPv4Address, str]


def hosts(text: str) -> dict[IPv4Address, str]:
    """Read a hosts file: the first name of each address that a spec allows."""
    found: dict[IPv4Address, str] = {}
    for line in text.split("\n"):
        address, *names = line.partition("#")[0].split() or [""]
        try:
            key = IPv4Address(address)
        except AddressValueError:
            continue
        name = next((n for n in names if NAME.fullmatch(n) and n != NEUTRON), None)
        if name and not key.is_loopback:
            found.setdefault(key, name)
    return found


def addresses(text: str) -> dict[str, IPv4Address]:
    """Read a hosts file the other way round: the address of each name."""
    found: dict[str, IPv4Address] = {}
    for line in text.split("\n"):
        address, *names = line.partition("#")[0].split() or [""]
        try:
            key = IPv4Address(address)
        except AddressValueError:
            continue
        for name in names:
            found.setdefault(name, key)
    return found


def named(servers: Iterable[IPv4Address], known: Names, taken: str) -> dict[IPv4Address, str]:
    """Name every real server: as the hosts file has it, else server-4, else server-192-0-2-4."""
    everyone = sorted(set(servers))
    wanted = {a: known.get(a) or f"server-{a.packed[3]}" for a in everyone}
    times = Counter([taken, *wanted.values()])
    used = {taken} | {name for name in wanted.values() if times[name] == 1}
    for address, name in wanted.items():
        if times[name] > 1:
            whole = f"server-{str(address).replace('.', '-')}"
            wanted[address] = next(n for n in _more(whole) if n not in used)
            used.add(wanted[address])
    return wanted


def _more(name: str) -> Iterator[str]:
    """Give a name, and others that are like it."""
    yield name
    yield from (f"{name}-{number}" for number in count(2))
