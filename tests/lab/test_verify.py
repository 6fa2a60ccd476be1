"""verify names the property that is broken, and no other, whatever is broken on the way."""

import contextlib
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from labs import REFERENCE, RESPONDER
from proofs import FAIL, PASS, UNPROVED, proving

from onearm import probe, report
from onearm.errors import Refused
from onearm.lab import security

pytestmark = pytest.mark.lab
VIP = "203.0.113.2"
OWN_MAC, REACHED, CLIENT, DIRECT, SHARES = (
    "arp.single_mac",
    "path.every_destination",
    "path.client_address",
    "path.direct_reply",
    "path.distribution",
)
ALL = {OWN_MAC, REACHED, CLIENT, DIRECT, SHARES}
SERVICE = f"ipvsadm -A -t {VIP}:80 -s rr" + "".join(
    f"; ipvsadm -a -t {VIP}:80 -r 203.0.113.{n} -g -w 1" for n in (4, 5)
)
ALOUD = "sysctl -qw net.ipv4.conf.eth0.arp_ignore={} net.ipv4.conf.eth0.arp_announce={}"
DROP = "iptables-legacy -{} INPUT -d 203.0.113.2 "


@pytest.fixture(scope="module")
def remembering(lab):
    """Let closed connections outlive the tests: what expires within one hides what it adds."""
    lab.sh("server-1", "modprobe ip_vs; ipvsadm --set 0 900 0")
    yield
    lab.sh("server-1", "ipvsadm --set 0 120 0")


@pytest.fixture(scope="module")
def prove(lab, remembering):
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    with proving(lab, REFERENCE) as proof:
        found = proof(cold=True)
        assert found.ids(PASS) == ALL, str(found)
        yield proof
    lab.onearm("destroy", REFERENCE, "--yes", code=0)


@dataclass
class Fault:
    """A way to break things, and what verify must make of it.

    `may`: properties that the fault can break as well, as the kernel has it.
    """

    name: str
    plant: dict
    cure: dict
    fails: set
    words: tuple = ()
    may: set = field(default_factory=set)
    unproved: set = field(default_factory=set)
    cold: bool = False
    clients: tuple | None = None
    looks: bool = False  # the clients must be looked at again


def on_both(script):
    return dict.fromkeys(("server-2", "server-3"), script)


