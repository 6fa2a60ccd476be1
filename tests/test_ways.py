"""How packets get to real servers: from the spec's words to what stands where."""

from dataclasses import replace
from datetime import datetime, timezone
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm import spec
from onearm.daemon.probes import MARK_BASE, allocate, targets
from onearm.desire import Watch, desire
from onearm.drain import connections_cut
from onearm.facts import DestinationFact, HostFacts, PathFact, RouteFact, ServiceFact
from onearm.finding import ERROR, WARNING
from onearm.health import Health
from onearm.kernel.frames import Frame, unwrapped
from onearm.model import (
    Action,
    ArpSilence,
    CheckMark,
    Destination,
    GuePort,
    HeldVip,
    Link,
    Mark,
    Seen,
    Sysctl,
    TunnelLink,
    state_key,
)
from onearm.preflight import preflight
from onearm.reconcile import held
from onearm.rotation import Rotation, Scene, decide
from onearm.spec import DIRECT, Check, Forwarding, Member
from onearm.ways import lanes
from spec_cases import HOSTS, SIX, in_service
from worlds import DIRECTOR, NEAR, SERVERS, SERVICE, SPEC, VIP, facts

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
R1, R2 = (server.address for server in SERVERS)
IPIP, GRE = Forwarding("tunnel", "ipip"), Forwarding("tunnel", "gre")
GUE, MASQ = Forwarding("tunnel", "gue", 6080), Forwarding("masq")
END = TunnelLink("ipip-vip", "ipip", R1, DIRECTOR.address)
GATEWAY = ip_address("203.0.113.1")


def by(way, port=0, **more):
    """Give the spec with its first real server reached by a way."""
    members = (Member("r1", forwarding=way, port=port), Member("r2"))
    return replace(SPEC, services=(replace(SERVICE, members=members, **more),))


def wanted(made, place, world=None, watch=None):
    return set(desire(made, world or facts(), NOW, watch=watch)[place].values())


@pytest.mark.parametrize(
    ("said", "way", "port"),
    [
        ("forwarding: tunnel", IPIP, 0),
        ("forwarding: masq", MASQ, 0),
        ("forwarding: {method: tunnel, type: gue}", GUE, 0),
        ("forwarding: {method: tunnel, type: gue, port: 7}", replace(GUE, port=7), 0),
        ("real_servers: {server-2: {forwarding: {method: tunnel, type: gre}}}", GRE, 0),
        ("forwarding: masq, real_servers: {server-2: {port: 8080}}", MASQ, 8080),
        ("forwarding: masq, real_servers: {server-2: {port: 80}}", MASQ, 0),
        ("forwarding: tunnel, real_servers: {server-2: {forwarding: direct}}", DIRECT, 0),
    ],
)
def test_the_words_of_a_spec(said, way, port):
    (service,) = spec.parse(in_service(said), "web.yaml").services
    assert (service.way("server-2"), service.port_at("server-2")) == (way, port or 80)


MIXES = (  # what may stand in one spec, per real server
    "port: 80/tcp, forwarding: masq, persistence: {timeout: 5m, netmask: 24}, drain: 1m",
    "port: 81/tcp, scheduler: mh, flags: mh-port, forwarding: masq",
    "port: 3868/sctp, forwarding: masq, real_servers: {server-2: {port: 3869}}",
    "port: 5060/udp, forwarding: masq, persistence: {timeout: 5m, engine: sip}",
)
OTHERS = (
    "port: 80/tcp, persistence: 5m, real_servers: {server-2: {forwarding: tunnel}, server-3: }",
    "port: 53/udp, flags: ops, forwarding: {method: tunnel, type: gue}",
    "port: 3868/sctp, forwarding: {method: tunnel, type: gre}",
)


@pytest.mark.parametrize("mix", [MIXES, OTHERS])
def test_kinds_of_service_go_by_every_way_that_the_kernel_has_for_them(mix):
    text = HOSTS + "services:\n" + "".join(f"  - {{vip: 1.2.3.4, {one}}}\n" for one in mix)
    assert len(spec.parse(text, "web.yaml").services) == len(mix)


def test_a_real_server_behind_masq_may_serve_ipv6_directly():
    one, six = (
        "{vip: 1.2.3.4, port: 80/tcp, forwarding: masq}",
        "{vip: '2001:db8::2', port: 80/tcp}",
    )
    made = spec.parse(f"{SIX}services:\n  - {one}\n  - {six}\n", "web.yaml")
    assert [service.way("s").method for service in made.services] == ["masq", "direct"]


