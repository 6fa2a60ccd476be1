"""What should stand where, from a spec and what is there."""

from dataclasses import replace
from datetime import datetime, timezone

from onearm import desire as desire_module
from onearm import rotation
from onearm.again import Again
from onearm.desire import DIRECTOR_SYSCTLS, _by_hand, desire, director_link
from onearm.facts import HostFacts, PathFact
from onearm.model import (
    AnnouncedVip,
    ArpSilence,
    BootFile,
    BootVip,
    Destination,
    HeldVip,
    Link,
    Mark,
    Service,
    Sysctl,
    notes,
)
from onearm.spec import Member
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


def boot(manager, choice="auto", **more):
    world = {name: replace(host, boot=manager, **more) for name, host in facts().items()}
    found = desire(replace(SPEC, boot=choice), world, NOW)
    return {
        name: {r.path for r in things.values() if isinstance(r, (BootFile, BootVip))}
        for name, things in found.items()
    }


def test_what_brings_the_links_up_reads_the_files():
    assert boot("ifupdown")["r1"] == {
        "/etc/sysctl.d/99-zz-onearm-default.conf",
        "/etc/network/interfaces.d/onearm-default",
    }
    assert boot("unknown")["r1"] == boot("")["r1"] == boot("networkd", "off")["r1"] == set()
    assert boot("", "ifupdown")["r1"] == boot("ifupdown")["r1"]


def test_a_directors_vip_is_kept_where_networkd_would_remove_it():
    files = {"eth0": "/run/systemd/network/10-x.network", "eth9": "/y.network"}
    kept = "/etc/systemd/network/10-x.network.d/onearm-default.conf"
    assert boot("networkd", network_files=files)["d"] == {kept}
    assert boot("networkd")["d"] == set()
    assert boot("unit", network_files=files)["d"] == set()


def test_a_daemon_writes_no_files():
    world = facts()
    world["d"] = replace(world["d"], boot="networkd", network_files={"eth0": "/x.network"})
    found = desire(SPEC, {"d": world["d"]}, NOW, watch=_by_hand(SPEC, world["d"], NOW))
    assert not [r for r in found["d"].values() if isinstance(r, BootFile)]


def variants():
    """Give specs of which each differs from the first in one thing."""
    other = tuple(replace(h, address=R1 + 90 + n) for n, h in enumerate(SERVERS))
    sorry = replace(SERVICE, policy=replace(SERVICE.policy, sorry="r2", quorum=3))
    services = [
        replace(SERVICE),
        replace(SERVICE, scheduler="wlc"),
        replace(SERVICE, drain_s=30),
        replace(SERVICE, members=SERVICE.members[:1]),
        replace(SERVICE, members=(Member("r1"), Member("r2", weight=4, upper=9))),
        sorry,
    ]
    return [
        replace(SPEC, real_servers=other),
        *(replace(SPEC, services=(one,)) for one in services),
    ]


def told(spec):
    found = desire(spec, facts(spec), NOW)
    return {place: [(r, notes(r)) for r in some.values()] for place, some in found.items()}


def test_what_is_remembered_of_one_spec_is_not_taken_for_another(monkeypatch):
    fresh = []
    for spec in variants():
        monkeypatch.setattr(desire_module, "_part", Again(desire_module._one_part))
        monkeypatch.setattr(rotation, "_decided", {})
        fresh.append(told(spec))
    monkeypatch.undo()
    for spec, alone in zip(variants() + variants()[::-1], fresh + fresh[::-1], strict=True):
        assert told(SPEC)
        assert told(spec) == alone