FAULTS = [
    Fault(
        "a real server lacks the VIP",
        {"server-2": f"ip address del {VIP}/32 dev eth-vip"},
        {"server-2": f"ip address add {VIP}/32 dev eth-vip"},
        {REACHED},
        ("server-2 got 8 and answered 0: it lacks the VIP",),
    ),
    Fault(
        "silence is off, caches are warm",
        {"server-2": ALOUD.format(0, 0)},
        {"server-2": ALOUD.format(1, 2)},
        {OWN_MAC},
        ("server-2 (02:00:00:00:00:04) answers for the VIP",),
        may={REACHED},  # a cache may take the last answer that it hears
        unproved={SHARES},
    ),
    Fault(
        "silence is off, caches are cold",
        on_both(ALOUD.format(0, 0)),
        on_both(ALOUD.format(1, 2)),
        {OWN_MAC},
        may={REACHED},
        unproved={SHARES},
        cold=True,
    ),
    Fault(
        "only the answers are silenced",
        {"server-3": ALOUD.format(1, 0)},
        {"server-3": ALOUD.format(1, 2)},
        {OWN_MAC},
        ("server-3 (02:00:00:00:00:05) speaks in ARP in the VIP's name",),
        may={REACHED},
        unproved={SHARES},
        cold=True,
    ),
    Fault(
        "a neighbour claims the VIP",
        {"neighbour": f"ip address add {VIP}/32 dev eth0"},
        {"neighbour": f"ip address del {VIP}/32 dev eth0"},
        {OWN_MAC},
        ("neighbour (02:00:00:00:00:0a) answers for the VIP",),
        may={REACHED, SHARES},  # the router may believe it
        unproved={CLIENT, DIRECT, SHARES},
        looks=True,
    ),
    Fault(
        "the router claims the VIP",
        {"router": f"ip address add {VIP}/32 dev eth0"},
        {"router": f"ip address del {VIP}/32 dev eth0"},
        {OWN_MAC, REACHED},
        ("router (02:00:00:00:00:01) answers", "8 of 16 never arrived at the director"),
    ),
    Fault(
        "the server listens on its own address alone",
        {"server-2": f"{RESPONDER} --bind 203.0.113.4"},
        {"server-2": RESPONDER},
        {REACHED},
        ("server-2 reset 8 of 8: nothing listens there on 203.0.113.2:80",),
    ),
    Fault(
        "replies are sent to the director and die there",
        {"server-3": "ip route replace default via 203.0.113.3"},
        {"server-3": "ip route replace default via 203.0.113.1"},
        {DIRECT},
        ("from server-3",),
    ),
    Fault(
        "replies cross the director and clients do not notice",
        {
            "server-3": "ip route replace default via 203.0.113.3",
            "server-1": "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.accept_local=1",
        },
        {
            "server-3": "ip route replace default via 203.0.113.1",
            "server-1": "sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.accept_local=0",
        },
        {DIRECT},
        ("from server-3", "20 crossed it"),
    ),
    Fault(
        "the router masquerades",
        {"router": "iptables-legacy -t nat -A POSTROUTING -o eth0 -j MASQUERADE"},
        {"router": "iptables-legacy -t nat -F"},
        {CLIENT},
        ("server-2, server-3 saw 203.0.113.1 (router) instead of the client's address (8 of 16",),
    ),
    Fault(
        "the router masquerades and changes ports",
        {"router": "iptables-legacy -t nat -A POSTROUTING -p tcp -o eth0 -j MASQUERADE --random"},
        {"router": "iptables-legacy -t nat -F"},
        set(),
        ("8 of 8 were answered, but came to the director, if at all, under another address",),
        unproved={CLIENT, REACHED, DIRECT, SHARES},
        clients=("client",),
    ),
    Fault(
        "no destination has a weight",
        {"server-1": SERVICE.replace("-A", "-E").replace("-a", "-e").replace("-w 1", "-w 0")},
        {"server-1": SERVICE.replace("-A", "-E").replace("-a", "-e")},
        {REACHED},
        ("its virtual service has no destination with a weight",),
        unproved={CLIENT, DIRECT, SHARES},
    ),
    Fault(
        "the service is missing",
        {"server-1": f"ipvsadm -D -t {VIP}:80"},
        {"server-1": SERVICE},
        {REACHED},
        ("the director itself reset 16: it has no virtual service 203.0.113.2:80/tcp",),
        unproved={CLIENT, DIRECT, SHARES},
    ),
    Fault(
        "a strange destination takes its share",
        {"server-1": f"ipvsadm -a -t {VIP}:80 -r 203.0.113.10 -g -w 1"},
        {"server-1": f"ipvsadm -d -t {VIP}:80 -r 203.0.113.10"},
        {SHARES},
        ("neighbour got connections and should get none",),
    ),
    Fault(
        "a destination that nobody is takes its share",
        {"server-1": f"ipvsadm -a -t {VIP}:80 -r 203.0.113.20 -g -w 1"},
        {"server-1": f"ipvsadm -d -t {VIP}:80 -r 203.0.113.20"},
        {REACHED},
        ("were handed to nobody: nothing was sent to 203.0.113.20 (chosen for",),
        may={SHARES},  # entries of before may expire in between: then the table proves nothing
        unproved={SHARES},
    ),
    Fault(
        "a scheduler by hand keeps no turns",
        {"server-1": f"ipvsadm -E -t {VIP}:80 -s wrr; ipvsadm -e -t {VIP}:80 -r 203.0.113.4 -w 3"},
        {"server-1": SERVICE.replace("-A", "-E").replace("-a", "-e")},
        {SHARES},
        ("server-2 12, server-3 4; rr promises server-2 8, server-3 8",),
    ),
    Fault(
        "the director drops what follows the SYN",
        {"server-1": DROP.format("A") + "-p tcp ! --syn -j DROP"},
        {"server-1": DROP.format("D") + "-p tcp ! --syn -j DROP"},
        {REACHED},
        ("server-2 got the SYN of 8, but nothing that followed it",),
    ),
    Fault(
        "the director refuses",
        {"server-1": DROP.format("A") + "-j REJECT"},
        {"server-1": DROP.format("D") + "-j REJECT"},
        {REACHED},
        ("the director itself refused (ICMP)", "its virtual service did not take them"),
        unproved={CLIENT, DIRECT, SHARES},
    ),
    Fault(
        "a real server drops everything",
        {"server-3": DROP.format("A") + "-j DROP"},
        {"server-3": DROP.format("D") + "-j DROP"},
        {REACHED},
        ("server-3 got 8 and answered 0: it holds the VIP, so look at its firewall",),
    ),
    Fault(
        "a real server refuses",
        {"server-3": DROP.format("A") + "-j REJECT"},
        {"server-3": DROP.format("D") + "-j REJECT"},
        {REACHED},
        ("with ICMP errors: it refuses them",),
    ),
    Fault(
        "a real server is off the wire for the director",
        {"l2": "ip link set server-3 down"},
        {"l2": "ip link set server-3 up"},
        {REACHED},
        ("8 arrived at the director and were handed to nobody", "nothing was sent to server-3"),
        unproved={SHARES},
        cold=True,
    ),
    Fault(
        "the director lacks the VIP",
        {"server-1": f"ip address del {VIP}/32 dev eth0"},
        {"server-1": f"ip address add {VIP}/32 dev eth0"},
        {OWN_MAC, REACHED},
        ("nobody answers for the VIP", "16 of 16"),
        unproved={CLIENT, DIRECT, SHARES},
        cold=True,
    ),
]


