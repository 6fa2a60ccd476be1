"""The properties that traffic proves, judged from evidence; pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from onearm import schedule
from onearm.case import Case
from onearm.desire import director_link
from onearm.evidence import Evidence
from onearm.flows import Names, Way
from onearm.model import IPV4, IPV6, STREAMS, Address, Network, endpoint
from onearm.preflight import vips_of
from onearm.resting import words
from onearm.spec import Spec, VirtualService
from onearm.verdicts import FAIL, PASS, UNPROVED
from onearm.verify_groups import end_of, every_endpoint, one_server
from onearm.verify_ways import encapsulated, hosts_by, reply_through_director, ways_to

TALK = {IPV4: "ARP", IPV6: "neighbour discovery"}
OWNER = {IPV4: "arp.single_mac", IPV6: "nd.single_mac"}  # by the family of the VIP


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
    names = Names.of(evidence.machines, evidence.macs)
    found = [_single_mac(spec, evidence, names, vip) for vip in vips_of(spec)]
    for service in spec.services:
        found += _service(spec, evidence, names, service)
    return found


def about(service: VirtualService) -> str:
    """Name a service as its VIP, port and protocol."""
    return f"{endpoint(service.vip, service.port)}/{service.protocol}"


def _single_mac(spec: Spec, evidence: Evidence, names: Names, vip: Address) -> Property:
    status, text = _owner(spec, evidence, names, vip)
    asked = ", ".join(sorted(evidence.answers.get(vip, {}))) or "nowhere"
    return Property(OWNER[vip.version], str(vip), status, f"{text}; asked from {asked}")


def _owner(spec: Spec, evidence: Evidence, names: Names, vip: Address) -> tuple[str, str]:
    answers = evidence.answers.get(vip, {})
    macs = {mac for found in answers.values() for mac in found}
    speakers = macs | _senders(evidence, vip)
    expected = {
        link.mac
        for d in spec.directors
        if d.name in evidence.machines
        for link in [evidence.machines[d.name].link(director_link(spec, evidence.machines[d.name]))]
        if link
    }
    directors = {d.name for d in spec.directors}
    unknown = set() if expected else {m for m in speakers if m not in names.by_mac}
    wrong = sorted(speakers - expected - unknown) + sorted(unknown)[1:]
    if wrong:
        said = f"speaks in {TALK[vip.version]} in the VIP's name"
        how = "answers for the VIP" if macs & set(wrong) else said
        return FAIL, f"{', '.join(map(names.name, wrong))} {how}"
    if not expected:
        return UNPROVED, f"{', '.join(sorted(directors))} could not be asked which MAC is its own"
    if macs:
        return PASS, f"only {', '.join(names.name(mac) for mac in sorted(macs))} answers"
    if not answers.keys() - directors:
        return UNPROVED, "nobody but the director could be asked"
    return FAIL, "nobody answers for the VIP"


def _senders(evidence: Evidence, vip: Address) -> set[str]:
    """List the MACs that said while we looked that the VIP is theirs."""
    return {
        frame.claimed_mac
        for frames in evidence.frames.values()
        for frame in frames
        if frame.claims and frame.source == str(vip)
    }


def _service(
    spec: Spec, evidence: Evidence, names: Names, service: VirtualService
) -> Iterator[Property]:
    trials = [trial for trial in evidence.trials if trial.service == service]
    case = Case(spec, evidence, names, service, trials)
    lost = sum(evidence.lost.values())
    for identity, rule, needs_all in RULES:
        judged = rule(case)
        if not judged:  # it has no meaning for the ways of this service
            continue
        status, text, *details = judged
        if lost and status in needs_all:
            status = UNPROVED
            details.append(f"the recorders lost {lost} frames, so this is not certain: try again")
        yield Property(identity, about(service), status, text, tuple(details))


Judgement = tuple[str, ...]
STATELESS_KNOWN = ("ovn", "iptables_hybrid")  # the drivers that know stateless groups
NO_CONNECTION = "no connection could be tried"


def _unwatched(hosts: Sequence[str]) -> str:
    return f"{', '.join(hosts)} could not be watched"


def _every_destination(case: Case) -> Judgement:
    unknown = _unknown(case)
    if unknown:
        return UNPROVED, unknown
    troubles = _astray(case)
    troubles += filter(None, (_destination_fault(case, s.name) for s in case.spec.real_servers))
    if troubles:
        return (FAIL, *troubles)
    missing = [text for host in case.wanted for text in _not_shown(case, host)]
    if missing:
        return (UNPROVED, *missing)
    shown = ", ".join(f"{host} {case.handed[host]}" for host in case.wanted)
    reached = f"{len(case.wanted)}{' in rotation' if case.held or case.partly else ''}"
    return PASS, f"{case.total} connections reached all {reached} through the director: {shown}"


def _unknown(case: Case) -> str:
    """Say why nothing can be said of the ways to the destinations; empty when it can."""
    if not case.ways:
        return NO_CONNECTION
    if case.director_blind:
        return _unwatched(case.blind)
    if not schedule.weights(case.service) and not case.handed:
        return "the spec gives weight to none of its real servers"
    if case.disguised:
        text = f"{len(case.disguised)} of {case.total} were answered, but came to the director, if"
        return f"{text} at all, under another address and port"
    return ""


def _not_shown(case: Case, host: str) -> Iterator[str]:
    """Say why it is not known whether a destination can be reached."""
    if not case.watched(host):
        yield f"{host} could not be watched"
    elif not case.handed[host]:
        spare = case.service.scheduler in schedule.SPARE
        why = f": {case.service.scheduler} may leave all to others" if spare else ""
        yield f"{host} was not chosen in {case.total} connections{why}"
    elif case.service.protocol not in STREAMS:
        mute = not any(host in way.answered for way in case.ways)
        if mute and any(way.answered for way in case.ways):
            yield f"{host} answers nothing, though others do"


def _astray(case: Case) -> list[str]:
    """Describe connections that no destination can be blamed for."""
    nowhere = case.nowhere
    own = [way for way in case.ways if way.director_said and not way.handed_to]
    unsent = [w for w in case.ways if w.at_director and not w.handed_to and not w.director_said]
    found = []
    if nowhere:
        results = Counter(way.attempt.result for way in nowhere)
        seen = ", ".join(f"{count} {result}" for result, count in results.items())
        found.append(
            f"{len(nowhere)} of {case.total} never arrived at the director (the client saw: {seen})"
        )
    if own:
        found.append(f"the director itself {_own_words(own)} {len(own)}: {_why_own(case)}")
    if unsent:
        short = Counter() if case.strange else case.chosen() - case.handed
        meant = ", ".join(f"{host} (chosen for {n})" for host, n in sorted(short.items()))
        why = f": nothing was sent to {meant}" if meant else ""
        found.append(f"{len(unsent)} arrived at the director and were handed to nobody{why}")
    return found


def _own_words(ways: list[Way]) -> str:
    words = {"reset": "reset", "icmp": "refused (ICMP)", "answer": "answered"}
    return " or ".join(words[said] for said in sorted({s for w in ways for s in w.director_said}))


def _why_own(case: Case) -> str:
    """Say what the director's own table explains of connections that it did not hand on."""
    before, _ = case.tables()
    if case.held and not case.wanted and not case.partly:
        return f"all its real servers are out of rotation: {words(case.held)}"
    if not case.evidence.before:
        return "no service took them"
    if not before:
        return f"it has no virtual service {about(case.service)}"
    if not any(d.weight for service in before for d in service.destinations):
        return "its virtual service has no destination with a weight"
    return "its virtual service did not take them (a firewall there?)"


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
            f" {endpoint(*end_of(case, refused[0]))}"
        )
    return _silent(case, host, handed)


