"""What is refused in the cloud, and what is said: each rule with what sets it off.

The holes themselves are Neutron's: members of a remote group include its ports' pairs
(neutron/db/securitygroups_rpc_base.py, _select_ips_for_remote_group), which ipset makes of a /0 two
/1; OVN's address sets hold a port's own addresses only (build_port_group_address_set).
"""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from clouds import DEFAULT, SSH, VIP, cloud, group, pairs, port, rule, spec, without
from onearm import cloud_check_groups, cloud_check_network, cloud_check_ports
from onearm.cloud_checks import cloud_findings
from onearm.cloud_facts import FloatingFact, RouterFact
from onearm.finding import forbidding, lacking_rights
from onearm.model import AddressPair, GroupMembership, Mark, SecurityGroup
from onearm.spec import Host, Member
from worlds import SERVICE
from worlds import facts as hosts

REPLACE = {"director_groups": "replace"}
STATELESS = group("plain", SSH, {"protocol": "icmp"}, stateful=False)


def findings(spec, facts, seen=None):
    return cloud_findings(spec, hosts() if seen is None else seen, facts)


def hit(found, finding_id, party=None):
    return [f for f in found if f.id == finding_id and party in (None, f.party)]


def ids(found):
    return {f.id for f in found}


def with_director(facts, *groups, **more):
    return [port("d", "203.0.113.3", groups, **more), *without(facts, "d")]


def test_a_sane_cloud_with_consent_is_not_forbidden():
    found = findings(spec(**REPLACE), cloud())
    assert not forbidding(found) and not lacking_rights(found)
    assert ids(found) == {"sg.d.return_rules", "sg.d.left_group", "port.d.pairs_cover_clients"}


@pytest.mark.parametrize("driver", ["ovn", "iptables_hybrid", ""])
def test_a_director_in_a_stateful_group_is_refused_with_group_and_key(driver):
    found = findings(spec(), cloud(firewall=driver))
    (one,) = hit(found, "sg.d.stateless_or_psec_off", "d")
    assert one.severity == "error"
    assert "'default'" in one.observed and "director_groups: replace" in one.cure
    assert ("first data hangs" in one.observed) == (driver != "iptables_hybrid")
    assert hit(found, "sg.mixed", "d")


def test_the_openvswitch_firewall_needs_the_consent():
    (one,) = forbidding(findings(spec(**REPLACE), cloud(firewall="openvswitch")))
    assert one.id == "sg.d.stateless_or_psec_off" and "director_port_security: off" in one.cure
    found = findings(spec(director_port_security="off"), cloud(firewall="openvswitch"))
    assert not forbidding(found)
    assert hit(found, "port.unfiltered", "d")[0].severity == "warning"


def test_a_rule_that_cannot_be_carried_over_is_refused_and_listed():
    far = group("far", {"protocol": "tcp", "remote_group_id": "g-unseen"})
    facts = cloud(with_director(cloud(), "g-far"), (DEFAULT, far))
    (one,) = hit(findings(spec(**REPLACE), facts), "sg.d.carry_over")
    assert one.severity == "error" and "g-unseen" in one.observed


def test_the_world_in_a_group_that_rules_refer_to_is_critical():
    admits = group("db", {"protocol": "tcp", "remote_group_id": "g-plain"})
    ports = with_director(cloud(), "g-plain")
    facts = cloud(ports, (DEFAULT, STATELESS, admits), firewall="iptables_hybrid")
    (one,) = hit(findings(spec(), facts), "sg.wide_pair_referenced")
    assert one.severity == "critical" and one in forbidding([one])
    assert "'db'" in one.observed and "'plain'" in one.observed and "clients" in one.cure
    assert hit(findings(spec(), replace(facts, firewall="ovn")), one.id)[0].severity == "note"
    halves = (ip_network("0.0.0.0/1"), ip_network("128.0.0.0/1"))
    assert hit(findings(replace(spec(), clients=halves), facts), one.id)[0].severity == "critical"
    two = (ip_network("198.0.0.0/9"), ip_network("198.128.0.0/9"))  # each is less than a /8
    assert hit(findings(replace(spec(), clients=two), facts), one.id)[0].severity == "critical"
    few = replace(spec(), clients=(two[0],))
    assert hit(findings(few, facts), one.id)[0].severity == "warning"
    assert not hit(findings(spec(**REPLACE), facts), one.id)


def test_a_self_reference_is_a_reference():
    found = findings(spec(manage_security_groups=False), cloud(firewall="iptables_hybrid"))
    (one,) = hit(found, "sg.wide_pair_referenced")
    assert (one.severity, one.party) == ("critical", "d")
    assert "the 3 ports in there (d, r1, r2)" in one.observed


