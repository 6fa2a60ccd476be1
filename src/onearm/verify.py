"""The properties that traffic proves, judged from evidence; pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from onearm import schedule
from onearm.desire import director_link
from onearm.evidence import Evidence, Trial
from onearm.flows import Names, Way, strangers, ways
from onearm.model import Address
from onearm.preflight import vips_of
from onearm.spec import Spec, VirtualService

PASS, FAIL, UNPROVED = "pass", "fail", "unproved"


@dataclass(frozen=True)
class Property:
    """One property with its evidence; `about` is the VIP or the service that it is proved for."""

    id: str
    about: str
    status: str
    evidence: str
    details: tuple[str, ...] = field(default=())


def judge(spec: Spec, evidence: Evidence) -> list[Property]:
    """Judge every VIP and every service of a spec."""
    names = Names.of(evidence.machines)
    found = [_single_mac(spec, evidence, names, vip) for vip in vips_of(spec)]
    for service in spec.services:
        found += _service(spec, evidence, names, service)
    return found


def about(service: VirtualService) -> str:
    """Name a service as its VIP, port and protocol."""
    return f"{service.vip}:{service.port}/{service.protocol}"


def _single_mac(spec: Spec, evidence: Evidence, names: Names, vip: Address) -> Property:
    expected = {
        link.mac
        for d in spec.directors
        if d.name in evidence.machines
        for link in [evidence.machines[d.name].link(director_link(spec, evidence.machines[d.name]))]
        if link
    }
    answers = evidence.answers.get(vip, {})
    macs = {mac for found in answers.values() for mac in found}
    senders = _senders(evidence, vip) - expected
    wrong = sorted(names.name(mac) for mac in (macs | senders) - expected)
    asked = f"asked from {', '.join(sorted(answers)) or 'nowhere'}"
    if wrong:
        how = "answers for the VIP" if macs - expected else "speaks in ARP in the VIP's name"
        return Property("arp.single_mac", str(vip), FAIL, f"{', '.join(wrong)} {how}; {asked}")
    if macs & expected:
        only = ", ".join(names.name(mac) for mac in sorted(macs))
        return Property("arp.single_mac", str(vip), PASS, f"only {only} answers; {asked}")
    others = [name for name in answers if name not in {d.name for d in spec.directors}]
    if not others or not expected:
        return Property("arp.single_mac", str(vip), UNPROVED, f"nobody could be asked; {asked}")
    return Property("arp.single_mac", str(vip), FAIL, f"nobody answers for the VIP; {asked}")


def _senders(evidence: Evidence, vip: Address) -> set[str]:
    """List the MACs that claimed the VIP as the sender of an ARP packet while we looked."""
    return {
        frame.claimed_mac or frame.source_mac
        for frames in evidence.frames.values()
        for frame in frames
        if frame.kind.startswith("arp") and frame.source == str(vip)
    }


def _service(
    spec: Spec, evidence: Evidence, names: Names, service: VirtualService
) -> Iterator[Property]:
    trials = [trial for trial in evidence.trials if trial.service == service]
    case = Case(spec, evidence, names, service, trials)
    for identity, rule in RULES:
        status, text, *details = rule(case)
        lost = sum(evidence.lost.values())
        if status == FAIL and lost:
            details.append(f"{lost} frames were lost by the recorders: judge with care")
        yield Property(identity, about(service), status, text, tuple(details))


@dataclass
class Case:
    """One service with all that was seen of it."""

    spec: Spec
    evidence: Evidence
    names: Names
    service: VirtualService
    trials: list[Trial]
    ways: list[Way] = field(init=False)

    def __post_init__(self) -> None:
        self.ways = ways(self.spec, self.evidence, self.trials, self.names)

    @property
    def total(self) -> int:
        """Count the connections tried."""
        return len(self.ways)

    def watched(self, host: str) -> bool:
        """Say whether the frames of a host were recorded."""
        return host in self.evidence.frames


Judgement = tuple[str, ...]


def _every_destination(case: Case) -> Judgement:
    if not case.ways:
        return UNPROVED, "no connection could be tried"
    troubles, missing, reached = [], [], []
    for host in schedule.weights(case.service):
        fault = _destination_fault(case, host)
        if fault:
            troubles.append(fault)
        elif not case.watched(host):
            missing.append(f"{host} could not be watched")
        elif not any(host in way.handed_to for way in case.ways):
            missing.append(f"{host} was not chosen in {case.total} connections")
        else:
            reached.append(host)
    astray = _astray(case)
    if troubles or astray:
        return (FAIL, *astray, *troubles)
    if missing:
        return (UNPROVED, *missing)
    counts = Counter(host for way in case.ways for host in way.handed_to)
    shown = ", ".join(f"{host} {counts[host]}" for host in reached)
    return (
        PASS,
        f"{case.total} connections reached all {len(reached)} through the director: {shown}",
    )


def _astray(case: Case) -> list[str]:
    """Describe connections that no destination can be blamed for."""
    found = []
    nowhere = [way for way in case.ways if not way.at_director and not way.at_servers]
    if nowhere:
        results = Counter(way.attempt.result for way in nowhere)
        seen = ", ".join(f"{count} {result}" for result, count in results.items())
        found.append(
            f"{len(nowhere)} of {case.total} never arrived at the director (the client saw: {seen})"
        )
    own = [way for way in case.ways if way.director_answered and not way.handed_to]
    if own:
        found.append(f"the director answered {len(own)} itself: no service took them")
    unsent = [w for w in case.ways if w.at_director and not w.handed_to and not w.director_answered]
    if unsent:
        found.append(f"{len(unsent)} arrived at the director and were handed to nobody")
    return found


def _destination_fault(case: Case, host: str) -> str:
    around = [way for way in case.ways if host in way.around]
    if around:
        return f"{len(around)} reached {host} without the director"
    handed = [way for way in case.ways if host in way.handed_to]
    if not handed or not case.watched(host):
        return ""
    absent = [way for way in handed if host not in way.at_servers]
    if absent:
        return f"{len(absent)} of {len(handed)} handed to {host} never arrived there"
    refused = [way for way in handed if host in way.reset and host not in way.answered]
    if refused:
        return (
            f"{host} reset {len(refused)} of {len(handed)}: nothing listens there on"
            f" {case.service.vip}:{case.service.port}"
        )
    return _silent(case, host, handed)


def _silent(case: Case, host: str, handed: list[Way]) -> str:
    if case.service.protocol != "tcp":
        closed = [way for way in handed if host in way.unreachable]
        return f"{host} says the port is closed (ICMP) to {len(closed)}" if closed else ""
    silent = [way for way in handed if host not in way.answered]
    if silent:
        holds = bool(case.evidence.machines[host].holds(case.service.vip))
        why = "it holds the VIP" if holds else "it lacks the VIP"
        return f"{host} got {len(handed)} and answered {len(handed) - len(silent)}: {why}"
    cut = [way for way in handed if way.arrived and host not in way.followed]
    return f"{host} got the SYN of {len(cut)}, but nothing that followed it" if cut else ""


def _client_address(case: Case) -> Judgement:
    if not case.trials or not case.ways:
        return UNPROVED, "no connection could be tried"
    changed = strangers(case.spec, case.evidence, case.trials)
    unseen = [way for way in case.ways if not way.at_servers]
    if changed and unseen:
        seen = "; ".join(
            f"{server} saw {source} instead of the client's address"
            for server, source in sorted(changed)
        )
        return FAIL, f"{seen} ({len(unseen)} connections)"
    reached = [way for way in case.ways if way.at_servers]
    if not reached:
        return UNPROVED, "no server was reached"
    addresses = sorted({way.attempt.source for way in reached}, key=int)
    shown = str(addresses[0]) if len(addresses) == 1 else f"{len(addresses)} client addresses"
    return PASS, f"{shown} seen as they are, {len(reached)} connections"


def _direct_reply(case: Case) -> Judgement:
    directors = {mac for d in case.spec.directors for mac in case.names.macs(d.name)}
    sent: Counter[tuple[str, str]] = Counter()
    for way in case.ways:
        sent.update(way.replies)
    if not sent:
        return UNPROVED, "no reply was seen"
    crossed = sum(way.crossed for way in case.ways)
    towards = [(host, n) for (host, mac), n in sent.items() if mac in directors]
    if towards or crossed:
        by_host: Counter[str] = Counter()
        for host, number in towards:
            by_host[host] += number
        shown = ", ".join(f"{n} from {host}" for host, n in sorted(by_host.items()))
        return FAIL, f"replies go to the director ({shown or crossed}): {crossed} crossed it"
    lost = [w for w in case.ways if w.answered and not w.arrived and w.attempt.result != "refused"]
    if lost:
        hosts = sorted({host for way in lost for host in way.answered})
        return FAIL, f"{len(lost)} replies left {', '.join(hosts)} and never reached the client"
    return (
        PASS,
        f"{sum(sent.values())} replies went straight back, none crossed the director",
        *(
            f"{host} -> {case.names.name(mac)}: {n} frames"
            for (host, mac), n in sorted(sent.items())
        ),
    )


def _distribution(case: Case) -> Judgement:
    counts = Counter(host for way in case.ways for host in way.handed_to)
    shown = ", ".join(f"{host} {counts[host]}" for host in sorted(counts)) or "none"
    unwanted = sorted(counts.keys() - schedule.weights(case.service).keys())
    if not counts:
        return UNPROVED, "no connection was handed on"
    if unwanted:
        return FAIL, f"{', '.join(unwanted)} got connections and should get none: {shown}"
    if schedule.sticks(case.service):
        return _sticky(case, shown)
    if case.service.scheduler in schedule.EXACT:
        return _exact(case, counts, shown)
    return PASS, f"{shown}; {case.service.scheduler} promises no exact shares"


def _exact(case: Case, counts: Counter[str], shown: str) -> Judgement:
    wanted = schedule.expected(case.service, sum(counts.values()))
    others = _others(case)
    if wanted is None:
        return UNPROVED, f"{shown}; not a whole number of turns"
    if dict(counts) == wanted:
        return PASS, f"{shown}, exactly as {case.service.scheduler} promises"
    if others:
        return UNPROVED, f"{shown}; {others} connections of others in between, so only reported"
    want = ", ".join(f"{host} {n}" for host, n in sorted(wanted.items()))
    return FAIL, f"{shown}; {case.service.scheduler} promises {want}"


def _others(case: Case) -> int:
    """Count other people's connections, by the service's own counter."""
    key = (case.service.protocol, case.service.vip, case.service.port)

    def counted(tables: object) -> int:
        return sum(
            s.counters.connections
            for services in getattr(tables, "values", tuple)()
            for s in services
            if (s.protocol, s.vip, s.port) == key
        )

    grown = counted(case.evidence.after) - counted(case.evidence.before)
    return grown - sum(1 for way in case.ways if way.handed_to)


def _sticky(case: Case, shown: str) -> Judgement:
    chosen: dict[Address, list[str]] = defaultdict(list)
    for way in case.ways:
        chosen[way.attempt.source] += way.handed_to
    astray = schedule.strays(chosen)
    if astray:
        return FAIL, f"{len(astray)} client addresses got several servers: {shown}"
    return PASS, f"{shown}; each of {len(chosen)} client addresses kept its server"


RULES = (
    ("path.every_destination", _every_destination),
    ("path.client_address", _client_address),
    ("path.direct_reply", _direct_reply),
    ("path.distribution", _distribution),
)
