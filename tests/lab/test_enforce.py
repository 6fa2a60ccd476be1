"""Each mode of enforcement does to frames and connections what the real driver was seen to do."""

import time
from dataclasses import replace
from ipaddress import ip_network

import pytest
from enforced import (
    APART,
    EGRESS,
    EVERYTHING,
    HIS,
    MAC,
    TOGETHER,
    VIP,
    Drops,
    Ear,
    claim,
    port,
    reference,
    udp,
    verdicts,
)
from labs import REFERENCE
from proofs import FAIL, PASS, proving

from onearm.lab import enforce, enforce_stages
from onearm.lab.enforce import IPTABLES, MODES, OPENVSWITCH, OVN, Pair, Rule

pytestmark = pytest.mark.lab
OPEN = (Rule("ingress"), EGRESS)


@pytest.fixture(autouse=True)
def released(lab):
    yield
    enforce.release(lab.name)


# --- single frames: the table seen on real ML2/OVN and ML2/OVS, three of each sent

STRANGER = "198.51.100.7"
FRAMES = {
    "own": ("server-2", "router"),
    "vip to gateway": ("server-2", "router"),
    "vip to client": ("server-2", "router"),
    "claims vip": ("server-2", "router"),
    "wrong mac": ("server-2", "router"),
    "client's": ("server-1", "server-2"),
    "to server's vip": ("router", "server-2"),
    "to director's vip": ("router", "server-1"),
}
OVS_SEEN = {
    "own": "33333",
    "vip to gateway": "03330",
    "vip to client": "03330",
    "claims vip": "03330",
    "wrong mac": "00000",
    "client's": "00033",
    "to server's vip": "33333",
    "to director's vip": "33333",
}
OVN_SEEN = OVS_SEEN | {"to server's vip": "03330", "to director's vip": "00333"}
SEEN = {IPTABLES: OVS_SEEN, OPENVSWITCH: OVS_SEEN, OVN: OVN_SEEN}
STEPS = (((), ()), ((HIS,), ()), ((HIS,), (HIS,)), ((HIS,), (EVERYTHING,)), ((), (EVERYTHING,)))


def sent():
    """Build one frame of each kind, by its sender."""
    web, gateway, director = MAC["server-2"], MAC["router"], MAC["server-1"]
    other = "02:00:00:00:99:99"
    return {
        "server-2": [
            udp("own", web, "203.0.113.4", gateway, "203.0.113.1"),
            udp("vip to gateway", web, VIP, gateway, "203.0.113.1"),
            udp("vip to client", web, VIP, gateway, STRANGER),
            claim("claims vip", web, VIP),
            udp("wrong mac", other, "203.0.113.4", gateway, "203.0.113.1"),
        ],
        "server-1": [udp("client's", director, STRANGER, web, "203.0.113.4")],
        "router": [
            udp("to server's vip", gateway, "203.0.113.1", web, VIP),
            udp("to director's vip", gateway, "203.0.113.1", director, VIP),
        ],
    }


@pytest.fixture(scope="module")
def ears(lab):
    hosts = ("router", "server-1", "server-2")
    found = {host: Ear(lab, host) for host in hosts}
    yield found
    for ear in found.values():
        ear.close()


@pytest.mark.parametrize("mode", MODES)
def test_single_frames_fare_as_on_the_real_driver(lab, ears, mode):
    found = dict.fromkeys(FRAMES, "")
    plan = None
    for server, director in STEPS:
        states = reference(TOGETHER, port("server-1", *director, rules=OPEN), servers=server)
        states = {host: replace(state, rules=OPEN) for host, state in states.items()}
        plan = enforce.apply(lab.name, mode, states, plan)
        for host, frames in sent().items():
            ears[host].ask(frames * 3)
        time.sleep(0.1)
        heard = {host: ear.ask() for host, ear in ears.items()}
        for name, (_, target) in FRAMES.items():
            found[name] += str(heard[target].get(name, 0))
    counts = enforce.counters(lab.name)
    for name, row in found.items():
        print(f"{mode:16} {name:18} {' '.join(row)}")
    assert found == SEEN[mode]
    # what was not let through is counted, by its reason
    # (and a stray frame of the hosts' own may be among them)
    assert counts["server-2"]["spoof-out"] >= 5 * 3 + 2 * 2 * 3
    assert counts["server-2"]["arp-spoof"] >= 2 * 3
    assert counts["server-1"]["spoof-out"] >= 3 * 3
    for host in ("server-1", "server-2"):
        assert counts[host]["spoof-in"] >= (mode == OVN) * 2 * 3
        assert mode == OVN or not counts[host]["spoof-in"]


# --- direct routing under each driver: what was recorded, the same twice for outside and inside

