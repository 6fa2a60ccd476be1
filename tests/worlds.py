"""Sane worlds that tests bend: a spec, the facts of its hosts, and any of our values."""

import functools
from dataclasses import fields, is_dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from onearm.facts import AddressFact, HostFacts, LinkFact, PathFact, RouteFact
from onearm.spec import Host, Member, Spec, VirtualService

VIP = ip_address("203.0.113.2")
DIRECTOR = Host("d", ip_address("203.0.113.3"))
SERVERS = (Host("r1", ip_address("203.0.113.4")), Host("r2", ip_address("203.0.113.5")))
ANYWHERE = ip_network("0.0.0.0/0")
NEAR = ip_network("203.0.113.0/27")
SERVICE = VirtualService(VIP, 80, "tcp", "rr", (), (Member("r1"), Member("r2")))
SPEC = Spec(directors=(DIRECTOR,), real_servers=SERVERS, services=(SERVICE,), clients=(ANYWHERE,))
LO = LinkFact(1, "lo", kind="", up=True, loopback=True, mac="00:00:00:00:00:00")


def nic(name="eth0", index=2, mac=None, **more):
    return LinkFact(index, name, mac=mac or f"02:00:00:00:00:{index:02x}", **{"up": True, **more})


def host(address, *, near=(), number=0, **more):
    """Give the facts of a sane host with one NIC."""
    link = nic(mac=f"02:00:00:00:{number:02x}:{int(address) & 255:02x}")
    found = HostFacts(
        hostname="somebody",
        links=(LO, link),
        addresses=(
            AddressFact("lo", ip_address("127.0.0.1"), 8, 254),
            AddressFact("eth0", address, 27),
        ),
        routes=(RouteFact(NEAR, "eth0"), RouteFact(ANYWHERE, "eth0", ip_address("203.0.113.1"))),
        paths=tuple(PathFact(a, "eth0", source=address) for a in near),
    )
    return replace(found, **more)


def facts(spec=SPEC):
    """Give the facts of all hosts of a spec, all sane."""
    near = [server.address for server in spec.real_servers]
    directors = {d.name: host(d.address, near=near) for d in spec.directors}
    return directors | {r.name: host(r.address) for r in spec.real_servers}


TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=12)


def _networks(addresses):
    return st.tuples(addresses, st.integers(0, 128)).map(
        lambda p: ip_network((p[0], p[1] % (p[0].max_prefixlen + 1)), strict=False)
    )


IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6).filter(lambda a: a.scope_id is None)
SCALARS = {
    IPv4Address: IPV4,
    IPv6Address: IPV6,
    IPv4Network: _networks(IPV4),
    IPv6Network: _networks(IPV6),
    str: TEXTS,
    int: st.integers(),
    bool: st.booleans(),
    float: st.floats(-1e15, 1e15),
    type(None): st.none(),
}


@functools.cache
def values(hint):
    """Give any values of a type that the wire can carry."""
    if hint in SCALARS:
        return SCALARS[hint]
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(
            hint, **{f.name: st.deferred(lambda h=hints[f.name]: values(h)) for f in fields(hint)}
        )
    return _several(get_origin(hint), get_args(hint))


def _several(origin, arguments):
    if origin is Union:
        return st.one_of([values(argument) for argument in arguments])
    if origin is dict:
        return st.dictionaries(TEXTS, values(arguments[1]), max_size=2)
    return st.lists(values(arguments[0]), max_size=2).map(tuple)
