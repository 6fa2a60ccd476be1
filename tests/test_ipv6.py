"""IPv6 in the pure parts: what is desired, refused, typed and proved for VIPs of either family."""

from dataclasses import replace
from datetime import datetime, timezone
from ipaddress import ip_address

import pytest

from clouds import cloud
from clouds import spec as cloud_spec
from onearm import spec as spec_module
from onearm.cloud_checks import cloud_findings
from onearm.commands import commands, shell_line
from onearm.daemon.probes import allocate
from onearm.desire import Watch, desire
from onearm.evidence import Evidence
from onearm.facts import AddressFact, HostFacts, PathFact
from onearm.finding import ERROR
from onearm.kernel.frames import Frame
from onearm.model import (
    Action,
    AnnouncedVip,
    ArpSilence,
    CheckMark,
    Destination,
    HeldVip,
    Sysctl,
    endpoint,
)
from onearm.preflight import preflight
from onearm.rotation import Rotation, Scene, decide
from onearm.verify import FAIL, PASS, judge
from onearm.wire import decode, encode
from worlds import LO, nic

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
VIP, VIP6 = ip_address("203.0.113.2"), ip_address("2001:db8:203::2")
NET6 = "2001:db8:203::"
TEXT = """
directors: {d: {address: 203.0.113.3, address6: "2001:db8:203::3"}}
real_servers:
  r1: {address: 203.0.113.4, address6: "2001:db8:203::4"}
  r2: {address: 203.0.113.5, address6: "2001:db8:203::5"}
check: tcp
services:
  - {vip: 203.0.113.2, port: 80/tcp}
  - {vip: "2001:db8:203::2", port: 80/tcp}
"""
BOTH = spec_module.parse(TEXT, "both.yaml")
ALONE = replace(BOTH, services=BOTH.services[1:])


DUMMY = nic("eth-vip", 3, kind="dummy", arp=False)


def host(number, *more, near=()):
    """A sane host of both families with one NIC; `more` are addresses as (link, address)."""
    own = (("eth0", f"203.0.113.{number}", 27), ("eth0", f"{NET6}{number}", 64), *more)
    return HostFacts(
        links=(
            LO,
            nic(mac=f"02:00:00:00:00:{number:02x}"),
            nic("eth-vip", 3, kind="dummy", arp=False),
        ),
        addresses=tuple(AddressFact(link, ip_address(text), length) for link, text, length in own),
        paths=tuple(PathFact(address, "eth0") for address in near),
    )


def world(*more_of_r1):
    near = [address for server in BOTH.real_servers for address in server.addresses]
    return {"d": host(3, near=near), "r1": host(4, *more_of_r1), "r2": host(5)}


def wanted(spec, kind, place):
    return [r for r in desire(spec, world(), NOW)[place].values() if isinstance(r, kind)]


def test_each_family_is_served_from_the_real_servers_addresses_of_it():
    pairs = {(d.vip, d.server) for d in wanted(BOTH, Destination, "d")}
    assert pairs == {
        (vip, ip_address(f"{net}{n}"))
        for vip, net in ((VIP, "203.0.113."), (VIP6, NET6))
        for n in (4, 5)
    }
    assert {v.prefix_length for v in wanted(ALONE, (HeldVip, AnnouncedVip), "d")} == {128}
    assert wanted(BOTH, AnnouncedVip, "d") == [
        AnnouncedVip(VIP, "eth0", 32),
        AnnouncedVip(VIP6, "eth0", 128),
    ]
    assert HeldVip(VIP6, "eth-vip", 128) in wanted(BOTH, HeldVip, "r1")


def test_only_an_ipv4_vip_asks_for_silence():
    assert wanted(BOTH, ArpSilence, "r1") == [ArpSilence("eth0")]
    assert wanted(ALONE, ArpSilence, "r1") == []
    assert not [r for r in wanted(BOTH, Sysctl, "d") if "ipv6" in r.name]


@pytest.mark.parametrize(("spec", "versions"), [(BOTH, [4, 4, 6, 6]), (ALONE, [6, 6])])
def test_a_probe_has_a_mark_service_of_its_family(spec, versions):
    marks = allocate(spec, HostFacts(), [])
    facts = world()
    healthy = decide(Rotation(), Scene(spec, facts["d"], NOW, None, {}))
    found = desire(spec, {"d": facts["d"]}, NOW, watch=Watch(healthy, {}, marks))["d"].values()
    made = [r for r in found if isinstance(r, CheckMark)]
    assert sorted(r.version for r in made) == versions
    assert all(r.server.version == r.version for r in made)
    assert len({r.key for r in made}) == len(made)
    lets_in = [r for r in found if isinstance(r, Sysctl) and r.name.endswith("accept_local")]
    assert len(lets_in) == (4 in versions)
    assert [decode(CheckMark, encode(r)) for r in made] == made


