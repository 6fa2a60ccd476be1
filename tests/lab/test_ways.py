"""Tunnels to a real server behind the router, and masq: applied, proved, drifted, taken down."""

import os
from contextlib import contextmanager

import pytest
from directors import director
from labs import EXAMPLES, WarmLab, furnish
from proofs import FAIL, PASS, proving

from onearm.lab import client
from onearm.lab.topology import REMOTE_SERVER

GATEWAY, OVER = "203.0.113.1", "203.0.113.3"
HEAD = """\
directors: {server-1: 203.0.113.3}
real_servers: {server-2: 203.0.113.4, server-3: 203.0.113.5, server-5: 192.0.2.5}
reach: lab
services:
  - vip: 203.0.113.2
    port: 80/tcp
    scheduler: rr
"""
MIXED = (
    HEAD
    + """\
    forwarding: {method: tunnel, type: gue, port: 6081}
    real_servers:
      server-2: {forwarding: direct}
      server-3: {forwarding: {method: tunnel, type: gre}}
      server-5:
"""
)
STATE = r"""
cat /proc/net/ip_vs
printf 'link\naddress\nroute\n' | ip -o -batch - | sed 's,tentative ,,' |
    grep -Ev ': (tunl|gre|gretap|erspan)0@'
cd /proc/sys/net/ipv4; grep . ip_forward conf/all/*_redirects conf/eth0/*_redirects
ip fou show 2>&1 | grep port || true
"""
GUE = "--tun-type gue --tun-port 6081 --tun-nocsum"
HOSTS = ("server-1", "server-2", "server-3", REMOTE_SERVER)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    name = f"lt-ways-{os.getpid()}"
    client.up(name, (REMOTE_SERVER,))
    furnish(name)
    found = WarmLab(name, tmp_path_factory.mktemp("ways"))
    yield found
    found.nodes.end()
    client.down(name)


@contextmanager
def standing(lab, path):
    """Apply a spec, and leave the hosts as they were."""
    before = {host: lab.sh(host, STATE) for host in HOSTS}
    lab.onearm("apply", path, "--yes", code=0)
    try:
        lab.onearm("plan", path, "--check", code=0)
        yield
    finally:
        lab.onearm("destroy", path, "--yes", code=0)
    assert {host: lab.sh(host, STATE) for host in HOSTS} == before


@contextmanager
def gateway_is_the_director(lab, *hosts):
    for host in hosts:
        lab.on(host, "ip", "route", "replace", "default", "via", OVER)
    yield
    for host in hosts:
        lab.on(host, "ip", "route", "replace", "default", "via", GATEWAY)


def proved(lab, path):
    """Verify with cold caches: every property passes; return those of the service."""
    with proving(lab, path) as proof:
        found = proof(cold=True)
    assert found.ids(PASS) == {p.id for p in found.properties}, str(found)
    return {identity for identity, about in found.abouts(PASS) if about.endswith("/tcp")}


ALWAYS = {"path.every_destination", "path.client_address", "path.distribution"}


def test_a_tunnel_to_a_real_server_behind_the_router(lab):
    path = EXAMPLES / "tunnel.yaml"
    with standing(lab, path):
        assert lab.on("server-1", "ipvsadm", "-Sn").splitlines() == [
            "-A -t 203.0.113.2:80 -s rr",
            "-a -t 203.0.113.2:80 -r 192.0.2.5:80 -i -w 1 --tun-type ipip",
            "-a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 1",
        ]
        assert proved(lab, path) == ALWAYS | {"path.encapsulated", "path.direct_reply"}
        assert lab.onearm("doctor", path, "--json", code=0).json()["findings"] == []
        shown = lab.onearm("status", path, code=0).out
        assert "tunnel ipip" in shown


def test_gue_gre_and_direct_beside_each_other(lab):
    path = lab.spec(MIXED)
    said = lab.onearm("plan", path, code=3)
    assert "host.tunnel_gue" in said.out + said.err
    lab.on(REMOTE_SERVER, "modprobe", "fou")
    with standing(lab, path):
        assert lab.on("server-1", "ipvsadm", "-Sn").splitlines() == [
            "-A -t 203.0.113.2:80 -s rr",
            f"-a -t 203.0.113.2:80 -r 192.0.2.5:80 -i -w 1 {GUE}",
            "-a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 1",
            "-a -t 203.0.113.2:80 -r 203.0.113.5:80 -i -w 1 --tun-type gre --tun-nocsum",
        ]
        assert proved(lab, path) == ALWAYS | {"path.encapsulated", "path.direct_reply"}
        assert lab.onearm("doctor", path, "--json", code=0).json()["findings"] == []


DRIFTS = {  # what is done to server-5, and what doctor calls it
    "ip link del ipip-vip": "tunnel.link",
    "ip link set ipip-vip down": "tunnel.link",
    "ip link change ipip-vip type ipip local 192.0.2.5 remote 203.0.113.9": "tunnel.unpacked",
    "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter;"
    " echo 1 >/proc/sys/net/ipv4/conf/ipip-vip/rp_filter": "tunnel.rp_filter",
}


