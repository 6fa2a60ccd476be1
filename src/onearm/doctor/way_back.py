"""The way of replies: routes, reverse path filters, the source of answers; rules, pure."""

from __future__ import annotations

from collections.abc import Iterator

from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.facts import HostFacts
from onearm.finding import WARNING
from onearm.model import IPV4
from onearm.spec import Host, names_of
from onearm.verify import about
from onearm.vitals import BackFact

STRICT = 1  # rp_filter: the way back must be the way in (RFC 3704)


def _back(o: Observations) -> Iterator[tuple[Host, HostFacts, BackFact, str]]:
    """List the ways of replies from real servers, with the link that requests come in by."""
    for server, facts in o.servers:
        masked = o.masked(server.name)
        vitals, nic = o.vitals.get(server.name), o.nic(server)
        seen: set[tuple[str, str, str]] = set()
        for way in vitals.back if vitals and nic else ():
            if masked and way.vip.version == IPV4:  # no reply of it has the VIP as source
                continue
            key = (way.link, str(way.gateway), way.error)
            if key not in seen and nic is not None:
                seen.add(key)
                yield server, facts, way, nic.name


def _strict(o: Observations, server: Host, way: BackFact, link: str) -> bool:
    """Say whether the kernel filters by the way back; it does so in IPv4 alone."""
    four = way.vip.version == IPV4
    return four and o.effective(server.name, "rp_filter", link) == STRICT


def reverse_path(o: Observations) -> Iterator[Clue]:
    """Find strict reverse path filters that drop requests, as replies would leave elsewhere."""
    for server, _, way, link in _back(o):
        strict = _strict(o, server, way, link)
        if strict and way.link and way.link != link:
            dropped = o.grown(server.name, "TcpExt.IPReversePathFilter")
            shown = f"; it dropped {dropped} packets just now" if dropped else ""
            yield Clue(
                server.name,
                f"{server.name} filters strictly by reverse path on {link}, and its way to"
                f" {way.client} is {way.link}{shown}",
                "rp_filter 0 or 2 where the ways differ",
                f"requests come in by {link}, so they fail the test and are dropped",
                f"sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{link}.rp_filter=2",
                touches=(server.name,),
            )


def other_link(o: Observations) -> Iterator[Clue]:
    """Find replies that leave by another link than requests come in by."""
    for server, _, way, link in _back(o):
        strict = _strict(o, server, way, link)
        if way.link and way.link != link and not strict:
            yield Clue(
                server.name,
                f"replies of {server.name} to {way.client} leave by {way.link}, not {link}",
                f"by {link}",
                "another network, or a port that may not send from the VIP, drops them",
                f"ip route replace {way.client} via GATEWAY dev {link}",
                touches=(server.name,),
                severity=WARNING,
            )


def via_director(o: Observations) -> Iterator[Clue]:
    """Find real servers whose way back is the director."""
    directors = names_of(o.spec.directors) | dict.fromkeys(o.vips, "the VIP")
    for server, facts, way, _ in _back(o):
        if way.gateway in directors:
            same = [r.gateway for r in facts.routes if r.network.version == way.vip.version]
            known = [gateway for gateway in same if gateway not in (None, way.gateway)]
            gateway = known[0] if known else "GATEWAY"
            yield Clue(
                server.name,
                f"the gateway of {server.name} to {way.client} is {directors[way.gateway]}"
                f" ({way.gateway})",
                "a router, past the director",
                "replies die there, or cross it if it forwards: direct routing exists to spare it"
                " them",
                f"ip route replace default via {gateway}",
                touches=(server.name,),
            )


def no_route(o: Observations) -> Iterator[Clue]:
    """Find real servers that know no way to a client."""
    for server, _, way, link in _back(o):
        if way.error and not way.link:
            yield Clue(
                server.name,
                f"{server.name} has no route to {way.client}: {way.error}",
                f"a default route by {link}",
                "it takes the request and cannot send its reply",
                f"ip route add default via GATEWAY dev {link}",
                touches=(server.name,),
            )


def udp_source(o: Observations) -> Iterator[Clue]:
    """Find UDP answers that leave with another source than the VIP."""
    for case in o.cases:
        if case.service.protocol != "udp" or o.evidence is None:
            continue
        ends = case.service.endpoints
        ports = {port for end in ends for port in range(end.port, end.last + 1)}
        asked = {(str(w.attempt.source), w.attempt.source_port) for w in case.ways}
        for server, facts in o.servers:
            own = {str(a.address) for a in facts.addresses} - set(map(str, case.service.vips))
            wrong = {
                f.source
                for f in o.evidence.frames.get(server.name, ())
                if f.outgoing and f.kind == "udp" and f.source in own
                if (f.target, f.target_port) in asked and f.source_port in ports
            }
            for source in sorted(wrong):
                yield Clue(
                    server.name,
                    f"{server.name} answers datagrams for {about(case.service)} from {source}",
                    f"from {case.service.vip}",
                    "a server bound to every address answers from the one that the route chooses,"
                    " and the client takes no answer from a stranger",
                    f"bind the server to {case.service.vip}, or have it answer with IP_PKTINFO",
                    about=about(case.service),
                    touches=(server.name,),
                )
