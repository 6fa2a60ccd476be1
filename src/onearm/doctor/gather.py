"""Gathers what a diagnosis goes by: each host once, passive before active; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import TypeVar

from onearm.cloud_checks import cloud_findings
from onearm.doctor.observations import Observations
from onearm.each import each
from onearm.errors import Refused
from onearm.evidence import Evidence
from onearm.facts import Facts
from onearm.finding import Finding
from onearm.model import IPV4, IPV6, Address, ArpSilence, Key, Resource, state
from onearm.places.look import Question
from onearm.places.remote import RemotePlace
from onearm.preflight import preflight, vips_of
from onearm.probe import LAB_ROUTER, Client, Probe, bystand, meet
from onearm.reach import lab_prefix
from onearm.session import Session
from onearm.silence import speaks_arp
from onearm.verify import judge
from onearm.vitals import Vitals

# They stand for any client where none is known (RFC 5737, RFC 3849).
FAR_AWAY = {IPV4: ip_address("192.0.2.1"), IPV6: ip_address("2001:db8:ffff::1")}
TIMEOUT_S = 2.3  # a SYN is repeated after 1 s (RFC 6298 §2), and may come through then
ARP_S = 0.4
MOST_ASKED = 16  # addresses that one host asks for in ARP, one after another
LARGE_BYTES = 40000  # more than one packet on any link
LARGE_REQUEST = f"GET /bytes/{LARGE_BYTES} HTTP/1.0\r\n\r\n".encode()

T = TypeVar("T")
Answers = dict[tuple[str, Address], tuple[str, ...]]


@dataclass
class Gathering:
    """One diagnosis's look at the hosts of an open session."""

    session: Session
    clients: Mapping[str, Sequence[str]]  # how each is reached; none: nothing is sent
    request: bytes = b""
    asked_bytes: int = 0
    limit: int = 0  # connections per client and service; 0: what the scheduler's promise takes
    out: dict[str, str] = field(default_factory=dict)
    untried: dict[str, str] = field(default_factory=dict)
    no_route: set[str] = field(default_factory=set)
    _bystanders: dict[str, RemotePlace] = field(default_factory=dict)

    def observe(self) -> tuple[Observations, list[Finding]]:
        """Look, try traffic, look again; the second are the cloud's own findings."""
        session = self.session
        before = dict(session.facts)
        met = self._meet()
        sources = [s for c in met for s in _of_each_family(c.sources)] or self._representatives()
        vitals = self._vitals(sources)
        silences = self._silences()
        pending = tuple(session.plan(adopt=True))
        evidence = self._traffic(met) if met else None
        answers = self._answers(vitals) if evidence is not None else {}
        later, later_vitals = self._later(met, sources) if evidence is not None else ({}, {})
        self.out |= {name: str(error) for name, error in session.out.items()}
        hosts, cloud = self._findings(before)
        observed = Observations(
            spec=session.spec,
            facts=before,
            vitals=vitals,
            later=later,
            later_vitals=later_vitals,
            evidence=evidence,
            properties=tuple(judge(session.spec, evidence)) if evidence else (),
            answers=answers,
            silences=silences,
            out=self.out,
            preflight=tuple(hosts),
            pending=pending,
            untried=self.untried,
            no_route=frozenset(self.no_route),
            asked_bytes=self.asked_bytes,
        )
        return observed, cloud

    def _meet(self) -> list[Client]:
        """Reach the clients; one that cannot serve as such is told, not raised."""
        found: list[Client] = []
        for name, words in self.clients.items() if self.session.spec.services else ():
            try:
                met, lost = meet(self.session, {name: words})
            except Refused as error:
                self.untried[name] = str(error)
                self.no_route |= {name} if "no route" in str(error) else set()
                continue
            found += met
            self.out |= {host: str(error) for host, error in lost.items()}
        return found

    def _representatives(self) -> list[Address]:
        found: list[Address] = []
        for version in self.session.spec.versions:
            known = [n for n in self.session.spec.clients if n.prefixlen and n.version == version]
            first = [net[1] if net.num_addresses > 1 else net[0] for net in known[:4]]
            found += first or [FAR_AWAY[version]]
        return found

    def _vitals(self, sources: Sequence[Address]) -> dict[str, Vitals]:
        vips = vips_of(self.session.spec)
        back = [(c, vip) for c in sources for vip in vips if c.version == vip.version]
        return self._each({n: partial(p.vitals, vips, back) for n, p in self._hosts.items()})

    @property
    def _hosts(self) -> dict[str, RemotePlace]:
        return {n: p for n, p in self.session.reached.items() if n not in self.out}

    def _each(self, jobs: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        done, lost = each(jobs)
        self.out |= {name: str(error) for name, error in lost.items()}
        return done

    def _silences(self) -> dict[str, tuple[ArpSilence, ...]]:
        """See every silence that stands, by whatever policy and whosever."""
        jobs = {n: partial(self._hosts[n].observe, w) for n, w in self._possible().items()}
        seen = self._each(jobs)
        return {
            name: tuple(s.resource for s in found.values() if isinstance(s.resource, ArpSilence))
            for name, found in seen.items()
        }

    def _possible(self) -> dict[str, dict[Key, Resource]]:
        """List the filters that could silence a VIP in ARP."""
        vips = [vip for vip in vips_of(self.session.spec) if vip.version == IPV4]
        found: dict[str, dict[Key, Resource]] = {}
        for host in self.session.spec.real_servers:
            facts = self.session.facts.get(host.name)
            links = [k.name for k in facts.links if speaks_arp(k)] if facts else []
            found[host.name] = state(
                ArpSilence(link, policy, vip, host.own(IPV4))
                for link in links
                for policy in ("arptables", "nft")
                for vip in vips
            )
        return {name: wanted for name, wanted in found.items() if name in self._hosts and wanted}

    def _traffic(self, met: list[Client]) -> Evidence:
        also = tuple(dict.fromkeys(source for client in met for source in client.sources))
        probe = Probe(
            self.session,
            met,
            cold=False,
            timeout_s=TIMEOUT_S,
            request=self.request,
            also=also,
            limit=self.limit,
        )
        if self.session.spec.reach.default == "lab":
            probe.bystanders, _ = bystand(self.session, {LAB_ROUTER: lab_prefix(LAB_ROUTER)})
        evidence = probe.gather()
        self.out |= {name: str(error) for name, error in evidence.out.items()}
        self._bystanders = {name: place for name, (place, _) in probe.bystanders.items()}
        return evidence

    def _answers(self, vitals: Mapping[str, Vitals]) -> Answers:
        """Ask for each real server from the director, and for each next hop from a server."""
        spec = self.session.spec
        near = [own for s in spec.real_servers for own in s.addresses]
        near = [own for own in near if own.version in spec.versions]
        asked = [(d.name, own) for d in spec.directors for own in near]
        asked += [
            (server.name, way.gateway or way.client)
            for server in spec.real_servers
            if server.name in vitals
            for way in vitals[server.name].back
            if way.link and not way.error
        ]
        by_host: dict[str, set[Address]] = {}
        for name, address in asked:
            by_host.setdefault(name, set()).add(address)
        jobs = {
            name: partial(self._ask, name, sorted(addresses, key=int))
            for name, addresses in by_host.items()
            if name in self._hosts
        }
        found = self._each(jobs)
        return {(n, a): tuple(macs) for n, rows in found.items() for a, macs in rows.items()}

    def _own(self, name: str, version: int) -> tuple[str, Address] | None:
        """Give the link and address with which a host asks for addresses of a family."""
        hosts = {h.name: h for h in (*self.session.spec.directors, *self.session.spec.real_servers)}
        facts, sender = self.session.facts[name], hosts[name].own(version)
        held = facts.holds(sender) if sender else ()
        link = facts.link(held[0].link) if held else None
        return (link.name, sender) if link and link.up and sender else None

    def _ask(self, name: str, addresses: Sequence[Address]) -> dict[Address, list[str]]:
        place, found = self._hosts[name], {}
        for address in addresses[:MOST_ASKED]:
            own = self._own(name, address.version)
            if own is not None:
                found[address] = place.who_has(own[0], address, own[1], ARP_S)
        return found

    def _later(
        self, met: Sequence[Client], sources: Sequence[Address]
    ) -> tuple[Facts, dict[str, Vitals]]:
        """Look again after the traffic, at clients and routers too."""
        self.session.again()
        question = Question(near=tuple(vips_of(self.session.spec)))
        others = {client.name: client.place for client in met} | self._bystanders
        seen = self._each(
            {n: partial(p.look, question) for n, p in others.items() if n not in self.out}
        )
        return {**self.session.facts, **seen}, self._vitals(sources)

    def _findings(self, before: Facts) -> tuple[list[Finding], list[Finding]]:
        spec, cloud = self.session.spec, self.session.cloud
        found = preflight(spec, before) if spec.services else []
        return found, cloud_findings(spec, before, cloud) if cloud is not None else []


def _of_each_family(addresses: Sequence[Address]) -> list[Address]:
    """Give the first address of each family."""
    return list({address.version: address for address in reversed(addresses)}.values())