def test_a_tunnels_end_holds_the_vip_and_lets_in_the_director_alone():
    assert wanted(by(IPIP), "r1") == {END, HeldVip(VIP, "ipip-vip"), ArpSilence("eth0")}
    gue = {END, GuePort(6080), HeldVip(VIP, "ipip-vip"), ArpSilence("eth0")}
    assert wanted(by(GUE), "r1") == gue
    gre = TunnelLink("gre-vip", "gre", R1, DIRECTOR.address)
    assert wanted(by(GRE), "r1") == {gre, HeldVip(VIP, "gre-vip"), ArpSilence("eth0")}
    assert wanted(by(IPIP), "r2") == {Link("eth-vip"), HeldVip(VIP), ArpSilence("eth0")}
    assert Destination("tcp", VIP, 80, R1, forwarding="tunnel", tunnel="ipip") in wanted(
        by(IPIP), "d"
    )


def test_behind_masq_a_real_server_holds_nothing_and_the_director_forwards():
    assert wanted(by(MASQ, 8080), "r1") == set()
    found = wanted(by(MASQ, 8080), "d")
    assert Destination("tcp", VIP, 80, R1, forwarding="masq", own_port=8080) in found
    assert {r.name: r.value for r in found if isinstance(r, Sysctl)} == {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/conf/all/send_redirects": "0",
        "net/ipv4/conf/eth0/send_redirects": "0",
    }
    assert not any(isinstance(r, Sysctl) for r in wanted(by(IPIP), "d"))


def test_a_tunnels_director_asks_clients_for_packets_that_fit():
    for way, wanting in ((GUE, {"1"}), (DIRECT, set()), (MASQ, set())):
        world = world_with("d", sysctls={"net/ipv4/vs/pmtu_disc": "0"})
        found = wanted(by(way), "d", world)
        assert {r.value for r in found if getattr(r, "name", "").endswith("pmtu_disc")} == wanting
    assert not any("pmtu_disc" in getattr(r, "name", "") for r in wanted(by(GUE), "d"))


def test_services_behind_masq_are_tried_from_ports_of_their_own():
    def services(count, **more):
        return [replace(SERVICE, port=port, **more) for port in range(1, count + 1)]

    plain, (other,) = services(1, protocol="udp", forwarding=MASQ), services(1)
    made = replace(SPEC, services=(other, *services(3, forwarding=MASQ, vip=R1), *plain))
    dealt = {("tcp", R1, 1): (0, 3), ("tcp", R1, 2): (1, 3), ("tcp", R1, 3): (2, 3)}
    assert lanes(made) == {**dealt, ("udp", VIP, 1): (0, 1)}
    many = replace(SPEC, services=tuple(services(9, forwarding=MASQ)))
    assert [lane for lane, of in lanes(many).values() if of == 4] == [0, 1, 2, 3, 0, 1, 2, 3, 0]


def draining(way, **port):
    """Give a world in which r1 has left the spec's service with a connection, and the spec."""
    gone = Destination(
        "tcp",
        VIP,
        80,
        R1,
        1,
        way.method,
        host="r1",
        tunnel=way.tunnel,
        tunnel_port=way.port,
        **port,
    )
    held = DestinationFact(R1, gone.server_port, 1, way.method, active=1)
    world = facts()
    table = ServiceFact("tcp", VIP, 80, 0, "rr", destinations=(held,))
    world["d"] = replace(world["d"], services=(table,), marks=(Mark(gone, ("default",)),))
    world["r1"] = replace(world["r1"], marks=(Mark(END, ("default",)),))
    left = replace(SERVICE, members=(Member("r2"),), drain_s=300.0)
    return replace(SPEC, services=(left,)), world, gone


def test_one_that_drains_keeps_its_way():
    made, world, gone = draining(IPIP)
    kept = next(r for r in wanted(made, "d", world) if getattr(r, "server", None) == R1)
    assert kept == replace(gone, weight=0)
    assert {END, HeldVip(VIP, "ipip-vip")} <= wanted(made, "r1", world)
    left = replace(made, real_servers=SERVERS[1:])
    assert {END, HeldVip(VIP, "ipip-vip")} <= wanted(left, "r1", world)


def test_one_behind_masq_drains_on_its_own_port_and_the_director_still_forwards():
    made, world, gone = draining(MASQ, own_port=8080)
    found = wanted(made, "d", world)
    assert replace(gone, weight=0) in found
    assert Sysctl("net/ipv4/ip_forward", "1") in found
    assert wanted(made, "r1", world) == set()


def test_a_removal_behind_masq_cuts_what_its_own_port_has():
    _, world, gone = draining(MASQ, own_port=8080)
    cut = Action("d", gone, None)
    assert connections_cut([cut], world) == {cut: 1}
    other = Action("d", replace(gone, own_port=8081), None)
    assert connections_cut([other], world) == {}


