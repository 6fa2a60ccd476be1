"""Every scheduler, TCP and UDP, several services and VIPs: proved, and a fault kept to its own."""

import pytest
from labs import RESPONDER_ENDS, RESPONDER_STARTS
from proofs import FAIL, PASS, UNPROVED, proving

from onearm import schedule

pytestmark = pytest.mark.lab
SPEC = """
    directors: {server-1: 203.0.113.3}
    real_servers: {server-2: 203.0.113.4, server-3: 203.0.113.5}
    reach: lab
    services:
      - {vip: 203.0.113.2, port: 80/tcp, scheduler: rr}
      - {vip: 203.0.113.2, port: 443/tcp, scheduler: wrr,
         real_servers: {server-2: {weight: 3}, server-3: {weight: 1}}}
      - {vip: 203.0.113.2, port: 8080/tcp, scheduler: sh}
      - {vip: 203.0.113.2, port: 53/udp, scheduler: rr}
      - {vip: 203.0.113.6, port: 80/tcp, scheduler: mh}
      - {vip: 203.0.113.6, port: 443/tcp, scheduler: mh, flags: [mh-port]}
      - {vip: 203.0.113.6, port: 8080/tcp, scheduler: lc}
      - {vip: 203.0.113.6, port: 53/udp, scheduler: wlc,
         real_servers: {server-2: {weight: 1}, server-3: {weight: 0}}}
      - {vip: 203.0.113.6, port: 5353/udp, scheduler: wrr,
         real_servers: {server-2: {weight: 1}, server-3: {weight: 2}}}
"""
RULES = ("path.every_destination", "path.client_address", "path.direct_reply", "path.distribution")


@pytest.fixture(scope="module")
def path(lab):
    path = lab.spec(SPEC)
    lab.onearm("apply", path, "--yes", code=0)
    yield path
    lab.onearm("destroy", path, "--yes", code=0)


@pytest.fixture(scope="module")
def prove(lab, path):
    with proving(lab, path) as proof:
        yield proof


def test_all_of_them_are_proved_with_cold_caches(lab, path, prove):
    report = lab.onearm("verify", path, "--cold", "--strict", "--json", code=0).json()
    found = {(p["id"], p["about"]): p for p in report["properties"]}
    assert len(found) == 2 + len(RULES) * 9
    assert {p["status"] for p in found.values()} == {PASS}
    shares = found["path.distribution", "203.0.113.2:443/tcp"]["evidence"]
    assert shares == "server-2 12, server-3 4, exactly as wrr promises"
    assert "64 client addresses" not in shares
    kept = found["path.distribution", "203.0.113.2:8080/tcp"]["evidence"]
    assert kept.endswith("each of 65 client addresses kept its server")
    assert report["connections"] <= 9 * 2 * schedule.AT_MOST


def test_one_address_alone_cannot_prove_what_ties_it_to_one_server(lab, prove):
    found = prove(clients=["neighbour"])
    tied = {("path.every_destination", f"203.0.113.{n}") for n in ("2:8080/tcp", "6:80/tcp")}
    assert found.abouts(UNPROVED) == tied, str(found)
    assert "was not chosen in 2 connections" in found.text("path.every_destination")
    assert (found.code(), found.code(strict=True)) == (0, 5)


def test_a_vip_that_is_missing_is_missed_by_its_own_services_alone(lab, prove):
    lab.sh("server-3", "ip address del 203.0.113.6/32 dev eth-vip")
    try:
        found = prove(clients=["client"])
    finally:
        lab.sh("server-3", "ip address add 203.0.113.6/32 dev eth-vip")
    about = ("80/tcp", "443/tcp", "8080/tcp", "5353/udp")
    wanted = {("path.every_destination", f"203.0.113.6:{port}") for port in about}
    assert found.abouts(FAIL) == wanted, str(found)
    assert not found.abouts(UNPROVED)


def test_a_closed_udp_port_is_named(lab, prove):
    """The ICMP errors tell which datagram they are about; their rate is limited."""
    lab.sh("server-2", RESPONDER_ENDS)
    try:
        found = prove(clients=["client"])
    finally:
        lab.sh("server-2", RESPONDER_STARTS)
    failed = found.abouts(FAIL)
    assert {identity for identity, _ in failed} == {"path.every_destination"}, str(found)
    assert len(failed) == 9
    assert "with ICMP errors: its port is closed" in found.text("path.every_destination")
    assert "nothing listens there on 203.0.113.6:443" in found.text("path.every_destination")


def test_sticky_clients_that_wander_are_seen(lab, prove):
    lab.sh("server-1", "ipvsadm -E -t 203.0.113.2:8080 -s rr")
    try:
        found = prove(clients=["client"])
    finally:
        lab.sh("server-1", "ipvsadm -E -t 203.0.113.2:8080 -s sh")
    assert found.abouts(FAIL) == {("path.distribution", "203.0.113.2:8080/tcp")}, str(found)
    assert "client addresses got several servers" in found.text("path.distribution")
