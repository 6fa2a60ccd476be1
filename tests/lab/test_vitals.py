"""What a diagnosis asks a host, beside what the host's own tools say."""

import json
from ipaddress import ip_address

import pytest
from labs import HOSTS, REFERENCE

from onearm import reach
from onearm.places.remote import RemotePlace
from onearm.vitals import ConnectionsFact, Listener

pytestmark = pytest.mark.lab
VIP, CLIENT, NOBODY = map(ip_address, ("203.0.113.2", "198.51.100.10", "203.0.113.30"))
SERVERS = ("203.0.113.4", "203.0.113.5")
INVALID = "-A INPUT -p tcp -m conntrack --ctstate INVALID -j DROP"
RULE = "iptables-legacy {} INPUT -p tcp -m conntrack --ctstate INVALID -j DROP"
PATIENCE_S = 30
# All that a diagnosis may not change; what only counts and ages is left out.
STANDING = """
sysctl -a -r ^net 2>/dev/null | grep -v -e nf_conntrack_count -e random
ip -d link; ip address; ip route show table all; ip rule; ls /run /run/onearm /var/lib
ipvsadm -Sn 2>/dev/null; cat /proc/net/ip_tables_names 2>/dev/null; ss -Hltun; ls /proc/net
iptables-legacy-save | grep -v "^#"; arptables-legacy -L -n; cut -d" " -f1 /proc/modules
"""


@pytest.fixture(scope="module")
def places(lab):
    """The reference in use: connections that ended, one that goes on, a firewall rule."""
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    lab.sh("client", "for n in 1 2 3 4; do curl -s -m 9 http://203.0.113.2/ >/dev/null; done")
    lab.sh("server-2", RULE.format("-A"))
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(reach.LAB_VARIABLE, lab.name)
        for host in HOSTS:
            found[host] = RemotePlace(host, reach.lab_prefix(host), "test", PATIENCE_S)
    yield found
    for place in found.values():
        place.close()
    lab.sh("server-2", RULE.format("-D"))
    lab.onearm("destroy", REFERENCE, "--yes", code=0)


@pytest.fixture(scope="module")
def vitals(lab, places):
    pairs = [(CLIENT, VIP), (CLIENT, NOBODY)]
    loaded = lab.on("server-1", "cut", "-d ", "-f1", "/proc/modules")
    found = {host: place.vitals([VIP], pairs) for host, place in places.items()}
    assert lab.on("server-1", "cut", "-d ", "-f1", "/proc/modules") == loaded  # and none by us
    return found


def test_nothing_is_left_unseen(vitals):
    assert {host: found.cannot for host, found in vitals.items()} == {host: {} for host in HOSTS}


@pytest.mark.parametrize("host", HOSTS)
def test_listeners_are_those_of_ss(lab, vitals, host):
    shown = set()
    for line in lab.on(host, "ss", "-Hltun").splitlines():
        protocol, _, _, _, local, _ = line.split()
        address, _, port = local.rpartition(":")
        shown.add(Listener(protocol, ip_address(address.strip("[]")), int(port)))
    assert set(vitals[host].listeners) == shown
    assert (Listener("tcp", ip_address("0.0.0.0"), 80) in shown) == (host != "server-1")


@pytest.mark.parametrize("host", HOSTS)
def test_counters_are_those_of_nstat(lab, places, host):
    before, after = None, places[host].vitals([], []).counters
    while before != after:  # other hosts of the lab may speak to this one at any time
        before = after
        shown = lab.on(host, "nstat", "-as")
        after = places[host].vitals([], []).counters
    rows = [line.split() for line in shown.splitlines() if line[0] != "#"]
    wanted = {name: int(value) for name, value, _ in rows if "6" not in name}
    ours = {name.replace(".", ""): value for name, value in after.items()}
    assert wanted
    assert {name: ours.get(name, 0) for name in wanted} == wanted
    assert after["nf_conntrack.max"] > after.get("nf_conntrack.count", 0)