def test_bounds_hold_whatever_the_way():
    members = (Member("r1", 3, 100, 80, MASQ, 8080), Member("r2", 1, 9, 0, MASQ))
    made = replace(SPEC, services=(replace(SERVICE, members=members),))
    found = [r for r in wanted(made, "d") if isinstance(r, Destination)]
    shown = {(r.server, r.weight, r.upper, r.lower, r.forwarding, r.own_port) for r in found}
    assert shown == {(R1, 3, 100, 80, "masq", 8080), (R2, 1, 9, 0, "masq", 0)}


def test_a_changed_way_is_set_on_the_living_destination_but_a_changed_port_is_another():
    plain = Destination("tcp", VIP, 80, R1)
    assert replace(plain, forwarding="tunnel", tunnel="gue", tunnel_port=6080).key == plain.key
    assert replace(plain, forwarding="masq", own_port=8080).key != plain.key


def test_the_table_of_one_behind_masq_is_read_by_its_own_port():
    made = by(MASQ, 8080)
    held = DestinationFact(R1, 8080, 7, "masq", active=2)
    table = ServiceFact("tcp", VIP, 80, 0, "rr", destinations=(held,))
    healths = {("tcp", VIP, 80, host): Health() for host in ("r1", "r2")}
    scene = Scene(made, HostFacts(services=(table,)), NOW, healths)
    verdicts = decide(Rotation(), scene).decisions["tcp", VIP, 80].verdicts
    assert {host: verdict.weight for host, verdict in verdicts.items()} == {"r1": 7, "r2": None}


def checked(way, port=0):
    return by(way, port, check=Check())


def test_a_probe_goes_by_the_way_of_its_real_server():
    made = checked(GUE)
    marks = allocate(made, HostFacts(), [])
    assert marks == {("r1", GUE): MARK_BASE + 1, ("r2", DIRECT): MARK_BASE + 2}
    found = wanted(made, "d", watch=Watch(decide_for(made), {}, marks))
    assert CheckMark(MARK_BASE + 1, R1, "r1", 4, "tunnel", "gue", 6080) in found
    assert Sysctl("net/ipv4/conf/eth0/accept_local", "1") in found
    kept = Mark(CheckMark(MARK_BASE + 9, R1, "r1", 4, "tunnel", "gue", 6080), ("default",))
    assert allocate(made, HostFacts(marks=(kept,)), [])["r1", GUE] == MARK_BASE + 9
    assert allocate(checked(IPIP), HostFacts(marks=(kept,)), [])["r1", IPIP] != MARK_BASE + 9


def decide_for(made):
    return decide(Rotation(), Scene(made, HostFacts(), NOW, None))


def test_a_probe_of_one_behind_masq_asks_for_its_own_port_and_lets_no_martian_in():
    service = replace(SERVICE, forwarding=MASQ, check=Check(), members=(Member("r1", port=8080),))
    made = replace(SPEC, services=(service,))
    marks = allocate(made, HostFacts(), [])
    (target,) = targets(made, marks, {4: DIRECTOR.address})
    assert (target.address, target.port) == (VIP, 8080)
    found = wanted(made, "d", watch=Watch(decide_for(made), {}, marks))
    assert not any(getattr(r, "name", "").endswith("accept_local") for r in found)


ROUTED = (PathFact(R1, "eth0", GATEWAY, DIRECTOR.address), PathFact(R2, "eth0"))
BACK = (RouteFact(NEAR, "eth0"), RouteFact(ip_network("0.0.0.0/0"), "eth0", DIRECTOR.address))
AWAY = (RouteFact(NEAR, "eth0"), RouteFact(ip_network("0.0.0.0/0"), "eth0", GATEWAY))


def world_with(name, **changed):
    found = facts()
    found[name] = replace(found[name], **changed)
    return found


def ids(made, world):
    return [(f.id, f.severity, f.party) for f in preflight(made, world)]


def test_direct_needs_the_segment_and_a_tunnel_only_a_route():
    world = world_with("d", paths=ROUTED)
    assert ids(SPEC, world) == [("l2.on_link", ERROR, "d")]
    assert ids(by(IPIP), world) == []
    lost = world_with("d", paths=(PathFact(R1, error="Network is unreachable"), ROUTED[1]))
    assert ids(by(IPIP), lost) == [("tunnel.path", ERROR, "d")]
    other = world_with("d", paths=(replace(ROUTED[0], source=GATEWAY), ROUTED[1]))
    assert ids(by(IPIP), other) == [("tunnel.source", ERROR, "d")]


