"""Large requests through tunnels: clients are asked for packets that fit, and nothing is cut."""

import os

import pytest
from labs import WarmLab, furnish

from onearm.lab import client
from onearm.lab.topology import REMOTE_SERVER

SPEC = """
directors: {{server-1: 203.0.113.3}}
real_servers: {{server-5: 192.0.2.5}}
reach: lab
services:
  - vip: 203.0.113.2
    port: 9000/tcp
    forwarding: {{method: tunnel, type: {}}}
"""
TAKES = {"ipip": 20, "gre": 24, "gue": 32}  # bytes of a packet
MTU, NARROW = 1500, 1400
SENT = 2_000_000
RECEIVER = """\
import os, socket
server = socket.create_server(("", 9000))
if os.fork():
    os._exit(0)
os.setsid()
for stream in range(3):
    os.dup2(os.open("/dev/null", os.O_RDWR), stream)
with open("/run/receiver.pid", "w") as file:
    file.write(str(os.getpid()))
while True:
    peer, count = server.accept()[0], 0
    while data := peer.recv(65536):
        count += len(data)
    peer.sendall(str(count).encode())
    peer.close()
"""
SENDER = f"""\
import socket
with socket.create_connection(("203.0.113.2", 9000), 10) as sender:
    sender.settimeout(30)
    sender.sendall(bytes({SENT}))
    sender.shutdown(socket.SHUT_WR)
    print(sender.recv(100).decode())
"""
CUT = "awk '$1 == \"Ip:\" && $2 ~ /^[0-9]/ {print $18, $20}' /proc/net/snmp"  # FragOKs, FragCreates


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    name = f"lt-tunnel-sizes-{os.getpid()}"
    client.up(name, (REMOTE_SERVER,))
    furnish(name)
    found = WarmLab(name, tmp_path_factory.mktemp("tunnel-sizes"))
    found.on(REMOTE_SERVER, "modprobe", "fou")
    found.on(REMOTE_SERVER, "python3", "-c", RECEIVER)
    yield found
    found.sh(REMOTE_SERVER, "kill $(cat /run/receiver.pid)")
    found.nodes.end()
    client.down(name)


def upload(lab):
    """Send from a client that knows no size of its own accord; give the size it then knows."""
    lab.on("client", "ip", "route", "flush", "cache")
    lab.on("server-1", "ip", "route", "flush", "cache")
    assert lab.on("client", "python3", "-c", SENDER).strip() == str(SENT)
    words = lab.on("client", "ip", "route", "get", "203.0.113.2").split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words else MTU


@pytest.mark.parametrize("tunnel", TAKES)
def test_a_large_upload_shrinks_to_what_the_tunnel_takes_and_is_cut_nowhere(lab, tunnel):
    path = lab.spec(SPEC.format(tunnel))
    lab.onearm("apply", path, "--yes", code=0)
    try:
        before = lab.sh("server-1", CUT)
        assert upload(lab) == MTU - TAKES[tunnel]
        assert lab.sh("server-1", CUT) == before
        lab.on("router", "ip", "link", "set", "eth2", "mtu", str(NARROW))
        assert upload(lab) == NARROW - TAKES[tunnel]
        assert lab.sh("server-1", CUT) == before
    finally:
        lab.on("router", "ip", "link", "set", "eth2", "mtu", str(MTU))
        lab.onearm("destroy", path, "--yes", code=0)


def test_a_director_that_cuts_instead_is_named_and_mended(lab):
    path = lab.spec(SPEC.format("ipip"))
    lab.onearm("apply", path, "--yes", code=0)
    try:
        lab.on("server-1", "sysctl", "-qw", "net.ipv4.vs.pmtu_disc=0")
        before = lab.sh("server-1", CUT)
        assert upload(lab) == MTU
        assert lab.sh("server-1", CUT) != before
        found = lab.onearm("doctor", path, "--passive", "--json", code=5).json()["findings"]
        assert "vs.pmtu_disc" in {finding["id"] for finding in found}
        assert "pmtu_disc: value 0 -> 1" in lab.onearm("plan", path, code=0).out
        lab.onearm("apply", path, "--yes", code=0)
        assert upload(lab) == MTU - TAKES["ipip"]
    finally:
        lab.onearm("destroy", path, "--yes", code=0)