HELD = {
    "tcp": "it holds the VIP, so look at its firewall and rp_filter",
    "sctp": "it holds the VIP; a server of SCTP must bind it, or answers from the host's address",
}


def _silent(case: Case, host: str, handed: list[Way]) -> str:
    way_there = case.service.way(host)
    facts = case.evidence.machines[host]
    holds = way_there.method == "masq" or all(map(facts.holds, case.service.vips))
    silent = [way for way in handed if host not in way.answered]
    closed = [way for way in silent if host in way.unreachable]
    if closed:
        what = "its port is closed" if case.service.protocol not in STREAMS else "it refuses them"
        return f"{host} got {len(handed)} and answered {len(closed)} with ICMP errors: {what}"
    if silent and (case.service.protocol in STREAMS or not holds):
        why = _why_silent(case, host, silent) if holds else "it lacks the VIP"
        return f"{host} got {len(handed)} and answered {len(handed) - len(silent)}: {why}"
    if case.service.protocol not in STREAMS:
        return ""
    cut = hangs(case, host)
    said = f"{host} got the SYN of {len(cut)}, but nothing that followed it" if cut else ""
    return said + _consent(case) if said else ""


def _why_silent(case: Case, host: str, silent: list[Way]) -> str:
    method = case.service.way(host).method
    if method == "tunnel" and not any(host in way.out_of_tunnel for way in silent):
        return "nothing came out of the tunnel there: its link is missing, or has other ends"
    if method == "masq":
        return "look at its firewall, and whether it serves on its own address"
    return HELD.get(case.service.protocol, HELD["tcp"])