@contextlib.contextmanager
def planted(lab, fault):
    try:
        for host, script in fault.plant.items():
            lab.sh(host, script)
        yield
    finally:
        for host, script in fault.cure.items():
            lab.sh(host, script)
        for host in ("router", "neighbour"):  # a cache may have believed a wrong answer
            lab.sh(host, f"ip neigh flush to {VIP}")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_right_property_fails(lab, prove, fault):
    begun = time.monotonic()
    with planted(lab, fault):
        if fault.looks:
            prove.look_at_clients()
        found = prove(cold=fault.cold, clients=fault.clients)
    if fault.looks:
        prove.look_at_clients()
    print(f"{time.monotonic() - begun:.1f} s\n{found}")
    assert fault.fails <= found.ids(FAIL) <= fault.fails | fault.may
    assert found.ids(UNPROVED) <= fault.unproved
    for words in fault.words:
        assert words in "; ".join(found.text(identity) for identity in ALL)
    assert found.code() == (5 if fault.fails else 0)


def segment(lab, pairs):
    """Let Neutron's port security loose on the segment."""
    security.port_security(lab.name, pairs)


@pytest.mark.parametrize(
    ("pairs", "fails", "words"),
    [
        ({"server-1": [f"{VIP}/32"]}, {REACHED}, "8 of 8 handed to server-2 never arrived there"),
        (
            {"server-1": ["0.0.0.0/0"], "server-2": [f"{VIP}/32"]},
            {DIRECT},
            "8 replies left server-3 and never reached the client",
        ),
        ({"server-1": ["0.0.0.0/0"], **on_both([f"{VIP}/32"])}, set(), ""),
    ],
    ids=["the director may not forward", "a real server may not answer", "right"],
)
def test_port_security_with_the_wrong_pairs(lab, prove, pairs, fails, words):
    segment(lab, pairs)
    try:
        found = prove()
    finally:
        segment(lab, None)
    print(found)
    assert found.ids(FAIL) == fails
    assert words in "; ".join(found.text(identity) for identity in ALL)


class Crossed:
    """A client's place where somebody else connects once between our first connection and the rest.

    By chance it would hardly ever happen: ours start within a millisecond.
    """

    def __init__(self, place, other):
        self._place, self._other = place, other

    def __getattr__(self, name):
        return getattr(self._place, name)

    def connect(self, errand):
        first, rest = errand.sources[:1], errand.sources[1:]
        found = list(self._place.connect(replace(errand, sources=first)))
        self._other()
        return [*found, *self._place.connect(replace(errand, sources=rest))]


def test_connections_of_others_leave_the_shares_unproved(lab, prove):
    """In turns, one of somebody else makes it five to three."""
    other = lambda: lab.sh("neighbour", f"curl -sf -m 5 -o /dev/null {VIP}")
    met = prove.clients
    prove.clients = [replace(c, place=Crossed(c.place, other)) for c in met if c.name == "client"]
    try:
        found = prove()
    finally:
        prove.clients = met
    assert not found.ids(FAIL), str(found)
    assert found.ids(UNPROVED) == {SHARES}, str(found)
    assert "connections of others in between, so only reported" in found.text(SHARES)


@pytest.fixture
def unasked(lab):
    """Let hosts ask nobody by themselves: who is asked learns the asker, at any moment.

    They do 5 s after an entry was used. What earlier tests taught them is forgotten.
    """
    hosts = ("client", "router", "neighbour", "server-1", "server-2", "server-3")
    wait = "for f in /proc/sys/net/ipv4/neigh/*/delay_first_probe_time; do echo {} >$f; done"
    for host in hosts:
        lab.sh(host, f"{wait.format(3600)}; ip neigh flush all")
    yield hosts
    for host in hosts:
        lab.sh(host, wait.format(5))


