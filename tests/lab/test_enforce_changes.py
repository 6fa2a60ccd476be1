"""What enforcement lets through as states change, and how far a remote group reaches by driver."""

import threading
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from enforced import EGRESS, EVERYTHING, MAC, TOGETHER, VIP, WEB, Ear, port, reference, udp
from runs import wait_for

from onearm.errors import PlaceError, UsageError
from onearm.lab import enforce
from onearm.lab.enforce import IPTABLES, MODES, OPENVSWITCH, OVN, Member, Pair, Rule

pytestmark = pytest.mark.lab
WEB_SERVER = "203.0.113.4"


@pytest.fixture(autouse=True)
def released(lab):
    yield
    enforce.release(lab.name)


def reaches(lab, host):
    return "server-2" in lab.sh(host, f"curl -s -m 0.9 {WEB_SERVER} || echo no")


# --- 0/0 on a port opens the groups that refer to its own: knowledge of sources, so shown here

HALVES = (Pair(ip_network("0.0.0.0/1")), Pair(ip_network("128.0.0.0/1")))
OPENED = {  # by 0/0, by its two halves
    IPTABLES: (True, True),
    OPENVSWITCH: (False, True),
    OVN: (False, False),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_wide_pair_opens_groups_that_refer_to_the_ports(lab, mode):
    outcome, plan = [], None
    for wide in ((), (EVERYTHING,), HALVES):
        director = port("server-1", *wide)
        member = Member(director.mac, director.addresses, wide)
        rule = replace(WEB, remote=None, members=(member,))
        states = reference(TOGETHER, director)
        states["server-2"] = replace(states["server-2"], rules=(rule, EGRESS))
        plan = enforce.apply(lab.name, mode, states, plan)
        assert reaches(lab, "server-1")
        outcome.append(reaches(lab, "client"))
    assert outcome == [False, *OPENED[mode]]


# --- changes


def test_no_foreign_frame_slips_through_a_change(lab):
    """Neither of rules nor of modes; a flood of them goes on all the time."""
    gateway, mac = MAC["router"], MAC["server-2"]
    frames = [
        udp("foreign", mac, VIP, gateway, "203.0.113.1"),
        udp("own", mac, WEB_SERVER, gateway, "203.0.113.1"),
    ]
    states = reference(TOGETHER, port("server-1"), servers=())
    other = {**states, "server-2": replace(states["server-2"], rules=(EGRESS,))}
    enforce.apply(lab.name, IPTABLES, states)
    ears = [Ear(lab, "server-2"), Ear(lab, "router")]
    stop, sent = threading.Event(), []

    def flood():
        while not stop.wait(0.02):
            sent.append(ears[0].ask(frames * 10))

    flooding = threading.Thread(target=flood)
    flooding.start()
    for mode in (IPTABLES, OPENVSWITCH):
        for each in (states, other):
            enforce.apply(lab.name, mode, each)
    stop.set()
    flooding.join()
    heard = ears[1].ask()
    for ear in ears:
        ear.close()
    print(f"{sum(sent)} frames sent, heard {heard}")
    assert heard.get("own", 0) > 100 and "foreign" not in heard


def test_it_follows_what_it_reads_until_it_is_stopped(lab):
    states = reference(TOGETHER, port("server-1"))
    closed = {**states, "server-2": replace(states["server-2"], rules=(EGRESS,))}
    read, stop, reads = [states], threading.Event(), []

    def reader():
        reads.append(read[0])
        return read[0]

    arguments = (lab.name, OPENVSWITCH, reader, stop)
    following = threading.Thread(target=enforce.follow, args=arguments)
    following.start()
    wait_for(lambda: enforce.counters(lab.name) and reaches(lab, "client"))
    read[0] = closed
    wait_for(lambda: not reaches(lab, "client"))
    assert enforce.counters(lab.name)["server-2"]["no-rule-in"] > 0
    read[0] = None  # it cannot be told just now
    wait_for(lambda: reads[-1] is None)
    assert not reaches(lab, "client")
    stop.set()
    following.join(10)
    assert not following.is_alive() and not reaches(lab, "client")
    enforce.release(lab.name)
    assert reaches(lab, "client") and enforce.counters(lab.name) == {}


def test_a_connection_lives_through_changes_that_still_allow_it(lab):
    states = reference(TOGETHER, port("server-1"))
    plan = enforce.apply(lab.name, OPENVSWITCH, states)
    url = f"http://{WEB_SERVER}/bytes/60000?rate=20000"
    script = f"curl -s -m 20 '{url}' | wc -c > /run/got.new; mv /run/got.new /run/got"
    lab.sh("client", f'rm -f /run/got; setsid sh -c "{script}" >/dev/null 2>&1 &')
    more = Rule("ingress", protocol="icmp")
    for rules in ((WEB, more, EGRESS), (more, WEB, EGRESS), (WEB, EGRESS)):
        states = {**states, "server-2": replace(states["server-2"], rules=rules)}
        plan = enforce.apply(lab.name, OPENVSWITCH, states, plan)
    got = wait_for(lambda: lab.sh("client", "cat /run/got 2>/dev/null", check=False).strip())
    assert got == "60000"


@pytest.mark.parametrize("mode", MODES)
def test_the_kernel_takes_every_kind_of_rule(lab, mode):
    six, half = ip_network("2001:db8::/64"), ip_network("::/0")
    member = Member(MAC["server-3"], (ip_address("2001:db8::5"),), (Pair(half), EVERYTHING))
    kinds = (
        Rule(direction, ethertype, *rest)
        for direction in ("ingress", "egress")
        for ethertype in ("IPv4", "IPv6")
        for rest in ((), ("tcp",), ("17", 53, 53), ("sctp", 1, 65535), ("112",), ("any",))
    )
    rules = (
        *kinds,
        Rule("ingress", "IPv4", "icmp", 3, 4),
        Rule("ingress", "IPv6", "ipv6-icmp", 2),
        Rule("ingress", "IPv6", "icmpv6"),
        Rule("ingress", "IPv6", "tcp", 80, 90, six),
        Rule("ingress", "IPv6", members=(member,)),
        Rule("ingress", members=(member,)),
        Rule("egress", members=()),
    )
    pairs = (Pair(six), Pair(half), Pair(ip_network("203.0.113.9/32"), "00:00:5e:00:01:01"))
    states = reference(TOGETHER, port("server-1", *pairs, rules=rules))
    enforce.apply(lab.name, mode, states)
    assert set(enforce.counters(lab.name)["server-1"]) == set(enforce.REASONS)


def test_what_cannot_be_enforced_is_refused_and_closes_nothing_open(lab):
    states = reference(TOGETHER, port("server-1"))
    with pytest.raises(UsageError, match="no firewall driver is called 'nuage'"):
        enforce.apply(lab.name, "nuage", states)
    with pytest.raises(UsageError, match=r"guarded for \['router'\]"):
        enforce.apply(lab.name, OVN, {"router": states["server-1"]})
    plan = enforce.apply(lab.name, OVN, states)
    wrong = (Rule("ingress", protocol="no-such-protocol"),)
    states = {**states, "server-2": replace(states["server-2"], rules=wrong)}
    with pytest.raises(PlaceError, match="refused to enforce"):
        enforce.apply(lab.name, OVN, states, plan)
    assert reaches(lab, "client")  # the rules before are still in force
