"""Rules whose fault the lab cannot have, on observations as hosts bring them; and healthy ones."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

import worlds
from observed import (
    ADDRESSES,
    CLIENT,
    DOWN,
    ISOLATED,
    MARK,
    ROUTER,
    SILENT,
    STATEFUL,
    VIP,
    checking,
    daemon,
    drained,
    failed,
    fragmenting,
    grouped,
    healthy,
    ids,
    pending,
    preflight,
    stranger,
    strict,
    stuck,
    tunneled,
    with_facts,
    with_link,
    with_service,
    with_vitals,
)
from onearm.doctor.rank import diagnose
from onearm.doctor.table import RECORDED, TABLE
from onearm.facts import (
    NeighbourFact,
)
from onearm.finding import NOTE
from onearm.model import (
    AddressPair,
    GroupMembership,
    HeldVip,
    PortSecurity,
    SecurityGroup,
    VipPort,
)
from onearm.spec import Host, Member
from onearm.vitals import BackFact, ConnectionsFact, Listener, RulesFact

FIREWALL = RulesFact(
    "iptables-nft",
    "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate INVALID -j DROP\n"
    "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\n-A INPUT -p icmp -j ACCEPT\nCOMMIT",
)


HALF_OPEN = ConnectionsFact("tcp", VIP, 80, ADDRESSES["r1"], "SYN_RECV", 40, 39)
CROWD = ConnectionsFact("tcp", VIP, 80, ADDRESSES["r1"], "ESTABLISHED", 40000)
CASES = [
    ("lro.on", with_vitals("d", offloads={"eth0": ("lro",)})),
    (
        "conntrack.full",
        with_vitals("r1", counters={"nf_conntrack.count": 95, "nf_conntrack.max": 100}),
    ),
    ("ipvs.synrecv", with_vitals("d", connections=(HALF_OPEN,))),
    ("ipvs.table_small", with_vitals("d", connections=(CROWD,), ip_vs={"conn_tab_bits": "12"})),
    ("ipvs.unwanted", stranger()),
    ("fw.d.fin", with_vitals("d", rules=(FIREWALL,))),
    ("fw.d.checks", checking(with_vitals("d", rules=(STATEFUL,)))),
    ("loop.rs_forwards", with_facts("r1", sysctls=SILENT | {"net/ipv4/ip_forward": "1"})),
    ("host.unseen", with_vitals("r2", cannot={"rules.nft": "nft is not installed here"})),
    ("host.same_machine", preflight("host.same_machine")),
    ("host.ip_vs", preflight("host.ip_vs")),
    ("host.scheduler", preflight("host.scheduler")),
    ("host.sctp", preflight("host.sctp")),
    ("host.engine", preflight("host.engine")),
    ("ipvs.persistence", with_service(persistence_s=300)),
    ("host.role", preflight("host.role")),
    ("l2.on_link", preflight("l2.on_link")),
    ("l2.one_link", preflight("l2.one_link")),
    ("tunnel.path", preflight("tunnel.path")),
    ("tunnel.source", preflight("tunnel.source")),
    ("masq.return_route", preflight("masq.return_route")),
    ("masq.holds_vip", preflight("masq.holds_vip")),
    ("tunnel.link", tunneled(up=False)),
    ("tunnel.rp_filter", strict(tunneled())),
    ("vs.pmtu_disc", fragmenting(tunneled())),
    ("tunnel.unpacked", stuck()),
    ("path.encapsulated", failed("path.encapsulated")),
    ("path.reply_through_director", failed("path.reply_through_director")),
    ("path.every_endpoint", failed("path.every_endpoint")),
    ("path.one_server", failed("path.one_server")),
    ("ipvs.mark_rule", grouped()),
    ("host.mark_rules", preflight("host.mark_rules")),
    ("arp.ignore_too_strict", preflight("arp.ignore_too_strict")),
    ("arp.no_link", preflight("arp.no_link")),
    ("cloud.vip_port", pending(VipPort("net", VIP))),
    ("director.shared", preflight("director.shared", "warning")),
    ("health.down", daemon(DOWN, gone=["r1"])),
    ("health.isolated", daemon(ISOLATED, gone=["r1"])),
    ("health.none", drained("r1", "r2")),
    ("health.unknown", daemon(replace(DOWN, state="unknown"), gone=["r1"])),
    ("health.drained", daemon(replace(DOWN, state="drained"), gone=["r1"])),
    ("daemon.dead", with_facts("d", marks=(MARK,))),
    ("daemon.behind", preflight("daemon.behind", "warning")),
    ("daemon.none", preflight("daemon.none", "note")),
    ("director.forwards", preflight("director.forwards", "warning")),
]


def test_a_healthy_world_has_no_finding():
    assert ids(healthy()) == []


def test_a_healthy_tunnel_has_no_finding():
    assert ids(tunneled()) == []
    assert ids(tunneled(link=False))[0] == "tunnel.link"
    assert ids(tunneled(kind="sit"))[0] == "tunnel.link"


BESIDES = {"health.none": {"health.drained"}}  # a note cannot explain, so both stand


@pytest.mark.parametrize(("wanted", "observed"), CASES, ids=[case[0] for case in CASES])
def test_it_is_named_and_nothing_else_is(wanted, observed):
    found = ids(observed)
    assert (found[0], set(found)) == (wanted, {wanted} | BESIDES.get(wanted, set()))


def test_every_row_that_no_fault_tests_is_tested_here():
    assert {row.id for row in TABLE if row.tested == RECORDED} == {case[0] for case in CASES}


# The rules that faults of the lab test as well, in the forms that the lab does not have.
MORE = [
    ("vip.announced", with_facts("d", addresses=worlds.facts()["d"].addresses)),
    ("ipvs.service", with_facts("d", services=())),
    ("ipvs.scheduler", with_service(scheduler="lc")),
    ("vip.missing", with_facts("r1", addresses=worlds.facts()["r1"].addresses)),
    ("vip.link_down", with_link("r1", "eth-vip", up=False)),
    ("arp.off", with_link("r1", "eth0", arp=False)),
    ("mtu.differs", with_link("d", "eth0", mtu=9000)),
    ("arp.answers", with_facts("r1", sysctls={"net/ipv4/conf/eth0/arp_announce": "2"})),
    ("arp.announces", with_facts("r1", sysctls={"net/ipv4/conf/all/arp_ignore": "1"})),
    ("listen.on_vip", with_vitals("r1", listeners=())),
    ("listen.on_vip", with_vitals("r1", listeners=(Listener("tcp", ADDRESSES["r1"], 80),))),
    (
        "route.via_director",
        with_vitals("r1", back=(BackFact(CLIENT, VIP, "eth0", ADDRESSES["d"]),)),
    ),
    (
        "route.none",
        with_vitals("r1", back=(BackFact(CLIENT, VIP, error="Network is unreachable"),)),
    ),
    ("route.back", with_vitals("r1", back=(BackFact(CLIENT, VIP, "eth1", ROUTER),))),
    (
        "neigh.gateway",
        replace(
            with_facts("r1", neighbours=(NeighbourFact("eth0", ROUTER, "", 0x20),)),
        ),
    ),
    ("cloud.pairs", pending(AddressPair("port", ip_network("203.0.113.2/32"), host="r1"))),
    (
        "cloud.groups",
        pending(SecurityGroup("g"), GroupMembership("p", "g", stateful=True, host="d")),
    ),
    ("cloud.port_security", pending(PortSecurity("port", host="d"))),
    ("plan.differs", pending(HeldVip(VIP), place="r1")),
    ("host.unreachable", replace(healthy(), out={"r1": "r1: no answer"})),
]


@pytest.mark.parametrize(("wanted", "observed"), MORE, ids=[case[0] for case in MORE])
def test_it_is_named_without_traffic_too(wanted, observed):
    assert set(ids(observed)) == {wanted}


def test_a_listener_for_every_address_of_both_families_takes_the_vip():
    observed = with_vitals("r1", listeners=(Listener("tcp", ip_address("::"), 80),))
    assert ids(observed) == []


def test_what_could_not_be_looked_at_is_no_fault_of_the_host():
    observed = with_vitals("r1", listeners=(), cannot={"listeners": "denied"})
    found = diagnose(observed).findings
    assert [(f.id, f.severity) for f in found] == [("host.unseen", NOTE)]


def test_a_server_that_serves_nothing_owes_nothing():
    spec = replace(
        worlds.SPEC,
        real_servers=(*worlds.SERVERS, Host("spare", ip_address("203.0.113.6"))),
        services=(replace(worlds.SERVICE, members=(Member("r1"), Member("r2"))),),
    )
    facts = healthy().facts | {"spare": worlds.host(ip_address("203.0.113.6"))}
    assert ids(replace(healthy(), spec=spec, facts=facts)) == []