def test_masq_needs_the_way_back_over_the_director():
    outside = replace(by(MASQ), clients=(ip_network("198.51.100.0/24"),))
    assert ids(outside, world_with("r1", routes=BACK)) == []
    assert ids(outside, world_with("r1", routes=AWAY)) == [("masq.return_route", ERROR, "r1")]
    assert ids(outside, world_with("r1", routes=())) == [("masq.return_route", ERROR, "r1")]
    assert ids(by(MASQ), world_with("r1", routes=BACK)) == [("masq.return_route", WARNING, "r1")]


def test_masq_asks_for_nothing_of_ipv6():
    six, own6 = ip_address("2001:db8:203::2"), ip_address("2001:db8:203::4")
    default6 = RouteFact(ip_network("::/0"), "eth0", ip_address("2001:db8:203::1"))
    world = world_with("r1", routes=(*BACK, default6))
    held = replace(world["r1"].addresses[1], address=six, prefix_length=128, link="lo")
    world["r1"] = replace(world["r1"], addresses=(*world["r1"].addresses, held))
    servers = (replace(SERVERS[0], address6=own6), *SERVERS[1:])
    outside = (ip_network("198.51.100.0/24"), ip_network("::/0"))
    made = replace(by(MASQ), real_servers=servers, clients=outside)
    also = replace(SERVICE, vip=six, members=(Member("r1"),))
    made = replace(made, services=(*made.services, also))
    assert [found for found in ids(made, world) if found[0].startswith("masq")] == []


def test_masq_needs_a_real_server_without_the_vip():
    outside = replace(by(MASQ), clients=(ip_network("198.51.100.0/24"),))
    world = world_with("r1", routes=BACK)
    held = replace(world["r1"].addresses[1], address=VIP, prefix_length=32, link="lo")
    world["r1"] = replace(world["r1"], addresses=(*world["r1"].addresses, held))
    assert ids(outside, world) == [("masq.holds_vip", ERROR, "r1")]
    marks = (Mark(HeldVip(VIP, "lo"), ("default",)),)  # ours: the plan takes it away
    world["r1"] = replace(world["r1"], marks=marks)
    assert ids(outside, world) == []


INNER = bytes.fromhex(  # 198.51.100.10:40000 > 203.0.113.2:80, SYN
    "45000028000040004006 0000 c633640a cb007102 9c40 0050 00000001 00000000 5002 0400 0000 0000"
)
OUTER = Frame("eth0", outgoing=True, to_us=False, source="203.0.113.3", target="192.0.2.5")


def outer(protocol, between=b""):
    head = bytes.fromhex("4500000000000000") + bytes([64, protocol]) + bytes(10)
    return head + between + INNER


@pytest.mark.parametrize(
    ("kind", "packet"),
    [
        ("ipip", outer(4)),
        ("gre", outer(47, bytes.fromhex("00000800"))),
        ("gre", outer(47, bytes.fromhex("a000080000000000") + bytes(4))),
        ("gue", outer(17, bytes(8) + bytes.fromhex("00040000"))),
        ("gue", outer(17, bytes(8) + bytes.fromhex("01040000") + bytes(4))),
    ],
)
def test_a_frame_in_a_tunnel_shows_the_packet_in_it(kind, packet):
    found = unwrapped(OUTER, packet)
    assert (found.tunnel, found.outer_source, found.outer_target) == (
        kind,
        "203.0.113.3",
        "192.0.2.5",
    )
    ends = (found.source, found.source_port, found.target, found.target_port)
    assert ends == ("198.51.100.10", 40000, "203.0.113.2", 80)
    assert (found.kind, found.tcp_flags) == ("tcp", 2)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_packet_in_a_tunnel_or_none(packet):
    found = unwrapped(OUTER, packet)
    assert found is None or found.tunnel in {"ipip", "gre", "gue"}


def test_plain_packets_are_in_no_tunnel():
    assert unwrapped(OUTER, INNER) is None
    assert unwrapped(OUTER, outer(17, bytes(8) + bytes.fromhex("20040000"))) is None  # control
    assert unwrapped(OUTER, outer(47, bytes.fromhex("000086dd"))) is None


@pytest.mark.parametrize("way", [IPIP, GUE, MASQ], ids=lambda way: way.tunnel or way.method)
def test_a_way_changes_only_while_its_real_server_is_seen(way):
    """Its end of a tunnel may not be there yet; a weight goes on changing."""
    before = Destination("tcp", VIP, 80, R1, host="r1")
    after = replace(before, forwarding=way.method, tunnel=way.tunnel, tunnel_port=way.port)
    seen = {"d": {state_key(before): Seen(before, ("default",), before)}}
    wanted = {"d": {state_key(after): after}}
    assert held(Action("d", before, after), {"r1": None}, seen, wanted)
    assert not held(Action("d", before, after), {"r2": None}, seen, wanted)
    heavier = replace(before, weight=7)
    assert not held(Action("d", before, heavier), {"r1": None}, seen, wanted)
