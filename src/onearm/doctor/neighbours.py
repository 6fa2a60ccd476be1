"""What director and real servers know of the machines that they send to; rules, pure."""

from __future__ import annotations

from collections.abc import Iterator

from onearm.doctor.clue import Clue
from onearm.doctor.observations import PERMANENT, STALE, Observations
from onearm.facts import NeighbourFact
from onearm.finding import WARNING
from onearm.model import IPV4, Address
from onearm.verify import TALK


def _trouble(o: Observations, host: str, address: Address, macs: set[str]) -> NeighbourFact | None:
    """Give an entry that is wrong: no answer came, or its MAC is not the machine's."""
    entry = o.neighbour(host, address)
    if entry is None:
        return None
    wrong = bool(macs and entry.mac and entry.mac not in macs)
    return entry if wrong or entry.state & STALE else None


def _clue(o: Observations, host: str, what: str, entry: NeighbourFact, server: str) -> Clue:
    at = f"{what} ({entry.address} on {entry.link})"
    fixed = ", for ever (permanent)" if entry.state & PERMANENT else ""
    failed = bool(entry.state & STALE)
    return Clue(
        host,
        f"{host} gets no answer in {TALK[entry.address.version]} from {at}"
        if failed
        else f"{host} takes {o.names.name(entry.mac)} for {at}{fixed}",
        "a reachable entry with the machine's MAC",
        f"it is down, it is in another L2, or its {TALK[entry.address.version]} is dropped"
        if failed
        else "somebody wrote the entry down, or the machine changed its NIC",
        f"ip neigh del {entry.address} dev {entry.link}"
        if not failed
        else f"see that {entry.address} is up; {_ask(entry)} on {host}",
        touches=(server,),
        severity="" if o.evidence is not None or not failed else WARNING,
    )


def _ask(entry: NeighbourFact) -> str:
    tool = "arping -I {} {}" if entry.address.version == IPV4 else "ndisc6 {1} {0}"
    return tool.format(entry.link, entry.address)


def server(o: Observations) -> Iterator[Clue]:
    """Find real servers that the director cannot, or wrongly, hand frames to."""
    for director, _ in o.directors:
        for host in o.spec.real_servers:
            macs = o.names.macs(host.name)
            for version in sorted({vip.version for vip in o.vips_of(host.name)}):
                near = host.own(version) or host.address
                asked = o.answers.get((director.name, near))
                found = _trouble(o, director.name, near, macs or set(asked or ()))
                if found is not None:
                    yield _clue(o, director.name, f"the real server {host.name}", found, host.name)


def gateway(o: Observations) -> Iterator[Clue]:
    """Find real servers that cannot, or wrongly, send to their gateway or an on-link client."""
    for host, _ in o.servers:
        vitals = o.vitals.get(host.name)
        hops = dict.fromkeys(way.gateway or way.client for way in vitals.back) if vitals else {}
        for hop in hops:
            known = {m for name in o.names.by_mac.values() for m in _macs_of(o, name, hop)}
            macs = known or set(o.answers.get((host.name, hop), ()))
            found = _trouble(o, host.name, hop, macs)
            if found is not None:
                what = "its next hop to clients"
                yield _clue(o, host.name, what, found, host.name)


def _macs_of(o: Observations, name: str, address: Address) -> set[str]:
    """Give the MACs of the link by which a machine holds an address, if it is that machine's."""
    machines = dict(o.evidence.machines) if o.evidence else {}
    facts = machines.get(name) or o.facts.get(name)
    held = facts.holds(address) if facts else ()
    links = [facts.link(a.link) for a in held] if facts else []
    return {link.mac for link in links if link and link.mac}
