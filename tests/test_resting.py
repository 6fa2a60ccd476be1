"""Who is not expected to be served: by a daemon's word, by hand; and what verify makes of it."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from onearm import resting
from onearm.case import Case
from onearm.evidence import Evidence, Trial
from onearm.facts import DaemonFact, DestinationFact, HostFacts, OutFact, ServiceFact
from onearm.flows import PROBE_PORTS, Names
from onearm.kernel.frames import Frame
from onearm.model import Drain, Mark, Service
from onearm.probe import Client, Probe
from onearm.session import Session
from onearm.spec import Member, Policy
from onearm.traffic import Attempt
from onearm.verdicts import FAIL, PASS, UNPROVED
from onearm.verify import judge
from worlds import DIRECTOR, SERVERS, SERVICE, SPEC, VIP, host

CLIENT, PORT, SYN, ACK = "198.51.100.10", 40000, 0x02, 0x10
MACHINES = {h.name: host(h.address, number=n) for n, h in enumerate((DIRECTOR, *SERVERS))}
MAC = {name: facts.links[1].mac for name, facts in MACHINES.items()}
DOWN = OutFact("tcp", VIP, 80, "r2", "down", "connection refused")
SLOW = replace(SERVICE, policy=Policy(slow_start_s=30))


def director(*out, name="default", marks=(), weights=(1, 1)):
    """Give a director as it was at one moment; without `out` and a name no daemon runs."""
    table = tuple(
        DestinationFact(server.address, 80, weight, "direct")
        for server, weight in zip(SERVERS, weights, strict=True)
    )
    daemon = DaemonFact(name, "/etc/onearm/default.yaml", out=out) if name else None
    service = ServiceFact("tcp", VIP, 80, 0, "rr", destinations=table)
    return {"d": replace(MACHINES["d"], daemon=daemon, marks=marks, services=(service,))}


def frame(port, flags, *, source=CLIENT, back=False, **more):
    here, there = (source, port), (str(VIP), 80)
    (begin, begin_port), (end, end_port) = (there, here) if back else (here, there)
    return Frame(
        "eth0", more.pop("outgoing", back), more.pop("to_us", not back), "tcp", source=begin,
        target=end, source_port=begin_port, target_port=end_port, tcp_flags=flags, **more,
    )  # fmt: skip


def seen(*servers, before, after=None, service=SERVICE):
    """Give the evidence of connections that these servers got and answered; None: reset here."""
    found = Evidence(machines=MACHINES, frames={name: [] for name in MACHINES})
    found.before, found.after = before, before if after is None else after
    known = replace(SPEC, services=(service,))
    found.rest_before = resting.resting(known, found.before)
    found.rest_after = resting.resting(known, found.after)
    attempts = []
    for port, name in enumerate(servers, PORT):
        result = "connected" if name else "refused"
        attempts.append(Attempt(ip_address(CLIENT), port, result))
        found.frames["d"].append(frame(port, SYN))
        if name is None:
            found.frames["d"].append(frame(port, 0x14, back=True))
            continue
        out = {"outgoing": True, "to_us": False, "target_mac": MAC[name]}
        found.frames["d"].append(frame(port, SYN, **out))
        found.frames[name] += [
            frame(port, SYN, source_mac=MAC["d"]),
            frame(port, SYN | ACK, back=True, target_mac="02:00:00:00:00:99"),
            frame(port, ACK, source_mac=MAC["d"]),
        ]
    found.trials = [Trial(service, "client", tuple(attempts))]
    return found


def judged(*servers, service=SERVICE, **moments):
    evidence = seen(*servers, service=service, **moments)
    known = replace(SPEC, services=(service,))
    return {p.id: (p.status, p.evidence) for p in judge(known, evidence) if p.id[:4] == "path"}


def statuses(found):
    return {identity: status for identity, (status, _) in found.items() if status != PASS}


def test_one_that_the_daemon_holds_out_is_not_expected():
    found = judged(*["r1"] * 8, before=director(DOWN, weights=(1, 0)))
    assert statuses(found) == {}
    assert found["path.distribution"][1] == "r1 8, exactly as rr promises"
    assert "all 1 in rotation" in found["path.every_destination"][1]


@pytest.mark.parametrize("moment", [director(), director(name=""), director(DOWN, name="other")])
def test_one_that_is_missing_without_a_word_still_fails(moment):
    found = judged(*["r1"] * 8, before=moment)
    assert statuses(found) == {"path.every_destination": UNPROVED, "path.distribution": FAIL}


def test_one_that_is_held_out_must_get_nothing():
    found = judged(*["r1", "r2"] * 4, before=director(DOWN))
    assert found["path.distribution"][0] == FAIL
    assert "r2 got connections and should get none" in found["path.distribution"][1]


def test_a_panic_excuses_nobody():
    served = replace(DOWN, weight=1, reason="served all the same (panic): connection refused")
    found = judged(*["r1"] * 8, before=director(served))
    assert statuses(found) == {"path.every_destination": UNPROVED, "path.distribution": FAIL}


def test_a_ramping_one_may_be_served_in_any_share():
    ramping = replace(DOWN, state="ramping", reason="34 of 100", weight=34)
    for servers in (["r1"] * 8, ["r1"] * 7 + ["r2"], ["r2"] * 4 + ["r1"] * 4):
        found = judged(*servers, service=SLOW, before=director(ramping))
        assert statuses(found) == {}, servers
    found = judged(*["r2"] * 8, service=SLOW, before=director(ramping))
    assert statuses(found) == {"path.every_destination": UNPROVED}  # r1 takes its full share


@pytest.mark.parametrize("back", [True, False])
def test_one_that_went_out_or_came_back_meanwhile_is_not_judged_by_counts(back):
    moments = [director(DOWN), director()] if back else [director(), director(DOWN)]
    found = judged(*["r1"] * 6, "r2", "r2", before=moments[0], after=moments[1])
    assert statuses(found) == {}


def test_a_service_of_which_all_are_out_fails_and_says_why():
    both = (DOWN, replace(DOWN, host="r1", reason="no answer"))
    found = judged(*[None] * 8, before=director(*both, weights=(0, 0)))
    assert found["path.every_destination"][0] == FAIL
    said = "out of rotation: r1 (down: no answer), r2 (down: connection refused)"
    assert said in found["path.every_destination"][1]


def test_a_sorry_server_may_serve_alone():
    sorry = replace(SERVICE, members=(Member("r1"),), policy=Policy(sorry="r2"))
    out = (
        replace(DOWN, host="r1"),
        replace(DOWN, state="unchecked", reason="the sorry server", weight=1),
    )
    found = judged(*["r2"] * 8, service=sorry, before=director(*out))
    assert statuses(found) == {}
    assert judged(*["r2"] * 8, service=sorry, before=director())["path.distribution"][0] == FAIL


def test_a_drain_by_hand_stands_in_the_mark_where_no_daemon_runs():
    drained = Service("tcp", VIP, 80, drains=(Drain("r2", "2026-01-01T00:00:00+00:00"),))
    marks = (Mark(drained, ("default",)),)
    moment = director(name="", marks=marks, weights=(1, 0))
    fact = resting.of_service(SERVICE, resting.resting(SPEC, moment))["r2"]
    assert (fact.host, fact.state) == ("r2", "drained")
    assert statuses(judged(*["r1"] * 8, before=moment)) == {}
    assert resting.resting(SPEC, director(name="", marks=(Mark(drained, ("other",)),))) == {}
    assert resting.resting(SPEC, director(marks=marks)) == {}  # a daemon speaks for itself


def test_whole_turns_are_tried_of_those_in_rotation():
    service = replace(SERVICE, scheduler="wrr", members=(Member("r1", 3), Member("r2", 2)))
    known = replace(SPEC, services=(service,))
    client = Client("c", None, HostFacts(), (ip_address(CLIENT),))
    probe = Probe(Session(known), [], cold=False)
    assert len(probe._sources(service, client)) == 10
    probe.evidence.rest_before = resting.resting(known, director(DOWN))
    assert len(probe._sources(service, client)) == 8


def test_checks_of_the_daemon_are_no_connections_of_others():
    evidence = seen(*["r1", "r2"] * 4, before=director())
    own = {"source": str(DIRECTOR.address)}
    evidence.frames["r1"] += [frame(PROBE_PORTS.start, SYN, **own), frame(50000, SYN, **own)]
    case = Case(SPEC, evidence, Names.of(MACHINES, {}), SERVICE, evidence.trials)
    assert case.strange == {(str(DIRECTOR.address), 50000)}
