"""Real connections, as `onearm connections` and as `ipvsadm -Lcn` have them."""

from collections import Counter

import pytest
from daemoned import SPEC, director
from labs import REFERENCE, reference
from runs import transfers, wait_for

pytestmark = pytest.mark.lab
VIP6 = "2001:db8:203::2"
STRANGER = "-A -t 203.0.113.2:8080 -s rr\n-a -t 203.0.113.2:8080 -r 203.0.113.4:8080 -g\n"


def shown_by_ipvsadm(lab):
    """List (protocol, client, VIP, server, state) of every entry."""
    rows = [line.split() for line in lab.on("server-1", "ipvsadm", "-Lcn").splitlines()[2:]]
    return Counter((row[0].lower(), *row[3:6], row[2]) for row in rows)


def ends(entry, who):
    address = entry[who]
    return f"[{address}]" if ":" in address else address


def shown_by_us(found):
    return Counter(
        (
            entry["protocol"],
            f"{ends(entry, 'client')}:{entry['client_port']}",
            f"{ends(entry, 'vip')}:{entry['port']}",
            f"{ends(entry, 'server')}:{entry['server_port']}",
            entry["state"],
        )
        for entry in found["entries"]
    )


def test_every_entry_is_that_of_ipvsadm(lab):
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    lab.on("server-1", "ipvsadm", "-R", stdin=STRANGER.encode())
    lab.sh("client", "for n in 1 2 3 4; do curl -s -m 9 http://203.0.113.2/ >/dev/null; done")
    lab.sh("client", "curl -s -m 1 http://203.0.113.2:8080/", check=False)
    with transfers(lab, 42001, 42002):
        before, after = None, shown_by_ipvsadm(lab)
        while before != after:
            before = after
            found = lab.onearm("connections", REFERENCE, "--all", "--json", code=0).json()
            after = shown_by_ipvsadm(lab)
        assert shown_by_us(found) == before
        ours = lab.onearm("connections", REFERENCE, "--json", code=0).json()
        assert {entry["port"] for entry in ours["entries"]} == {80}
        assert {entry["port"] for entry in found["entries"]} == {80, 8080}
        live = lab.onearm("connections", REFERENCE, "--state", "established", "--json").json()
        assert {entry["client_port"] for entry in live["entries"]} == {42001, 42002}
        seen = live["directors"]["server-1"]
        assert (seen["states"], seen["shown"]) == ({"ESTABLISHED": 2}, 2)
        assert {server["host"] for server in seen["servers"]} == {"server-2", "server-3"}
        text = lab.onearm("connections", REFERENCE, code=0).out
        assert "198.51.100.10:42001  203.0.113.2:80/tcp" in text
        assert all(len(line) <= 80 for line in text.splitlines())
        nobody = lab.onearm("connections", REFERENCE, "--client", "198.51.100.11", "--json").json()
        assert nobody["entries"] == []
    lab.sh("server-1", "ipvsadm -D -t 203.0.113.2:8080")
    lab.onearm("destroy", REFERENCE, "--yes", code=0)


def test_templates_and_ipv6_are_told_apart(lab):
    """A persistent service of other hands, and entries of IPv6."""
    lab.sh("server-1", "ipvsadm -A -t 203.0.113.2:80 -s rr -p 300")
    lab.sh("server-1", "ipvsadm -a -t 203.0.113.2:80 -r 203.0.113.4 -g")
    lab.sh("server-1", "ip address add 203.0.113.2/32 dev eth0")
    lab.sh("client", "curl -s -m 1 http://203.0.113.2/", check=False)
    lab.sh("server-1", f"ip link set lo up; ip -6 address add {VIP6}/128 dev lo nodad")
    lab.sh("server-1", f"ipvsadm -A -t [{VIP6}]:80 -s rr; ipvsadm -a -t [{VIP6}]:80 -r [::1]:80 -g")
    lab.sh("server-1", f"curl -s -m 1 http://[{VIP6}]/", check=False)
    found = lab.onearm("connections", REFERENCE, "--all", "--json", code=0).json()
    assert shown_by_us(found) == shown_by_ipvsadm(lab)
    kinds = {entry["kind"]: entry for entry in found["entries"]}
    assert kinds["template"]["client_port"] == 0
    assert kinds["template"]["client"] == "198.51.100.10"
    seen = found["directors"]["server-1"]
    assert (seen["templates"], seen["connections"]) == (1, len(found["entries"]) - 1)
    assert {entry["vip"] for entry in found["entries"]} == {"203.0.113.2", VIP6}
    lab.sh("server-1", f"ipvsadm -D -t [{VIP6}]:80; ipvsadm -D -t 203.0.113.2:80")
    lab.sh(
        "server-1", f"ip -6 address del {VIP6}/128 dev lo; ip address del 203.0.113.2/32 dev eth0"
    )


def test_beside_a_daemon_probes_are_told_apart(lab):
    spec = lab.spec(SPEC)
    lab.process("apply", spec, "--yes", code=0)  # a warm node would keep the lock

    def probed():
        found = lab.onearm("connections", spec, "--json", code=0).json()
        return [entry for entry in found["entries"] if entry["kind"] == "probe"] and found

    with director(lab):
        found = wait_for(probed, lambda: lab.on("server-1", "cat", "/proc/net/ip_vs_conn"))
    probes = [entry for entry in found["entries"] if entry["kind"] == "probe"]
    assert {entry["client"] for entry in probes} == {"203.0.113.3"}
    assert found["directors"]["server-1"]["probes"] == len(probes)
    lab.onearm("destroy", spec, "--yes", code=0)


def test_a_director_that_cannot_be_reached_is_out(lab):
    nowhere = lab.spec(reference(**{"reach: lab": "reach: {server-1: ['false']}"}))
    done = lab.onearm("connections", nowhere, "--json", code=4)
    assert "server-1" in done.json()["out"]
    assert done.json()["entries"] == []
