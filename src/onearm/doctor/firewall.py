"""What host firewalls do with the packets of direct routing; rules, pure.

Of IPv4: of IPv6 traffic itself shows what is dropped, and where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from onearm.doctor import iptables, nft
from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.doctor.packets import ACK, FIN, SYN, Outcome, Packet, Table, decide
from onearm.facts import HostFacts
from onearm.finding import WARNING
from onearm.model import IPV4, PROBE_PORTS, Address
from onearm.spec import Host, VirtualService
from onearm.verify import about
from onearm.vitals import RulesFact

INPUT, OUTPUT = ("prerouting", "input"), ("output", "postrouting")
CLIENT_PORT = 40000  # any unprivileged one
REFUSING = ("DROP", "REJECT")
Turn = tuple[Host, str, VirtualService, Packet]


@lru_cache(maxsize=64)
def _tables(rules: tuple[RulesFact, ...]) -> tuple[Table, ...]:
    found: list[Table] = []
    for fact in rules:
        if fact.tool == "nft":
            found += nft.tables(fact.text)
        elif fact.tool.startswith("iptables"):
            found += iptables.tables(fact.text, fact.tool)
    return tuple(found)


def tables_of(o: Observations, host: str) -> Sequence[Table]:
    """Read a host's firewall; empty where it has none, or could not be looked at."""
    vitals = o.vitals.get(host)
    return _tables(vitals.rules) if vitals else ()


def client_of(o: Observations, facts: HostFacts) -> Address | None:
    """Choose a client: one that tried, else one of the spec's; None where that may be anybody."""
    trials = o.evidence.trials if o.evidence else []
    for trial in trials:
        for attempt in trial.attempts:
            if attempt.source.version == IPV4 and not facts.holds(attempt.source):
                return attempt.source
    known = [net for net in o.spec.clients if net.prefixlen and net.version == IPV4]
    return known[0].network_address + 1 if known else None


def _first(o: Observations, host: Host, service: VirtualService, link: str) -> Packet:
    return Packet(
        "the first packet of a connection",
        service.protocol,
        client_of(o, o.facts[host.name]),
        service.vip,
        CLIENT_PORT,
        service.port,
        link_in=link,
        flags=SYN if service.protocol == "tcp" else 0,
    )


def _next(o: Observations, director: str, first: Packet) -> Packet:
    """Give the client's second packet as the director's conntrack calls it.

    It has seen a SYN and no SYN-ACK. With net.ipv4.vs.conntrack=0 nothing of the first packet was
    kept, so that nf_conntrack_tcp_loose decides between NEW and INVALID.
    """
    sysctls = o.sysctls(director)
    kept = sysctls.get("net/ipv4/vs/conntrack", "0") != "0"
    loose = sysctls.get("net/netfilter/nf_conntrack_tcp_loose", "1") != "0"
    state = "NEW" if loose and not kept else "INVALID"
    return replace(first, what="the packet after the SYN", flags=ACK, state=state)


def _apart(service: VirtualService) -> Iterator[VirtualService]:
    """Give a service, and the further endpoints of a group as if each were one: without checks,
    which ask the first. Of a range the first port stands for all.
    """
    yield service
    for end in service.ends[1:]:
        yield replace(service, vip=end.vip, port=end.port, ends=(), check=None)


def _at_director(o: Observations) -> Iterator[Turn]:
    for director, _ in o.directors:
        nic = o.director_nic(director)
        some = o.spec.services if nic and tables_of(o, director.name) else ()
        for service in (each for one in some for each in _apart(one)):
            if nic is not None and service.vip.version == IPV4:
                first = _first(o, director, service, nic.name)
                yield director, nic.name, service, first


def _at_server(o: Observations) -> Iterator[Turn]:
    for server, _ in o.servers:
        nic = o.nic(server)
        some = o.services_of(server.name) if nic and tables_of(o, server.name) else []
        for service in (each for one in some for each in _apart(one)):
            if nic is not None and service.vip.version == IPV4:
                yield server, nic.name, service, _first(o, server, service, nic.name)


def _refused(o: Observations, host: str, hooks: Sequence[str], packet: Packet) -> Outcome | None:
    """Give the outcome when a packet is certain to be refused."""
    found = decide(tables_of(o, host), hooks, packet)
    return found if found.verdict in REFUSING and found.certain else None


def _forwarded(packet: Packet, link: str) -> Packet:
    return replace(packet, link_in="", link_out=link)


def director_drops(o: Observations) -> Iterator[Clue]:
    """Find directors whose firewall drops the first packet."""
    yield from _first_refused(o, "DROP", "clients wait in vain")


