"""What `render` prints, run by a shell on the lab's hosts: the same world as apply makes."""

import pytest
from labs import EXAMPLES, HOSTS, REFERENCE, reference

pytestmark = pytest.mark.lab
CHANGES = {
    "server-1": "ipvsadm -Sn; ip -4 -br address show dev eth0; sysctl net.ipv4.vs",
    "server-2": "ip -d address show dev eth-vip; sysctl -a -r arp_; arptables-legacy -L -n -v",
}
CHANGES["server-3"] = CHANGES["server-2"]


def rendered(lab, path, host, *more):
    return lab.onearm("render", path, "--for", host, "--as", "shell", *more, code=0).out


def run(lab, path, host, *more):
    """Run the text of a host there, as any tooling would; give what it says that it changed."""
    return lab.on(host, "sh", "-s", stdin=rendered(lab, path, host, *more).encode())


def apart(lab):
    return lab.spec(
        reference(**{"server-3: 203.0.113.5": "server-3: {address: 203.0.113.5, arp: arptables}"}),
        "apart.yaml",
    )


@pytest.mark.parametrize("policy", ["sysctl", "arptables"])
def test_a_shell_makes_what_apply_would_and_nothing_twice(lab, policy):
    path = REFERENCE if policy == "sysctl" else apart(lab)
    link = ("--link", "eth0")
    before = {host: lab.sh(host, CHANGES[host], check=False) for host in HOSTS}
    for host in reversed(HOSTS):
        assert "203.0.113.2/32 on eth" in run(lab, path, host, *link)
    first = {host: lab.sh(host, CHANGES[host]) for host in HOSTS}
    assert [host for host in HOSTS if first[host] == before[host]] == []
    for host in HOSTS:
        assert run(lab, path, host, *link) == ""
    assert {host: lab.sh(host, CHANGES[host]) for host in HOSTS} == first

    assert "nothing to do" in lab.onearm("plan", path, "--check", code=0).out
    lab.onearm("verify", path, "--cold", code=0)

    # nothing of it is in a record of ours, until it is adopted: then it can be taken down
    assert "nothing to do" in lab.onearm("destroy", path, "--yes", code=0).out
    lab.onearm("apply", path, "--adopt", "--yes", code=0)
    lab.onearm("destroy", path, "--yes", code=0)
    for host in HOSTS:
        assert "203.0.113.2/" not in lab.on(host, "ip", "address")


def test_a_director_without_a_way_to_its_servers_is_left_alone(lab):
    text = rendered(lab, EXAMPLES / "reference.yaml", "server-1").replace(
        "203.0.113.4 |", "192.0.2.9 |"
    )
    lab.on("server-1", "ip", "route", "del", "default")
    try:
        said = lab.on("server-1", "sh", "-c", "sh -s 2>&1 || echo ended", stdin=text.encode())
    finally:
        lab.on("server-1", "ip", "route", "add", "default", "via", "203.0.113.1")
    assert said.endswith("no link leads there\nended\n")
    assert lab.on("server-1", "ipvsadm", "-Sn") == ""
