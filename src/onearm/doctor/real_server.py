"""What a real server's kernel must have: the VIP, a listener, its MTU; rules, pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onearm.doctor.arp import heard
from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.facts import AddressFact, HostFacts
from onearm.finding import NOTE, WARNING
from onearm.model import IPV4, IPV6, VIP_LINK, Address, endpoint
from onearm.silence import speaks_arp
from onearm.spec import End, Host, VirtualService
from onearm.verify import about
from onearm.vitals import Listener
from onearm.ways import vip_links

FORWARDS = {IPV4: "net/ipv4/ip_forward", IPV6: "net/ipv6/conf/all/forwarding"}
ANSWERS = {IPV4: "answers in ARP", IPV6: "answers neighbour solicitations"}
WHATEVER = {IPV4: " whatever arp_ignore=1 says", IPV6: ", and nothing can silence it there"}
Held = tuple[Host, HostFacts, Address, tuple[AddressFact, ...]]


def _held(o: Observations) -> Iterator[Held]:
    """List every VIP that a real server must hold, with where it stands."""
    for server, facts in o.servers:
        for vip in o.vips_of(server.name):
            yield server, facts, vip, facts.holds(vip)


def vip_missing(o: Observations) -> Iterator[Clue]:
    """Find real servers without the VIP; one that forwards is worse, and has its own rule."""
    for server, facts, vip, held in _held(o):
        if not held and not _loops(facts, vip):
            yield Clue(
                server.name,
                f"{server.name} does not hold {vip}",
                f"{vip}/{vip.max_prefixlen} on {_where(o, server)}",
                "packets for the VIP arrive and are not its own, so it drops them",
                _hold(facts, vip, _where(o, server)),
                about=str(vip),
                touches=(server.name,),
            )


def _where(o: Observations, server: Host) -> str:
    """Name the link that holds a server's VIPs."""
    return min(vip_links(o.spec, server.name), default=VIP_LINK)


def _hold(facts: HostFacts, vip: Address, link: str) -> str:
    add = link == VIP_LINK and not facts.link(link)  # a tunnel's link has its own finding
    make = f"ip link add {link} type dummy; " if add else ""
    return f"{make}ip link set {link} up; {_add(vip, link)}"


def _add(vip: Address, link: str) -> str:
    six = " nodad preferred_lft 0" if vip.version == IPV6 else ""
    return f"ip address add {vip}/{vip.max_prefixlen} dev {link}{six}"


def _loops(facts: HostFacts, vip: Address) -> bool:
    """Say whether a host hands on what comes for a VIP that it does not hold."""
    return facts.sysctls.get(FORWARDS[vip.version]) == "1"


def forwards_without_vip(o: Observations) -> Iterator[Clue]:
    """Find real servers that send packets for the VIP on: each goes round until its TTL ends."""
    for server, facts, vip, held in _held(o):
        if not held and _loops(facts, vip):
            yield Clue(
                server.name,
                f"{server.name} does not hold {vip} and has ip_forward=1",
                f"{vip}/32 on {_where(o, server)}",
                "it forwards each packet for the VIP back to the director, and so on until the TTL"
                " ends: about 60 frames for a SYN, and the client hears that the host is"
                " unreachable",
                _hold(facts, vip, _where(o, server)),
                about=str(vip),
                touches=(server.name,),
            )


def link_down(o: Observations) -> Iterator[Clue]:
    """Find VIPs on links that are down."""
    for server, facts, vip, held in _held(o):
        down = [a.link for a in held if not (found := facts.link(a.link)) or not found.up]
        if held and len(down) == len(held):
            yield Clue(
                server.name,
                f"{down[0]} of {server.name}, which holds {vip}, is down",
                "up",
                "in IPv4 the VIP stays local all the same; but whoever turned the link off may turn"
                " off more, and it does not come back by itself",
                f"ip link set {down[0]} up",
                about=str(vip),
                touches=(server.name,),
            )


def prefix(o: Observations) -> Iterator[Clue]:
    """Find VIPs whose prefix makes more than themselves local or on-link."""
    for server, facts, vip, held in _held(o):
        for fact in held:
            if fact.prefix_length == vip.max_prefixlen or _on_nic(facts, fact):
                continue
            link = facts.link(fact.link)
            wide = f"{vip}/{fact.prefix_length}"
            local = link is not None and link.loopback
            yield Clue(
                server.name,
                f"{server.name} holds {wide} on {fact.link}",
                f"{vip}/{vip.max_prefixlen}",
                "on the loopback link all of that network becomes local, its gateway too"
                if local
                else f"a second way to all of that network ends at {fact.link}; it works only"
                " as long as the NIC's own route comes first",
                f"ip address del {wide} dev {fact.link}; {_add(vip, fact.link)}",
                about=str(vip),
                touches=(server.name,),
                severity="" if local else WARNING,
            )


def _on_nic(facts: HostFacts, fact: AddressFact) -> bool:
    link = facts.link(fact.link)
    return link is not None and speaks_arp(link)


def on_nic(o: Observations) -> Iterator[Clue]:
    """Find VIPs on a broadcast link of a real server: it answers for them as for its own."""
    for server, facts, vip, held in _held(o):
        for fact in held:
            if _on_nic(facts, fact):
                yield Clue(
                    server.name,
                    f"{server.name} holds {vip} on {fact.link}, which {ANSWERS[vip.version]}",
                    f"{vip}/{vip.max_prefixlen} on {_where(o, server)}",
                    f"a link answers for its own addresses{WHATEVER[vip.version]}, so clients"
                    " may come here past the director",
                    f"ip address del {vip}/{fact.prefix_length} dev {fact.link};"
                    f" {_hold(facts, vip, _where(o, server))}",
                    about=str(vip),
                    touches=(server.name,),
                    severity=WARNING if heard(o, server.name, vip) is False else "",
                )


