"""Kinds of service by tunnel and by masq: persistent, by SIP, of SCTP, one packet at a time."""

import os

import pytest
from labs import RESPONDER, WarmLab, furnish
from proofs import FAIL, PASS, proving

from onearm.lab import client

GATEWAY, OVER = "203.0.113.1", "203.0.113.3"
SERVERS = ("server-2", "server-3")
HEAD = """
directors: {server-1: 203.0.113.3}
real_servers: {server-2: 203.0.113.4, server-3: 203.0.113.5}
clients: [198.51.100.0/24]
reach: lab
services:
"""
MASQ = (  # 80 and 443 lead to one port of server-2
    "port: 80/tcp, scheduler: rr, forwarding: masq, persistence: 300s",
    "port: 443/tcp, scheduler: rr, forwarding: masq, real_servers: {server-2: {port: 80}}",
    "port: 53/udp, scheduler: rr, forwarding: masq",
    "port: 5353/udp, scheduler: rr, forwarding: masq, persistence: {timeout: 300s, engine: sip}",
    "port: 3868/sctp, scheduler: rr, forwarding: masq",
)
TUNNEL = (
    "port: 80/tcp, scheduler: rr, forwarding: tunnel, persistence: 300s",
    (
        "port: 53/udp, scheduler: rr, flags: ops,"
        " real_servers: {server-2: , server-3: {forwarding: tunnel}}"
    ),
    "port: 5353/udp, scheduler: rr, forwarding: tunnel, persistence: {timeout: 300s, engine: sip}",
    "port: 3868/sctp, scheduler: rr, forwarding: {method: tunnel, type: gre}",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    name = f"lt-ways-kinds-{os.getpid()}"
    client.up(name)
    furnish(name)
    found = WarmLab(name, tmp_path_factory.mktemp("ways-kinds"))
    for host in SERVERS:
        found.sh(host, "modprobe sctp")
    yield found
    found.nodes.end()
    client.down(name)


def proved(lab, rows, bind=""):
    """Apply services: what traffic proves of each with cold caches, all of it passed."""
    path = lab.spec(HEAD + "".join(f"  - {{vip: 203.0.113.2, {row}}}\n" for row in rows))
    lab.onearm("apply", path, "--yes", code=0)
    try:
        lab.onearm("plan", path, "--check", code=0)
        for host in SERVERS:
            lab.sh(host, f"{RESPONDER} {bind}")
        with proving(lab, path) as proof:
            found = proof(cold=True)
    finally:
        for host in SERVERS:
            lab.sh(host, RESPONDER)
        lab.onearm("destroy", path, "--yes", code=0)
    assert not found.ids(FAIL), str(found)
    return found


def passed(found, identity):
    """Name the services of which a property was proved."""
    return {about.partition(":")[2] for one, about in found.abouts(PASS) if one == identity}


def test_kinds_of_service_by_masq(lab):
    for host in SERVERS:
        lab.on(host, "ip", "route", "replace", "default", "via", OVER)
    try:
        found = proved(lab, MASQ)
    finally:
        for host in SERVERS:
            lab.on(host, "ip", "route", "replace", "default", "via", GATEWAY)
    every = {"80/tcp", "443/tcp", "53/udp", "5353/udp", "3868/sctp"}
    assert passed(found, "path.reply_through_director") == every, str(found)
    assert passed(found, "path.every_destination") == every, str(found)
    assert passed(found, "path.distribution") == every, str(found)


def test_kinds_of_service_by_tunnel(lab):
    found = proved(lab, TUNNEL, "--bind 203.0.113.2")
    every = {"80/tcp", "53/udp", "5353/udp", "3868/sctp"}
    assert passed(found, "path.encapsulated") == every, str(found)
    assert passed(found, "path.direct_reply") == every, str(found)
    assert passed(found, "path.every_destination") == every, str(found)
    assert passed(found, "path.distribution") == every, str(found)