def test_what_is_learned_is_really_forgotten(lab, prove, unasked):
    lab.sh("client", "curl -s -o /dev/null 203.0.113.2")
    lab.sh("neighbour", "ip neigh replace 203.0.113.5 lladdr 02:00:00:00:00:05 dev eth0")
    lab.sh("server-2", "ip neigh replace 203.0.113.10 lladdr 02:00:00:00:00:0a dev eth0")
    prove.session.again()
    prove.look_at_clients()
    probing = probe.Probe(prove.session, prove.clients, cold=True)
    probing.bystanders = prove.bystanders
    found = probing.evidence
    found.machines = dict(prove.session.facts) | {c.name: c.facts for c in prove.clients}
    found.machines |= {name: facts for name, (_, facts) in prove.bystanders.items()}
    probing._flush()
    left = {host: lab.on(host, "ip", "-4", "neigh", "show") for host in unasked}
    lab.sh("neighbour", "ip neigh del 203.0.113.5 dev eth0", check=False)
    lab.sh("server-2", "ip neigh del 203.0.113.10 dev eth0", check=False)
    assert {entry.address.compressed for entry in found.flushed["client"]} == {"198.51.100.1"}
    assert "203.0.113.2" in {str(entry.address) for entry in found.flushed["router"]}
    permanent = [line for text in left.values() for line in text.splitlines() if "lladdr" in line]
    assert len(permanent) == 2
    assert all("PERMANENT" in line for line in permanent)
    assert found.not_flushed == [
        "neighbour (a permanent entry for 203.0.113.5)",
        "server-2 (a permanent entry for 203.0.113.10)",
    ]


def test_a_cold_start_that_would_cut_a_server_off_is_refused(lab, prove):
    drop = f"arptables-legacy -{{}} OUTPUT -s {VIP} -j DROP"
    announce = "sysctl -qw net.ipv4.conf.eth0.arp_announce={}"
    gateway = "203.0.113.1 lladdr 02:00:00:00:00:01 dev eth0"
    lab.sh("server-3", f"{drop.format('A')}; ip neigh replace {gateway} nud reachable")
    try:
        prove.session.again()
        report.refuse_trap(prove.spec, prove.session)  # arp_announce=2 is ours
        lab.sh("server-3", announce.format(0))
        prove.session.again()
        with pytest.raises(Refused, match=r"server-3 drops its own ARP requests.*--warm"):
            report.refuse_trap(prove.spec, prove.session)
        refused = lab.onearm("verify", REFERENCE, "--json", code=3)
        assert refused.json()["exit_code"] == 3
        assert lab.sh("server-3", "ip neigh show to 203.0.113.1").strip()
    finally:
        lab.sh("server-3", f"{drop.format('D')}; {announce.format(2)}")


def prefix(lab, host):
    return f"{lab.folder}/one\\ arm lab exec --name {lab.name} {host} --"


@pytest.fixture(scope="module")
def spaced(lab):
    """The command under a name that must be quoted."""
    link = lab.folder / "one arm"
    link.symlink_to(Path(sys.executable).with_name("onearm"))
    return link


def test_the_command_line_says_it_with_its_exit_code(lab, prove, spaced):
    fault = FAULTS[0]
    with planted(lab, fault):
        given = ("--client", prefix(lab, "client"), "--warm")
        report = lab.onearm("verify", REFERENCE, *given, "--json", code=5).json()
        failed = [p for p in report["properties"] if p["status"] == "fail"]
        assert [p["id"] for p in failed] == [REACHED]
        assert report["connections"] == 8
        assert report["cold"] is False
        assert report["clients"] == [prefix(lab, "client")]


def test_a_client_of_the_spec_proves_nothing(lab, prove, spaced):
    given = ("--client", prefix(lab, "client"), "--client", prefix(lab, "server-3"))
    done = lab.onearm("verify", REFERENCE, *given, code=3)
    assert "is server-3 itself" in " ".join(done.err.split())
    with pytest.raises(Refused, match="is server-1 itself"):
        probe._client(prove.spec, "x", None, prove.session.facts["server-1"])


def test_a_client_that_cannot_be_reached_is_a_place_that_cannot(lab, prove):
    done = lab.onearm("verify", REFERENCE, "--client", "/nowhere/ssh x", code=4)
    assert "/nowhere/ssh could not be started" in " ".join(done.err.split())


def test_of_a_server_that_is_out_nothing_is_claimed(lab, prove):
    text = REFERENCE.read_text().replace("reach: lab", "reach: {default: lab, server-3: ['false']}")
    report = lab.onearm("verify", lab.spec(text), "--json", code=4).json()
    statuses = {p["id"]: p["status"] for p in report["properties"]}
    assert statuses == {
        OWN_MAC: "pass",
        REACHED: "unproved",
        CLIENT: "unproved",
        DIRECT: "unproved",
        SHARES: "pass",
    }, report
    shares = next(p["evidence"] for p in report["properties"] if p["id"] == SHARES)
    assert "server-2 8, server-3 8" in shares
    assert list(report["out"]) == ["server-3"]
    assert "203.0.113.5" in report["not_flushed"]


def test_of_a_director_that_is_out_nothing_is_claimed(lab, prove):
    facts = prove.session.facts.pop("server-1")
    try:
        found = prove()
    finally:
        prove.session.facts["server-1"] = facts
    assert found.ids(UNPROVED) == ALL - {CLIENT}, str(found)
    assert not found.ids(FAIL)
