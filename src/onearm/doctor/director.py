"""What the director's kernel must have: VIP, services, destinations, sysctls; rules, pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onearm.desire import DIRECTOR_SYSCTLS, unshared
from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.facts import DestinationFact, ServiceFact
from onearm.finding import ERROR, NOTE, WARNING
from onearm.spec import Host, VirtualService
from onearm.verify import about

OPTION = {"tcp": "-t", "udp": "-u"}  # ipvsadm's
WHY = {
    "net/ipv4/vs/conntrack": "its connections never show a reply here, so a firewall that asks"
    " conntrack calls every packet after the SYN invalid",
    "net/ipv4/vs/expire_nodest_conn": "packets of a removed real server vanish in silence until"
    " their connections time out",
    "net/ipv4/vs/expire_quiescent_template": "persistent clients stay on a drained real server",
    "net/ipv4/vs/conn_reuse_mode": "a reused client port is sent where its last connection went,"
    " be that server gone or full",
}
LONG_BUCKET = 8  # entries
MANY = 10
Rule = Callable[[Observations], Iterator[Clue]]
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
    """List every destination that the spec wants, with its weight and what stands for it."""
    servers = {server.name: server for server in o.spec.real_servers}
    for director, service, standing in _standing(o):
        for member in service.members:
            server = servers[member.host]
            held = [d for d in standing.destinations if d.server == server.address]
            yield director, service, server, member.weight, held[0] if held else None


def vip_announced(o: Observations) -> Iterator[Clue]:
    """Find VIPs that no link of the director holds."""
    for director, facts in o.directors:
        link = o.director_nic(director)
        for vip in o.vips:
            if not facts.holds(vip):
                yield Clue(
                    director.name,
                    f"{director.name} does not hold {vip}",
                    f"{vip}/32 on {link.name if link else 'its NIC'}",
                    "nobody answers for the VIP, so no packet ever comes",
                    f"ip address add {vip}/32 dev {link.name if link else 'NIC'}",
                    about=str(vip),
                )


def vip_wrong_link(o: Observations) -> Iterator[Clue]:
    """Find VIPs on another link of the director than its NIC."""
    for director, facts in o.directors:
        nic = o.director_nic(director)
        held = {vip: [a.link for a in facts.holds(vip)] for vip in o.vips}
        for vip, links in held.items():
            if nic is None or not links or nic.name in links:
                continue
            hidden = o.effective(director.name, "arp_ignore", nic.name) > 0
            yield Clue(
                director.name,
                f"{director.name} holds {vip} on {', '.join(links)}",
                f"{vip}/32 on {nic.name}, where requests come in",
                "with arp_ignore above 0 a link answers for its own addresses alone"
                if hidden
                else "it answers only as long as arp_ignore is 0",
                f"ip address add {vip}/32 dev {nic.name}; ip address del {vip}/32 dev {links[0]}",
                about=str(vip),
                severity=ERROR if hidden else WARNING,
            )


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
                    f"ipvsadm -A {OPTION.get(service.protocol, '-t')} {service.vip}:{service.port}"
                    f" -s {service.scheduler}",
                    about=about(service),
                )


def destination_missing(o: Observations) -> Iterator[Clue]:
    """Find real servers that their service lacks."""
    for director, service, server, weight, standing in _destinations(o):
        if standing is None and weight:
            yield Clue(
                director.name,
                f"{about(service)} has no destination {server.name} ({server.address})",
                f"{server.address} Route {weight}",
                f"{server.name} is never chosen",
                _ipvsadm("-a", service, server) + f" -g -w {weight}",
                about=about(service),
                touches=(server.name,),
            )


def _ipvsadm(verb: str, service: VirtualService, server: Host) -> str:
    option = OPTION.get(service.protocol, "-t")
    return f"ipvsadm {verb} {option} {service.vip}:{service.port} -r {server.address}"


def method(o: Observations) -> Iterator[Clue]:
    """Find destinations that are not forwarded to directly."""
    for director, service, server, weight, standing in _destinations(o):
        if standing is not None and standing.forwarding != "direct":
            yield Clue(
                director.name,
                f"{about(service)} forwards to {server.name} by {standing.forwarding}",
                "direct (ipvsadm shows Route)",
                "another method rewrites the packet or wraps it, which this real server does not"
                " expect",
                _ipvsadm("-e", service, server) + f" -g -w {weight}",
                about=about(service),
                touches=(server.name,),
            )


def port(o: Observations) -> Iterator[Clue]:
    """Find destinations with another port than their service: direct routing never changes it."""
    for director, service, server, weight, standing in _destinations(o):
        if standing is not None and standing.port not in (service.port, 0):
            delete = _ipvsadm("-d", service, server) + f":{standing.port}"
            add = _ipvsadm("-a", service, server) + f" -g -w {weight}"
            yield Clue(
                director.name,
                f"{about(service)} has {server.name} with port {standing.port}",
                f"port {service.port}, as the service",
                "direct routing hands the packet on as it is, so the real server's port is the"
                " VIP's port whatever the table says",
                f"{delete}; {add}",
                about=about(service),
                touches=(server.name,),
                severity=WARNING if standing.forwarding == "direct" else "",
            )


def weights(o: Observations) -> Iterator[Clue]:
    """Find services none of whose destinations has a weight though the spec gives some."""
    for director, service, standing in _standing(o):
        if not any(member.weight for member in service.members) or not standing.destinations:
            continue
        if not any(d.weight for d in standing.destinations):
            yield Clue(
                director.name,
                f"all {len(standing.destinations)} destinations of {about(service)} have weight 0",
                "a weight above 0",
                "no real server may be chosen, so the director refuses connections",
                f"ipvsadm -e {OPTION.get(service.protocol, '-t')} {service.vip}:{service.port}"
                f" -r {standing.destinations[0].server} -g -w 1",
                about=about(service),
            )


def weight(o: Observations) -> Iterator[Clue]:
    """Find destinations whose weight is another than the spec's."""
    empty = {clue.about for clue in weights(o)}
    for director, service, server, wanted, standing in _destinations(o):
        if standing is None or about(service) in empty or standing.weight == wanted:
            continue
        yield Clue(
            director.name,
            f"{server.name} has weight {standing.weight} in {about(service)}",
            f"weight {wanted}, as in the spec",
            "it gets another share than it should"
            + (", none of the new connections" if not standing.weight else ""),
            _ipvsadm("-e", service, server) + f" -g -w {wanted}",
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
                f"ipvsadm -E {OPTION.get(service.protocol, '-t')} {service.vip}:{service.port}"
                f" -s {service.scheduler}{flags}",
                about=about(service),
            )


