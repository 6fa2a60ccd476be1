"""What the director's IPVS table must hold: services and destinations; rules, pure."""

from __future__ import annotations

from collections.abc import Iterator

from onearm import resting
from onearm.commands import FORWARDING, commands, shell_line
from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.facts import DestinationFact, ServiceFact, tunnel_words
from onearm.finding import NOTE, WARNING
from onearm.groups import of_service
from onearm.model import IPV4, Action, Address, endpoint
from onearm.snapshot import RAMPING
from onearm.spec import Host, VirtualService, names_of
from onearm.tally import half_open as half_open_of
from onearm.verify import about

OPTION = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}  # ipvsadm's
Standing = tuple[Host, VirtualService, ServiceFact]


def _standing(o: Observations) -> Iterator[Standing]:
    """List the services of the spec that stand in a director's table."""
    for director, _ in o.directors:
        for service in o.spec.services:
            found = o.kernel_service(director.name, service)
            if found is not None:
                yield director, service, found


def _destinations(
    o: Observations,
) -> Iterator[tuple[Host, VirtualService, Host, int, DestinationFact | None]]:
    """List every destination that the spec wants, with its weight and what stands for it.

    The weight is 0 for one that is out of rotation, by the daemon or by hand.
    """
    servers = {server.name: server for server in o.spec.real_servers}
    for director, service, standing in _standing(o):
        found = o.resting(service)
        for member in service.members:
            server = servers[member.host]
            held = [d for d in standing.destinations if d.server == server.own(service.vip.version)]
            wanted = resting.weight(service, member, found) or 0
            yield director, service, server, wanted, held[0] if held else None


def service_missing(o: Observations) -> Iterator[Clue]:
    """Find services that the director's table lacks."""
    for director, _ in o.directors:
        for service in o.spec.services:
            if o.kernel_service(director.name, service) is None:
                yield Clue(
                    director.name,
                    f"the IPVS table of {director.name} has no service {about(service)}",
                    f"{about(service)} {service.scheduler}",
                    "the director's own stack takes the connections and resets them",
                    "onearm apply SPEC"
                    if service.ends
                    else f"ipvsadm -A {_named(o, director, service)} -s {service.scheduler}",
                    about=about(service),
                )


def mark_rule(o: Observations) -> Iterator[Clue]:
    """Find endpoints of groups whose packets get no mark, or another than their group's."""
    for director, service, standing in _standing(o):
        for rule in of_service(service, standing.fwmark):
            if rule in o.facts[director.name].mark_rules:
                continue
            where = f"{endpoint(rule.vip, rule.port, rule.last)}/{rule.protocol}"
            typed = commands(Action(director.name, None, rule))
            yield Clue(
                director.name,
                f"no rule of {director.name} gives packets for {where} the mark {rule.mark:#x}",
                f"the mark by which the kernel knows the group {about(service)}",
                "packets for it belong to no virtual service, so the director's own stack takes"
                " the connections and resets them",
                "; ".join(map(shell_line, typed)),
                about=about(service),
            )


def destination_missing(o: Observations) -> Iterator[Clue]:
    """Find real servers that their service lacks."""
    for director, service, server, weight, standing in _destinations(o):
        if standing is None and weight:
            yield Clue(
                director.name,
                f"{about(service)} has no destination {server.name} ({_near(service, server)})",
                f"{_near(service, server)} by {_words(service, server)}, weight {weight}",
                f"{server.name} is never chosen",
                _ipvsadm(o, director, "-a", service, server) + _how(service, server, weight),
                about=about(service),
                touches=(server.name,),
            )


def _ipvsadm(
    o: Observations, director: Host, verb: str, service: VirtualService, server: Host
) -> str:
    near, port = _near(service, server), service.port_at(server.name)
    behind = _behind(service, near) if port == service.port else endpoint(near, port)
    return f"ipvsadm {verb} {_named(o, director, service)} -r {behind}"


