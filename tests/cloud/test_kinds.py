"""Every kind on a real Neutron: made, kept, changed, taken down, adopted, shown."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from neutrons import ALL, VIP, converge, plan, settled

from onearm.errors import Refused
from onearm.model import GroupRule, PortSecurity, SecurityGroup, VipPort, state_key

D, R = "server-1", "server-2"


def reference(cloud):
    """What the reference needs, with a group of its own on the director."""
    group = SecurityGroup("onearm-web", stateful=False)
    return [
        group,
        VipPort(cloud.network, VIP),
        rule("ingress", "tcp", 80),
        rule("ingress", "icmp"),
        rule("egress"),
        cloud.pair(D, "203.0.113.2/32", bare=True),
        cloud.pair(D, "0.0.0.0/0"),
        cloud.pair(R, "203.0.113.2/32"),
        cloud.pair("server-3", "203.0.113.2/32"),
        cloud.member(D, "onearm-web", stateful=False, only=True),
    ]


def rule(direction, protocol=None, port=None, remote=ALL):
    return GroupRule(
        "onearm-web",
        False,  # noqa: FBT003
        direction,
        "IPv4",
        protocol,
        port,
        port,
        remote,
        "for the tests",
    )


def test_all_of_the_reference_and_back(cloud):
    before = cloud.snapshot()
    place = cloud.place()
    wanted = reference(cloud)
    outcome = converge(place, wanted)
    assert not outcome.out and not len(outcome.left)
    assert [state_key(a.resource) for a in outcome.done if a.before] == []
    assert len(outcome.done) == len(wanted)
    assert cloud.pairs(D) == ["0.0.0.0/0", "203.0.113.2"]
    assert cloud.pairs(R) == ["203.0.113.2/32"]
    group = next(g for g in cloud.all("security_groups") if g["name"] == "onearm-web")
    assert cloud.port(D)["security_groups"] == [group["id"]]
    assert len(group["security_group_rules"]) == 3  # the default ones are gone
    assert group["tags"] == ["onearm:web"]
    assert settled(cloud.place(), wanted)
    assert not converge(cloud.place(), wanted).done
    gone = converge(cloud.place(), [])
    assert not gone.out and not len(gone.left)
    assert cloud.snapshot() == before


def test_facts(cloud):
    converge(cloud.place(), reference(cloud))
    facts = cloud.place().look()
    assert facts.network.id == cloud.network and facts.network.mtu > 0
    assert facts.project_id == "web" and "member" in facts.roles
    assert {h: facts.port(h).id for h in cloud.ports} == cloud.ports
    assert facts.port(D).addresses == (ip_address("203.0.113.3"),)
    assert facts.port(D).port_security is True
    assert {"allowed-address-pairs", "port-security", "revision-if-match"} <= set(facts.extensions)
    assert facts.pairs_right is True and facts.port_security_right is True
    assert [p.addresses for p in facts.vip_ports] == [(VIP,)]
    group = next(g for g in facts.groups if g.name == "onearm-web")
    assert group.stateful is False and facts.members[group.id] == (cloud.ports[D],)
    default = next(g for g in facts.groups if g.name == "default")
    assert {r.group_id for r in facts.referenced_by[default.id]} == {default.id}
    marked = {state_key(mark.resource) for mark in facts.marks}
    assert state_key(cloud.pair(R, "203.0.113.2/32")) in marked
    assert state_key(SecurityGroup("onearm-web", stateful=False)) in marked


@pytest.mark.parametrize("text", ["203.0.113.2", "203.0.113.2/32"])
def test_a_foreign_pair_that_is_right_is_left_alone(cloud, text):
    cloud.set_port(R, allowed_address_pairs=[{"ip_address": text}])
    before = cloud.snapshot()
    wanted = [cloud.pair(R, "203.0.113.2/32", bare="/" not in text)]
    assert settled(cloud.place(), wanted)
    assert not converge(cloud.place(), []).done
    assert cloud.snapshot() == before


def test_a_foreign_pair_of_the_other_form_needs_adopt_and_comes_back(cloud):
    cloud.set_port(R, allowed_address_pairs=[{"ip_address": "203.0.113.2"}])
    before = cloud.snapshot()
    wanted = [cloud.pair(R, "203.0.113.2/32")]
    with pytest.raises(Refused, match="--adopt"):
        converge(cloud.place(), wanted)
    assert cloud.snapshot() == before
    converge(cloud.place(), wanted, adopt=True)
    assert cloud.pairs(R) == ["203.0.113.2/32"] and settled(cloud.place(), wanted)
    converge(cloud.place(), [])
    assert cloud.snapshot() == before


def test_what_was_adopted_as_it_stood_stays(cloud):
    cloud.set_port(R, allowed_address_pairs=[{"ip_address": "203.0.113.2/32"}])
    group = cloud.group("onearm-web")
    cloud.set_port(R, security_groups=[group])
    cloud.make_port("vip", str(VIP), device_owner="", device_id="")
    before = cloud.snapshot()
    wanted = [
        SecurityGroup("onearm-web"),
        VipPort(cloud.network, VIP),
        cloud.pair(R, "203.0.113.2/32"),
        cloud.member(R, "onearm-web"),
    ]
    assert settled(cloud.place(), wanted)
    outcome = converge(cloud.place(), wanted, adopt=True)
    assert len(outcome.done) == 4 and not len(outcome.left)
    assert plan(cloud.place(), []).steps
    converge(cloud.place(), [])
    assert cloud.snapshot() == before


def test_foreign_pairs_groups_and_tags_stay(cloud):
    mine = {"ip_address": "192.0.2.7"}
    theirs = {"ip_address": "203.0.113.2", "mac_address": "00:00:5e:00:01:07"}
    other = cloud.group("other")
    default = cloud.port(R)["security_groups"]
    cloud.set_port(R, allowed_address_pairs=[mine, theirs], security_groups=[*default, other])
    cloud.tag("ports", cloud.ports[R], "keep-me", "onearm", "web:onearm")
    before = cloud.snapshot()
    wanted = [
        SecurityGroup("onearm-web"),
        cloud.pair(R, "203.0.113.2/32"),
        cloud.member(R, "onearm-web"),
    ]
    converge(cloud.place(), wanted)
    assert settled(cloud.place(), wanted)
    port = cloud.port(R)
    assert cloud.pairs(R) == ["192.0.2.7", "203.0.113.2", "203.0.113.2/32"]
    assert {*default, other} < set(port["security_groups"])
    assert {"keep-me", "onearm", "web:onearm"} < set(port["tags"])
    converge(cloud.place(), [])
    assert cloud.snapshot() == before


def test_an_update_of_a_pair_and_of_a_membership(cloud):
    before = cloud.snapshot()
    group = SecurityGroup("onearm-web")
    first = [group, cloud.pair(D, "203.0.113.2/32"), cloud.member(D, "onearm-web")]
    converge(cloud.place(), first)
    assert len(cloud.port(D)["security_groups"]) == 2
    then = [
        group,
        cloud.pair(D, "203.0.113.2/32", bare=True),
        cloud.member(D, "onearm-web", only=True),
    ]
    assert {action.verb for action in plan(cloud.place(), then)} == {"update"}
    converge(cloud.place(), then)
    assert cloud.pairs(D) == ["203.0.113.2"] and len(cloud.port(D)["security_groups"]) == 1
    assert settled(cloud.place(), then)
    converge(cloud.place(), first)
    assert cloud.pairs(D) == ["203.0.113.2/32"] and len(cloud.port(D)["security_groups"]) == 2
    converge(cloud.place(), [])
    assert cloud.snapshot() == before


def test_port_security_off_and_back(cloud):
    group = cloud.group("other")
    pairs = [
        {"ip_address": "192.0.2.0/24"},
        {"ip_address": "203.0.113.2", "mac_address": "00:00:5e:00:01:07"},
    ]
    cloud.set_port(D, allowed_address_pairs=pairs, security_groups=[group])
    before = cloud.snapshot()
    wanted = [PortSecurity(cloud.ports[D], enabled=False, host=D)]
    converge(cloud.place(), wanted)
    port = cloud.port(D)
    assert port["port_security_enabled"] is False
    assert port["security_groups"] == [] and port["allowed_address_pairs"] == []
    assert settled(cloud.place(), wanted)
    converge(cloud.place(), [])
    assert cloud.snapshot() == before


def test_from_pairs_to_no_filtering_and_back(cloud):
    before = cloud.snapshot()
    filtered = reference(cloud)
    open_port = [
        *(r for r in filtered if getattr(r, "port_id", "") != cloud.ports[D]),
        PortSecurity(cloud.ports[D], enabled=False, host=D),
    ]
    for wanted in (filtered, open_port, filtered, open_port):
        outcome = converge(cloud.place(), wanted)
        assert not outcome.out, outcome.out
        assert settled(cloud.place(), wanted)
    converge(cloud.place(), [])
    assert cloud.snapshot() == before


def test_a_port_that_was_open_before_stays_open(cloud):
    cloud.set_port(D, port_security_enabled=False, security_groups=[])
    before = cloud.snapshot()
    wanted = [PortSecurity(cloud.ports[D], enabled=False, host=D)]
    assert settled(cloud.place(), wanted)
    converge(cloud.place(), wanted, adopt=True)
    converge(cloud.place(), [])
    assert cloud.snapshot() == before


def test_a_group_that_is_gone_is_not_put_back_and_said(cloud, caplog):
    old = cloud.group("old")
    cloud.set_port(D, security_groups=[old])
    wanted = [SecurityGroup("onearm-web"), cloud.member(D, "onearm-web", only=True)]
    converge(cloud.place(), wanted)
    cloud.ask("DELETE", f"/security-groups/{old}", who="admin")
    outcome = converge(cloud.place(), [])
    assert not outcome.out and cloud.port(D)["security_groups"] == []
    assert old in caplog.text and "not there any more" in caplog.text


def test_two_names_share_ports_groups_and_rules(cloud):
    before = cloud.snapshot()
    group = SecurityGroup("shared", stateful=False)
    http = GroupRule(
        "shared", stateful=False, direction="ingress", protocol="tcp", port_min=80, port_max=80
    )
    tls = replace(http, port_min=443, port_max=443)
    member = cloud.member(D, "shared", stateful=False, only=True)
    common = [group, http, cloud.pair(D, "203.0.113.2/32", bare=True), member]
    common += [VipPort(cloud.network, VIP)]
    one, two = [*common], [*common, tls, cloud.pair(R, "203.0.113.2/32")]
    converge(cloud.place("one"), one, "one")
    converge(cloud.place("two"), two, "two")
    assert settled(cloud.place("one"), one, "one")
    assert settled(cloud.place("two"), two, "two")
    seen = cloud.place("one").observe(one)
    assert all(seen[state_key(r)].names == ("one", "two") for r in common)
    middle = cloud.snapshot()
    converge(cloud.place("one"), [], "one")
    assert settled(cloud.place("two"), two, "two") and settled(cloud.place("one"), [], "one")
    assert cloud.pairs(D) == ["203.0.113.2"]
    converge(cloud.place("one"), one, "one")
    assert settled(cloud.place("two"), two, "two") and settled(cloud.place("one"), one, "one")
    assert [p["security_groups"] for p in cloud.snapshot()["ports"]] == [
        p["security_groups"] for p in middle["ports"]
    ]
    converge(cloud.place("two"), [], "two")
    assert settled(cloud.place("one"), one, "one") and cloud.pairs(R) == []
    converge(cloud.place("one"), [], "one")
    assert cloud.snapshot() == before


def test_two_names_that_want_different_forms_are_refused(cloud):
    converge(cloud.place("one"), [cloud.pair(D, "203.0.113.2/32")], "one")
    with pytest.raises(Refused, match="'one' wants"):
        converge(cloud.place("two"), [cloud.pair(D, "203.0.113.2/32", bare=True)], "two")


def test_names_that_end_like_files(cloud):
    """Neutron strips `.json` from the end of an address, tags included."""
    before = cloud.snapshot()
    wanted = [cloud.pair(R, "203.0.113.2/32"), VipPort(cloud.network, VIP)]
    converge(cloud.place("a.json"), wanted, "a.json")
    assert settled(cloud.place("a.json"), wanted, "a.json")
    assert not len(plan(cloud.place("a"), [], "a"))
    converge(cloud.place("a.json"), [], "a.json")
    assert cloud.snapshot() == before


def test_a_vip_that_serves_something_else_is_refused(cloud):
    cloud.make_port("taken", str(VIP))
    outcome = converge(cloud.place(), [VipPort(cloud.network, VIP)])
    text = str(outcome.out["neutron"])
    assert "serves something else" in text and "taken" in text


def test_ipv6_pairs(cloud):
    wanted = [cloud.pair(R, "2001:db8::2/128"), cloud.pair(D, "2001:db8::2/128", bare=True)]
    wanted.append(cloud.pair(D, "2001:db8:1::/48"))  # Neutron 29 refuses ::/0: it holds multicast
    outcome = converge(cloud.place(), wanted)
    assert not outcome.out, outcome.out
    assert cloud.pairs(D) == ["2001:db8:1::/48", "2001:db8::2"] and cloud.pairs(R) == [
        "2001:db8::2/128"
    ]
    assert settled(cloud.place(), wanted)


def test_more_pairs_than_the_cloud_takes_changes_and_marks_nothing(cloud):
    before = cloud.snapshot()
    wanted = [cloud.pair(R, ip_network(f"192.0.2.{n}/32")) for n in range(11)]
    outcome = converge(cloud.place(), wanted)
    assert "exceeds the maximum" in str(outcome.out["neutron"])
    assert cloud.snapshot() == before


def test_a_rule_by_hand_in_our_group_stays_until_the_group_goes(cloud):
    group = SecurityGroup("onearm-web", stateful=False)
    wanted = [group, rule("ingress", "tcp", 80)]
    converge(cloud.place(), wanted)
    row = next(g for g in cloud.all("security_groups") if g["name"] == "onearm-web")
    by_hand = {"security_group_id": row["id"], "direction": "ingress", "protocol": "udp"}
    cloud.ask("POST", "/security-group-rules", {"security_group_rule": by_hand})
    assert settled(cloud.place(), wanted)
    changed = [group, rule("ingress", "tcp", 8080)]
    converge(cloud.place(), changed)
    rules = cloud.all("security_group_rules", security_group_id=row["id"])
    assert sorted(r["protocol"] for r in rules) == ["tcp", "udp"]
    converge(cloud.place(), [])
    assert not [g for g in cloud.all("security_groups") if g["name"] == "onearm-web"]
