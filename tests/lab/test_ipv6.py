"""IPv6 end to end, alone and beside IPv4: who advertises the VIP when all caches are cold."""

import json

import pytest
from directors import director
from labs import EXAMPLES, RESPONDER_ENDS, RESPONDER_STARTS
from proofs import FAIL, PASS, proving

pytestmark = pytest.mark.lab
DUAL = EXAMPLES / "ipv6.yaml"
VIP = "2001:db8:203::2"
ALONE = """
name: six
directors: {server-1: "2001:db8:203::3"}
real_servers: {server-2: "2001:db8:203::4", server-3: "2001:db8:203::5"}
services:
  - {vip: "2001:db8:203::2", port: 80/tcp, scheduler: mh, flags: [mh-port]}
  - vip: 2001:db8:203::2
    port: 53/udp
    scheduler: wrr
    real_servers: {server-2: {weight: 3}, server-3: }
reach: lab
"""
PATH = {"every_destination", "client_address", "direct_reply", "distribution"}
ALL = {"nd.single_mac", *(f"path.{name}" for name in PATH)}
MACS = {f"server-{n}": f"02:00:00:00:00:0{n + 2}" for n in (1, 2, 3)}


@pytest.fixture(scope="module")
def applied(lab):
    path = lab.spec(ALONE, "six.yaml")
    lab.onearm("apply", path, "--yes", code=0)
    yield path
    lab.onearm("destroy", path, "--yes", code=0)


@pytest.fixture(scope="module")
def prove(lab, applied):
    with proving(lab, applied) as proof:
        yield proof


def table(lab):
    return sorted(lab.on("server-1", "ipvsadm", "-Sn").splitlines())


def test_the_real_ipvsadm_prints_what_was_planned(lab, applied):
    assert table(lab) == [
        f"-A -t [{VIP}]:80 -s mh -b mh-port",
        f"-A -u [{VIP}]:53 -s wrr",
        f"-a -t [{VIP}]:80 -r [2001:db8:203::4]:80 -g -w 1",
        f"-a -t [{VIP}]:80 -r [2001:db8:203::5]:80 -g -w 1",
        f"-a -u [{VIP}]:53 -r [2001:db8:203::4]:53 -g -w 3",
        f"-a -u [{VIP}]:53 -r [2001:db8:203::5]:53 -g -w 1",
    ]
    assert lab.onearm("plan", applied, "--check", code=0).out.endswith("nothing to do\n")


def test_it_is_proved_with_cold_caches(lab, applied):
    report = lab.process("verify", applied, "--cold", "--strict", "--json", code=0).json()
    assert {p["id"] for p in report["properties"]} == ALL
    assert {p["status"] for p in report["properties"]} == {"pass"}


def test_nobody_but_the_director_advertises_the_vip_though_nothing_silences(lab, prove):
    found = prove(cold=True)
    assert found.ids(PASS) == ALL, str(found)
    frames = [f for seen in found.evidence.frames.values() for f in seen]
    advertised = {f.claimed_mac for f in frames if f.kind == "nd-advertisement" and f.source == VIP}
    assert advertised == {MACS["server-1"]}
    asked = [f for f in frames if f.kind == "nd-solicitation" and f.target == VIP]
    assert {"02:00:00:00:00:01", MACS["server-2"]} <= {f.claimed_mac for f in asked}
    assert not [f for f in frames if f.kind == "nd-solicitation" and f.source == VIP]
    for server in ("server-2", "server-3"):
        path = "/proc/sys/net/ipv4/conf/eth0/arp_ignore"
        assert lab.on(server, "cat", path).strip() == "0"
    for host in MACS:
        assert lab.on(host, "cat", "/proc/sys/net/ipv6/conf/all/forwarding").strip() == "0"


def test_no_host_takes_the_vip_for_its_own_connections(lab, applied):
    for host in MACS:
        shown = json.loads(lab.on(host, "ip", "-j", "-6", "address"))
        held = [a for link in shown for a in link["addr_info"] if a.get("local") == VIP]
        assert [(a["prefixlen"], a["deprecated"], a["nodad"]) for a in held] == [(128, True, True)]
        route = lab.on(host, "ip", "-6", "route", "get", "2001:db8:203::10")
        assert f"src 2001:db8:203::{int(host[-1]) + 2} " in route