def director_rejects(o: Observations) -> Iterator[Clue]:
    """Find directors whose firewall refuses the first packet."""
    yield from _first_refused(o, "REJECT", "clients are told at once that the host is unreachable")


def _first_refused(o: Observations, verdict: str, effect: str) -> Iterator[Clue]:
    for director, _, service, first in _at_director(o):
        found = _refused(o, director.name, INPUT, first)
        if found is not None and found.verdict == verdict:
            yield _clue(director, service, first, found, f"input comes before IPVS, so {effect}")


def _clue(
    host: Host, service: VirtualService, packet: Packet, found: Outcome, cause: str, **more: object
) -> Clue:
    verb = "rejects" if found.verdict == "REJECT" else "drops"
    clue = Clue(
        host.name,
        f"the firewall of {host.name} {verb} {packet.what} to {about(service)} ({found.rule})",
        "a rule that accepts it, whatever its state in conntrack",
        cause,
        _accept(found.rule, service),
        about=about(service),
    )
    return replace(clue, **more)  # type: ignore[arg-type]


def _accept(rule: str, service: VirtualService) -> str:
    end = f"{service.protocol} dport {service.port}"
    if rule.startswith("nft"):
        return f"nft insert rule inet filter input ip daddr {service.vip} {end} accept"
    tool = rule.partition(":")[0]
    return (
        f"{tool} -I INPUT -d {service.vip} -p {service.protocol} --dport {service.port} -j ACCEPT"
    )


def director_stateful(o: Observations) -> Iterator[Clue]:
    """Find directors whose firewall takes the SYN and drops what follows it."""
    for director, link, service, first in _at_director(o):
        out = _refused(o, director.name, OUTPUT, _forwarded(first, link))
        if service.protocol != "tcp" or out or _refused(o, director.name, INPUT, first):
            continue
        second = _next(o, director.name, first)
        found = _refused(o, director.name, INPUT, second) or _refused(
            o, director.name, OUTPUT, _forwarded(second, link)
        )
        if found is not None:
            yield _clue(
                director,
                service,
                second,
                found,
                "the director never sees the reply, so for its conntrack no connection is ever"
                " established: clients connect, and the first data hangs",
            )


def director_ends(o: Observations) -> Iterator[Clue]:
    """Find directors whose firewall drops the last packets alone."""
    for director, _, service, first in _at_director(o):
        if service.protocol != "tcp":
            continue
        second = _next(o, director.name, first)
        last = replace(second, what="the FIN of a connection", flags=FIN | ACK, state="INVALID")
        refused = [_refused(o, director.name, INPUT, p) for p in (first, second)]
        found = None if any(refused) else _refused(o, director.name, INPUT, last)
        if found is not None:
            yield _clue(
                director,
                service,
                last,
                found,
                "conntrack calls it invalid, so real servers keep closed connections open",
                severity=WARNING,
            )


CHECKS = {"udp": "udp", "dns": "udp", "icmp": ""}  # what a check of a kind speaks; else tcp


def director_checks(o: Observations) -> Iterator[Clue]:
    """Find directors whose firewall drops the answers to checks through the VIP.

    IPVS sends checks past conntrack (but for net.ipv4.vs.conntrack=1), so that an answer belongs
    to nothing that it knows: a SYN-ACK is INVALID then, a datagram NEW.
    """
    for director, link, service, _ in _at_director(o):
        check = service.check
        protocol = CHECKS.get(check.kind, "tcp") if check and check.through == "vip" else ""
        if not check or not protocol:
            continue
        kept = o.sysctls(director.name).get("net/ipv4/vs/conntrack", "0") != "0"
        answer = Packet(
            "the answer to a check",
            protocol,
            service.vip,
            director.own(IPV4),
            check.port or service.port,
            PROBE_PORTS.start,
            link_in=link,
            flags=SYN | ACK if protocol == "tcp" else 0,
            state="ESTABLISHED" if kept else "INVALID" if protocol == "tcp" else "NEW",
        )
        found = _refused(o, director.name, INPUT, answer)
        if found is not None:
            yield _answer_clue(director, service, answer, found)


