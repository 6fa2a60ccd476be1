"""All that a diagnosis goes by, as frozen values and questions to them; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from onearm.case import Case
from onearm.desire import director_link
from onearm.evidence import Evidence
from onearm.facts import Facts, HostFacts, LinkFact, NeighbourFact, ServiceFact
from onearm.finding import Finding
from onearm.flows import Names
from onearm.model import IPV4, Action, Address, ArpSilence, Key
from onearm.preflight import vips_of
from onearm.resting import Resting, of_service, resting
from onearm.spec import End, Host, Spec, VirtualService
from onearm.traffic import Attempt
from onearm.verify import Property
from onearm.vitals import Vitals

STALE = 0x01 | 0x20  # NUD_INCOMPLETE | NUD_FAILED (include/uapi/linux/neighbour.h)
PERMANENT = 0x80


@dataclass(frozen=True)
class Observations:
    """One look at everything. `later` and `later_vitals` came after the traffic, `answers` are the
    MACs that answered a host's ARP question for an address (its gateway, a real server).

    Without `evidence` nothing was sent: then only what is certain without traffic is said.
    """

    spec: Spec
    facts: Facts
    vitals: Mapping[str, Vitals] = field(default_factory=dict)
    later: Facts = field(default_factory=dict)
    later_vitals: Mapping[str, Vitals] = field(default_factory=dict)
    evidence: Evidence | None = None
    properties: tuple[Property, ...] = ()
    answers: Mapping[tuple[str, Address], tuple[str, ...]] = field(default_factory=dict)
    out: Mapping[str, str] = field(default_factory=dict)
    silences: Mapping[str, tuple[ArpSilence, ...]] = field(default_factory=dict)
    preflight: tuple[Finding, ...] = ()
    pending: tuple[Action, ...] = ()  # what a plan would change
    untried: Mapping[str, str] = field(default_factory=dict)  # clients that could not serve
    no_route: frozenset[str] = frozenset()  # those of them that have no way to the VIP
    asked_bytes: int = 0  # how long a reply was asked for; 0: nothing was requested

    @property
    def directors(self) -> Iterator[tuple[Host, HostFacts]]:
        """The directors that were looked at."""
        return ((h, self.facts[h.name]) for h in self.spec.directors if h.name in self.facts)

    @property
    def servers(self) -> Iterator[tuple[Host, HostFacts]]:
        """The real servers with a service that were looked at."""
        for host in self.spec.real_servers:
            if host.name in self.facts and self.services_of(host.name):
                yield host, self.facts[host.name]

    @property
    def vips(self) -> list[Address]:
        """Every VIP once."""
        return vips_of(self.spec)

    def services_of(self, server: str) -> list[VirtualService]:
        """List the services that a real server is behind, whatever its weight."""
        return [s for s in self.spec.services if any(m.host == server for m in s.members)]

    def vips_of(self, server: str) -> list[Address]:
        """List the VIPs that a real server must hold: none behind masq."""
        some = (s for s in self.services_of(server) if s.way(server).method != "masq")
        return list(dict.fromkeys(vip for service in some for vip in service.vips))

    def masked(self, server: str) -> bool:
        """Say whether a real server is behind masq: its IPv4 replies lead over the director."""
        return any(s.way(server).method == "masq" for s in self.services_of(server))

    def arp_vips_of(self, server: str) -> list[Address]:
        """List the VIPs of a real server of which ARP can speak: those of IPv4."""
        return [vip for vip in self.vips_of(server) if vip.version == IPV4]

    def nic(self, host: Host) -> LinkFact | None:
        """Give the link that holds a host's own address: packets for the VIP come in there."""
        facts = self.facts[host.name]
        held = facts.holds(host.address)
        return facts.link(held[0].link) if held else None

    def director_nic(self, host: Host) -> LinkFact | None:
        """Give the link on which a director announces the VIP."""
        facts = self.facts[host.name]
        return facts.link(director_link(self.spec, facts)) or self.nic(host)

    def effective(self, host: str, parameter: str, link: str) -> int:
        """Read a sysctl as the kernel acts on it: the greater of `all` and the link
        (IN_DEV_MAXCONF, include/linux/inetdevice.h).
        """
        sysctls = self.sysctls(host)
        values = [sysctls.get(f"net/ipv4/conf/{at}/{parameter}", "0") for at in ("all", link)]
        return max(int(value) if value.isdecimal() else 0 for value in values)

    def sysctls(self, host: str) -> dict[str, str]:
        """Give all sysctls of a host that were read."""
        vitals = self.vitals.get(host)
        return {**self.facts[host].sysctls, **(vitals.sysctls if vitals else {})}

    def kernel_service(self, director: str, service: VirtualService) -> ServiceFact | None:
        """Find a service of the spec in a director's table."""
        table = self.facts[director].services
        return next((s for s in table if s.identity == service.identity), None)

    def resting(self, service: VirtualService) -> Resting:
        """Give the real servers that the director serves otherwise than the spec says."""
        return of_service(service, self._resting)

    @cached_property
    def _resting(self) -> Mapping[Key, Resting]:
        return resting(self.spec, self.facts)

    def neighbour(self, host: str, address: Address) -> NeighbourFact | None:
        """Find what a host has learned of a neighbour: after the traffic, where there was some."""
        facts = self.later.get(host) or self.facts[host]
        return next((n for n in facts.neighbours if n.address == address), None)

    def grown(self, host: str, counter: str) -> int:
        """Say by how much a kernel counter grew while traffic was tried."""
        before, after = self.vitals.get(host), self.later_vitals.get(host)
        if before is None or after is None:
            return 0
        return after.counters.get(counter, 0) - before.counters.get(counter, 0)

    @cached_property
    def names(self) -> Names:
        """Name the machines behind MACs."""
        if self.evidence is None:
            return Names.of(self.facts, {})
        return Names.of(self.evidence.machines, self.evidence.macs)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Give each service with what its connections went through; none without traffic."""
        found = self.evidence
        if found is None:
            return ()
        return tuple(
            Case(self.spec, found, self.names, s, [t for t in found.trials if t.service == s])
            for s in self.spec.services
        )

    def answered(self, server: str, service: VirtualService, end: End) -> bool:
        """Say whether a real server was seen to answer connections to an endpoint of a service."""
        cases = (case for case in self.cases if case.service == service)
        ways = (way for case in cases for way in case.ways if server in way.answered)
        return any(not service.ends or _at(end, way.attempt) for way in ways)


def _at(end: End, attempt: Attempt) -> bool:
    return attempt.target == end.vip and end.port <= attempt.target_port <= end.last