def test_the_vip_on_a_link_of_the_segment_is_seen_and_refused(lab, applied, prove):
    aloud = f"ip -6 address add {VIP}/128 dev eth0 nodad"
    lab.sh("server-2", aloud)
    try:
        found = prove(cold=True)
        assert "nd.single_mac" in found.ids(FAIL), str(found)
        assert "server-2 (02:00:00:00:00:04) answers for the VIP" in found.text("nd.single_mac")
        refused = lab.onearm("apply", applied, "--yes", code=3)
        assert "vip.elsewhere" in refused.err + refused.out
        assert "answers neighbour solicitations" in " ".join((refused.err + refused.out).split())
    finally:
        lab.sh("server-2", f"ip -6 address del {VIP}/128 dev eth0")
    assert prove(cold=True).ids(PASS) == ALL


def test_drift_is_found_and_mended(lab, applied):
    lab.sh("server-3", f"ip -6 address del {VIP}/128 dev eth-vip")
    lab.sh("server-1", f"ipvsadm -e -u [{VIP}]:53 -r [2001:db8:203::4]:53 -g -w 9")
    lab.sh("server-1", f"ip -6 address del {VIP}/128 dev eth0")
    lab.onearm("plan", applied, "--check", code=5)
    done = lab.onearm("apply", applied, "--yes", "--json", code=0).json()["done"]
    assert len(done) == 3, done
    lab.onearm("verify", applied, "--cold", "--strict", code=0)


def test_the_moved_vip_is_learned_by_an_unsolicited_advertisement(lab, applied):
    lab.sh("server-1", f"ip -6 address del {VIP}/128 dev eth0")
    entry = f"{VIP} lladdr 02:00:00:00:00:0a dev eth0 nud reachable"
    lab.sh("router", f"ip -6 neigh replace {entry}")
    lab.onearm("apply", applied, "--yes", code=0)
    known = lab.on("router", "ip", "-6", "neigh", "show", VIP)
    assert MACS["server-1"] in known, known


def test_both_families_side_by_side(lab, applied):
    lab.onearm("destroy", applied, "--yes", code=0)
    try:
        lab.onearm("apply", DUAL, "--yes", code=0)
        report = lab.onearm("verify", DUAL, "--cold", "--strict", "--json", code=0).json()
        abouts = {(p["id"], p["about"]) for p in report["properties"] if p["status"] == "pass"}
        assert {("arp.single_mac", "203.0.113.2"), ("nd.single_mac", VIP)} <= abouts
        assert len(abouts) == 10
        assert f"[{VIP}]:80/tcp" in lab.onearm("status", DUAL, code=0).out
        lab.onearm("destroy", DUAL, "--yes", code=0)
        for host in MACS:
            assert VIP not in lab.on(host, "ip", "-6", "address")
    finally:
        lab.onearm("apply", applied, "--yes", code=0)


def named(lab, spec, code):
    """What doctor names, each with its party, notes aside."""
    report = lab.onearm("doctor", spec, "--json", code=code).json()
    found = [f for f in report["findings"] if f["severity"] != "note"]
    return {(f["id"], f["party"]) for f in found}, found


def test_doctor_finds_nothing_wrong_in_a_sane_world(lab, applied):
    assert named(lab, applied, 0)[0] == set()


