"""What should stand where, from a spec and what is there."""

from dataclasses import replace
from datetime import datetime, timezone

from onearm.desire import DIRECTOR_SYSCTLS, desire, director_link
from onearm.facts import HostFacts, PathFact
from onearm.model import AnnouncedVip, ArpSilence, Destination, HeldVip, Link, Mark, Service, Sysctl
from worlds import SERVERS, SERVICE, SPEC, VIP, facts

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
R1, R2 = (server.address for server in SERVERS)


def wanted(spec=SPEC, world=None):
    return {
        place: set(found.values()) for place, found in desire(spec, world or facts(), NOW).items()
    }


def test_the_reference():
    found = wanted()
    assert found["r1"] == {Link("eth-vip"), HeldVip(VIP), ArpSilence("eth0")}
    assert found["d"] == {
        Service("tcp", VIP, 80, "rr"),
        Destination("tcp", VIP, 80, R1),
        Destination("tcp", VIP, 80, R2),
        AnnouncedVip(VIP, "eth0"),
    }


def test_sysctls_as_far_as_the_kernel_has_them():
    world = facts()
    world["d"] = replace(world["d"], sysctls=dict.fromkeys(DIRECTOR_SYSCTLS, "9"))
    assert {r for r in wanted(world=world)["d"] if isinstance(r, Sysctl)} == {
        Sysctl(*pair) for pair in DIRECTOR_SYSCTLS.items()
    }


def test_hosts_without_facts_are_left_out_and_strangers_hold_nothing():
    found = wanted(world={"d": facts()["d"], "old": HostFacts()})
    assert set(found) == {"d", "old"}
    assert found["old"] == set()


def test_a_real_server_without_a_service_holds_nothing():
    spec = replace(SPEC, services=(replace(SERVICE, members=SERVICE.members[:1]),))
    assert wanted(spec)["r2"] == set()


def test_the_link_is_that_of_most_paths_then_that_of_the_mark():
    host = facts()["d"]
    assert director_link(SPEC, host) == "eth0"
    lost = replace(host, paths=(PathFact(R1, error="unreachable"),))
    assert director_link(SPEC, lost) == ""
    marked = replace(lost, marks=(Mark(AnnouncedVip(VIP, "eth7"), ("default",)),))
    assert director_link(SPEC, marked) == "eth7"
