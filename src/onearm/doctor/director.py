"""What the director's kernel must have besides its services: the VIP, sysctls; rules, pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onearm.desire import DIRECTOR_SYSCTLS, unshared
from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.finding import ERROR, NOTE, WARNING
from onearm.model import IPV4, IPV6, Address
from onearm.ways import TUNNEL_SYSCTLS, tunnel_needs

WHY = {
    "net/ipv4/vs/conntrack": "its connections never show a reply here, so a firewall that asks"
    " conntrack calls every packet after the SYN invalid",
    "net/ipv4/vs/expire_nodest_conn": "packets of a removed real server vanish in silence until"
    " their connections time out",
    "net/ipv4/vs/expire_quiescent_template": "persistent clients stay on a drained real server",
    "net/ipv4/vs/conn_reuse_mode": "a reused client port is sent where its last connection went,"
    " be that server gone or full",
    "net/ipv4/vs/pmtu_disc": "the director cuts full packets for a tunnel into fragments, which"
    " many firewalls drop, instead of asking clients for smaller ones",
}
LONG_BUCKET = 8  # entries
Rule = Callable[[Observations], Iterator[Clue]]


def vip_announced(o: Observations) -> Iterator[Clue]:
    """Find VIPs that no link of the director holds."""
    for director, facts in o.directors:
        link = o.director_nic(director)
        for vip in o.vips:
            if not facts.holds(vip):
                yield Clue(
                    director.name,
                    f"{director.name} does not hold {vip}",
                    f"{vip}/{vip.max_prefixlen} on {link.name if link else 'its NIC'}",
                    "nobody answers for the VIP, so no packet ever comes",
                    _add(vip, link.name if link else "NIC"),
                    about=str(vip),
                )


def _add(vip: Address, link: str) -> str:
    six = " nodad preferred_lft 0" if vip.version == IPV6 else ""
    return f"ip address add {vip}/{vip.max_prefixlen} dev {link}{six}"


def source_is_vip(o: Observations) -> Iterator[Clue]:
    """Find directors that would ask for a real server in the VIP's name, and get no answer.

    IPv6 asks in the name of an address of the link that sends (net/ipv6/ndisc.c, ndisc_solicit).
    """
    for director, facts in o.directors:
        for server, _ in o.servers:
            near = server.own(IPV4)
            path = facts.path(near) if near else None
            others = [a for a in facts.addresses if path and a.link == path.link]
            if (
                path is None
                or path.source not in o.vips
                or all(
                    a.address in o.vips for a in others if a.address.version == path.source.version
                )
            ):
                continue
            yield Clue(
                director.name,
                f"{director.name} sends to {server.name} from {path.source}, a VIP",
                f"from {director.own(IPV4)}",
                "it asks for the real server's MAC in the VIP's name; whoever holds the VIP does"
                " not answer that, so the entry fails once it is cold",
                f"ip route replace NETWORK dev {path.link} src {director.own(IPV4)}; the VIP as"
                " /32",
                touches=(server.name,),
            )


def vip_wrong_link(o: Observations) -> Iterator[Clue]:
    """Find VIPs on another link of the director than its NIC."""
    for director, facts in o.directors:
        nic = o.director_nic(director)
        held = {vip: [a.link for a in facts.holds(vip)] for vip in o.vips}
        for vip, links in held.items():
            if nic is None or not links or nic.name in links:
                continue
            four = vip.version == IPV4
            hidden = not four or o.effective(director.name, "arp_ignore", nic.name) > 0
            yield Clue(
                director.name,
                f"{director.name} holds {vip} on {', '.join(links)}",
                f"{vip}/{vip.max_prefixlen} on {nic.name}, where requests come in",
                "a link advertises its own IPv6 addresses alone"
                if not four
                else "with arp_ignore above 0 a link answers for its own addresses alone"
                if hidden
                else "it answers only as long as arp_ignore is 0",
                f"{_add(vip, nic.name)}; ip address del {vip}/{vip.max_prefixlen} dev {links[0]}",
                about=str(vip),
                severity=ERROR if hidden else WARNING,
            )


def sysctl(name: str) -> Rule:
    """Make the rule for one of the director's net.ipv4.vs values."""
    wanted = {**DIRECTOR_SYSCTLS, **TUNNEL_SYSCTLS}[name]

    def rule(o: Observations) -> Iterator[Clue]:
        tunnels = any(tunnel_needs(o.spec, server.name) for server in o.spec.real_servers)
        idle = name in TUNNEL_SYSCTLS and not tunnels
        for director, facts in o.directors:
            value = facts.sysctls.get(name)
            if idle or value in (None, wanted):
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
                "ip_forward 0, or accept_local 0 where no check through a VIP needs it",
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
