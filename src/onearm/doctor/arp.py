"""Who answers and speaks for the VIP in ARP, and what neighbours believe; rules, pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from onearm.doctor.clue import Clue
from onearm.doctor.observations import PERMANENT, STALE, Observations
from onearm.facts import HostFacts, LinkFact, NeighbourFact
from onearm.finding import WARNING
from onearm.model import IPV4, IPV6, Address
from onearm.silence import in_l2, replies_leave_by, speaks_arp
from onearm.spec import Host

BEST_SOURCE = 2  # arp_announce: never the packet's own source if it is not the link's
NONE_BUT_OWN = 1  # arp_ignore: answer for the receiving link's own addresses only
ARP_TOOLS = ("arptables", "nft")
LOOK = {
    IPV4: "arptables -L -n; nft list ruleset: take away what drops ARP there",
    IPV6: "ip6tables -S; nft list ruleset: take away what drops neighbour discovery there (ICMPv6"
    " types 135 and 136)",
}
TOO_STRICT = 3  # arp_ignore: from here on even the link's own addresses are hidden


def _deaf_links(o: Observations, server: Host, facts: HostFacts) -> Iterator[LinkFact]:
    """List the links of a real server that may be asked for a VIP."""
    vips = o.arp_vips_of(server.name)
    for link in facts.links if vips else ():
        if speaks_arp(link) and link.up and in_l2(o.spec, server, facts, link, vips):
            yield link


def _filtered(o: Observations, server: str, link: str, vip: Address, side: str) -> bool:
    """Say whether an ARP filter keeps a VIP silent on a link; `side` is deaf or mute."""
    standing = (r for r in o.silences.get(server, ()) if r.policy != "sysctl")
    if any(getattr(r, side) for r in standing if (r.link, r.vip) == (link, vip)):
        return True
    vitals = o.vitals.get(server)
    rules = [r for r in vitals.rules if r.tool in ARP_TOOLS] if vitals else []
    return any(_mentions(line, vip, side) for r in rules for line in r.text.splitlines())


def _mentions(line: str, vip: Address, side: str) -> bool:
    """Recognise a rule by hand, in a form that ours do not have: it gets the benefit of doubt.

    A line is a rule of arptables, or one of nft as JSON.
    """
    words = set(re.split(r"[^\w.-]+", line))
    if "{" in line and "arp" not in words:
        return False
    verbs = {"DROP", "drop"} if side == "deaf" else {"mangle"}
    return str(vip) in words and bool(verbs & words)


def heard(o: Observations, server: str, vip: Address) -> bool | None:
    """Say whether a server was heard to answer for a VIP; None: nobody could ask."""
    found = o.evidence.answers.get(vip, {}) if o.evidence else {}
    askers = found.keys() - {server}
    if not askers:
        return None
    return any(o.names.by_mac.get(mac) == server for asker in askers for mac in found[asker])


def answers(o: Observations) -> Iterator[Clue]:
    """Find real servers that answer for a VIP in ARP."""
    for server, facts in o.servers:
        for link in _deaf_links(o, server, facts):
            if o.effective(server.name, "arp_ignore", link.name) >= NONE_BUT_OWN:
                continue
            loud = [
                vip
                for vip in o.arp_vips_of(server.name)
                if facts.holds(vip) and not _filtered(o, server.name, link.name, vip, "deaf")
                if heard(o, server.name, vip) is not False
            ]
            for vip in loud:
                yield Clue(
                    server.name,
                    f"{server.name} answers for {vip} in ARP: arp_ignore is 0 on {link.name}"
                    + _in_vain(facts),
                    "arp_ignore 1 on the link that is asked, or on all",
                    "Linux answers on every link for every address that it holds, so clients are"
                    " led here past the director",
                    f"sysctl -w net.ipv4.conf.{link.name}.arp_ignore=1"
                    f" net.ipv4.conf.{link.name}.arp_announce=2",
                    about=str(vip),
                    touches=(server.name,),
                )


def _in_vain(facts: HostFacts) -> str:
    """Say so where the sysctls were set on the wrong link."""
    held = {a.link for a in facts.addresses}
    vain = [
        link.name
        for link in facts.links
        if link.kind == "dummy" and link.name in held
        if facts.sysctls.get(f"net/ipv4/conf/{link.name}/arp_ignore", "0") != "0"
    ]
    return f" ({', '.join(vain)} has it, where it has no effect)" if vain else ""


def announces(o: Observations) -> Iterator[Clue]:
    """Find real servers that ask in ARP in the VIP's name."""
    for server, facts in o.servers:
        links = list(_deaf_links(o, server, facts))
        links += [
            link
            for link in facts.links
            if link not in links and link.up and speaks_arp(link)
            if replies_leave_by(o.spec, facts, link)
        ]
        for link in links:
            if o.effective(server.name, "arp_announce", link.name) >= BEST_SOURCE:
                continue
            for vip in o.arp_vips_of(server.name):
                muted = _filtered(o, server.name, link.name, vip, "mute")
                if facts.holds(vip) and not muted and not _drops(facts, vip):
                    yield Clue(
                        server.name,
                        f"{server.name} asks in ARP in the name of {vip}: arp_announce is"
                        f" {o.effective(server.name, 'arp_announce', link.name)} on {link.name}",
                        "arp_announce 2 on the link by which replies leave, or on all",
                        "its own question for its gateway, 'tell the VIP', moves the router's"
                        " entry for the VIP here; from then on the director is bypassed",
                        f"sysctl -w net.ipv4.conf.{link.name}.arp_announce=2",
                        about=str(vip),
                        touches=(server.name,),
                    )