def test_to_manage_groups_no_more_brings_back_what_was_replaced():
    """So the groups that count are those that the mark keeps, not those that the port is in."""
    ours = replace(STATELESS, id="g-own", name="onearm-default-director")
    member = GroupMembership("p-d", ours.name, stateful=False, only=True)
    marks = (
        Mark(SecurityGroup(ours.name, stateful=False), ("default",)),
        Mark(member, ("default",), {"groups": "g-default"}),
    )
    facts = cloud(with_director(cloud(), "g-own"), (DEFAULT, ours), marks=marks)
    facts = replace(facts, firewall="iptables_hybrid")
    assert not hit(findings(spec(**REPLACE), facts), "sg.wide_pair_referenced")
    found = findings(spec(manage_security_groups=False), facts)
    (one,) = hit(found, "sg.wide_pair_referenced", "d")
    assert one.severity == "critical" and one in forbidding(found)
    stateful = findings(spec(manage_security_groups=False), replace(facts, firewall="ovn"))
    assert hit(stateful, "sg.d.stateless_or_psec_off", "d")[0].severity == "error"


def test_a_wide_pair_on_a_real_server_is_found_too():
    wide = [replace(p, pairs=pairs("0.0.0.0/0")) if p.host == "r1" else p for p in cloud().ports]
    found = findings(spec(**REPLACE), cloud(wide, firewall="iptables_hybrid"))
    assert hit(found, "sg.wide_pair_referenced", "r1")[0].severity == "critical"


def test_more_pairs_than_the_cloud_allows():
    nine = pairs(*(f"10.0.0.{n}" for n in range(1, 10)))
    ports = with_director(cloud(), "g-default", pairs=nine)
    (one,) = hit(findings(spec(**REPLACE), cloud(ports)), "pairs.quota")
    assert one.severity == "error" and "11" in one.observed and "10 are allowed" in one.observed
    assert "max_address_pairs" in one.cure
    assert not hit(findings(spec(max_address_pairs=11, **REPLACE), cloud(ports)), "pairs.quota")
    assert hit(findings(spec(max_address_pairs=2, **REPLACE), cloud()), "pairs.quota") == []
    assert hit(findings(spec(max_address_pairs=1, **REPLACE), cloud()), "pairs.quota", "d")
    mark = Mark(AddressPair("p-d", ip_network("10.0.0.1/32")), ("default",))
    assert not hit(findings(spec(**REPLACE), cloud(ports, marks=(mark,))), "pairs.quota")


def test_a_pair_with_multicast_in_it_is_foreseen_where_it_is_refused():
    """As neutron_lib.api.validators.validate_subnet_not_multicast has it."""
    halves = (ip_network("0.0.0.0/1"), ip_network("128.0.0.0/1"))
    newer = cloud(extensions=(*cloud().extensions, "aap-reject-multicast"))
    wide = replace(spec(**REPLACE), clients=halves)
    (one,) = hit(findings(wide, newer), "pairs.multicast", "d")
    assert one.severity == "error" and "128.0.0.0/1" in one.observed
    assert not hit(findings(wide, cloud()), "pairs.multicast")
    assert not hit(findings(spec(**REPLACE), newer), "pairs.multicast")
    stands = with_director(newer, "g-default", pairs=pairs("128.0.0.0/1"))
    assert not hit(findings(wide, replace(newer, ports=tuple(stands))), "pairs.multicast")


def test_hosts_in_different_segments_or_networks():
    many = replace(cloud().network, segments=2)
    (one,) = hit(findings(spec(**REPLACE), cloud(network=many)), "same_segment")
    assert one.severity == "error" and "several segments" in one.observed
    known = replace(many, subnet_segments={"s-1": "a"})
    found = findings(spec(**REPLACE), cloud(network=known))
    assert hit(found, "same_segment")[0].severity == "note"
    far = [replace(p, network_id="n-2") if p.host == "r2" else p for p in cloud().ports]
    assert hit(findings(spec(**REPLACE), cloud(far)), "same_segment")[0].severity == "error"


@pytest.mark.parametrize(
    ("fields", "free"),
    [
        ({"device_id": "vm", "device_owner": "compute:nova"}, False),
        ({"device_id": "lb-1", "device_owner": "Octavia"}, False),
        ({"device_owner": "network:dhcp"}, False),
        ({}, True),
        ({"device_owner": "onearm:vip"}, True),
    ],
)
def test_a_vip_that_somebody_has_is_refused(fields, free):
    owner = replace(port("", str(VIP)), id="p-vip", **fields)
    found = hit(findings(spec(**REPLACE), cloud(vip_ports=(owner,))), "vip.reserved_unbound")
    assert [f.severity for f in found] == ([] if free else ["error"])