def unwanted(o: Observations) -> Iterator[Clue]:
    """Find destinations with weight that the spec does not name."""
    names = {server.address: server.name for server in o.spec.real_servers}
    for director, service, standing in _standing(o):
        wanted = {member.host for member in service.members}
        for held in standing.destinations:
            if held.weight and names.get(held.server) not in wanted:
                yield Clue(
                    director.name,
                    f"{about(service)} also sends to {held.server}, weight {held.weight}",
                    "only the real servers of the spec",
                    "connections go to a server that the spec does not give to this service",
                    f"ipvsadm -d {OPTION.get(service.protocol, '-t')} {service.vip}:{service.port}"
                    f" -r {held.server}:{held.port}",
                    about=about(service),
                )


def sysctl(name: str) -> Rule:
    """Make the rule for one of the director's net.ipv4.vs values."""

    def rule(o: Observations) -> Iterator[Clue]:
        for director, facts in o.directors:
            value, wanted = facts.sysctls.get(name), DIRECTOR_SYSCTLS[name]
            if value in (None, wanted):
                continue
            dotted = name.replace("/", ".")
            yield Clue(
                director.name,
                f"{dotted} is {value}",
                wanted,
                WHY[name],
                f"sysctl -w {dotted}={wanted}",
                severity=NOTE if unshared(o.spec, facts) else WARNING,
            )

    return rule