def _named(o: Observations, director: Host, service: VirtualService) -> str:
    """Name a service to ipvsadm: a group by the mark that its standing one has."""
    standing = o.kernel_service(director.name, service) if service.ends else None
    if standing is not None:
        return f"-f {standing.fwmark}{'' if service.vip.version == IPV4 else ' -6'}"
    return f"{OPTION.get(service.protocol, '-t')} {endpoint(service.vip, service.port)}"


def _behind(service: VirtualService, address: Address) -> str:
    """Write a destination: ipvsadm takes no IPv6 address without its port."""
    port = 0 if service.ends else service.port
    return str(address) if address.version == IPV4 else endpoint(address, port)


def _near(service: VirtualService, server: Host) -> Address:
    """Give the real server's address of the VIP's family; the spec has one."""
    return server.own(service.vip.version) or server.address


def _words(service: VirtualService, server: Host) -> str:
    """Name the way to a real server as its standing destination would be named."""
    way = service.way(server.name)
    return " ".join(word for word in (way.method, tunnel_words(way.tunnel, way.port)) if word)


def _how(service: VirtualService, server: Host, weight: int) -> str:
    way = service.way(server.name)
    kind = f" --tun-type {way.tunnel}" if way.tunnel not in {"", "ipip"} else ""
    port = f" --tun-port {way.port}" if way.port else ""
    return f" {FORWARDING[way.method]}{kind}{port} -w {weight}"


def method(o: Observations) -> Iterator[Clue]:
    """Find destinations that are forwarded to in another way than the spec says."""
    for director, service, server, weight, standing in _destinations(o):
        if standing is None:
            continue
        stands = " ".join(word for word in (standing.forwarding, standing.tunnel) if word)
        if stands != _words(service, server):
            yield Clue(
                director.name,
                f"{about(service)} forwards to {server.name} by {stands}",
                _words(service, server),
                "another method rewrites the packet, wraps it, or leaves it as it is, which this"
                " real server does not expect",
                _ipvsadm(o, director, "-e", service, server) + _how(service, server, weight),
                about=about(service),
                touches=(server.name,),
            )


def port(o: Observations) -> Iterator[Clue]:
    """Find destinations with another port than the spec's: only masq ever changes it."""
    for director, service, server, weight, standing in _destinations(o):
        wanted = service.port_at(server.name)
        if standing is not None and standing.port not in (wanted, 0):
            held = endpoint(_near(service, server), standing.port)
            delete = f"ipvsadm -d {_named(o, director, service)} -r {held}"
            add = _ipvsadm(o, director, "-a", service, server) + _how(service, server, weight)
            yield Clue(
                director.name,
                f"{about(service)} has {server.name} with port {standing.port}",
                f"port {wanted}" + (", as the service" if wanted == service.port else ""),
                "packets go to a port on which this real server need not listen"
                if service.way(server.name).method == "masq"
                else "direct routing hands the packet on as it is, so the real server's port is the"
                " VIP's port whatever the table says",
                f"{delete}; {add}",
                about=about(service),
                touches=(server.name,),
                severity=WARNING if standing.forwarding == "direct" else "",
            )


def weights(o: Observations) -> Iterator[Clue]:
    """Find services none of whose destinations has a weight though the spec gives some."""
    for director, service, standing in _standing(o):
        found = o.resting(service)
        wanted = any(resting.weight(service, member, found) for member in service.members)
        if not wanted or not standing.destinations:
            continue
        if not any(d.weight for d in standing.destinations):
            yield Clue(
                director.name,
                f"all {len(standing.destinations)} destinations of {about(service)} have weight 0",
                "a weight above 0",
                "no real server may be chosen, so the director refuses connections",
                f"ipvsadm -e {_named(o, director, service)}"
                f" -r {_behind(service, standing.destinations[0].server)} -g -w 1",
                about=about(service),
            )


def weight(o: Observations) -> Iterator[Clue]:
    """Find destinations whose weight is another than the spec's, or than the daemon wants."""
    empty = {clue.about for clue in weights(o)}
    for director, service, server, wanted, standing in _destinations(o):
        if standing is None or about(service) in empty or standing.weight == wanted:
            continue
        told = o.resting(service).get(server.name)
        if told is not None and told.state == RAMPING:
            continue  # it grows from second to second
        yield Clue(
            director.name,
            f"{server.name} has weight {standing.weight} in {about(service)}",
            f"weight {wanted}, " + (f"for it is {told.state}" if told else "as in the spec"),
            "it gets another share than it should"
            + (", none of the new connections" if not standing.weight else ""),
            _ipvsadm(o, director, "-e", service, server) + _how(service, server, wanted),
            about=about(service),
            touches=(server.name,),
        )


