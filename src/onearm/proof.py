"""After apply, where the firewall driver is unknown: connections show what follows a SYN.

A driver that ignores that the director's group is stateless lets the SYN through, never sees the
answer, and drops the rest: clients connect, and the first data hangs. The ACK alone shows it, so
outside the lab nothing is sent that a service would have to understand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from onearm.case import Case
from onearm.cloud import driver
from onearm.cloud_check_groups import filtered_directors
from onearm.errors import OnearmError
from onearm.evidence import Evidence
from onearm.flows import Names
from onearm.probe import Client, Probe, default_clients, meet
from onearm.schedule import weights
from onearm.session import Session
from onearm.spec import Spec, VirtualService
from onearm.verdicts import FAIL, PASS, UNPROVED
from onearm.verify import Property, hangs

ID = "path.stateless_director"
PAUSES_S = (0.0, 2.0, 4.0)  # an agent may need seconds to follow the API; a hang is believed last
HOW = "`onearm verify --client PREFIX` tries it from another machine"


def needed(session: Session) -> list[VirtualService]:
    """List the services to try; none where the driver is known, or does not filter the director.

    UDP is not affected: one way alone stays new to connection tracking.
    """
    spec, cloud = session.spec, session.cloud
    if cloud is None or driver(spec, cloud) or not any(filtered_directors(spec, cloud)):
        return []
    return covering(spec)


def covering(spec: Spec) -> list[VirtualService]:
    """Choose services that together meet every real server of TCP, few rather than all."""
    chosen: list[VirtualService] = []
    met: set[str] = set()
    services = [service for service in spec.services if service.protocol == "tcp"]
    for service in sorted(services, key=lambda s: len(weights(s)), reverse=True):
        if weights(service).keys() - met:
            chosen.append(service)
            met |= weights(service).keys()
    return chosen


def prove(session: Session, services: list[VirtualService], say: Callable[[str], None]) -> Property:
    """Open the connections that verify would; what hangs is tried again before it is believed."""
    say("the firewall driver is not known: trying whether data passes to each real server")
    session.again()
    try:
        clients, failed = meet(session, default_clients(session.spec))
    except OnearmError as error:
        return _unproved(session.spec, str(error))
    if not clients:
        return _unproved(session.spec, "; ".join(map(str, failed.values())))
    return try_until_believed(session, clients, services)


def try_until_believed(
    session: Session, clients: list[Client], services: list[VirtualService]
) -> Property:
    """Try at once, and again while it hangs; the last word counts."""
    for pause in PAUSES_S:
        time.sleep(pause)
        found = judge(session.spec, evidence(session, clients, services), services)
        if found.status != FAIL:
            break
    return found


def evidence(session: Session, clients: list[Client], services: list[VirtualService]) -> Evidence:
    return Probe(session, clients, cold=False, services=tuple(services), arp=False).gather()


def judge(spec: Spec, seen: Evidence, services: list[VirtualService]) -> Property:
    """Say of which real servers it is seen that what follows a SYN arrives, and of which not."""
    names = Names.of(seen.machines, seen.macs)
    trials = seen.trials
    cases = [
        Case(spec, seen, names, s, [trial for trial in trials if trial.service == s])
        for s in services
    ]
    wanted = dict.fromkeys(host for case in cases for host in case.wanted)
    cut = {host: sum(len(hangs(case, host)) for case in cases) for host in wanted}
    hanging = [host for host, number in cut.items() if number]
    lost = sum(seen.lost.values())
    if hanging and not lost:
        return Property(ID, _about(spec), FAIL, _hangs(hanging, sum(cut.values())))
    unseen = [f"{host}: {why}" for host in wanted for why in _unseen(cases, host)]
    if lost:
        unseen.append(f"the recorders lost {lost} frames")
    unseen += [str(error) for error in seen.out.values()]
    if unseen:
        return _unproved(spec, "; ".join(unseen))
    text = f"what follows a SYN arrives at {', '.join(wanted)}, so the driver heeds the group"
    return Property(ID, _about(spec), PASS, text)


def _unseen(cases: list[Case], host: str) -> Iterator[str]:
    """Say why nothing is known of a real server; nothing where more than a SYN came to it."""
    ways = [way for case in cases for way in case.ways if host in way.handed_to]
    if any(host in way.followed for way in ways):
        return
    tried = sum(case.total for case in cases if host in case.wanted)
    if any(host in way.reset for way in ways):
        yield "it resets connections, nothing listens there"
    elif ways:
        yield f"none of {len(ways)} connections was answered"
    else:
        yield f"none of {tried} connections was handed to it"


def _about(spec: Spec) -> str:
    return ", ".join(director.name for director in spec.directors)


def _hangs(hosts: list[str], number: int) -> str:
    return (
        f"{', '.join(hosts)} got the SYN of {number} connections and nothing that followed it, so"
        " clients connect and hang: so does the openvswitch firewall driver, which ignores that"
        " the director's group is stateless; the consent that it needs is director_port_security:"
        ' "off" in the spec\'s openstack section'
    )


def _unproved(spec: Spec, why: str) -> Property:
    text = f"that the firewall driver heeds the director's stateless group is not proved ({why});"
    return Property(ID, _about(spec), UNPROVED, f"{text} {HOW}")