def forwards(o: Observations) -> Iterator[Clue]:
    """Find directors that would carry replies on without anybody's notice."""
    for director, facts in o.directors:
        nic = o.director_nic(director)
        if nic is None or facts.sysctls.get("net/ipv4/ip_forward") != "1":
            continue
        if o.effective(director.name, "accept_local", nic.name):
            yield Clue(
                director.name,
                f"{director.name} has ip_forward=1, and accept_local=1 on {nic.name}",
                "one of them 0",
                "replies that a real server wrongly sends to the director are then forwarded:"
                " everything seems to work, and every reply crosses the director",
                "sysctl -w net.ipv4.ip_forward=0",
            )


def lro(o: Observations) -> Iterator[Clue]:
    """Find large receive offload on the director's NIC: merged frames cannot be handed on."""
    for director, facts in o.directors:
        vitals, nic = o.vitals.get(director.name), o.director_nic(director)
        if vitals is None or nic is None or facts.sysctls.get("net/ipv4/ip_forward") == "1":
            continue
        if "lro" in vitals.offloads.get(nic.name, ()):
            yield Clue(
                director.name,
                f"{nic.name} of {director.name} merges received segments (LRO)",
                "large-receive-offload: off",
                "Linux turns LRO off by itself only with ip_forward=1; a merged frame is larger"
                " than the MTU and cannot be sent on",
                f"ethtool -K {nic.name} lro off",
            )


def conntrack_full(o: Observations) -> Iterator[Clue]:
    """Find conntrack tables that are nearly full."""
    for host in (*o.spec.directors, *o.spec.real_servers):
        vitals = o.later_vitals.get(host.name) or o.vitals.get(host.name)
        most = vitals.counters.get("nf_conntrack.max", 0) if vitals else 0
        used = vitals.counters.get("nf_conntrack.count", 0) if vitals else 0
        if most and used * 10 >= most * 9:
            yield Clue(
                host.name,
                f"{host.name} tracks {used} of at most {most} connections",
                "room for new ones",
                "the kernel drops packets of new connections when the table is full; each"
                " connection through a director stays in it for two minutes",
                f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}, or do not track the VIP",
            )


def table_small(o: Observations) -> Iterator[Clue]:
    """Find connection tables whose buckets are long for the load."""
    for director, _ in o.directors:
        vitals = o.vitals.get(director.name)
        bits = vitals.ip_vs.get("conn_tab_bits", "") if vitals else ""
        held = sum(c.count for c in vitals.connections) if vitals else 0
        if bits.isdecimal() and held > LONG_BUCKET << int(bits):
            yield Clue(
                director.name,
                f"{held} connections in a table of {1 << int(bits)} buckets",
                f"at most {LONG_BUCKET} in a bucket",
                "each packet searches one bucket",
                "options ip_vs conn_tab_bits=20 in /etc/modprobe.d, and load ip_vs anew",
            )


def half_open(o: Observations) -> Iterator[Clue]:
    """Find destinations most of whose connections never got past their first packet."""
    names = {server.address: server.name for server in o.spec.real_servers}
    for director, _ in o.directors:
        vitals = o.vitals.get(director.name)
        held: dict[tuple[str, str], list[int]] = {}
        for row in vitals.connections if vitals else ():
            key = (f"{row.vip}:{row.port}/{row.protocol.lower()}", names.get(row.server, ""))
            counted = held.setdefault(key, [0, 0])
            counted[0] += row.old
            counted[1] += row.count
        for (service, server), (old, total) in held.items():
            if server and old >= MANY and 2 * old >= total:
                yield Clue(
                    director.name,
                    f"{old} of {total} connections of {service} to {server} stay in SYN_RECV",
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
