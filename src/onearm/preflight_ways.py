"""Preflight rules of the ways to real servers: same segment, tunnels' ends, ways back; pure."""

from __future__ import annotations

from collections.abc import Iterator

from onearm.facts import Facts, HostFacts, RouteFact
from onearm.finding import ERROR, WARNING, Finding
from onearm.model import IPV4, Address, Network
from onearm.spec import Host, Spec


def by_method(spec: Spec, *methods: str) -> list[Host]:
    """List the real servers that some service reaches by one of these methods."""
    used = {h for s in spec.services for h in s.hosts if s.way(h).method in methods}
    return [server for server in spec.real_servers if server.name in used]


def _direct_addresses(spec: Spec) -> list[tuple[Host, Address]]:
    """List each real server of direct routing with each address that a service sends to."""
    wanted = {
        (host, s.vip.version)
        for s in spec.services
        for host in s.hosts
        if s.way(host).method == "direct"
    }
    return [
        (server, own)
        for server in spec.real_servers
        for own in server.addresses
        if (server.name, own.version) in wanted
    ]


def directors(spec: Spec, facts: Facts) -> Iterator[tuple[Host, HostFacts]]:
    """Pair the directors with what is known of them."""
    return ((d, facts[d.name]) for d in spec.directors if d.name in facts)


def on_link(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Find real servers that direct routing cannot reach: it hands frames to a MAC."""
    for director, seen in directors(spec, facts):
        for server, own in _direct_addresses(spec):
            path = seen.path(own)
            if path is None or (not path.error and path.gateway is None):
                continue
            way = path.error or f"the way there leads through the gateway {path.gateway}"
            yield Finding(
                "l2.on_link",
                ERROR,
                director.name,
                f"{server.name} ({own}) is not on-link for {director.name}: {way}",
                "direct routing hands frames to the real server's MAC: put both into one L2, or say"
                " `forwarding: tunnel` for it",
            )


def tunnel_path(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Find tunnels that lead nowhere, or that come from another address than is let in."""
    for director, seen in directors(spec, facts):
        for server in by_method(spec, "tunnel"):
            path = seen.path(server.address)
            if path is None:
                continue
            if path.error:
                yield Finding(
                    "tunnel.path",
                    ERROR,
                    director.name,
                    f"{director.name} has no way to {server.name} ({server.address}): {path.error}",
                    "give it a route there",
                )
            elif path.source not in (None, director.address):
                yield Finding(
                    "tunnel.source",
                    ERROR,
                    director.name,
                    f"packets from {director.name} to {server.name} leave as {path.source}, and the"
                    f" tunnel's end there lets in those of {director.address} alone",
                    f"say `{director.name}: {path.source}` in the spec, or"
                    f" ip route replace {server.address} ... src {director.address}",
                )


def masq_back(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Find real servers behind masq whose replies do not lead over the director."""
    over = {director.address for director in spec.directors}
    for server in by_method(spec, "masq"):
        for route in _back(spec, facts.get(server.name)):
            if route.gateway in over:
                continue
            way = f"the gateway {route.gateway}" if route.gateway else f"{route.link} directly"
            yield Finding(
                "masq.return_route",
                ERROR if route.gateway else WARNING,
                server.name,
                f"replies of {server.name} to {route.network} leave by {way}, not over the"
                " director: clients there would get them in a name that they do not know",
                f"ip route replace {_to(route)} via {spec.directors[0].address}"
                if route.gateway
                else "clients in a network of the real server itself need another method than masq;"
                " leave them out of `clients`",
            )


def masq_no_route(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Find real servers behind masq that know no way to some clients."""
    for server in by_method(spec, "masq"):
        seen = facts.get(server.name)
        if seen is not None and spec.directors and not list(_back(spec, seen)):
            yield Finding(
                "masq.return_route",
                ERROR,
                server.name,
                f"{server.name} has no route to the clients, and its replies must lead over the"
                " director",
                f"ip route add default via {spec.directors[0].address}",
            )


def _back(spec: Spec, seen: HostFacts | None) -> Iterator[RouteFact]:
    """List the routes by which replies to clients may leave: those of IPv4, as masq is."""
    for route in seen.routes if seen else ():
        four = route.network.version == IPV4
        if four and any(_meets(route, client) for client in spec.clients):
            yield route


def _meets(route: RouteFact, client: Network) -> bool:
    return route.network.version == client.version and route.network.overlaps(client)


def _to(route: RouteFact) -> str:
    return str(route.network) if route.network.prefixlen else "default"


def masq_holds(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Find real servers behind masq that hold a VIP by other hands: they would answer for it."""
    vips = dict.fromkeys(v for s in spec.services for v in s.vips if v.version == IPV4)
    for server in by_method(spec, "masq"):
        seen = facts.get(server.name)
        for vip in vips if seen else ():
            for fact in seen.holds(vip) if seen else ():
                ours = [m for m in seen.marks if m.resource.key == (vip, fact.link)] if seen else []
                if not ours:
                    yield Finding(
                        "masq.holds_vip",
                        ERROR,
                        server.name,
                        f"{server.name} is behind masq and holds {vip} on {fact.link}",
                        f"ip address del {vip}/{fact.prefix_length} dev {fact.link}",
                    )