def _answer_clue(director: Host, service: VirtualService, answer: Packet, found: Outcome) -> Clue:
    end = f"{answer.protocol} sport {answer.source_port}"
    tool = found.rule.partition(":")[0]
    return _clue(
        director,
        service,
        answer,
        found,
        "IPVS sends checks past conntrack, so their answers belong to no connection that it knows:"
        " every check fails, though clients could be served",
        observed=f"the firewall of {director.name} drops the answers to its checks of"
        f" {about(service)} ({found.rule})",
        cure=f"nft insert rule inet filter input ip saddr {service.vip} {end} accept"
        if tool.startswith("nft")
        else f"{tool} -I INPUT -s {service.vip} -p {answer.protocol} --sport"
        f" {answer.source_port} -j ACCEPT",
    )


def director_out(o: Observations) -> Iterator[Clue]:
    """Find directors whose firewall drops what IPVS hands on."""
    for director, link, service, first in _at_director(o):
        found = _refused(o, director.name, OUTPUT, _forwarded(first, link))
        if found is not None:
            packet = replace(first, what="what IPVS hands on")
            yield _clue(
                director,
                service,
                packet,
                found,
                "IPVS sends by the output hook, so it never leaves",
                cure=_accept(found.rule, service)
                .replace("INPUT", "OUTPUT")
                .replace(" input ", " output "),
            )


def server_in(o: Observations) -> Iterator[Clue]:
    """Find real servers whose firewall refuses clients at the VIP."""
    for server, _, service, first in _at_server(o):
        later = replace(first, what="the packet after the SYN", flags=ACK, state="ESTABLISHED")
        for packet in (first, later):
            found = _refused(o, server.name, INPUT, packet)
            if found is not None:
                yield _clue(
                    server,
                    service,
                    packet,
                    found,
                    "packets come with the client's address as source and the VIP as destination;"
                    " a rule for the server's own address or the director's does not match them",
                    touches=(server.name,),
                    expected=f"a rule that accepts clients at {about(service)}",
                )
                break


def server_out(o: Observations) -> Iterator[Clue]:
    """Find real servers whose firewall drops their replies."""
    for server, link, service, first in _at_server(o):
        reply = Packet(
            "the reply",
            service.protocol,
            service.vip,
            first.source,
            service.port,
            CLIENT_PORT,
            link_out=link,
            flags=SYN | ACK if service.protocol == "tcp" else 0,
            state="ESTABLISHED",
        )
        found = _refused(o, server.name, OUTPUT, reply)
        if found is not None:
            yield replace(
                _clue(server, service, reply, found, "the reply's source is the VIP"),
                touches=(server.name,),
                observed=f"the firewall of {server.name} drops replies from {about(service)}"
                f" ({found.rule})",
                expected="a rule that lets replies from the VIP out",
                cure=f"{found.rule.partition(':')[0]} -I OUTPUT -s {service.vip} -j ACCEPT"
                if not found.rule.startswith("nft")
                else f"nft insert rule inet filter output ip saddr {service.vip} accept",
            )


def _errors(link: str, vip: Address) -> Packet:
    """Give the error of a router: any one on the way to any client."""
    return Packet(
        "ICMP 'fragmentation needed'",
        "icmp",
        None,
        vip,
        link_in=link,
        state="RELATED",
        icmp=(3, 4),
    )


def director_icmp(o: Observations) -> Iterator[Clue]:
    """Find directors that drop the ICMP errors that only IPVS can bring to the right server."""
    for director, _ in o.directors:
        yield from _icmp(o, director, o.vips, "the error is addressed to the VIP, so it comes here")


def server_icmp(o: Observations) -> Iterator[Clue]:
    """Find real servers that drop the ICMP errors that IPVS handed on."""
    for server, _ in o.servers:
        yield from _icmp(
            o, server, o.vips_of(server.name), "IPVS hands the error on to this server"
        )


def _icmp(o: Observations, host: Host, vips: Sequence[Address], why: str) -> Iterator[Clue]:
    nic = o.nic(host) or o.director_nic(host)
    directors = {director.name for director in o.spec.directors}
    four = [vip for vip in vips if vip.version == IPV4]
    for vip in four if nic and tables_of(o, host.name) else ():
        packet = _errors(nic.name if nic else "", vip)
        found = _refused(o, host.name, INPUT, packet)
        if found is not None:
            tool = found.rule.partition(":")[0]
            yield Clue(
                host.name,
                f"the firewall of {host.name} drops {packet.what} to {vip} ({found.rule})",
                "a rule that accepts ICMP type 3",
                f"{why}; without it large replies stall where a link on the way is narrower",
                "nft insert rule inet filter input icmp type destination-unreachable accept"
                if tool == "nft"
                else f"{tool} -I INPUT -p icmp --icmp-type destination-unreachable -j ACCEPT",
                about=str(vip),
                touches=() if host.name in directors else (host.name,),
            )