def _drops(facts: HostFacts, vip: Address) -> bool:
    return any(rule.address in ("", str(vip)) for rule in facts.arp_drops)


def dropped_questions(o: Observations) -> Iterator[Clue]:
    """Find the rule of most tutorials: own questions are dropped, so a cold cache stays cold."""
    for server, facts in o.servers:
        links = list(_deaf_links(o, server, facts))
        if all(o.effective(server.name, "arp_announce", k.name) >= BEST_SOURCE for k in links):
            continue
        for rule in facts.arp_drops[:1]:
            yield Clue(
                server.name,
                f"{server.name} drops its own ARP requests in the VIP's name ({rule.tool}:"
                f" {rule.text}), and arp_announce is not 2",
                "arp_announce 2, or a rule that rewrites the sender (mangle) instead of a drop",
                "the question for its gateway is asked in the VIP's name when a reply causes it,"
                " so it is dropped: the server cannot answer once its neighbour cache is cold",
                f"sysctl -w net.ipv4.conf.{links[0].name if links else 'all'}.arp_announce=2",
                touches=(server.name,),
            )


def duplicate(o: Observations) -> Iterator[Clue]:
    """Find machines other than the director that answer for a VIP, or speak in its name."""
    if o.evidence is None:
        return
    allowed = {mac for host, _ in o.directors for mac in o.names.macs(host.name)}
    if not allowed:
        return
    servers = {host.name for host in o.spec.real_servers}
    for vip, found in o.evidence.answers.items():
        speakers = {mac for macs in found.values() for mac in macs} | _senders(o, vip)
        for mac in sorted(speakers - allowed):
            name = o.names.by_mac.get(mac, "")
            yield Clue(
                name or mac,
                f"{o.names.name(mac)} answers for {vip}",
                f"only the director, {', '.join(sorted(allowed))}",
                "whoever hears it last sends there what is meant for the director",
                f"take {vip} away from {o.names.name(mac)}",
                about=str(vip),
                touches=(name,) if name in servers else (),
            )


def _senders(o: Observations, vip: Address) -> set[str]:
    """List the MACs that said while we looked that a VIP is theirs."""
    frames = o.evidence.frames if o.evidence else {}
    return {
        frame.claimed_mac
        for seen in frames.values()
        for frame in seen
        if frame.claims and frame.source == str(vip)
    }


