"""Doctor finds nothing wrong where nothing is wrong, in many healthy ways to be set up."""

from dataclasses import dataclass, field

import pytest
from chosen import part
from diagnosing import UDP, diagnosing, ids, told
from labs import EXAMPLES, RESPONDER, reference

pytestmark = pytest.mark.lab
VIP = "203.0.113.2"
STATEFUL_SERVER = (
    "iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT;"
    " iptables-legacy -A INPUT -p tcp --dport 80 --syn -j ACCEPT;"
    " iptables-legacy -A INPUT -p udp --dport 53 -j ACCEPT;"
    " iptables-legacy -A INPUT -p icmp -j ACCEPT; iptables-legacy -A INPUT -j DROP"
)
STATELESS_DIRECTOR = (
    "iptables-legacy -A INPUT -p tcp --dport 80 -j ACCEPT;"
    " iptables-legacy -A INPUT -p icmp -j ACCEPT; iptables-legacy -P INPUT DROP"
)
UNTRACKED_DIRECTOR = (
    f"iptables-legacy -t raw -A PREROUTING -d {VIP} -j CT --notrack;"
    f" iptables-legacy -t raw -A OUTPUT -d {VIP} -j CT --notrack;"
    " iptables-legacy -A INPUT -m conntrack --ctstate INVALID -j DROP;"
    " iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT;"
    f" iptables-legacy -A INPUT -d {VIP} -m conntrack --ctstate UNTRACKED -j ACCEPT;"
    " iptables-legacy -A INPUT -j REJECT"
)
OPEN = "iptables-legacy -P INPUT ACCEPT; iptables-legacy -F; iptables-legacy -t raw -F"
SECOND_NIC = (
    "ip link add mgmt type dummy; ip address add 192.0.2.{}/24 dev mgmt; ip link set mgmt up"
)
MANGLED = (
    f"arptables-legacy -A INPUT -d {VIP} -j DROP;"
    f" arptables-legacy -A OUTPUT -s {VIP} -j mangle --mangle-ip-s 203.0.113.{{}};"
    " sysctl -qw net.ipv4.conf.eth0.arp_ignore=0 net.ipv4.conf.eth0.arp_announce=0"
)
LOAD = "for i in $(seq 30); do curl -s -m 2 -o /run/load http://{}/ || true; sleep 0.1; done"


@dataclass
class Variant:
    """A healthy way: a spec, and what else was done to hosts and is taken back."""

    name: str
    spec: str = field(default_factory=reference)
    done: dict = field(default_factory=dict)
    undone: dict = field(default_factory=dict)


def lines(scheduler, flags=""):
    more = f"\n    flags: [{flags}]" if flags else ""
    return reference(**{"scheduler: rr": f"scheduler: {scheduler}{more}"})


def both(script):
    return {"server-2": script.format(4), "server-3": script.format(5)}


SEVERAL = (EXAMPLES / "several-services.yaml").read_text()
WEIGHTS = "{server-2: {weight: 3}, server-3: {weight: 1}}"
ONE_RESTS = "{server-2: {weight: 1}, server-3: {weight: 0}}"
QUIET = "sysctl -qw net.ipv4.conf.eth0.{0}=0 net.ipv4.conf.all.{0}=0"
VARIANTS = [
    Variant("the reference"),
    Variant("silence by arptables", reference(**{"reach: lab": "arp: arptables\nreach: lab"})),
    Variant(
        "silence by both",
        reference(**{"server-2: 203.0.113.4": "server-2: {address: 203.0.113.4, arp: arptables}"}),
    ),
    Variant("wrr", lines("wrr").replace("[server-2, server-3]", WEIGHTS)),
    Variant("lc", lines("lc")),
    Variant("wlc", lines("wlc")),
    Variant("sh", lines("sh")),
    Variant("mh", lines("mh")),
    Variant("mh by port", lines("mh", "mh-port")),
    Variant("a real server at rest", reference(**{"[server-2, server-3]": ONE_RESTS})),
    Variant("UDP too", reference().replace("\nreach", f"\n{UDP}reach")),
    Variant("several services", SEVERAL.replace("name: web\n", "")),
    Variant(
        "a director's firewall without states",
        done={"server-1": STATELESS_DIRECTOR},
        undone={"server-1": OPEN},
    ),
    Variant(
        "a director's firewall that does not track the VIP",
        done={"server-1": UNTRACKED_DIRECTOR},
        undone={"server-1": OPEN},
    ),
    Variant("stateful real servers", done=both(STATEFUL_SERVER), undone=both(OPEN)),
    Variant("a second NIC", done=both(SECOND_NIC), undone=both("ip link del mgmt")),
    Variant(
        "a second NIC and loose filters",
        done=both(SECOND_NIC + "; sysctl -qw net.ipv4.conf.all.rp_filter=2"),
        undone=both("ip link del mgmt; sysctl -qw net.ipv4.conf.all.rp_filter=0"),
    ),
    Variant(
        "strict filters on one NIC",
        done=both("sysctl -qw net.ipv4.conf.all.rp_filter=1"),
        undone=both("sysctl -qw net.ipv4.conf.all.rp_filter=0"),
    ),
    Variant(
        "a director that routes for others",
        done={"server-1": "sysctl -qw net.ipv4.ip_forward=1"},
        undone={"server-1": "sysctl -qw net.ipv4.ip_forward=0"},
    ),
    Variant(
        "silence by hand for all links",
        done=both("sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"),
        undone=both("sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0"),
    ),
    Variant(
        "silence by rules of somebody else's form",
        done=both(MANGLED),
        undone=both(
            "arptables-legacy -F;"
            " sysctl -qw net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2"
        ),
    ),
    Variant(
        "a server that listens on the VIP alone",
        done={"server-2": f"{RESPONDER} --bind {VIP}"},
        undone={"server-2": RESPONDER},
    ),
    Variant(
        "services of others on the director",
        done={"server-1": "ipvsadm -A -t 203.0.113.9:81 -s wlc; ipvsadm -A -f 7 -s rr"},
        undone={"server-1": "ipvsadm -D -t 203.0.113.9:81; ipvsadm -D -f 7"},
    ),
    Variant(
        "busy",
        done={"client": f"setsid sh -c '{LOAD.format(VIP)}' >/dev/null 2>&1 </dev/null &"},
    ),
    Variant(
        "jumbo frames everywhere",
        done=dict.fromkeys(("server-1", "server-2", "server-3"), "ip link set eth0 mtu 1450"),
        undone=dict.fromkeys(("server-1", "server-2", "server-3"), "ip link set eth0 mtu 1500"),
    ),
]


@pytest.fixture(scope="module")
def doctor(lab):
    path = lab.spec(reference())
    lab.onearm("apply", path, "--yes", code=0)
    with diagnosing(lab, path) as found:
        yield found


@pytest.mark.parametrize("variant", part(VARIANTS), ids=lambda variant: variant.name)
def test_nothing_is_wrong(lab, doctor, variant):
    doctor.apply(lab.spec(variant.spec, "variant.yaml"))
    try:
        for host, script in variant.done.items():
            lab.sh(host, script)
        found = doctor()
    finally:
        for host, script in variant.undone.items():
            lab.sh(host, script)
    print(f"proved: doctor is silent: {variant.name}")
    assert not ids(found), told(found)
    assert doctor.observed.evidence is not None