@pytest.mark.parametrize("drift", DRIFTS, ids=DRIFTS.get)
def test_a_tunnels_end_that_drifts_is_named_and_mended(lab, drift):
    path = EXAMPLES / "tunnel.yaml"
    with standing(lab, path):
        lab.sh(REMOTE_SERVER, drift)
        with proving(lab, path) as proof:
            found = proof()
        assert found.ids(FAIL) == {"path.every_destination"}, str(found)
        named = lab.onearm("doctor", path, "--json", code=5).json()["findings"]
        assert named[0]["id"] == DRIFTS[drift], named
        lab.onearm("plan", path, "--check", code=5)
        lab.onearm("apply", path, "--yes", code=0)
        assert "path.encapsulated" in proved(lab, path)
        lab.sh(REMOTE_SERVER, "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter")


def test_masq_with_a_port_of_its_own(lab):
    path = EXAMPLES / "masq.yaml"
    refused = lab.onearm("plan", path, code=3)
    assert "masq.return_route" in refused.out + refused.err
    with gateway_is_the_director(lab, "server-2", "server-3"), standing(lab, path):
        assert lab.on("server-1", "ipvsadm", "-Sn").splitlines() == [
            "-A -t 203.0.113.2:80 -s rr",
            "-a -t 203.0.113.2:80 -r 203.0.113.4:80 -m -w 1",
            "-a -t 203.0.113.2:80 -r 203.0.113.5:8080 -m -w 1",
        ]
        assert proved(lab, path) == ALWAYS | {"path.reply_through_director"}
        named = lab.onearm("doctor", path, "--json", code=0).json()["findings"]
        assert [f["id"] for f in named] == ["client.route"]  # of the neighbour: no client here
        trace = lab.onearm("trace", path, "--via", "server-2", code=0).out
        answer = trace.split("<- SYN ACK")[1].split(" -> ")[0].split()
        seen = [word for word in answer if word.startswith(("server-", "client"))]
        assert seen == ["server-2", "server-1", "server-1", "server-1", "client"]  # one is a MAC's
        lab.on("server-3", "ip", "route", "replace", "default", "via", GATEWAY)
        with proving(lab, path) as proof:
            found = proof(cold=True)
        assert found.ids(FAIL) == {"path.reply_through_director"}, str(found)
        assert "server-3 -> router" in found.text("path.reply_through_director")
        named = lab.onearm("doctor", path, "--json", code=5).json()["findings"]
        assert named[0]["id"] == "masq.return_route"
        lab.on("server-3", "ip", "route", "replace", "default", "via", OVER)


def test_a_way_changes_on_the_living_service(lab):
    tunnel = lab.spec(HEAD + "    real_servers: {server-2: , server-3: }\n", "direct.yaml")
    other = lab.spec(
        HEAD + "    real_servers: {server-2: , server-3: {forwarding: tunnel}}\n", "other.yaml"
    )
    with standing(lab, tunnel):
        lab.onearm("apply", other, "--yes", code=0)
        assert "path.encapsulated" in proved(lab, other)
        held = lab.on("server-3", "ip", "-o", "address", "show", "to", "203.0.113.2")
        assert "ipip-vip" in held
        assert "eth-vip" not in held
        lab.onearm("apply", tunnel, "--yes", code=0)
        assert "path.encapsulated" not in proved(lab, tunnel)


CHECKED = "resync: 2s\ncheck: {kind: tcp, interval: 500ms, timeout: 400ms, rise: 1, fall: 2}\n"


def states(daemon):
    """Say in which state the daemon has each real server."""
    services = daemon.snapshot()["services"]
    return {server["host"]: server["state"] for one in services for server in one["servers"]}


def test_checks_through_the_vip_go_by_tunnel(lab):
    text = CHECKED + (EXAMPLES / "tunnel.yaml").read_text()
    with director(lab, text) as daemon:
        daemon.wait(lambda: states(daemon) == {"server-2": "up", REMOTE_SERVER: "up"})
        marks = [r for r in lab.on("server-1", "ipvsadm", "-Sn").splitlines() if r[:4] == "-a -"]
        assert any("-f" in r and "192.0.2.5:0 -i" in r for r in marks), marks
        lab.on(REMOTE_SERVER, "ip", "link", "set", "ipip-vip", "down")
        daemon.wait(lambda: states(daemon)[REMOTE_SERVER] == "down")
        lab.on(REMOTE_SERVER, "ip", "link", "set", "ipip-vip", "up")
        daemon.wait(lambda: states(daemon)[REMOTE_SERVER] == "up")
        assert "path.encapsulated" in proved(lab, daemon.spec)


def test_checks_through_the_vip_go_by_masq(lab):
    text = CHECKED + (EXAMPLES / "masq.yaml").read_text()
    with gateway_is_the_director(lab, "server-2", "server-3"), director(lab, text) as daemon:
        daemon.wait(lambda: states(daemon) == {"server-2": "up", "server-3": "up"})
        lab.sh("server-3", "iptables-legacy -I INPUT -p tcp --dport 8080 -j REJECT")
        daemon.wait(lambda: states(daemon) == {"server-2": "up", "server-3": "down"})
        lab.sh("server-3", "iptables-legacy -D INPUT -p tcp --dport 8080 -j REJECT")
        daemon.wait(lambda: states(daemon) == {"server-2": "up", "server-3": "up"})
        assert "path.reply_through_director" in proved(lab, daemon.spec)