def test_a_vip_that_nothing_reserves():
    found = findings(spec(reserve_vip=False, **REPLACE), cloud())
    assert hit(found, "vip.reserved_unbound")[0].severity == "warning"


def test_the_form_of_a_pair_matters_on_ovn():
    bare = [replace(p, pairs=pairs(str(VIP))) for p in cloud().ports]
    found = findings(spec(**REPLACE), cloud(bare))
    assert {f.party for f in hit(found, "port.r.vip_pair")} == {"r1", "r2"}
    assert not hit(found, "port.d.vip_pair")
    cidr = [replace(p, pairs=pairs(f"{VIP}/32")) for p in cloud().ports]
    found = findings(spec(**REPLACE), cloud(cidr))
    assert hit(found, "port.d.vip_pair", "d") and not hit(found, "port.r.vip_pair")
    elsewhere = findings(spec(**REPLACE), cloud(cidr, firewall="iptables_hybrid"))
    assert not hit(elsewhere, "port.d.vip_pair")


def test_a_403_is_foreseen_until_somebody_else_has_done_it():
    facts = cloud(pairs_right=False, port_security_right=False)
    found = findings(spec(**REPLACE), facts)
    (one,) = lacking_rights(found)
    assert not forbidding(found)
    assert "1 reservation(s) of a VIP, 4 address pair(s)" in one.observed
    assert "--as-admin" in one.cure
    done = {"d": (str(VIP), "0.0.0.0/0"), "r1": (f"{VIP}/32",), "r2": (f"{VIP}/32",)}
    ports = [replace(p, pairs=pairs(*done[p.host])) for p in facts.ports]
    reserved = replace(port("", str(VIP)), id="p-vip")
    facts = replace(facts, ports=tuple(ports), vip_ports=(reserved,))
    assert not lacking_rights(findings(spec(**REPLACE), facts))


def test_a_reader_may_do_nothing():
    (one,) = lacking_rights(findings(spec(**REPLACE), cloud(roles=("reader",))))
    assert "may only read" in one.observed and "group rule(s)" in one.observed
    assert not lacking_rights(findings(spec(**REPLACE), cloud(roles=("reader", "member"))))


def test_a_group_that_others_use_is_not_removed():
    ours = replace(STATELESS, id="g-own", name="onearm-default-director")
    mark = Mark(SecurityGroup("onearm-default-director", stateful=False), ("default",))
    member = GroupMembership("p-d", "onearm-default-director", stateful=False, only=True)
    marks = (mark, Mark(member, ("default",)))
    stranger = replace(port("", "203.0.113.9", ["g-own"]), id="p-x")
    nothing = replace(spec(), services=())
    ports = [*with_director(cloud(), "g-own"), stranger]
    (one,) = findings(nothing, cloud(ports, (DEFAULT, ours), marks=marks))
    assert (one.id, one.severity) == ("sg.in_use", "error") and "p-x" in one.observed
    refers = group("db", {"remote_group_id": "g-own"})
    ports = with_director(cloud(), "g-own")
    (one,) = findings(nothing, cloud(ports, (DEFAULT, ours, refers), marks=marks))
    assert "a rule of 'db'" in one.observed
    assert findings(nothing, cloud(ports, (DEFAULT, ours), marks=marks)) == []
    shared = (replace(mark, names=("default", "web")), marks[1])
    assert findings(nothing, cloud([*ports, stranger], (DEFAULT, ours), marks=shared)) == []


def test_groups_that_people_keep_are_checked():
    own = spec(manage_security_groups=False)
    found = findings(own, cloud())
    assert hit(found, "sg.d.stateless_or_psec_off")[0].severity == "error"
    assert {f.party for f in hit(found, "sg.r.client_cidr")} == {"d", "r1", "r2"}
    assert hit(found, "sg.icmp", "d")
    assert not forbidding(findings(own, cloud(firewall="iptables_hybrid", referenced_by={})))
    web = {"protocol": "tcp", "port_min": 1, "port_max": 100, "remote": None}
    good = group("good", web, {"protocol": "icmp"}, stateful=False)
    ports = [replace(p, groups=("g-good",)) for p in cloud().ports]
    found = findings(own, cloud(ports, (good,)))
    assert not forbidding(found)
    assert ids(found) == {"sg.d.return_rules", "port.d.pairs_cover_clients"}
    back = rule("g-good", number=9, protocol="tcp", remote=ip_network("203.0.113.4/31"))
    good = replace(good, rules=(*good.rules, back))
    assert "sg.d.return_rules" not in ids(findings(own, cloud(ports, (good,))))