def test_the_way_back_is_the_kernels(lab, vitals):
    (shown,) = json.loads(
        lab.on("server-2", "ip", "-j", "route", "get", str(CLIENT), "from", str(VIP))
    )
    held, lacked = vitals["server-2"].back
    assert (held.link, str(held.gateway), held.error) == (shown["dev"], shown["gateway"], "")
    assert (held.client, held.vip, held.mtu) == (CLIENT, VIP, 1500)
    assert "no link of this host holds 203.0.113.30" in lacked.error
    assert (lacked.link, lacked.gateway) == (held.link, held.gateway)


def test_a_policy_rule_and_a_routes_mtu_are_seen(lab, places):
    lab.sh("server-2", "ip route add default via 203.0.113.10 mtu 1400 table 7")
    lab.sh("server-2", "ip rule add from 203.0.113.2 lookup 7")
    try:
        (found,) = places["server-2"].vitals([], [(CLIENT, VIP)]).back
    finally:
        lab.sh("server-2", "ip rule del from 203.0.113.2; ip route flush table 7")
    assert (str(found.gateway), found.mtu, found.error) == ("203.0.113.10", 1400, "")


def test_firewall_rules_are_those_of_iptables_save(lab, vitals):
    assert vitals["server-1"].rules == ()
    (rules,) = vitals["server-2"].rules
    saved = lab.on("server-2", "iptables-legacy-save").splitlines()
    assert rules.text.splitlines() == [line for line in saved if line[0] != "#"]
    assert (rules.tool, rules.cut) == ("iptables-legacy", False)
    assert INVALID in rules.text


def test_connections_and_services_are_those_of_ipvsadm(lab, places):
    found = places["server-1"].vitals([VIP], [])
    (service,) = found.services
    assert (service.vip, service.port, service.scheduler) == (VIP, 80, "rr")
    assert {str(d.server) for d in service.destinations} == set(SERVERS)
    rows = [line.split() for line in lab.on("server-1", "ipvsadm", "-Lcn").splitlines()[2:]]
    wanted = {}
    for protocol, _, state, _, _, server in rows:
        key = (protocol.lower(), state, server)
        wanted[key] = wanted.get(key, 0) + 1
    assert wanted
    assert set(found.connections) == {
        ConnectionsFact(protocol, VIP, 80, ip_address(server.rpartition(":")[0]), state, count)
        for (protocol, state, server), count in wanted.items()
    }
    assert found.ip_vs == {"conn_tab_bits": "12"}
    assert places["server-2"].vitals([VIP], []).services == ()


def test_a_silent_real_server_shows_as_old_half_open_connections(lab, places):
    lab.sh("server-2", "iptables-legacy -I INPUT -p tcp --dport 80 -j DROP")
    try:
        lab.sh(
            "client",
            "for n in 1 2; do curl -s -m 3.9 http://203.0.113.2/ & done; wait",
            check=False,
        )
        found = places["server-1"].vitals([VIP], []).connections
    finally:
        lab.sh("server-2", "iptables-legacy -D INPUT -p tcp --dport 80 -j DROP")
    (waiting,) = [fact for fact in found if fact.state == "SYN_RECV"]
    assert (str(waiting.server), waiting.count) == (SERVERS[0], 1)
    assert waiting.old <= waiting.count


@pytest.mark.parametrize("host", HOSTS)
def test_sysctls_are_those_of_the_host(lab, vitals, host):
    found = vitals[host].sysctls
    for name in ("net/ipv4/conf/eth0/send_redirects", "net/ipv4/vs/sync_threshold"):
        assert found[name].split() == lab.on(host, "sysctl", "-n", name).split()
    every = "arp_filter log_martians send_redirects proxy_arp sloppy_tcp backup_only schedule_icmp"
    every += " sync_threshold ip_nonlocal_bind tcp_mtu_probing nf_conntrack_tcp_loose"
    assert {name.rpartition("/")[2] for name in found} == set(every.split())


@pytest.mark.parametrize("host", ["server-1", "server-2"])
def test_looking_changes_nothing(lab, places, host):
    lab.sh(host, STANDING, check=False)  # some of these tools load modules themselves
    before = lab.sh(host, STANDING, check=False)
    places[host].vitals([VIP], [(CLIENT, VIP)])
    assert lab.sh(host, STANDING, check=False) == before
