"""What is wanted in Neutron, by role, driver and consent."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from clouds import ANY, DEFAULT, OUT, SSH, VIP, cloud, group, pairs, port, spec, without
from onearm.cloud import wanted
from onearm.cloud_facts import RuleFact
from onearm.cloud_groups import carry
from onearm.cloud_prefixes import is_wide, single, without_redundant
from onearm.cloud_rules import Owner, minimal, rule
from onearm.model import (
    AddressPair,
    Destination,
    GroupMembership,
    GroupRule,
    Mark,
    PortSecurity,
    SecurityGroup,
    VipPort,
)
from onearm.spec import Check, Member, VirtualService
from worlds import SERVICE

REPLACE = {"director_groups": "replace"}
DIRECTOR_GROUP, SERVER_GROUP = "onearm-default-director", "onearm-default-real-server"


def of(kind, found, **fields):
    rows = [r for r in found if isinstance(r, kind)]
    return [r for r in rows if all(getattr(r, k) == v for k, v in fields.items())]


def made(spec, facts, *draining):
    return list(wanted(spec, facts, draining))


def said(rules):
    """Write rules as short tuples."""
    return {(r.direction, r.protocol, r.port_min, str(r.remote or "any")) for r in rules}


def test_real_servers_get_the_vip_in_cidr_form_and_a_group_beside_their_own():
    found = made(spec(), cloud())
    server_pairs = of(AddressPair, found, host="r1") + of(AddressPair, found, host="r2")
    assert [(p.port_id, p.network, p.bare) for p in server_pairs] == [
        ("p-r1", single(VIP), False),
        ("p-r2", single(VIP), False),
    ]
    assert SecurityGroup(SERVER_GROUP, stateful=True) in found
    assert GroupMembership("p-r1", SERVER_GROUP, stateful=True, only=False) in found
    rules = of(GroupRule, found, group=SERVER_GROUP)
    assert said(rules) == {("ingress", "tcp", 80, "0.0.0.0/0")}


def test_the_director_owns_the_vip_and_speaks_for_its_clients():
    known = replace(spec(), clients=(ip_network("198.51.100.0/24"), ip_network("192.0.2.7/32")))
    found = of(AddressPair, made(known, cloud()), host="d")
    assert {(str(p.network), p.bare) for p in found} == {
        ("203.0.113.2/32", True),
        ("198.51.100.0/24", False),
        ("192.0.2.7/32", False),
    }


def test_checks_on_a_port_of_their_own_are_admitted_from_the_director_alone():
    checked = (
        replace(SERVICE, check=Check(port=8081)),
        replace(SERVICE, port=53, protocol="udp", check=Check("icmp", "host")),
    )
    rules = of(GroupRule, made(replace(spec(), services=checked), cloud()), group=SERVER_GROUP)
    of_checks = {row for row in said(rules) if row[3] == "203.0.113.3/32"}
    assert of_checks == {
        ("ingress", "tcp", 8081, "203.0.113.3/32"),
        ("ingress", "icmp", 8, "203.0.113.3/32"),
    }


def test_checks_are_admitted_where_the_clients_are_few():
    known = replace(spec(), clients=(ip_network("198.51.100.0/24"),))
    rules = of(GroupRule, made(known, cloud()), group=SERVER_GROUP)
    assert said(rules) == {
        ("ingress", "tcp", 80, "198.51.100.0/24"),
        ("ingress", "tcp", 80, "203.0.113.3/32"),
    }


def test_a_group_is_as_stateful_as_those_beside_it():
    plain = group("plain", SSH, stateful=False)
    ports = [*without(cloud(), "r1"), port("r1", "203.0.113.4", ["g-plain"])]
    found = made(spec(), cloud(ports, (DEFAULT, plain)))
    memberships = {(m.host, m.stateful) for m in of(GroupMembership, found, group=SERVER_GROUP)}
    assert memberships == {("r1", False), ("r2", True)}
    assert len(of(SecurityGroup, found, name=SERVER_GROUP)) == 2
    stateless = of(GroupRule, found, group=SERVER_GROUP, stateful=False)
    assert ("egress", None, None, "any") in said(stateless)


def test_servers_of_different_services_have_different_groups():
    dns = VirtualService(VIP, 53, "udp", "rr", (), (Member("r2"),))
    found = made(replace(spec(), services=(SERVICE, dns)), cloud())
    groups = {m.host: m.group for m in of(GroupMembership, found) if m.host != "d"}
    assert groups == {"r1": f"{SERVER_GROUP}-tcp80", "r2": f"{SERVER_GROUP}-tcp80-udp53"}
    only_web = of(GroupRule, found, group=f"{SERVER_GROUP}-tcp80")
    assert {r.port_min for r in only_web} == {80}


@pytest.mark.parametrize("driver", ["ovn", "iptables_hybrid", ""])
def test_the_directors_group_is_stateless_and_the_only_one(driver):
    found = made(spec(**REPLACE), cloud(firewall=driver))
    assert SecurityGroup(DIRECTOR_GROUP, stateful=False) in found
    assert of(GroupMembership, found, host="d") == [
        GroupMembership("p-d", DIRECTOR_GROUP, stateful=False, only=True)
    ]
    rules = said(of(GroupRule, found, group=DIRECTOR_GROUP))
    assert rules >= {
        ("egress", None, None, "any"),
        ("ingress", "tcp", 80, "0.0.0.0/0"),
        ("ingress", "tcp", None, "203.0.113.2/32"),  # checks are answered in the VIP's name
        ("ingress", "icmp", None, "0.0.0.0/0"),
        ("ingress", "udp", 68, "0.0.0.0/0"),
        ("ingress", "tcp", 22, "192.0.2.0/24"),  # nobody is locked out
        ("ingress", "tcp", 32768, "0.0.0.0/0"),  # replies
        ("ingress", None, None, "203.0.113.4/31"),  # the others in `default`, itself aside
    }


def test_rules_follow_the_former_groups_after_they_are_replaced():
    before = of(GroupRule, made(spec(**REPLACE), cloud()), group=DIRECTOR_GROUP)
    member = GroupMembership("p-d", DIRECTOR_GROUP, stateful=False, only=True, host="d")
    own = group("own", stateful=False)
    own = replace(own, id="g-own", name=DIRECTOR_GROUP)
    ports = [port("d", "203.0.113.3", ["g-own"]), *without(cloud(), "d")]
    after = cloud(
        ports, (DEFAULT, own), marks=(Mark(member, ("default",), {"groups": "g-default"}),)
    )
    assert said(of(GroupRule, made(spec(**REPLACE), after), group=DIRECTOR_GROUP)) == said(before)
    kept = made(spec(), after)  # the consent was taken back: nobody is locked out by that
    assert said(of(GroupRule, kept, group=DIRECTOR_GROUP)) == said(before)
    assert of(GroupMembership, kept, host="d")[0].only


def test_openvswitch_needs_an_unfiltered_director():
    found = made(spec(director_port_security="off"), cloud(firewall="openvswitch"))
    assert of(PortSecurity, found) == [PortSecurity("p-d", enabled=False)]
    assert not of(AddressPair, found, host="d") and not of(GroupMembership, found, host="d")
    assert not of(SecurityGroup, found, name=DIRECTOR_GROUP)
    assert of(AddressPair, found, host="r1")


def test_the_consent_changes_nothing_where_it_would_not_help():
    for driver in ("ovn", "iptables_hybrid"):
        found = made(spec(director_port_security="off"), cloud(firewall=driver))
        assert not of(PortSecurity, found)


def test_a_port_that_we_opened_is_filtered_again_in_one_request():
    mark = Mark(PortSecurity("p-d", enabled=False, host="d"), ("default",), {"groups": "g-default"})
    ports = [port("d", "203.0.113.3", [], port_security=False), *without(cloud(), "d")]
    found = made(spec(**REPLACE), cloud(ports, marks=(mark,)))
    assert PortSecurity("p-d", enabled=True) in found
    assert of(AddressPair, found, host="d")
    rules = of(GroupRule, found, group=DIRECTOR_GROUP)
    assert ("ingress", "tcp", 22, "192.0.2.0/24") in said(rules)


def test_a_port_that_others_opened_needs_nothing():
    ports = [port("d", "203.0.113.3", [], port_security=False), *without(cloud(), "d")]
    assert not [r for r in made(spec(), cloud(ports)) if getattr(r, "host", "") == "d"]


def test_the_vip_is_reserved_unless_told_otherwise():
    assert of(VipPort, made(spec(), cloud())) == [VipPort("n-1", VIP)]
    assert not of(VipPort, made(spec(reserve_vip=False), cloud()))
    by_port = of(VipPort, made(spec(network=None), cloud(network=None)))
    assert by_port == [VipPort("n-1", VIP)]


def test_groups_that_people_keep_are_left_alone():
    found = made(spec(manage_security_groups=False), cloud())
    assert not [r for r in found if isinstance(r, (SecurityGroup, GroupRule, GroupMembership))]
    assert of(AddressPair, found, host="d") and of(AddressPair, found, host="r1")


def test_what_drains_keeps_its_pair_and_rules():
    leaving = Destination("udp", VIP, 53, ip_address("203.0.113.5"), 0, host="r2")
    alone = replace(SERVICE, members=(Member("r1"),))
    found = made(replace(spec(), services=(alone,)), cloud(), leaving)
    assert of(AddressPair, found, host="r2")
    assert {r.port_min for r in of(GroupRule, found, group=f"{SERVER_GROUP}-udp53")} == {53}
    gone = replace(spec(), services=(alone,), real_servers=spec().real_servers[:1])
    hostless = [replace(p, host="" if p.host == "r2" else p.host) for p in cloud().ports]
    found = made(gone, cloud(hostless), leaving)
    assert [p.port_id for p in of(AddressPair, found, host="r2")] == ["p-r2"]
    assert made(replace(spec(), services=()), cloud()) == []


def test_where_the_driver_takes_both_forms_a_pair_stays_as_it_is():
    ports = [replace(p, pairs=pairs("203.0.113.2", mac=p.mac)) for p in cloud().ports]
    for driver, bare in (("ovn", False), ("iptables_hybrid", True), ("", False)):
        found = made(spec(), cloud(ports, firewall=driver))
        assert of(AddressPair, found, host="r1")[0].bare is bare


OWNER = Owner("g", stateful=False)


def carried(*rules, stateful=True, **more):
    old = group("old", *rules, stateful=stateful)
    mine = port("d", "203.0.113.3", ["g-old"])
    facts = cloud([mine, *without(cloud(), "d")], (DEFAULT, old), **more)
    return carry(spec(), facts, mine, OWNER)


def test_a_stateful_way_out_needs_a_way_in_for_replies():
    dns = {
        **OUT,
        "protocol": "udp",
        "port_min": 53,
        "port_max": 53,
        "remote": ip_network("10.0.0.0/8"),
    }
    found = carried(dns)
    assert said(found.replies) == {("ingress", "udp", 32768, "10.0.0.0/8")}
    assert found.replies[0].port_max == 60999
    assert said(found.rules) == {("egress", "udp", 53, "10.0.0.0/8"), *said(found.replies)}
    assert not carried(dns, stateful=False).replies
    assert said(carried({**OUT, "protocol": "gre"}).replies) == {
        ("ingress", "gre", None, "0.0.0.0/0")
    }
    assert said(carried({**OUT, "protocol": "1"}).replies) == {
        ("ingress", "icmp", None, "0.0.0.0/0")
    }


def test_a_remote_group_becomes_the_addresses_of_its_members():
    found = carried({"protocol": "tcp", "remote_group_id": "g-default"})
    assert said(found.rules) == {("ingress", "tcp", None, "203.0.113.4/31")}
    assert carried({"protocol": "tcp", "remote_group_id": "g-old"}).rules == []  # itself alone


def test_a_members_wide_pair_is_no_right_to_hand_on():
    ports = [
        port("d", "203.0.113.3"),
        replace(port("r1", "203.0.113.4"), pairs=pairs("10.9.9.9")),
        replace(port("r2", "203.0.113.5"), pairs=pairs("0.0.0.0/1", "128.0.0.0/1")),
    ]
    found = carry(spec(), cloud(ports), ports[0], OWNER)
    assert {s for s in said(found.rules) if s[:2] == ("ingress", None)} == {
        ("ingress", None, None, "203.0.113.4/31"),
        ("ingress", None, None, "10.9.9.9/32"),
    }


def test_our_own_pairs_are_nobodys_rights():
    ports = [port("d", "203.0.113.3"), port("r1", "203.0.113.4")]
    before = carry(spec(), cloud(ports), ports[0], OWNER).rules
    ports[1] = replace(ports[1], pairs=pairs(f"{VIP}/32", "198.51.100.0/24"))
    ours = AddressPair("p-r1", ip_network("198.51.100.0/24"))
    facts = cloud(ports, marks=(Mark(ours, ("web",)),))
    assert carry(spec(), facts, ports[0], OWNER).rules == before


def test_what_cannot_be_carried_over_is_listed():
    found = carried(
        SSH,
        {"remote_group_id": "g-elsewhere"},
        {**OUT, "protocol": "253"},
        {"remote_address_group_id": "a-1"},
    )
    assert len(found.refused) == 3
    assert "g-elsewhere" in found.refused[0] and "members cannot all be seen" in found.refused[0]
    assert "egress IPv4 253 to anywhere of 'old'" in found.refused[1]
    assert "address group" in found.refused[2]
    assert len(found.rules) == 1
    assert not carried({"remote_group_id": "g-default"}, members={"g-default": ()}).refused
    unseen = carried({"remote_group_id": "g-default"}, members={"g-default": ("p-x",)})
    assert "p-x" in unseen.refused[0]


def test_a_former_group_that_is_gone_is_no_empty_one():
    member = GroupMembership("p-d", DIRECTOR_GROUP, stateful=False, only=True)
    facts = cloud(marks=(Mark(member, ("default",), {"groups": "g-gone"}),))
    assert "g-gone" in carry(spec(), facts, facts.ports[0], OWNER).refused[0]


def test_no_rule_is_made_that_another_one_holds():
    def one(remote, protocol="tcp", ports=(80, 80)):
        return rule(OWNER, "ingress", ip_network(remote), protocol, ports)

    wide, narrow = one("10.0.0.0/8"), one("10.1.0.0/16")
    assert minimal([narrow, wide, narrow]) == [wide]
    assert minimal([one("10.0.0.0/8", None, (None, None)), wide]) != [wide]
    assert minimal([wide, one("10.0.0.0/8", "tcp", (1, 90))]) == [one("10.0.0.0/8", "tcp", (1, 90))]
    assert len(minimal([wide, one("10.0.0.0/8", "udp")])) == 2
    anywhere = [rule(OWNER, "egress", None), rule(OWNER, "egress", ANY)]
    assert len(minimal(anywhere)) == 1
    echo, every = one("10.0.0.0/8", "icmp", (8, 0)), one("10.0.0.0/8", "icmp", (None, None))
    assert minimal([echo, one("10.0.0.0/8", "icmp", (3, 4))]) == [
        echo,
        one("10.0.0.0/8", "icmp", (3, 4)),
    ]
    assert minimal([echo, every]) == [every]


def test_several_pairs_may_be_the_world_together():
    def wide(*texts):
        return is_wide([ip_network(text) for text in texts])

    assert wide("0.0.0.0/0") and wide("0.0.0.0/1", "128.0.0.0/1") and wide("10.0.0.0/8")
    assert wide("10.0.0.0/9", "11.0.0.0/9") and wide("::/0")
    assert not wide("10.0.0.0/9", "10.0.0.0/10") and not wide("203.0.113.2/32", "::1/128")
    assert without_redundant([ip_network("10.1.0.0/16"), ip_network("10.0.0.0/8")]) == [
        ip_network("10.0.0.0/8")
    ]


def test_a_rule_fact_of_today_has_no_address_group():
    assert RuleFact("i", "g", "ingress", "IPv4").remote_address_group_id is None


def test_a_rule_is_found_however_its_remote_is_written():
    wants = rule(OWNER, "ingress", ANY, "tcp", (80, 80))
    stands = RuleFact("i", "g", "ingress", "IPv4", "tcp", 80, 80)
    assert stands.says(wants) and replace(stands, remote=ANY).says(wants)
    assert not replace(stands, remote_group_id="g").says(wants)
    assert not replace(stands, port_max=81).says(wants)