def not_listening(o: Observations) -> Iterator[Clue]:
    """Find services that nobody on a real server listens for, at the VIP or everywhere."""
    for server, _ in o.servers:
        vitals = o.vitals.get(server.name)
        if vitals is None or "listeners" in vitals.cannot:
            continue
        for service in o.services_of(server.name):
            if service.protocol == "sctp":
                continue  # who listens for it is not among what was looked at
            for end in service.endpoints:
                clue = _unheard(o, server, service, end, vitals.listeners)
                if clue is not None:
                    yield clue


def _unheard(
    o: Observations,
    server: Host,
    service: VirtualService,
    end: End,
    listeners: Iterable[Listener],
) -> Clue | None:
    """Say that nobody listens for an endpoint; of a range one port is enough."""
    masq = service.way(server.name).method == "masq"
    port = end.port if service.ends else service.port_at(server.name)
    last = max(port, end.last if service.ends else 0)
    at = server.address if masq else end.vip
    ears = [e for e in listeners if e.protocol == service.protocol and port <= e.port <= last]
    if any(_takes(ear, at) for ear in ears) or o.answered(server.name, service, end):
        return None
    own = sorted({str(ear.address) for ear in ears})
    everywhere = "0.0.0.0" if end.vip.version == IPV4 else "::"  # noqa: S104 - said
    seen = f"only on {', '.join(own)}" if own else "at all"
    return Clue(
        server.name,
        f"nobody on {server.name} listens on {endpoint(at, port, last)}/{service.protocol}"
        + (f": {port}/{service.protocol} is heard {seen}" if own else ""),
        f"a server that listens on {at} or on every address",
        "behind masq packets come for the real server's own address"
        if masq
        else "packets keep the VIP as their destination all the way to the real server",
        f"have the server listen on {endpoint(at, port, last)} or"
        f" {endpoint(everywhere, port, last)}",
        about=about(service),
        touches=(server.name,),
    )


def _takes(ear: Listener, vip: Address) -> bool:
    """A socket on `::` takes IPv4 as well; one on 0.0.0.0 nothing else."""
    every = not int(ear.address) and ear.address.version >= vip.version
    return ear.address == vip or every


def is_director_too(o: Observations) -> Iterator[Clue]:
    """Find real servers whose own IPVS takes the VIP's packets again."""
    for server, _ in o.servers:
        vitals = o.vitals.get(server.name)
        if vitals is None or vitals.sysctls.get("net/ipv4/vs/backup_only") == "1":
            continue
        for service in o.services_of(server.name):
            key = (service.protocol, service.vip, service.port)
            for found in vitals.services:
                sent = [d.server for d in found.destinations if d.forwarding != "local"]
                if (found.protocol, found.vip, found.port) == key and sent:
                    yield _again(o, server, service, sent)


def _again(o: Observations, server: Host, service: VirtualService, sent: list[Address]) -> Clue:
    others = tuple(host.name for host in o.spec.real_servers if set(host.addresses) & set(sent))
    return Clue(
        server.name,
        f"{server.name} has an IPVS service {about(service)} of its own",
        "no service for the VIP on a real server, or backup_only=1",
        "it schedules what the director sent it once more: to other servers, or back, until the"
        " TTL ends",
        f"ipvsadm -D -{'u' if service.protocol == 'udp' else 't'}"
        f" {endpoint(service.vip, service.port)}; or sysctl -w net.ipv4.vs.backup_only=1",
        about=about(service),
        touches=(server.name, *others),
    )


def mtu(o: Observations) -> Iterator[Clue]:
    """Find real servers whose MTU is smaller than their director's."""
    for director, _ in o.directors:
        theirs = o.director_nic(director)
        for server, _ in o.servers:
            nic = o.nic(server)
            if nic is not None and theirs is not None and nic.mtu < theirs.mtu:
                yield Clue(
                    server.name,
                    f"{nic.name} of {server.name} has an MTU of {nic.mtu}, {theirs.name} of"
                    f" {director.name} {theirs.mtu}",
                    "the same MTU on all hosts of the segment",
                    "packets that the director hands on may be too large for the server's link",
                    f"ip link set {nic.name} mtu {theirs.mtu}",
                    touches=(server.name,),
                )


def director_mtu(o: Observations) -> Iterator[Clue]:
    """Find directors whose MTU is smaller than their real servers'."""
    for director, _ in o.directors:
        nic = o.director_nic(director)
        sizes = [own.mtu for server, _ in o.servers if (own := o.nic(server))]
        if nic is not None and sizes and nic.mtu < min(sizes):
            yield Clue(
                director.name,
                f"{nic.name} of {director.name} has an MTU of {nic.mtu}, its real servers"
                f" {min(sizes)}",
                "the same MTU on all hosts of the segment",
                "the director refuses larger packets of clients (ICMP: fragmentation needed), so"
                " large requests wait for that word, or stall where ICMP is dropped",
                f"ip link set {nic.name} mtu {min(sizes)}",
            )


def forwarding(o: Observations) -> Iterator[Clue]:
    """Note real servers that forward: harmless as long as they hold the VIP."""
    for server, facts in o.servers:
        vips = o.vips_of(server.name)
        four = any(_loops(facts, vip) for vip in vips if vip.version == IPV4)
        if four and all(facts.holds(vip) for vip in vips):
            yield Clue(
                server.name,
                f"{server.name} has ip_forward=1",
                "0, unless it routes for others",
                "if it ever loses the VIP, packets go in circles instead of being dropped",
                "sysctl -w net.ipv4.ip_forward=0",
                touches=(server.name,),
                severity=NOTE,
            )