WORKS, HANGS, TIMEOUT = ("works",) * 2, ("hangs",) * 2, ("timeout",) * 2
OUTSIDE_ONLY = ("works", "hangs")  # by the flood of replies to a port without port security
SAME, OTHER = "same node", "other node"
WHERE = {SAME: TOGETHER, OTHER: APART}
COLUMNS = [(mode, where) for mode in MODES for where in WHERE]
BOTH = (EVERYTHING, Pair(ip_network(VIP)))
NAIVE, STATELESS, OFF, BARE = (
    "stateful group + 0/0",
    "stateless group + 0/0",
    "port security off",
    "servers without pair",
)
CHOICES = {  # the director's port, the real servers' pairs
    NAIVE: (port("server-1", EVERYTHING), (HIS,)),
    STATELESS: (port("server-1", *BOTH, stateful=False), (HIS,)),
    OFF: (port("server-1", rules=(), port_security=False), (HIS,)),
    BARE: (port("server-1", *BOTH, stateful=False), ()),
}
RECORDED = {  # in the order of COLUMNS; None: told by its neighbour, as no connection comes to be
    NAIVE: (WORKS, WORKS, WORKS, HANGS, HANGS, HANGS),
    STATELESS: (WORKS, WORKS, WORKS, HANGS, WORKS, WORKS),
    OFF: (WORKS, WORKS, WORKS, WORKS, OUTSIDE_ONLY, OUTSIDE_ONLY),
    BARE: (None, TIMEOUT, None, TIMEOUT, None, TIMEOUT),
}
CHOSEN = {IPTABLES: STATELESS, OPENVSWITCH: OFF, OVN: STATELESS}
CELLS = sorted(  # in the order that builds least anew
    (
        (choice, *column)
        for place, column in enumerate(COLUMNS)
        for choice, row in RECORDED.items()
        if row[place]
    ),
    key=lambda each: (MODES.index(each[1]), each[1] == OVN and each[0] == OFF, each[2] == OTHER),
)


def cell(choice, where):
    """Give the ports of a cell."""
    guarded, servers = CHOICES[choice]
    return reference(WHERE[where], guarded, servers=servers)


def recorded(choice, *column):
    return RECORDED[choice][COLUMNS.index(column)]


@pytest.fixture(scope="module")
def balanced(lab):
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    yield
    lab.onearm("destroy", REFERENCE, "--yes", code=0)


@pytest.fixture(scope="module")
def matrix(lab, balanced):
    """Measure every cell: what clients saw, who served them, and if not, what was dropped."""
    for host in ("client", "neighbour", "server-2", "server-3"):  # dead connections end at once
        lab.sh(host, "sysctl -qw net.ipv4.tcp_synack_retries=0 net.ipv4.tcp_orphan_retries=1")
    measured, cells, plan, drops = {}, {}, None, Drops(lab)
    for choice, mode, where in CELLS:
        states = cell(choice, where)
        rules = str(enforce_stages.plan(mode, states))
        if rules not in measured:
            plan = enforce.apply(lab.name, mode, states, plan)
            found, served = verdicts(lab, recorded(choice, mode, where))
            measured[rules] = found, served, {} if found == WORKS else drops.since(plan)
        cells[choice, mode, where] = measured[rules]
    assert len(measured) == 15  # of 21: the place of a port counts in openvswitch alone
    return cells


def test_the_matrix_is_the_recorded_one(matrix):
    for choice in CHOICES:
        for each in (each for each in CELLS if each[0] == choice):
            found, _, drops = matrix[each]
            why = ", ".join(f"{h} {r} {n}" for (h, r), n in sorted(drops.items()))
            outside, inside = found
            print(f"{choice:22} {each[1]:16} {each[2]:11} {outside:8} {inside:8} {why}")
    assert {each: found for each, (found, _, _) in matrix.items()} == {
        each: recorded(*each) for each in CELLS
    }
    for found, served, drops in matrix.values():
        if found == WORKS:
            assert served == {"server-2", "server-3"}
        if "hangs" in found:
            assert ("server-1", "invalid") in drops


@pytest.mark.parametrize("mode", MODES)
def test_servers_without_a_pair_are_dropped_where_the_driver_looks(matrix, mode):
    """OVN drops the SYN on its way in; the others the answer on its way out."""
    drops = matrix[BARE, mode, OTHER][2]
    reason = "spoof-in" if mode == OVN else "spoof-out"
    spoofs = {each for each in drops if each[1] != "invalid"}
    assert spoofs == {("server-2", reason), ("server-3", reason)}


def test_openvswitch_hides_it_where_a_node_is_shared(lab, balanced):
    """It works with the server beside the director, and hangs with the other."""

    def served():
        four = lab.sh(
            "client", f"for i in 1 2 3 4; do curl -s -m 1 {VIP} || echo hangs & done; wait"
        )
        return sorted(line.split()[0] for line in four.splitlines())

    mixed = {**APART, "server-2": "compute-1"}
    enforce.apply(lab.name, OPENVSWITCH, reference(mixed, CHOICES[NAIVE][0]))
    assert served() == ["hangs", "hangs", "server-2", "server-2"]
    # and with the one beside it too, where that has no port security and is tracked nowhere
    states = reference(TOGETHER, CHOICES[NAIVE][0])
    open_port = replace(states["server-2"], port_security=False)
    enforce.apply(lab.name, OPENVSWITCH, {**states, "server-2": open_port})
    assert served() == ["hangs", "hangs", "server-3", "server-3"]


@pytest.mark.parametrize(
    ("mode", "where"), [(IPTABLES, OTHER), (OPENVSWITCH, SAME), (OPENVSWITCH, OTHER), (OVN, OTHER)]
)
def test_verify_proves_the_choice_and_refutes_the_naive_one(lab, prove, mode, where):
    enforce.apply(lab.name, mode, cell(CHOSEN[mode], where))
    found = prove(cold=True)
    assert not found.ids(FAIL) and len(found.ids(PASS)) == 5, str(found)
    if recorded(NAIVE, mode, where) == HANGS:
        enforce.apply(lab.name, mode, cell(NAIVE, where))
        found = prove()
        assert found.code() == 5 and "path.every_destination" in found.ids(FAIL), str(found)
        assert "but nothing that followed it" in found.text("path.every_destination")


@pytest.fixture(scope="module")
def prove(lab, balanced):
    with proving(lab, REFERENCE) as proof:
        yield proof