def scheduler(o: Observations) -> Iterator[Clue]:
    """Find services with another scheduler, or other flags, than the spec's."""
    for director, service, standing in _standing(o):
        has = (standing.scheduler, *sorted(standing.flags))
        wants = (service.scheduler, *sorted(service.flags))
        if has != wants:
            flags = f" -b {','.join(service.flags)}" if service.flags else ""
            yield Clue(
                director.name,
                f"{about(service)} is scheduled by {' '.join(has)}",
                " ".join(wants),
                "connections are shared out in another way than the spec says",
                f"ipvsadm -E {_named(o, director, service)} -s {service.scheduler}{flags}",
                about=about(service),
            )


def persistence(o: Observations) -> Iterator[Clue]:
    """Find services whose clients stay with their server in another way than the spec says."""
    for director, service, standing in _standing(o):
        has = (standing.persistence_s, standing.persistence_mask, standing.engine)
        wants = (service.persistence_s, service.persistence_mask, service.engine)
        if has != wants:
            yield Clue(
                director.name,
                f"clients of {about(service)} {_stay(*has)}",
                f"they {_stay(*wants)}",
                "a client that comes again may get another server, or none but its first",
                f"onearm apply SPEC (or ipvsadm -E with -p {service.persistence_s})"
                if service.persistence_s
                else "onearm apply SPEC (or ipvsadm -E without -p)",
                about=about(service),
            )


def _stay(seconds: int, mask: int | None, engine: str) -> str:
    if not seconds:
        return "get a server anew with each connection"
    who = "" if mask is None else f" by /{mask}"
    return f"stay with their server for {seconds} s{who}{f' by {engine}' if engine else ''}"


def unwanted(o: Observations) -> Iterator[Clue]:
    """Find destinations with weight that the spec does not name."""
    names = names_of(o.spec.real_servers)
    for director, service, standing in _standing(o):
        wanted = {member.host for member in service.members}
        wanted |= {host for host, told in o.resting(service).items() if told.weight}
        for held in standing.destinations:
            if held.weight and names.get(held.server) not in wanted:
                yield Clue(
                    director.name,
                    f"{about(service)} also sends to {held.server}, weight {held.weight}",
                    "only the real servers of the spec",
                    "connections go to a server that the spec does not give to this service",
                    f"ipvsadm -d {_named(o, director, service)}"
                    f" -r {endpoint(held.server, 0 if service.ends else held.port)}",
                    about=about(service),
                )


def half_open(o: Observations) -> Iterator[Clue]:
    """Find destinations most of whose connections never got past their first packet."""
    names = names_of(o.spec.real_servers)
    for director, _ in o.directors:
        vitals = o.vitals.get(director.name)
        for (served, address), sums in half_open_of(vitals.connections if vitals else ()):
            service = f"{endpoint(served.vip, served.port)}/{served.protocol}"
            server = names.get(address)
            if server is not None:
                yield Clue(
                    director.name,
                    f"{sums.old} of {sums.connections} connections of {service} to {server} stay in"
                    " SYN_RECV",
                    "a few at most",
                    "their second packet never came through the director: a firewall drops what"
                    " it calls invalid, or replies do not reach the clients",
                    f"onearm trace SPEC --service {service} --via {server}",
                    about=service,
                    touches=(server,),
                    severity=NOTE if _works(o, service, server) else "",
                )


def _works(o: Observations, service: str, server: str) -> bool:
    """Say whether connections of ours to a server all worked: then those of others are meant."""
    ways = [w for c in o.cases if about(c.service) == service for w in c.ways]
    mine = [way for way in ways if server in way.handed_to]
    return bool(mine) and all(way.arrived for way in mine)
