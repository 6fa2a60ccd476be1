"""Each rule fires on exactly its fault, and none on a sane world."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from onearm.facts import AddressFact, ClaimFact, PathFact, ServiceFact
from onearm.model import AnnouncedVip, ArpSilence, Destination, HeldVip, Mark, Service, Sysctl
from onearm.preflight import ERROR, WARNING, preflight
from worlds import DIRECTOR, SERVERS, SPEC, VIP, facts, host, nic

R1, R2 = (server.address for server in SERVERS)
SERVICE = Service("tcp", VIP, 80, "rr")
FOREIGN = ServiceFact("tcp", ip_address("203.0.113.20"), 25, 0, "rr")
GATEWAY = ip_address("203.0.113.1")
MAC = "02:aa:aa:aa:aa:aa"


def change(name, **fields):
    """Bend one host of the sane world."""
    world = facts()
    world[name] = replace(world[name], **fields)
    return world


def add(name, **fields):
    world = facts()
    return change(
        name, **{field: getattr(world[name], field) + more for field, more in fields.items()}
    )


def marked(name, *resources):
    return add(name, marks=tuple(Mark(r, ("default",)) for r in resources))


FAULTS = [
    ("host.ip_vs", ERROR, "d", change("d", lacks={"ip_vs": "no module"})),
    ("host.scheduler", ERROR, "d", change("d", lacks={"scheduler": "no twos"})),
    ("host.sctp", ERROR, "d", change("d", lacks={"sctp": "built without"})),
    ("host.engine", ERROR, "d", change("d", lacks={"engine": "no sip"})),
    ("host.arp_nft", ERROR, "r1", change("r1", lacks={"arp_nft": "no nft"})),
    ("host.address", ERROR, "r1", change("r1", addresses=())),
    (
        "host.same_machine",
        ERROR,
        "r2",
        facts() | {"r2": replace(facts()["r1"], addresses=facts()["r2"].addresses)},
    ),
    ("host.role", ERROR, "r1", marked("r1", SERVICE)),
    ("host.role", ERROR, "r1", marked("r1", Destination("tcp", VIP, 80, R1))),
    ("host.role", ERROR, "r1", marked("r1", AnnouncedVip(VIP, "eth0"))),
    ("host.role", ERROR, "d", marked("d", HeldVip(VIP))),
    ("host.role", ERROR, "d", marked("d", ArpSilence("eth0"))),
    (
        "l2.on_link",
        ERROR,
        "d",
        change("d", paths=(PathFact(R1, "eth0", GATEWAY), PathFact(R2, "eth0"))),
    ),
    (
        "l2.on_link",
        ERROR,
        "d",
        change("d", paths=(PathFact(R1, "eth0"), PathFact(R2, error="unreachable"))),
    ),
    ("l2.one_link", ERROR, "d", change("d", paths=(PathFact(R1, "eth0"), PathFact(R2, "eth1")))),
    (
        "director.second_address",
        ERROR,
        "d",
        change(
            "d",
            addresses=(
                AddressFact("eth0", VIP, 32),
                AddressFact("eth0", ip_address("fe80::3"), 64, 253),
                AddressFact("eth1", DIRECTOR.address, 27),
            ),
        ),
    ),
    ("vip.free", ERROR, "d", change("d", claims=(ClaimFact(VIP, "eth0", MAC),))),
    ("vip.elsewhere", ERROR, "d", add("d", addresses=(AddressFact("eth1", VIP, 27),))),
    ("vip.elsewhere", ERROR, "r1", add("r1", addresses=(AddressFact("lo", VIP, 32),))),
    (
        "arp.ignore_too_strict",
        ERROR,
        "r1",
        change("r1", sysctls={"net/ipv4/conf/all/arp_ignore": "8"}),
    ),
    ("arp.no_link", ERROR, "r1", change("r1", links=(nic("tun0", kind="tun", mac="00"),))),
    ("director.shared", WARNING, "d", change("d", services=(FOREIGN,))),
    (
        "director.shared",
        WARNING,
        "d",
        change("d", services=(replace(FOREIGN, fwmark=7, vip=None),)),
    ),
]


@pytest.mark.parametrize(
    ("identity", "severity", "party", "world"), FAULTS, ids=lambda v: str(v)[:25]
)
def test_a_fault_is_named_and_nothing_else(identity, severity, party, world):
    found = preflight(SPEC, world)
    assert {(f.id, f.severity, f.party) for f in found} == {(identity, severity, party)}
    for finding in found:
        assert finding.observed
        assert finding.cure


SANE = {
    "nothing stands": facts(),
    "hosts that are out": {"d": facts()["d"]},
    "nobody": {},
    "all stands": add("d", addresses=(AddressFact("eth0", VIP, 32),))
    | {"r1": add("r1", addresses=(AddressFact("eth-vip", VIP, 32),))["r1"]},
    "a VIP of ours elsewhere moves": marked("d", AnnouncedVip(VIP, "eth9"))
    | {
        "d": replace(
            marked("d", AnnouncedVip(VIP, "eth9"))["d"],
            addresses=(*facts()["d"].addresses, AddressFact("eth9", VIP, 32)),
        )
    },
    "our own services": marked("d", SERVICE)
    | {"d": replace(marked("d", SERVICE)["d"], services=(ServiceFact("tcp", VIP, 80, 0, "rr"),))},
    "a service of the spec that somebody else made": change(
        "d", services=(ServiceFact("tcp", VIP, 80, 0, "wlc"),)
    ),
    "foreign services, sysctls ours already": change(
        "d", services=(FOREIGN,), marks=(Mark(Sysctl("net/ipv4/vs/conntrack", "0"), ("default",)),)
    ),
    "an arp_ignore that is strict enough": change(
        "r1", sysctls={"net/ipv4/conf/all/arp_ignore": "2"}
    ),
    "an arp_ignore that is no number": change("r1", sysctls={"net/ipv4/conf/all/arp_ignore": "²"}),
    "a real server answers for the VIP": change(
        "d", claims=(ClaimFact(VIP, "eth0", facts()["r1"].links[1].mac),)
    ),
}


@pytest.mark.parametrize("world", SANE)
def test_a_sane_world_has_no_findings(world):
    assert preflight(SPEC, SANE[world]) == []


def test_a_shared_director_by_consent():
    spec = replace(SPEC, shared_director=True)
    assert preflight(spec, change("d", services=(FOREIGN,))) == []


def test_an_unused_real_server_is_left_alone():
    spec = replace(
        SPEC, services=(replace(SPEC.services[0], members=SPEC.services[0].members[:1]),)
    )
    assert preflight(spec, change("r2", addresses=(), lacks={"dummy": "no"})) == []


def test_errors_come_first():
    world = change("d", services=(FOREIGN,), lacks={"ip_vs": "no"})
    assert [f.severity for f in preflight(SPEC, world)] == [ERROR, WARNING]


def test_every_machine_of_the_sane_world_is_its_own():
    assert host(R1) != host(R2)


def boot_notes(manager, spec=SPEC):
    world = {name: replace(host, boot=manager) for name, host in facts().items()}
    found = preflight(spec, world)
    return {(f.id, f.party) for f in found if f.id.startswith("boot.")}


def test_a_real_server_that_a_reboot_takes_out_is_named():
    assert boot_notes("unknown") == {("boot.unknown", "r1"), ("boot.unknown", "r2")}
    assert boot_notes("networkd") == boot_notes("") == set()
    assert boot_notes("unknown", replace(SPEC, boot="unit")) == set()
