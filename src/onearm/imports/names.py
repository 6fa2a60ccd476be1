"""Names for addresses: from a hosts file, else made of the address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from itertools import count

from onearm.model import IPV4, NEUTRON, Address
from onearm.spec import NAME
from onearm.spec_load.fields import unusable

Names = Mapping[Address, str]
Addresses = Mapping[tuple[str, int], Address]  # by name and IP version


def hosts(text: str) -> dict[Address, str]:
    """Read a hosts file: the first name of each address that a spec allows."""
    found: dict[Address, str] = {}
    for key, names in _lines(text):
        name = next((n for n in names if NAME.fullmatch(n) and n != NEUTRON), None)
        if name and not any(bad for bad, _ in unusable(key)):
            found.setdefault(key, name)
    return found


def addresses(text: str) -> dict[tuple[str, int], Address]:
    """Read a hosts file the other way round: the address of each name and family."""
    found: dict[tuple[str, int], Address] = {}
    for key, names in _lines(text):
        for name in names:
            found.setdefault((name, key.version), key)
    return found


def _lines(text: str) -> Iterator[tuple[Address, list[str]]]:
    for line in text.split("\n"):
        address, *names = line.partition("#")[0].split() or [""]
        try:
            key = ip_address(address)
        except ValueError:
            continue
        yield key, names


def named(servers: Iterable[Address], known: Names, taken: str) -> dict[Address, str]:
    """Name every real server: as the hosts file has it, else server-4, else server-192-0-2-4.

    An IPv4 and an IPv6 address to which the hosts file gives one name are one host.
    """
    everyone = sorted(set(servers), key=lambda address: (address.version, address.packed))
    wanted = {address: known.get(address) or _made(address) for address in everyone}
    times = Counter([taken, *wanted.values()])
    dual = {name for name in times if name != taken and _is_dual(name, wanted, known)}
    used = {taken} | dual | {name for name in wanted.values() if times[name] == 1}
    for address, name in wanted.items():
        if times[name] > 1 and name not in dual:
            whole = f"server-{str(address).replace('.', '-').replace(':', '-')}"
            wanted[address] = next(n for n in _more(whole) if n not in used)
            used.add(wanted[address])
    return wanted


def _made(address: Address) -> str:
    if address.version == IPV4:
        return f"server-{address.packed[3]}"
    return f"server6-{int.from_bytes(address.packed[-2:], 'big'):x}"


def _is_dual(name: str, wanted: Names, known: Names) -> bool:
    """Say whether a name stands for just one address of each family, by the hosts file's word."""
    found = [address for address, given in wanted.items() if given == name]
    versions = [address.version for address in found]
    return len(versions) == len(set(versions)) and all(known.get(a) == name for a in found)


def _more(name: str) -> Iterator[str]:
    """Give a name, and others that are like it."""
    yield name
    yield from (f"{name}-{number}" for number in count(2))
