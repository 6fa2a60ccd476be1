"""What Neutron lists becomes what the lab's bridge enforces."""

from ipaddress import ip_address, ip_network

from onearm.lab.cloud import watch
from onearm.lab.enforce_state import Member, Pair, PortState, Rule

MAC = {"server-1": "02:00:00:00:00:03", "server-2": "02:00:00:00:00:04"}


class Listed:
    """An API that only lists."""

    def __init__(self, **rows):
        self.rows = rows

    def list(self, kind):
        return self.rows[kind]


def port(host, address, **more):
    return {
        "name": host, "mac_address": MAC[host], "fixed_ips": [{"ip_address": address}],
        "allowed_address_pairs": [], "security_groups": ["g"], "port_security_enabled": True,
        "binding:host_id": "compute-2", **more,
    }  # fmt: skip


def rule(**more):
    return {
        "direction": "ingress", "ethertype": "IPv4", "protocol": None, "port_range_min": None,
        "port_range_max": None, "remote_ip_prefix": None, "remote_group_id": None, **more,
    }  # fmt: skip


def states(ports, *rules, stateful=True):
    groups = [{"id": "g", "stateful": stateful, "security_group_rules": list(rules)}]
    return watch.states(Listed(ports=ports, security_groups=groups))


def test_a_port_with_its_pairs_and_rules():
    pairs = [{"ip_address": "203.0.113.2", "mac_address": MAC["server-1"]},
             {"ip_address": "0.0.0.0/0", "mac_address": "02:00:00:00:00:ff"}]  # fmt: skip
    found = states(
        [port("server-1", "203.0.113.3", allowed_address_pairs=pairs)],
        rule(protocol="tcp", port_range_min=22, port_range_max=22, remote_ip_prefix="0.0.0.0/0"),
        rule(remote_address_group_id="a"),
        stateful=False,
    )["server-1"]
    everybody = ip_network("0.0.0.0/0")
    assert found == PortState(
        MAC["server-1"],
        (ip_address("203.0.113.3"),),
        (Pair(ip_network("203.0.113.2")), Pair(everybody, "02:00:00:00:00:ff")),
        rules=(Rule("ingress", "IPv4", "tcp", 22, 22, everybody),),
        stateful=False,
        compute="compute-2",
    )


def test_a_remote_group_is_its_members_with_their_pairs():
    wide = [{"ip_address": "10.0.0.0/8", "mac_address": MAC["server-2"]}]
    ports = [port("server-1", "203.0.113.3"),
             port("server-2", "203.0.113.4", allowed_address_pairs=wide)]  # fmt: skip
    (found,) = states(ports, rule(remote_group_id="g"))["server-1"].rules
    assert found.members == (
        Member(MAC["server-1"], (ip_address("203.0.113.3"),)),
        Member(MAC["server-2"], (ip_address("203.0.113.4"),), (Pair(ip_network("10.0.0.0/8")),)),
    )


def test_a_host_whose_port_is_gone_gets_and_sends_nothing():
    found = states([])
    assert set(found) == {"server-1", "server-2", "server-3", "neighbour"}
    assert all(s.port_security and not s.addresses and not s.rules for s in found.values())
