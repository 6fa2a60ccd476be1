"""What traffic shows, hop by hop: the symptoms, which the other rules explain; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from onearm.case import Case
from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.flows import Way
from onearm.model import STREAMS
from onearm.verdicts import FAIL
from onearm.verify import about

Test = Callable[[Observations, Case, Way], str]
ANSWERS = {"tcp": "a SYN-ACK", "sctp": "an INIT ACK", "udp": "a reply"}  # to the first packet


def _by_server(o: Observations, test: Test) -> Iterator[tuple[Case, str, int, int]]:
    """Count, per service and server that a test names, the ways that it takes, and all."""
    for case in o.cases:
        found = Counter(name for way in case.ways if (name := test(o, case, way)))
        for name, count in sorted(found.items()):
            yield case, name, count, len(case.ways)


def _director(o: Observations) -> str:
    return next((host.name for host, _ in o.directors), "the director")


def never_arrived(o: Observations) -> Iterator[Clue]:
    """Find connections that no host of ours saw."""
    for case in o.cases:
        lost = case.nowhere if not case.director_blind and not case.disguised else []
        for client in sorted({way.client for way in lost}):
            mine = [way for way in lost if way.client == client]
            total = sum(way.client == client for way in case.ways)
            seen = ", ".join(sorted({way.attempt.result for way in mine}))
            yield Clue(
                client,
                f"{len(mine)} of {total} connections of {client} to {about(case.service)} never"
                f" arrived at {_director(o)} ({client} saw: {seen})",
                "a SYN at the director's NIC",
                "the router or a security group drops them on the way, or the VIP's ARP entry"
                " there leads elsewhere",
                "admit the clients on the service's port in the director's security group, and"
                " look at the router",
                about=about(case.service),
            )


def around(o: Observations) -> Iterator[Clue]:
    """Find connections that reached a real server past the director."""
    for case, server, count, total in _by_server(
        o, lambda _o, _c, way: next(iter(sorted(way.around)), "")
    ):
        yield Clue(
            server,
            f"{count} of {total} connections to {about(case.service)} reached {server} without the"
            " director",
            "every packet by the director's MAC",
            "somebody takes this server's MAC for the VIP's",
            "onearm verify SPEC --cold shows who answers for the VIP",
            about=about(case.service),
            touches=(server,),
        )


def director_refused(o: Observations) -> Iterator[Clue]:
    """Find connections that the director itself answered."""
    for case in o.cases:
        own = [way for way in case.ways if way.director_said and not way.handed_to]
        if own:
            said = Counter(s for way in own for s in way.director_said)
            words = ", ".join(f"{n} {word}" for word, n in sorted(said.items()))
            yield Clue(
                _director(o),
                f"{_director(o)} itself answered {len(own)} of {len(case.ways)} connections to"
                f" {about(case.service)} ({words})",
                "handed to a real server",
                "no service took them, no destination has a weight, or its firewall rejects them",
                "ipvsadm -Ln on the director",
                about=about(case.service),
            )


def director_kept(o: Observations) -> Iterator[Clue]:
    """Find connections that reached the director and left it for nobody."""
    for case in o.cases:
        kept = [w for w in case.ways if w.at_director and not w.handed_to and not w.director_said]
        if kept and not case.blind:
            chosen = sorted(+(case.chosen() - case.handed))
            yield Clue(
                _director(o),
                f"{len(kept)} of {len(case.ways)} connections to {about(case.service)} reached"
                f" {_director(o)} and were handed to nobody",
                "handed to a real server's MAC",
                "its firewall drops them, or it gets no ARP answer from the chosen real server",
                "ip neigh; iptables-save; nft list ruleset on the director",
                about=about(case.service),
                touches=tuple(chosen),
            )


def not_at_server(o: Observations) -> Iterator[Clue]:
    """Find connections that left the director and never reached the real server."""
    for case, server, count, _ in _by_server(o, _lost_before_server):
        yield Clue(
            "the network between",
            f"{count} of {case.handed[server]} connections handed to {server} for"
            f" {about(case.service)} never arrived there",
            f"a SYN at {server}'s NIC",
            "port security: the packets have the client's address as source, which the director's"
            " port may not use without an allowed address pair; with OVN also what the real"
            " server's port may not receive without its pair; or its security group",
            "an allowed address pair for the clients' prefixes on the director's port, one for"
            " the VIP on the real server's; or `openstack:` in the spec and onearm apply",
            about=about(case.service),
            touches=(server,),
        )


def _lost_before_server(_o: Observations, case: Case, way: Way) -> str:
    lost = sorted(h for h in way.handed_to if case.watched(h) and h not in way.at_servers)
    return next(iter(lost), "")


def unanswered(o: Observations) -> Iterator[Clue]:
    """Find connections that a real server got and answered nothing to."""
    for case, server, count, _ in _by_server(o, _mute):
        if case.service.protocol not in STREAMS:
            continue
        masq = case.service.way(server).method == "masq"
        holds = masq or (server in o.facts and o.facts[server].holds(case.service.vip))
        yield Clue(
            server,
            f"{server} got {count} connections for {about(case.service)} and answered none of them",
            f"{ANSWERS[case.service.protocol]} from the VIP",
            "it should take them, so its firewall, rp_filter, or a route or neighbour that it lacks"
            if holds
            else "it does not hold the VIP",
            f"onearm trace SPEC --service {about(case.service)} --via {server}",
            about=about(case.service),
            touches=(server,),
        )


def _mute(_o: Observations, _case: Case, way: Way) -> str:
    silent = way.at_servers - way.answered - way.reset - way.unreachable
    return next(iter(sorted(silent)), "") if not way.arrived else ""


def server_refused(o: Observations) -> Iterator[Clue]:
    """Find connections that a real server refused."""
    for case, server, count, _ in _by_server(o, _refusing):
        yield Clue(
            server,
            f"{server} refused {count} connections to {about(case.service)}",
            ANSWERS[case.service.protocol],
            "nobody listens there, or its firewall rejects them",
            f"ss -ln --{case.service.protocol} on {server}",
            about=about(case.service),
            touches=(server,),
        )


def _refusing(_o: Observations, _case: Case, way: Way) -> str:
    return next(iter(sorted((way.reset | way.unreachable) - way.answered)), "")


def reply_lost(o: Observations) -> Iterator[Clue]:
    """Find replies that left a real server and never came to the client."""
    for case, server, count, _ in _by_server(o, _lost_reply):
        yield Clue(
            "the network between",
            f"{count} replies of {server} for {about(case.service)} left it and never came to the"
            " client",
            f"{ANSWERS[case.service.protocol]} at the client",
            "port security: the replies have the VIP as source, which the real server's port may"
            " not use without an allowed address pair; or the gateway filters sources",
            f"an allowed address pair for {case.service.vip}/{case.service.vip.max_prefixlen} on"
            f" the port of {server}",
            about=about(case.service),
            touches=(server,),
        )


def _lost_reply(_o: Observations, case: Case, way: Way) -> str:
    told = way.arrived or way.attempt.result == "refused" or way.came_back
    ok = told or not case.watched(way.client)
    return "" if ok else next(iter(sorted(way.answered)), "")


def crossed(o: Observations) -> Iterator[Clue]:
    """Find replies that came to the director."""
    for case in o.cases:
        near = {mac for host, _ in o.directors for mac in o.names.macs(host.name)}
        found = Counter(
            host
            for way in case.ways
            for (host, mac), n in way.sent().items()
            if mac in near and n and case.service.way(host).method != "masq"
        )
        for server, count in sorted(found.items()):
            yield Clue(
                server,
                f"{server} sent the replies of {count} connections to the director",
                "past it, to the gateway or the client",
                "its route to the clients leads through the director",
                f"ip route on {server}",
                about=about(case.service),
                touches=(server,),
            )


def first_data(o: Observations) -> Iterator[Clue]:
    """Find connections that were opened and whose first data came to no real server."""
    for case, server, count, _ in _by_server(o, _cut_off):
        there = [w for w in case.ways if _cut_off(o, case, w) == server and w.data_at_director]
        at = (
            f"it came to {_director(o)}, which did not hand it on"
            if there
            else (f"it never came to {_director(o)} either")
        )
        yield Clue(
            _director(o) if there else "the network between",
            f"{count} connections to {about(case.service)} by {server} were opened, and what"
            f" followed the SYN never came to {server}: {at}",
            "the client's ACK and data at the real server",
            "its own firewall calls them invalid, since it never saw the SYN-ACK"
            if there
            else "a stateful security group on the director's port: OVN and openvswitch never saw"
            " the SYN-ACK there, call the ACK invalid and drop it",
            "accept the service without asking conntrack"
            if there
            else "OVN: a stateless group on the director's port; openvswitch: its port security"
            " off; in the spec `openstack:` and onearm apply",
            about=about(case.service),
            touches=(server,),
        )


def _cut_off(_o: Observations, case: Case, way: Way) -> str:
    if case.service.protocol != "tcp" or not way.arrived:
        return ""
    cut = {h for h in way.answered if h in way.at_servers and h not in way.followed}
    return next(iter(sorted(cut & way.by_director)), "")


def large_reply(o: Observations) -> Iterator[Clue]:
    """Find replies that stalled: the connection works, and the large packets do not come."""
    if not o.asked_bytes:
        return
    for case, server, count, _ in _by_server(o, _stalled):
        yield Clue(
            "the network between",
            f"{count} large replies of {server} for {about(case.service)} stalled: small ones come",
            f"all of {o.asked_bytes} bytes",
            "a link on the way to the client is narrower, and the ICMP error that says so (3/4,"
            " addressed to the VIP) does not come to the director, or not on to the server",
            "admit ICMP type 3 to the director and the real servers: security groups, host"
            " firewalls; or sysctl net.ipv4.tcp_mtu_probing=1 on the real servers",
            about=about(case.service),
            touches=(server,),
        )


def _stalled(o: Observations, case: Case, way: Way) -> str:
    attempt = way.attempt
    short = case.service.protocol == "tcp" and attempt.received < o.asked_bytes
    whole = attempt.complete or not short or attempt.result == "refused"
    return "" if whole else next(iter(sorted(way.followed & way.answered & way.sent_data)), "")


def server_mute(o: Observations) -> Iterator[Clue]:
    """Find servers that take the connection and the request, and send nothing."""
    if not o.asked_bytes:
        return
    for case, server, count, _ in _by_server(o, _taken):
        yield Clue(
            server,
            f"{server} took {count} connections to {about(case.service)} and their requests, and"
            " sent nothing",
            "an answer",
            "the kernel takes connections for a program that hangs, or that waits for another"
            " request than was sent",
            f"look at the program behind {about(case.service)} on {server}",
            about=about(case.service),
            touches=(server,),
        )


def _taken(_o: Observations, case: Case, way: Way) -> str:
    waits = case.service.protocol == "tcp" and way.attempt.result == "connected"
    quiet = (way.followed & way.answered) - way.sent_data - way.reset
    return next(iter(sorted(quiet)), "") if waits and not way.attempt.complete else ""


def property_failed(identity: str) -> Callable[[Observations], Iterator[Clue]]:
    """Make the rule for a property of verify that has no rule of its own."""

    def rule(o: Observations) -> Iterator[Clue]:
        for found in o.properties:
            if found.id == identity and found.status == FAIL:
                yield Clue(
                    "traffic",
                    f"{found.about}: {found.evidence}",
                    "see onearm verify",
                    "",
                    "onearm verify SPEC",
                    about=found.about,
                )

    return rule


def unexplained(o: Observations) -> Iterator[Clue]:
    """Find services whose destinations were not all reached, though no hop above shows why."""
    told = {
        clue.about
        for rule in (never_arrived, around, director_refused, director_kept, not_at_server)
        for clue in rule(o)
    } | {clue.about for rule in (unanswered, server_refused, first_data) for clue in rule(o)}
    for found in o.properties:
        if (found.id, found.status) == ("path.every_destination", FAIL) and found.about not in told:
            yield Clue(
                "traffic",
                f"{found.about}: {found.evidence}",
                "each real server with weight reached through the director",
                "",
                "onearm trace SPEC --service " + found.about,
                about=found.about,
            )