def hangs(case: Case, host: str) -> list[Way]:
    """List the connections that a server answered, and of which it got no more than the SYN."""
    handed = [way for way in case.ways if host in way.at_servers and host in way.handed_to]
    return [way for way in handed if way.arrived and host not in way.followed]


def _consent(case: Case) -> str:
    """Name the way out where a cloud's driver may track what a stateless group should not."""
    cloud = case.spec.openstack
    if cloud is None or cloud.director_port_security == "off" or cloud.firewall in STATELESS_KNOWN:
        return ""
    return (
        ": so the openvswitch firewall driver does, which ignores that a group is stateless; the"
        ' consent that it needs is director_port_security: "off" in the spec'
    )


def _client_address(case: Case) -> Judgement:
    if not case.ways:
        return UNPROVED, NO_CONNECTION
    changed = [way for way in case.ways if way.seen_as]
    if changed:
        seen = sorted({address for way in changed for address in way.seen_as})
        servers = sorted({host for way in changed for host in way.at_servers}) or ["the director"]
        text = f"{', '.join(servers)} saw {', '.join(_owned(case, a) for a in seen)} instead of"
        return FAIL, f"{text} the client's address ({len(changed)} of {case.total} connections)"
    reached = [way for way in case.ways if way.at_servers]
    addresses = sorted({way.attempt.source for way in reached}, key=int)
    shown = str(addresses[0]) if len(addresses) == 1 else f"{len(addresses)} client addresses"
    text = f"{shown} seen as they are, {len(reached)} connections"
    blind = [host for host in case.blind if case.handed[host]]
    unseen = [way for way in case.ways if way.arrived and not way.at_servers]
    if unseen:
        why = _unwatched(blind) if blind else "no server saw them as the client's"
        return UNPROVED, f"{text}; {len(unseen)} were answered, but {why}"
    return (PASS, text) if reached else (UNPROVED, "no server was seen to be reached")


def _owned(case: Case, address: str) -> str:
    """Name the machine that an address belongs to, where that is known."""
    for name, facts in case.evidence.machines.items():
        if any(str(fact.address) == address for fact in facts.addresses):
            return f"{address} ({name})"
    return address


def _direct_reply(case: Case) -> Judgement:
    masq = hosts_by(case, "masq")
    ways = [way for way in case.ways if way not in ways_to(case, masq)]
    if masq and not ways and set(masq) >= set(case.service.hosts):
        return ()
    directors = {mac for d in case.spec.directors for mac in case.names.macs(d.name)}
    sent: Counter[tuple[str, str]] = Counter()
    for way in ways:
        sent += way.sent()
    crossed = sum(way.crossed for way in ways)
    towards: Counter[str] = Counter()
    for (host, mac), number in sent.items():
        towards[host] += number if mac in directors else 0
    towards = +towards
    if towards or crossed:
        shown = ", ".join(f"{n} from {host}" for host, n in sorted(towards.items()))
        return FAIL, f"replies go to the director ({shown or crossed}): {crossed} crossed it"
    if not sent:
        return UNPROVED, "no reply was seen"
    lost = [way for way in ways if way.answered and _never_came(case, way)]
    if lost:
        hosts = sorted({host for way in lost for host in way.answered})
        return FAIL, f"{len(lost)} replies left {', '.join(hosts)} and never reached the client"
    text = f"{sum(sent.values())} replies went straight back, none crossed the director"
    blind = [host for host in case.blind if case.handed[host] or host == case.director_blind]
    if blind:
        return UNPROVED, f"{text} as far as was seen, but {_unwatched(blind)}"
    return (
        PASS,
        text,
        *(
            f"{host} -> {case.names.name(mac)}: {n} frames"
            for (host, mac), n in sorted(sent.items())
        ),
    )


