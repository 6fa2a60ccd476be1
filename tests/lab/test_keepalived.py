"""keepalived beside us: its usual check asks the real server's own address, whatever the VIP is."""

import os

import pytest
from labs import REFERENCE, Lab
from loads import load
from runs import wait_for

from onearm.lab import client
from onearm.lab.faults import planted
from onearm.lab.topology import SECOND_DIRECTOR

pytestmark = pytest.mark.lab
VIP = "203.0.113.20"
CONFIG = """
virtual_server {vip} 80 {{
    delay_loop 1
    lb_algo rr
    lb_kind DR
    protocol TCP
    {servers}
}}
"""
SERVER = """
    real_server {address} 80 {{
        TCP_CHECK {{
            connect_timeout 1
            retry 2
            delay_before_retry 1
        }}
    }}
"""
BOTH = {"203.0.113.4:80": "1", "203.0.113.5:80": "1"}
START = """
cat >/run/keepalived.conf
setsid keepalived -n -l -C -f /run/keepalived.conf -p /run/keepalived.pid -c /run/checks.pid \
    >/run/keepalived.log 2>&1 &
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The reference, and keepalived on the second director for a VIP of its own."""
    lab = Lab(f"lt-keepalived-{os.getpid()}", tmp_path_factory.mktemp("lab"))
    try:
        client.up(lab.name, (SECOND_DIRECTOR,))
        lab.onearm("apply", REFERENCE, "--yes", code=0)
        for host in ("server-2", "server-3"):
            lab.sh(host, f"ip address add {VIP}/32 dev eth-vip")
        keepalived(lab)
        yield lab
    finally:
        client.down(lab.name)


def keepalived(lab):
    addresses = [row.rpartition(":")[0] for row in BOTH]
    servers = "".join(SERVER.format(address=address) for address in addresses)
    config = CONFIG.format(vip=VIP, servers=servers).encode()
    lab.on(SECOND_DIRECTOR, "sh", "-ec", START, stdin=config)
    lab.sh(SECOND_DIRECTOR, f"ip address add {VIP}/32 dev eth0")
    wait_for(lambda: rotation(lab) == BOTH, lambda: log(lab))


def rotation(lab):
    """The destinations in keepalived's kernel, by weight."""
    rows = [line.split() for line in lab.on(SECOND_DIRECTOR, "ipvsadm", "-Sn").splitlines()]
    return {row[4]: row[7] for row in rows if row[0] == "-a"}


def log(lab):
    return lab.on(SECOND_DIRECTOR, "cat", "/run/keepalived.log")


def test_it_notices_nothing_while_clients_of_a_server_without_the_vip_time_out(lab):
    with load(lab, "--vip", VIP, "--timeout", "2", "--rate", "20", "--transfers", "4") as running:
        running.wait(lambda last: set(last["connections"]["servers"]) == {"server-2", "server-3"})
        lab.sh("server-2", f"ip address del {VIP}/32 dev eth-vip")
        running.wait(lambda last: last["connections"]["failed"])
        begun = running.second()["second"]
        running.wait(lambda last: last["second"] >= begun + 10)  # it asks once a second, thrice
        assert running.second()["connections"]["failed"].keys() == {"timed_out"}
        assert rotation(lab) == BOTH, log(lab)
        assert "failed" not in log(lab) and "Removing" not in log(lab)
        lab.sh("server-2", f"ip address add {VIP}/32 dev eth-vip")
        running.wait(lambda last: last["connections"]["servers"].get("server-2"))
        result = running.stop()
    assert {one["server"] for one in result["failures"]} <= {"server-2", None}


def test_it_does_notice_a_server_that_is_not_running(lab):
    planted.add(lab.name, "listen-nowhere", "server-2")
    try:
        wait_for(lambda: rotation(lab) == {"203.0.113.5:80": "1"}, lambda: log(lab))
    finally:
        planted.clear(lab.name)
    wait_for(lambda: rotation(lab) == BOTH, lambda: log(lab))