def ids(spec, facts):
    return {(f.id, f.party) for f in preflight(spec, facts) if f.severity == ERROR}


def test_a_sane_world_of_both_is_not_refused():
    assert ids(BOTH, world()) == ids(ALONE, world()) == set()


def test_the_vip_on_a_link_of_the_segment_is_refused_with_what_it_does():
    facts = world(("eth0", str(VIP6), 128))
    assert ids(BOTH, facts) == {("vip.elsewhere", "r1")}
    (found,) = [f for f in preflight(BOTH, facts) if f.id == "vip.elsewhere"]
    assert "answers neighbour solicitations, past the director" in found.observed
    quiet = world(("lo", str(VIP6), 128))
    (found,) = [f for f in preflight(BOTH, quiet) if f.id == "vip.elsewhere"]
    assert "solicitations" not in found.observed


def test_a_kernel_that_takes_no_ipv6_address_is_refused():
    facts = world()
    off = {"net/ipv6/conf/eth-vip/disable_ipv6": "1"}
    facts["r1"] = replace(facts["r1"], sysctls=off)
    assert ids(BOTH, facts) == {("host.ipv6_off", "r1")}
    assert ids(replace(BOTH, services=BOTH.services[:1]), facts) == set()


def test_a_host_without_its_second_address_is_told():
    facts = world()
    facts["r2"] = replace(facts["r2"], addresses=facts["r2"].addresses[:1])
    assert ids(BOTH, facts) == {("host.address", "r2")}


def test_a_cloud_refuses_what_it_was_never_tried_with():
    spec = cloud_spec()
    six = replace(spec.services[0], vip=VIP6)
    assert "cloud.ipv6" not in {f.id for f in cloud_findings(spec, world(), cloud())}
    (found,) = [
        f
        for f in cloud_findings(replace(spec, services=(*spec.services, six)), world(), cloud())
        if f.id == "cloud.ipv6"
    ]
    assert (found.severity, str(VIP6) in found.observed) == (ERROR, True)


def typed(before, after):
    return [shell_line(argv) for argv in commands(Action("d", before, after))]


def test_each_change_as_it_would_be_typed():
    vip = AnnouncedVip(VIP6, "eth0", 128)
    add = "ip -6 address add 2001:db8:203::2/128 dev eth0 nodad preferred_lft 0"
    tell = "ndptool -t na -U -i eth0 -T 2001:db8:203::2 send"
    assert typed(None, vip) == [add, tell]
    assert typed(vip, vip) == [tell]
    assert typed(vip, None) == ["ip -6 address del 2001:db8:203::2/128 dev eth0"]
    near = Destination("tcp", VIP6, 80, ip_address(f"{NET6}4"))
    assert typed(None, near) == [
        "ipvsadm -a -t '[2001:db8:203::2]:80' -r '[2001:db8:203::4]:80' -g -w 1"
    ]
    mark = CheckMark(7, ip_address(f"{NET6}4"), "r1", 6)
    assert typed(None, mark) == [
        "ipvsadm -A -f 7 -6 -s rr",
        "ipvsadm -a -f 7 -6 -r '[2001:db8:203::4]:0' -g",
    ]
    assert endpoint(VIP, 80) == "203.0.113.2:80"


def advertised(mac):
    frame = Frame("eth0", outgoing=False, to_us=False, kind="nd-advertisement")
    return replace(frame, source=str(VIP6), claimed_mac=mac, source_mac=mac)


@pytest.mark.parametrize(
    ("answered", "seen", "status"),
    [
        (["02:00:00:00:00:03"], "02:00:00:00:00:03", PASS),
        (["02:00:00:00:00:03"], "02:00:00:00:00:04", FAIL),
        (["02:00:00:00:00:04"], "02:00:00:00:00:03", FAIL),
    ],
)
def test_who_advertises_the_vip_is_judged_as_who_answers_for_it(answered, seen, status):
    evidence = Evidence(
        machines=world(), answers={VIP6: {"r2": answered}}, frames={"r2": [advertised(seen)]}
    )
    found = {p.id: p for p in judge(ALONE, evidence)}
    assert "arp.single_mac" not in found
    assert found["nd.single_mac"].status == status
    if status == FAIL:
        assert "r1 (02:00:00:00:00:04)" in found["nd.single_mac"].evidence