def _never_came(case: Case, way: Way) -> bool:
    """Say whether no reply reached the client, neither its socket nor its host."""
    told = way.arrived or way.attempt.result == "refused"
    return case.watched(way.client) and not told and not way.came_back


def _distribution(case: Case) -> Judgement:
    if case.director_blind:
        return UNPROVED, _unwatched([case.director_blind])
    counts, by = case.handed, ""
    unsent = [w for w in case.ways if w.at_director and not w.handed_to and not w.director_said]
    if unsent:
        counts, by = case.chosen(), " by the director's own table"
        if case.strange or sum(counts.values()) != case.total:
            return UNPROVED, f"{len(unsent)} connections were handed to nobody"
    shown = (", ".join(f"{host} {counts[host]}" for host in sorted(counts)) or "none") + by
    if not counts:
        return UNPROVED, "no connection was handed on"
    return _unwanted(case, counts, shown) or _fits(case, counts, shown)


def _unwanted(case: Case, counts: Counter[str], shown: str) -> Judgement:
    """Name those that got connections and should not; a MAC may be a server that was not seen."""
    unwanted = sorted(counts.keys() - case.wanted.keys() - case.partly.keys())
    unknown = [host for host in unwanted if ":" in host]
    if unknown and [host for host in case.blind if not counts[host]]:
        return UNPROVED, f"{shown}; {_unwatched(case.blind)}, so {', '.join(unknown)} may be one"
    if unwanted:
        return FAIL, f"{', '.join(unwanted)} got connections and should get none: {shown}"
    return ()


def _fits(case: Case, counts: Counter[str], shown: str) -> Judgement:
    if case.partly:
        hosts = ", ".join(sorted(case.partly))
        return PASS, f"{shown}; no exact shares are promised with {hosts} in part"
    if schedule.sticks(case.service):
        return _sticky(case, shown)
    if any(member.upper for member in case.service.members):
        return PASS, f"{shown}; no exact shares are promised where real servers may be full"
    if schedule.exact(case.served):
        return _exact(case, counts, shown)
    return PASS, f"{shown}; {case.service.scheduler} promises no exact shares"


def _exact(case: Case, counts: Counter[str], shown: str) -> Judgement:
    wanted = schedule.expected(case.served, sum(counts.values()))
    if wanted is None:
        return UNPROVED, f"{shown}; not a whole number of turns"
    if dict(counts) == wanted:
        return PASS, f"{shown}, exactly as {case.service.scheduler} promises"
    others = case.others()
    if others is None:
        return UNPROVED, f"{shown}; the service's counters could not be read, so only reported"
    if others:
        return UNPROVED, f"{shown}; {others} connections of others in between, so only reported"
    want = ", ".join(f"{host} {n}" for host, n in sorted(wanted.items()))
    return FAIL, f"{shown}; {case.service.scheduler} promises {want}"


def _sticky(case: Case, shown: str) -> Judgement:
    service = case.service
    chosen: dict[Network, list[str]] = defaultdict(list)
    for way in case.ways:
        chosen[schedule.one_client(service, way.attempt.source)] += way.handed_to
    astray = schedule.strays(chosen)
    masked = service.persistence_s and service.persistence_mask is not None
    clients = f"client prefixes (/{service.persistence_mask})" if masked else "client addresses"
    if astray:
        return FAIL, f"{len(astray)} {clients} got several servers: {shown}"
    stays = f" (persistent for {service.persistence_s} s)" if service.persistence_s else ""
    return PASS, f"{shown}; each of {len(chosen)} {clients} kept its server{stays}"


# The third: verdicts that lean on what was not seen, so that lost frames leave them unproved.
RULES: tuple[tuple[str, Callable[[Case], Judgement], tuple[str, ...]], ...] = (
    ("path.every_destination", _every_destination, (FAIL,)),
    ("path.client_address", _client_address, ()),
    ("path.encapsulated", encapsulated, ()),
    ("path.direct_reply", _direct_reply, (PASS,)),
    ("path.reply_through_director", reply_through_director, (FAIL,)),
    ("path.distribution", _distribution, (FAIL,)),
    ("path.every_endpoint", every_endpoint, (FAIL,)),
    ("path.one_server", one_server, ()),
)
