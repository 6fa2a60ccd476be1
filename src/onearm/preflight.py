"""Rules that forbid a plan, or warn of it: (Spec, Facts) -> findings; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onearm import preflight_ways
from onearm.desire import director_link, unshared
from onearm.facts import AddressFact, Facts, HostFacts
from onearm.finding import ERROR, NOTE, WARNING, Finding, by_severity
from onearm.model import (
    IPV4,
    IPV6,
    NEUTRON,
    VIP_LINK,
    Address,
    AnnouncedVip,
    ArpSilence,
    Destination,
    HeldVip,
    Service,
)
from onearm.silence import arp_addresses, speaks_arp
from onearm.spec import Host, Spec
from onearm.ways import vip_links

STRICTEST_IGNORE = 2  # arp_ignore above 2 also hides addresses that must answer (net/ipv4/arp.c)


Rule = Callable[[Spec, Facts], Iterator[Finding]]


def preflight(spec: Spec, facts: Facts) -> list[Finding]:
    """Try every rule on the hosts of which there are facts; errors forbid the plan."""
    found = [finding for rule in RULES for finding in rule(spec, facts)]
    return by_severity(found)


def cloud_left(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Tell of what stands in a cloud that the spec does not name any more.

    The ledgers say that there was one, and no more: not which, nor how to log in.
    """
    noted = [n for n, seen in facts.items() if NEUTRON in seen.known_hosts.get(spec.name, ())]
    if spec.openstack is None and noted:
        yield Finding(
            "cloud.left_behind",
            WARNING,
            NEUTRON,
            f"{', '.join(sorted(noted))} noted that {spec.name!r} has a part in Neutron, and the"
            " spec has no openstack section any more: pairs, groups and reservation stay there",
            "put the section back and run `onearm destroy`, which takes them down with the rest;"
            " then apply without the section",
        )


def _hosts(spec: Spec, facts: Facts) -> Iterator[tuple[Host, HostFacts]]:
    used = {host for service in spec.services for host in service.hosts}
    for host in (*spec.directors, *(h for h in spec.real_servers if h.name in used)):
        if host.name in facts:
            yield host, facts[host.name]


def _directors(spec: Spec, facts: Facts) -> Iterator[tuple[Host, HostFacts]]:
    return ((d, facts[d.name]) for d in spec.directors if d.name in facts)


def vips_of(spec: Spec) -> list[Address]:
    """List the VIPs of a spec, each once, in the order of the file."""
    return list(dict.fromkeys(vip for service in spec.services for vip in service.vips))


def _features(spec: Spec, facts: Facts) -> Iterator[Finding]:
    for host, seen in _hosts(spec, facts):
        for feature, reason in sorted(seen.lacks.items()):
            yield Finding(
                f"host.{feature}", ERROR, host.name, reason, "install it, or choose another way"
            )


def _right_machine(spec: Spec, facts: Facts) -> Iterator[Finding]:
    for host, seen in _hosts(spec, facts):
        for own in host.addresses:
            if not seen.holds(own):
                yield Finding(
                    "host.address",
                    ERROR,
                    host.name,
                    f"{own} is not an address of the machine reached as {host.name}"
                    f" (it says it is {seen.hostname!r})",
                    "correct the address in the spec, or how the host is reached",
                )


def _used_servers(spec: Spec) -> list[Host]:
    used = {host for service in spec.services for host in service.hosts}
    return [server for server in spec.real_servers if server.name in used]


def _used_addresses(spec: Spec) -> list[tuple[Host, Address]]:
    """List each real server with each address that a service sends to."""
    wanted = {(host, s.vip.version) for s in spec.services for host in s.hosts}
    return [
        (server, own)
        for server in spec.real_servers
        for own in server.addresses
        if (server.name, own.version) in wanted
    ]


def _one_link(spec: Spec, facts: Facts) -> Iterator[Finding]:
    for director, seen in _directors(spec, facts):
        paths = [(s, seen.path(own)) for s, own in _used_addresses(spec)]
        links = {(s.name, p.link) for s, p in paths if p and p.link and p.gateway is None}
        if len({link for _, link in links}) > 1:
            ways = ", ".join(f"{name} by {link}" for name, link in sorted(links))
            yield Finding(
                "l2.one_link",
                ERROR,
                director.name,
                f"{director.name} reaches its real servers by different links: {ways}",
                "the VIP can be announced on one link only: use real servers behind one link",
            )