def test_extensions_that_are_missing():
    few = tuple(e for e in cloud().extensions if e != "stateful-security-group")
    (one,) = hit(findings(spec(**REPLACE), cloud(extensions=few)), "ext.present")
    assert "stateful-security-group" in one.observed
    found = findings(spec(manage_security_groups=False), cloud(extensions=few))
    assert not hit(found, "ext.present")
    assert not hit(findings(spec(**REPLACE), cloud(extensions=())), "ext.present")


def test_what_the_quota_leaves():
    (one,) = hit(findings(spec(**REPLACE), cloud(quota={"security_group": 1})), "quota.free")
    assert "2 more of security_group" in one.observed
    assert not hit(findings(spec(**REPLACE), cloud(quota={"security_group": 2})), "quota.free")


def test_a_port_that_is_missing_or_another_one():
    facts = cloud(without(cloud(), "r2"))
    assert hit(findings(spec(**REPLACE), facts), "port.found", "r2")[0].severity == "error"
    other = [replace(p, addresses=(ip_address("10.0.0.9"),)) for p in cloud().ports]
    assert len(hit(findings(spec(**REPLACE), cloud(other)), "port.found")) == 3


def test_mtus_that_differ():
    def sized(**sizes):
        seen = hosts()
        for name, size in sizes.items():
            links = tuple(replace(link, mtu=size) for link in seen[name].links)
            seen[name] = replace(seen[name], links=links)
        return findings(spec(**REPLACE), cloud(), seen)

    assert not hit(sized(d=1500, r1=1500), "net.mtu_equal")
    assert "d 1500, r1 1400" in hit(sized(d=1500, r1=1400), "net.mtu_equal")[0].observed
    assert hit(sized(d=9000, r1=9000, r2=9000), "net.mtu_equal")[0].cure.endswith("mtu 1500")


def test_routers_in_the_path():
    central, dvr = RouterFact("a", snat=True), RouterFact("b", distributed=True)
    found = findings(spec(**REPLACE), cloud(routers=(central, dvr, RouterFact("c"))))
    said = {f.observed.split()[1]: f for f in found if f.id.startswith("router.")}
    assert {name: f.id for name, f in said.items()} == {
        "a": "router.nat",
        "b": "router.distributed",
        "c": "router.nat",
    }
    assert ["SNAT" in said[name].observed for name in "abc"] == [True, False, False]


@pytest.mark.parametrize(
    ("fixed", "distributed", "severity", "words"),
    [
        ("203.0.113.2", False, "note", "one router's namespace"),
        ("203.0.113.2", True, "warning", "may choose a real server"),
        ("203.0.113.3", False, "warning", "where no service is"),
    ],
)
def test_floating_ips(fixed, distributed, severity, words):
    one = FloatingFact(ip_address("192.0.2.7"), ip_address(fixed))
    routers = (RouterFact("a", distributed),)
    found = findings(spec(**REPLACE), cloud(routers=routers, floating=(one,)))
    (fip,) = hit(found, "fip.on_vip_port")
    assert fip.severity == severity and words in fip.observed


def test_a_driver_that_is_not_known_or_not_the_one():
    found = findings(spec(**REPLACE), cloud(firewall=""))
    assert hit(found, "firewall.driver")[0].severity == "note"
    found = findings(spec(firewall="iptables_hybrid", **REPLACE), cloud())
    assert hit(found, "firewall.driver")[0].severity == "warning"


def test_a_director_that_others_opened():
    opened = with_director(cloud(), port_security=False)
    found = findings(spec(), cloud(opened))
    assert not forbidding(found)
    assert "copy of every reply" in hit(found, "port.unfiltered", "d")[0].observed


def test_what_is_wanted_is_worked_out_as_often_for_many_servers_as_for_few(monkeypatch):
    counted = []
    real = cloud_check_ports.wanted

    def wanted(*known):
        counted.append(known)
        return real(*known)

    for module in (cloud_check_groups, cloud_check_network, cloud_check_ports):
        monkeypatch.setattr(module, "wanted", wanted)

    def times(number):
        servers = tuple(Host(f"s-{n}", ip_address(f"203.0.113.{n + 20}")) for n in range(number))
        members = tuple(Member(server.name) for server in servers)
        service = replace(SERVICE, members=members)
        ports = [port("d", "203.0.113.3"), *(port(s.name, str(s.address)) for s in servers)]
        counted.clear()
        known = replace(spec(**REPLACE), real_servers=servers, services=(service,))
        assert not forbidding(findings(known, cloud(ports)))
        return len(counted)

    assert times(2) == times(40)
