"""The real servers' ends of tunnels: their links, ends and reverse path filters; rules, pure."""

from __future__ import annotations

from collections.abc import Iterator

from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.facts import HostFacts
from onearm.spec import Host
from onearm.verify import about
from onearm.ways import LINK_KINDS, TUNNEL_LINKS

STRICT = 1  # rp_filter: the way back must be the way in (RFC 3704)


def _ends(o: Observations) -> Iterator[tuple[Host, HostFacts, str]]:
    """List the tunnel links that real servers must have."""
    for server, facts in o.servers:
        ways = {s.way(server.name).tunnel for s in o.services_of(server.name)} - {""}
        for name in sorted({TUNNEL_LINKS[way] for way in ways}):
            yield server, facts, name


def link(o: Observations) -> Iterator[Clue]:
    """Find real servers whose end of the tunnel is missing or down."""
    for server, facts, name in _ends(o):
        found = facts.link(name)
        kind = next(LINK_KINDS[way] for way, known in TUNNEL_LINKS.items() if known == name)
        if found is not None and found.up and found.kind == kind:
            continue
        if found is None:
            what = f"{server.name} has no tunnel link {name}"
        elif not found.up:
            what = f"the tunnel link {name} of {server.name} is down"
        else:
            what = f"{name} of {server.name} is a {found.kind or 'physical'} link"
        director = o.spec.directors[0].address if o.spec.directors else "any"
        make = f"ip link add {name} type {kind} local {server.address} remote {director}; "
        yield Clue(
            server.name,
            what,
            f"{name}, a tunnel ({kind}) from the director, up",
            "what the director sends arrives in a tunnel that nobody takes it out of",
            ("" if found is not None else make) + f"ip link set {name} up",
            touches=(server.name,),
        )


def reverse_path(o: Observations) -> Iterator[Clue]:
    """Find strict reverse path filters on tunnel links: no reply ever leaves by those."""
    for server, facts, name in _ends(o):
        if facts.link(name) and o.effective(server.name, "rp_filter", name) == STRICT:
            dropped = o.grown(server.name, "TcpExt.IPReversePathFilter")
            shown = f"; it dropped {dropped} packets just now" if dropped else ""
            yield Clue(
                server.name,
                f"{server.name} filters strictly by reverse path on {name}{shown}",
                "rp_filter 2 there, which only asks that there be a way back",
                "packets come out of the tunnel and replies leave by the NIC, so they fail the test"
                " and are dropped",
                f"sysctl -w net.ipv4.conf.{name}.rp_filter=2",
                touches=(server.name,),
            )


def not_unpacked(o: Observations) -> Iterator[Clue]:
    """Find tunnels whose packets arrive and do not come out, though the link is there."""
    for case in o.cases:
        for server, facts, name in _ends(o):
            way = case.service.way(server.name)
            if TUNNEL_LINKS.get(way.tunnel) != name or server.name not in case.service.hosts:
                continue
            came = [w for w in case.ways if server.name in w.wrapped and w.at_servers]
            stuck = [w for w in came if server.name not in w.out_of_tunnel]
            there = facts.link(name)
            if stuck and len(stuck) == len(came) and there is not None and there.up:
                yield Clue(
                    server.name,
                    f"{len(stuck)} connections to {about(case.service)} came to {server.name} in"
                    f" {way.tunnel} and did not come out of the tunnel",
                    f"the inner packets on {name}",
                    f"{name} has other ends than the packets"
                    + (f", or nobody takes GUE on UDP port {way.port}" if way.port else "")
                    + ", or a firewall there drops them",
                    "onearm plan SPEC shows what differs; onearm apply SPEC mends it",
                    about=about(case.service),
                    touches=(server.name,),
                )