SERVICE = f"ipvsadm -A -t [{VIP}]:80 -s mh -b mh-port" + "".join(
    f"; ipvsadm -a -t [{VIP}]:80 -r [2001:db8:203::{n}]:80 -g" for n in (4, 5)
)
FAULTS = {
    "the VIP is missing": (
        ("server-2", f"ip -6 address del {VIP}/128 dev eth-vip"),
        ("server-2", f"ip -6 address add {VIP}/128 dev eth-vip nodad preferred_lft 0"),
        ("vip.missing", "server-2"),
    ),
    "the VIP is on the segment": (
        ("server-3", f"ip -6 address add {VIP}/128 dev eth0 nodad"),
        ("server-3", f"ip -6 address del {VIP}/128 dev eth0"),
        ("vip.on_nic", "server-3"),
    ),
    "the director lacks the VIP": (
        ("server-1", f"ip -6 address del {VIP}/128 dev eth0"),
        ("server-1", f"ip -6 address add {VIP}/128 dev eth0 nodad preferred_lft 0"),
        ("vip.announced", "server-1"),
    ),
    "the service is missing": (
        ("server-1", f"ipvsadm -D -t [{VIP}]:80"),
        ("server-1", SERVICE),
        ("ipvs.service", "server-1"),
    ),
    "nobody listens on IPv6": (
        ("server-2", f"{RESPONDER_ENDS}{RESPONDER_STARTS} --bind 0.0.0.0"),
        ("server-2", f"{RESPONDER_ENDS}{RESPONDER_STARTS}"),
        ("listen.on_vip", "server-2"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_doctor_names_what_is_broken(lab, applied, name):
    (host, plant), (_, cure), wanted = FAULTS[name]
    lab.sh(host, plant)
    try:
        ids, found = named(lab, applied, 5)
        assert wanted in ids, found
        assert found[0]["id"] == wanted[0], found
    finally:
        lab.sh(host, cure)
    assert named(lab, applied, 0)[0] == set()


def test_trace_follows_a_connection_to_its_end(lab, applied):
    said = lab.onearm("trace", applied, "--service", f"[{VIP}]:80/tcp", code=0).out
    assert f"[{VIP}]:80/tcp from client [2001:db8:5::" in said
    assert "the client saw: answered" in said


CHECKED = """
directors: {server-1: {address: 203.0.113.3, address6: "2001:db8:203::3"}}
real_servers:
  server-2: {address: 203.0.113.4, address6: "2001:db8:203::4"}
  server-3: {address: 203.0.113.5, address6: "2001:db8:203::5"}
check: {kind: http, interval: 500ms, timeout: 400ms, fall: 2, rise: 1}
resync: 2s
services:
  - {vip: 203.0.113.2, port: 80/tcp, scheduler: rr}
  - {vip: "2001:db8:203::2", port: 80/tcp, scheduler: rr}
  - {vip: "2001:db8:203::2", port: 443/tcp, scheduler: rr, check: icmp}
reach: lab
"""


def behind(lab, vip):
    """Who is behind a VIP's port 80 with a weight, in the director's kernel."""
    rows = [row.split() for row in table(lab)]
    return [row[4] for row in rows if row[:3] == ["-a", "-t", f"{vip}:80"] and row[-1] != "0"]


def test_the_daemon_checks_both_families_and_hears_who_else_has_the_vip(lab, applied):
    lab.onearm("destroy", applied, "--yes", code=0)
    near = [f"[2001:db8:203::{n}]:80" for n in (4, 5)]
    with director(lab, CHECKED) as daemon:
        daemon.wait(lambda: behind(lab, f"[{VIP}]") == near)
        marks = [row for row in table(lab) if row.startswith("-a -f") and " -6 " in row]
        assert [row.split(" -r ")[1] for row in marks] == [
            f"[2001:db8:203::{n}]:0 -g -w 1" for n in (4, 5)
        ]
        lab.onearm("verify", daemon.spec, "--cold", "--strict", code=0)
        lab.sh("server-2", f"ip -6 address del {VIP}/128 dev eth-vip")
        daemon.wait(lambda: behind(lab, f"[{VIP}]") == near[1:])
        assert len(behind(lab, "203.0.113.2")) == 2  # of the other family it serves on
        assert "the server is up but does not serve the VIP" in daemon.log()
        lab.sh("server-2", f"ip -6 address add {VIP}/128 dev eth-vip nodad preferred_lft 0")
        daemon.wait(lambda: behind(lab, f"[{VIP}]") == near)
        lab.sh("neighbour", f"ip -6 address add {VIP}/128 dev eth0 nodad")
        daemon.wait(lambda: "answers neighbour solicitations for the VIP" in daemon.log())
        (claimed,) = [v for v in daemon.snapshot()["vips"] if v["vip"] == VIP]
        assert [c["mac"] for c in claimed["claimants"]] == ["02:00:00:00:00:0a"]
        lab.sh("neighbour", f"ip -6 address del {VIP}/128 dev eth0")
    lab.onearm("apply", applied, "--yes", code=0)
