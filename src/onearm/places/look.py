"""What a host's look() gathers: facts that are not ours to set, read once per run."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Optional

from onearm.again import Again
from onearm.facts import (
    ClaimFact,
    DestinationFact,
    HostFacts,
    LinkFact,
    ServiceFact,
    tunnel_words,
)
from onearm.kernel import arp, fou, ipvs_trial, packets, sysctl
from onearm.kernel import mark_rules as kernel_rules
from onearm.kernel.arp_drops import output_drops
from onearm.kernel.faults import translate
from onearm.kernel.ipvs import Ipvs, IpvsDestination, Row, Table, bits_to_flags
from onearm.kernel.links import Links
from onearm.ledger import Ledger
from onearm.model import Address, Mark, MarkRule, Service, by_kind
from onearm.places import boot_manager, check_marks, director, mark_rules, tunnel_link
from onearm.places.director import NUMBERS, persistence
from onearm.places.methods import METHODS, tunnel_name

CONF6 = ("disable_ipv6",)
CONF = ("arp_ignore", "arp_announce", "rp_filter", "accept_local", "forwarding")
PLAIN = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/vs/conntrack",
    "net/ipv4/vs/expire_nodest_conn",
    "net/ipv4/vs/expire_quiescent_template",
    "net/ipv4/vs/conn_reuse_mode",
    "net/ipv4/vs/pmtu_disc",
)
PROBE_S = 0.5  # how long to wait for answers to "who has the VIP?"


@dataclass(frozen=True)
class Question:
    """What the asker wants to know besides the usual.

    `role`: director, real_server or empty. `arp`: the ARP policy to try. `near`: addresses whose
    path is asked for. `probe`: VIPs that nobody should answer for yet. `drops`: VIPs for which
    ARP drop rules are searched. `tunnels`: what tunnels need here, to be tried (ipip, gre, gue).
    `schedulers`, and persistence `engines`: those that the kernel must know; `sctp`: whether it
    must know that. `groups`: address families in which packets are marked for groups; `marking`:
    those in which that is to be tried.
    """

    role: str = ""
    arp: str = ""
    near: tuple[Address, ...] = ()
    probe: tuple[Address, ...] = ()
    drops: tuple[Address, ...] = ()
    tunnels: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    sctp: bool = False
    groups: tuple[int, ...] = ()
    marking: tuple[int, ...] = ()


def look(question: Question, table: Optional[Callable[[], Table]] = None) -> HostFacts:
    """Gather the facts of this host; raises PlaceError when it cannot be read at all.

    `table` reads the IPVS table, where somebody wants to keep what was read.
    """
    try:
        return _look(question, table or director.table)
    except OSError as error:
        raise translate(error, "reading the host's links and routes") from error


def _look(question: Question, table: Callable[[], Table]) -> HostFacts:
    ledger = Ledger()
    marked = _marked("", ledger.marks)
    served = bool(marked.get(Service))
    families = {r.vip.version for r in marked.get(MarkRule, ())} | {*question.groups}
    with Links() as links:
        seen = links.links()
        lacks = _lacks(question, seen)
        paths = tuple(links.route_get(address) for address in question.near)
        return HostFacts(
            hostname=socket.gethostname(),
            kernel=os.uname().release,
            links=tuple(seen),
            addresses=tuple(links.addresses()),
            routes=tuple(links.routes()),
            neighbours=tuple(links.neighbours()),
            paths=paths,
            sysctls=sysctls(CONF, PLAIN, CONF6),
            services=services(table(), ledger)
            if _has_table(question, lacks, served=served)
            else (),
            mark_rules=tuple(mark_rules.all_of(families)),
            claims=tuple(_claims(links, question)),
            arp_drops=tuple(output_drops(question.drops)) if question.drops else (),
            marks=_marks("", ledger.marks),
            known_hosts=ledger.hosts,
            lacks=lacks,
            boot=boot_manager.manager(seen),
            network_files=boot_manager.network_files(seen),
        )


def _has_table(question: Question, lacks: dict[str, str], *, served: bool) -> bool:
    return (question.role == "director" and "ip_vs" not in lacks) or served


def _lacks(question: Question, links: Iterable[LinkFact]) -> dict[str, str]:
    """Try what the role needs, in a namespace of its own, before anything is changed."""
    reasons: dict[str, str] = {}
    if question.role == "director":
        reasons["ip_vs"] = Ipvs.available()
        if not reasons["ip_vs"]:
            reasons["scheduler"] = ipvs_trial.lacking(ipvs_trial.SCHEDULER, question.schedulers)
            reasons["sctp"] = ipvs_trial.lacking_sctp() if question.sctp else ""
            reasons["engine"] = ipvs_trial.lacking(ipvs_trial.ENGINE, question.engines)
    for version in question.marking:
        reasons["mark_rules"] = reasons.get("mark_rules") or kernel_rules.chosen(version)[1]
    if question.role == "real_server" and not any(link.kind == "dummy" for link in links):
        reasons["dummy"] = arp.trial_dummy()
    if question.arp in arp.POLICIES:
        reasons[f"arp_{question.arp}"] = arp.trial(question.arp)
    for kind in question.tunnels:
        reasons[f"tunnel_{kind}"] = fou.available() if kind == "gue" else tunnel_link.trial(kind)
    return {feature: reason for feature, reason in reasons.items() if reason}


def sysctls(
    conf: Iterable[str], plain_names: Iterable[str], conf6: Iterable[str] = ()
) -> dict[str, str]:
    """Read values of every link, and plain ones; those that this kernel lacks are left out.

    Words of one value are apart by a space: the kernel's tab would not come through the wire.
    """
    found: dict[str, str] = {}
    for parameter in conf:
        for link, value in sysctl.read_conf(parameter).items():
            found[f"net/ipv4/conf/{link}/{parameter}"] = value
    for parameter in conf6:
        for link, value in sysctl.read_conf(parameter, family="ipv6").items():
            found[f"net/ipv6/conf/{link}/{parameter}"] = value
    plain = {name: sysctl.read(name) for name in plain_names}
    plain_found = {n: " ".join(v.split()) for n, v in plain.items() if v is not None}
    return {**found, **plain_found}


def services(
    table: Optional[Table] = None, ledger: Optional[Ledger] = None
) -> tuple[ServiceFact, ...]:
    """Show the whole IPVS table with its figures, foreign services included.

    A group of ours, which the kernel knows by a mark alone, is named as the ledger names it.
    """
    standing = director.table() if table is None else table
    marked = any(service.fwmark for service, _ in standing)
    groups = _groups(ledger or Ledger()) if marked else {}
    shown = [_shown(row[0], row) for row in standing]
    if not groups:
        return tuple(shown)
    families = (check_marks.VERSIONS[service.family] for service, _ in standing)
    return tuple(
        _named(fact, groups.get((fact.fwmark, version))) for fact, version in zip(shown, families)
    )


def _groups(ledger: Ledger) -> dict[tuple[int, int], Service]:
    """Find the groups of ours by mark and address family."""
    ours = (mark.resource for mark in ledger.marks.values())
    return {(r.mark, r.vip.version): r for r in ours if isinstance(r, Service) and r.mark}


def _named(fact: ServiceFact, group: Optional[Service]) -> ServiceFact:
    """Name a service by mark as its group; its destinations take each port as it comes."""
    if group is None:
        return fact
    behind = tuple(replace(d, port=d.port or group.port) for d in fact.destinations)
    protocol, vip, port = group.protocol, group.vip, group.port
    return replace(fact, protocol=protocol, vip=vip, port=port, destinations=behind)


def _service(row: Row) -> ServiceFact:
    found, destinations = row
    return ServiceFact(
        protocol=NUMBERS.get(found.protocol, str(found.protocol)),
        vip=found.address,
        port=found.port,
        fwmark=found.fwmark,
        scheduler=found.scheduler,
        flags=tuple(bits_to_flags(found.scheduler, found.flags)),
        counters=found.counters,
        destinations=tuple(map(_destination, destinations)),
        **persistence(found),
    )


def _destination(found: IpvsDestination) -> DestinationFact:
    return DestinationFact(
        server=found.address,
        port=found.port,
        weight=found.weight,
        forwarding=METHODS.get(found.forwarding, str(found.forwarding)),
        active=found.active,
        inactive=found.inactive,
        persistent=found.persistent,
        counters=found.counters,
        tunnel=tunnel_words(tunnel_name(found), found.tunnel_port),
    )


_shown = Again(_service)
_marks: Again[tuple[Mark, ...]] = Again(lambda marks: tuple(marks.values()))
_marked: Again[dict[type, list[Any]]] = Again(
    lambda marks: by_kind(mark.resource for mark in marks.values())
)


def _claims(links: Links, question: Question) -> Iterable[ClaimFact]:
    """Ask who has each VIP that this host does not hold itself, in nobody's name."""
    held = {fact.address for fact in links.addresses()}
    asked = [vip for vip in question.probe if vip not in held]
    link = _probe_link(links, question.near) if asked else None
    if link is None:
        return
    name, mac = link
    for vip in asked:
        for answer in packets.who_has(name, vip, None, mac, PROBE_S):
            yield ClaimFact(vip, name, answer)


def _probe_link(links: Links, near: Iterable[Address]) -> Optional[tuple[str, str]]:
    macs = {link.name: link.mac for link in links.links() if link.mac}
    for address in near:
        path = links.route_get(address)
        if path.link in macs and path.gateway is None:
            return path.link, macs[path.link]
    return None