def _second_address(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """ARP alone: IPv6 asks in the name of the link-local address, which each link has."""
    vips = set(vips_of(spec))
    for director, seen in _directors(spec, facts) if IPV4 in spec.versions else ():
        link = director_link(spec, seen)
        own = [a for a in arp_addresses(seen, link) if a.address not in vips]
        if link and not own:
            yield Finding(
                "director.second_address",
                ERROR,
                director.name,
                f"{link} has no address besides the VIP, so the director would ask for its real"
                " servers in the VIP's name and get no answer",
                f"give {link} an address of its own in the real servers' network",
            )


def _vip_is_free(spec: Spec, facts: Facts) -> Iterator[Finding]:
    known = {link.mac: name for name, seen in facts.items() for link in seen.links if link.mac}
    for director, seen in _directors(spec, facts):
        for claim in seen.claims:
            if claim.mac not in known:
                yield Finding(
                    "vip.free",
                    ERROR,
                    director.name,
                    f"a machine outside the spec, {claim.mac} on {claim.link}, already answers for"
                    f" {claim.address}",
                    "take the address away from it, or choose another VIP",
                )


def _vip_elsewhere(spec: Spec, facts: Facts) -> Iterator[Finding]:
    directors = {director.name for director in spec.directors}
    for host, seen in _hosts(spec, facts):
        ours = {
            m.resource.key for m in seen.marks if isinstance(m.resource, (AnnouncedVip, HeldVip))
        }
        if host.name in directors:
            links = {director_link(spec, seen)}
        else:
            links = vip_links(spec, host.name)
        link = " or ".join(sorted(links))
        for vip in vips_of(spec) if links else ():
            for fact in seen.holds(vip):
                if fact.link not in links and (vip, fact.link) not in ours:
                    yield Finding(
                        "vip.elsewhere",
                        ERROR,
                        host.name,
                        f"{vip} is on {fact.link} of {host.name}, where it is not"
                        f" ours{_aloud(seen, fact)}; it belongs on {link}",
                        f"ip address del {vip}/{fact.prefix_length} dev {fact.link}",
                    )


def _aloud(seen: HostFacts, fact: AddressFact) -> str:
    """Say what an IPv6 VIP does on a link of the segment: nothing can silence it there."""
    link = seen.link(fact.link)
    broadcast = link is not None and speaks_arp(link)
    if fact.address.version == IPV4 or not broadcast:
        return ""
    return " and answers neighbour solicitations, past the director"


def _ipv6_off(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Find hosts whose kernel takes no IPv6 address where the VIP belongs."""
    for host, seen in _hosts(spec, facts) if IPV6 in spec.versions else ():
        is_director = host in spec.directors
        link = director_link(spec, seen) if is_director else VIP_LINK
        where = link if seen.link(link) else "default"
        name = f"net/ipv6/conf/{where}/disable_ipv6"
        if seen.sysctls.get(name, "0") != "0":
            yield Finding(
                "host.ipv6_off",
                ERROR,
                host.name,
                f"{host.name} takes no IPv6 address on {link}: {name.replace('/', '.')} is"
                f" {seen.sysctls[name]}",
                f"sysctl -w {name.replace('/', '.')}=0",
            )


def _role(spec: Spec, facts: Facts) -> Iterator[Finding]:
    directors = {director.name for director in spec.directors}
    for host, seen in _hosts(spec, facts):
        is_director = host.name in directors
        wrong: tuple[type, ...] = (
            (HeldVip, ArpSilence) if is_director else (Service, Destination, AnnouncedVip)
        )
        if any(isinstance(mark.resource, wrong) for mark in seen.marks):
            was, now = ("real server", "director") if is_director else ("director", "real server")
            yield Finding(
                "host.role",
                ERROR,
                host.name,
                f"{host.name} is a {was} so far and would become a {now}",
                "take it down first: apply a spec without it (or onearm destroy), then this one",
            )


def _same_machine(spec: Spec, facts: Facts) -> Iterator[Finding]:
    seen_as: dict[str, str] = {}
    for host, seen in _hosts(spec, facts):
        for link in (link for link in seen.links if speaks_arp(link)):
            other = seen_as.setdefault(link.mac, host.name)
            if other != host.name and seen.link(link.name) == facts[other].link(link.name):
                yield Finding(
                    "host.same_machine",
                    ERROR,
                    host.name,
                    f"{other} and {host.name} reach the same machine ({link.name} has {link.mac})",
                    "correct how one of them is reached",
                )


def _silent_servers(spec: Spec) -> set[Host]:
    """List the real servers with an IPv4 VIP: those with IPv6 alone need no silence."""
    names = {host for s in spec.services if s.vip.version == IPV4 for host in s.hosts}
    return {host for host in spec.real_servers if host.name in names}


def _silence_possible(spec: Spec, facts: Facts) -> Iterator[Finding]:
    silent = _silent_servers(spec)
    for host, seen in _hosts(spec, facts):
        if host not in silent or host.arp != "sysctl":
            continue
        value = seen.sysctls.get("net/ipv4/conf/all/arp_ignore", "0")
        if value.isdecimal() and int(value) > STRICTEST_IGNORE:
            yield Finding(
                "arp.ignore_too_strict",
                ERROR,
                host.name,
                f"net.ipv4.conf.all.arp_ignore is {value}: it hides what must answer",
                "sysctl -w net.ipv4.conf.all.arp_ignore=1",
            )


def _shared_director(spec: Spec, facts: Facts) -> Iterator[Finding]:
    for director, seen in _directors(spec, facts):
        if unshared(spec, seen):
            yield Finding(
                "director.shared",
                WARNING,
                director.name,
                "IPVS services that are not ours stand here, so net.ipv4.vs stays as it is: packets"
                " of a removed real server may vanish silently, and persistent clients stay on it",
                "say `shared_director: true` in the spec to set them for all services",
            )


def _no_silence(spec: Spec, facts: Facts) -> Iterator[Finding]:
    servers = _silent_servers(spec) & set(preflight_ways.by_method(spec, "direct"))
    for host, seen in _hosts(spec, facts):
        if host in servers and not any(map(speaks_arp, seen.links)):
            yield Finding(
                "arp.no_link",
                ERROR,
                host.name,
                "no Ethernet link that takes part in ARP was found, so nothing can be silenced",
                "direct routing needs an Ethernet link in the director's L2",
            )


def _daemon(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Tell of a daemon that is not where it should be, and of checks that nobody runs."""
    for director, seen in _directors(spec, facts):
        daemon = seen.daemon if seen.daemon and seen.daemon.name == spec.name else None
        behind = [daemon.spec_error, *daemon.left] if daemon else []
        if any(behind):
            said = "; ".join(text for text in behind if text)
            yield Finding(
                "daemon.behind",
                WARNING,
                director.name,
                f"its daemon has not done all that it should: {said}",
                "look at its log; what it could not do, it tries again with every round",
            )
        if daemon is None and any(service.check for service in spec.services):
            yield Finding(
                "daemon.none",
                NOTE,
                director.name,
                "the spec has checks, and no daemon runs there to make them",
                "start `onearm director SPEC` there (docs/how-to/run-the-daemon.md)",
            )


def _forwards(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Warn where what checks through a VIP need would hide replies that go the wrong way.

    IPv6 needs nothing: it takes a packet from an address of its own for no martian.
    """
    through = any(
        service.check
        and service.check.through == "vip"
        and service.vip.version == IPV4
        and any(service.way(host).method != "masq" for host in service.hosts)
        for service in spec.services
    )
    routes = preflight_ways.by_method(spec, "masq")  # their replies are forwarded
    closed = "" if routes else "sysctl -w net.ipv4.ip_forward=0; or "
    for director, seen in _directors(spec, facts):
        if through and seen.sysctls.get("net/ipv4/ip_forward") == "1":
            yield Finding(
                "director.forwards",
                WARNING,
                director.name,
                "ip_forward is 1, and checks through the VIP set accept_local on its NIC: replies"
                " that a real server wrongly sends to the director are then forwarded, so that"
                " everything seems to work and every reply crosses the director",
                f"{closed}`through: host` in the spec's checks",
            )


def _boot(spec: Spec, facts: Facts) -> Iterator[Finding]:
    """Tell of real servers that will not hold their VIPs after a reboot, for nobody knows how."""
    servers = {name for service in spec.services for name in service.hosts}
    for host, seen in _hosts(spec, facts):
        if host.name in servers and spec.boot == "auto" and seen.boot == "unknown":
            yield Finding(
                "boot.unknown",
                NOTE,
                host.name,
                f"after a reboot {host.name} does not hold its VIPs until onearm runs again:"
                " nothing that onearm knows brings its links up",
                "say in the spec what does, as in `boot: networkd`; or `boot: off`",
            )


RULES: tuple[Rule, ...] = (
    _features,
    _right_machine,
    _same_machine,
    _role,
    preflight_ways.on_link,
    preflight_ways.tunnel_path,
    preflight_ways.masq_back,
    preflight_ways.masq_no_route,
    preflight_ways.masq_holds,
    _one_link,
    _second_address,
    _vip_is_free,
    _vip_elsewhere,
    _ipv6_off,
    _silence_possible,
    _no_silence,
    _shared_director,
    _forwards,
    _daemon,
    _boot,
)