def director_silent(o: Observations) -> Iterator[Clue]:
    """Find directors that hold a VIP and do not answer for it."""
    for director, facts in o.directors:
        nic = o.director_nic(director)
        for vip in o.vips:
            if nic is None or nic.name not in {a.link for a in facts.holds(vip)}:
                continue
            level = 0
            if vip.version == IPV4:
                level = o.effective(director.name, "arp_ignore", nic.name)
            if not _unanswered(o, director.name, vip) and level < TOO_STRICT:
                continue
            why = f"arp_ignore is {level} on {nic.name}" if level >= TOO_STRICT else ""
            yield Clue(
                director.name,
                f"{director.name} holds {vip} on {nic.name} and does not answer for it"
                + (f": {why}" if why else ""),
                "an answer to who-has",
                "arp_ignore above 2 hides even the link's own addresses"
                if why
                else "a filter on it, or the network between, drops the question or the answer",
                f"sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.{nic.name}.arp_ignore=0"
                if why
                else LOOK[vip.version],
                about=str(vip),
            )


def _unanswered(o: Observations, director: str, vip: Address) -> bool:
    """Say whether others asked for the VIP and nobody answered."""
    found = o.evidence.answers.get(vip, {}) if o.evidence else {}
    askers = found.keys() - {director}
    return bool(askers) and not any(found[asker] for asker in askers)


def stale(o: Observations) -> Iterator[Clue]:
    """Find machines whose neighbour entry for a VIP is not the director's MAC."""
    machines = dict(o.evidence.machines) if o.evidence else dict(o.facts)
    machines |= o.later
    allowed = {mac for host, _ in o.directors for mac in o.names.macs(host.name)}
    for name, facts in machines.items():
        for entry in facts.neighbours:
            if entry.address not in o.vips or not entry.mac or entry.state & STALE:
                continue
            if allowed and entry.mac not in allowed:
                yield _stale(o, name, entry)
    yield from _inferred(o, {*machines})


def _stale(o: Observations, name: str, entry: NeighbourFact) -> Clue:
    fixed = " for ever (permanent)" if entry.state & PERMANENT else ""
    vip, link = entry.address, entry.link
    return Clue(
        name,
        f"{name} takes {o.names.name(entry.mac)} for the owner of {vip}{fixed}",
        "the director's MAC",
        "it once heard that machine claim the VIP, or somebody wrote it down; its packets go past"
        " the director",
        f"on {name}: ip neigh del {vip} dev {link}; on the director: {_tell(vip)}",
        about=str(vip),
        severity="" if o.evidence is not None or fixed else WARNING,
    )


def _tell(vip: Address) -> str:
    """Give the command that tells neighbours where a VIP is."""
    if vip.version == IPV6:
        return f"ndptool -t na -U -i NIC -T {vip} send"
    return f"arping -U -c 5 -I NIC {vip}"


def _inferred(o: Observations, seen: set[str]) -> Iterator[Clue]:
    """Infer it where packets came past the director from a machine that cannot be looked at."""
    for case in o.cases:
        found: dict[str, set[str]] = {}
        for server in (s for s in o.spec.real_servers if o.evidence):
            around = [way for way in case.ways if server.name in way.around]
            ports = {way.attempt.source_port for way in around}
            for frame in o.evidence.frames.get(server.name, ()) if o.evidence else ():
                if frame.source_port in ports and not frame.outgoing:
                    found.setdefault(frame.source_mac, set()).add(server.name)
        for mac, servers in found.items():
            name = o.names.by_mac.get(mac, mac)
            if name not in seen and name not in {d.name for d in o.spec.directors}:
                yield Clue(
                    name,
                    f"{o.names.name(mac)} sends packets for {case.service.vip} to"
                    f" {', '.join(sorted(servers))}, past the director",
                    "to the director's MAC",
                    "its neighbour cache holds a wrong owner of the VIP",
                    f"on the director: {_tell(case.service.vip)}",
                    about=str(case.service.vip),
                )


def switched_off(o: Observations) -> Iterator[Clue]:
    """Find NICs that take no part in ARP, so that nobody learns where they are."""
    for host in (*o.spec.directors, *o.spec.real_servers):
        nic = o.nic(host) if host.name in o.facts else None
        if nic is not None and nic.mac and nic.up and not nic.arp and not nic.loopback:
            yield Clue(
                host.name,
                f"{nic.name} of {host.name} takes no part in ARP (NOARP)",
                "arp on",
                "nobody in its L2 gets an answer from it, and it asks for nobody",
                f"ip link set {nic.name} arp on",
                touches=(host.name,) if host in o.spec.real_servers else (),
            )
