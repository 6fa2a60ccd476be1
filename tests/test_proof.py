"""What apply proves of an unknown driver: which connections are tried, what their frames say."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from clouds import cloud, spec
from onearm import proof
from onearm.evidence import Evidence, Trial
from onearm.kernel.frames import Frame
from onearm.session import Session
from onearm.spec import Member, VirtualService
from onearm.traffic import Attempt
from worlds import DIRECTOR, SERVERS, SERVICE, VIP, host

CLIENT, PORT = "198.51.100.10", 40000
SYN, ACK = 0x02, 0x10
MACHINES = {h.name: host(h.address, number=n) for n, h in enumerate((DIRECTOR, *SERVERS))}
MAC = {name: facts.links[1].mac for name, facts in MACHINES.items()}


def frame(number, flags, *, back=False, **more):
    ends = (CLIENT, PORT + number, str(VIP), 80)
    source, source_port, target, target_port = ends[2:] + ends[:2] if back else ends
    return Frame(
        "eth0", more.pop("outgoing", back), not back, "tcp", source=source, target=target,
        source_port=source_port, target_port=target_port, tcp_flags=flags, **more,
    )  # fmt: skip


def seen(*fates):
    """Give the evidence of connections: to whom, and what became of each."""
    found = Evidence(machines=MACHINES, frames={name: [] for name in MACHINES})
    attempts = []
    for number, (name, fate) in enumerate(fates):
        result = {"lost": "timeout", "reset": "refused"}.get(fate, "connected")
        attempts.append(Attempt(ip_address(CLIENT), PORT + number, result))
        if not name:
            continue
        there, at = found.frames["d"], found.frames[name]
        there += [frame(number, SYN), frame(number, SYN, outgoing=True, target_mac=MAC[name])]
        there[-1] = replace(there[-1], to_us=False)
        at.append(frame(number, SYN, source_mac=MAC["d"]))
        if fate != "lost":
            at.append(frame(number, 0x14 if fate == "reset" else SYN | ACK, back=True))
        if fate == "passes":
            at.append(frame(number, ACK, source_mac=MAC["d"]))
    found.trials = [Trial(SERVICE, "client", tuple(attempts))]
    return found


def judged(*fates, **more):
    evidence = seen(*fates)
    for field, value in more.items():
        setattr(evidence, field, value)
    return proof.judge(spec(), evidence, [SERVICE])


def test_it_passes_when_more_than_a_syn_came_to_each_server():
    found = judged(("r1", "passes"), ("r2", "passes"))
    assert (found.id, found.status, found.about) == (proof.ID, "pass", "d")
    assert "r1, r2" in found.evidence


@pytest.mark.parametrize("other", ["passes", "hangs", "lost"])
def test_one_server_that_gets_the_syn_alone_is_enough_to_fail(other):
    found = judged(("r1", "hangs"), ("r2", other), ("r1", "passes"))
    assert found.status == "fail"
    assert 'director_port_security: "off"' in found.evidence
    named = found.evidence.split(" got ")[0]
    assert named == ("r1, r2" if other == "hangs" else "r1")


@pytest.mark.parametrize(
    ("fate", "why"),
    [
        (("r2", "lost"), "r2: none of 1 connections was answered"),
        (("r2", "reset"), "r2: it resets connections"),
        (("r1", "passes"), "r2: none of 2 connections was handed to it"),
        (("", "lost"), "r2: none of 2 connections was handed to it"),
    ],
)
def test_what_was_not_seen_is_unproved_and_says_why(fate, why):
    found = judged(("r1", "passes"), fate)
    assert found.status == "unproved"
    assert why in found.evidence and "--client" in found.evidence


def test_lost_frames_accuse_nobody():
    found = judged(("r1", "hangs"), ("r2", "hangs"), lost={"r1": 3})
    assert (found.status, "lost 3 frames" in found.evidence) == ("unproved", True)


def needed(known, facts):
    return proof.needed(Session(known, cloud=facts))


def test_it_is_needed_where_a_filtered_director_is_behind_an_unknown_driver():
    consent = {"director_groups": "replace"}
    assert needed(spec(**consent), cloud(firewall="")) == [SERVICE]
    assert needed(spec(**consent), cloud(firewall="ovn")) == []
    assert needed(spec(firewall="ovn", **consent), cloud(firewall="")) == []
    assert needed(spec(director_port_security="off"), cloud(firewall="")) == []
    assert needed(spec(**consent), None) == []
    dns = VirtualService(VIP, 53, "udp", "rr", (), SERVICE.members)
    assert needed(replace(spec(**consent), services=(dns,)), cloud(firewall="")) == []
    assert needed(replace(spec(**consent), services=()), cloud(firewall="")) == []


def test_few_services_meet_every_server():
    def tcp(port, *members):
        return VirtualService(VIP, port, "tcp", "rr", (), members)

    r1, r2, idle = Member("r1"), Member("r2"), Member("r2", 0)
    services = (tcp(80, r1), tcp(81, r1, idle), tcp(82, r2), tcp(83, r1, r2), tcp(84, r2))
    assert [s.port for s in proof.covering(replace(spec(), services=services))] == [83]
    assert [s.port for s in proof.covering(replace(spec(), services=services[:3]))] == [80, 82]
