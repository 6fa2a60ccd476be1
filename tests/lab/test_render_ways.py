"""What `render` prints for tunnels and masq, run by dash: the same world as apply makes."""

import os

import pytest
from labs import EXAMPLES, WarmLab, furnish

from onearm.lab import client
from onearm.lab.topology import REMOTE_SERVER

pytestmark = pytest.mark.lab
GATEWAY, OVER = "203.0.113.1", "203.0.113.3"
TUNNELS = """\
directors: {server-1: 203.0.113.3}
real_servers:
  server-2: 203.0.113.4
  server-3: {address: 203.0.113.5, arp: arptables}
  server-5: 192.0.2.5
reach: lab
services:
  - vip: 203.0.113.2
    port: 80/tcp
    scheduler: rr
    forwarding: {method: tunnel, type: gue, port: 6081}
    real_servers:
      server-2: {forwarding: direct}
      server-3: {forwarding: {method: tunnel, type: gre}}
      server-5:
"""
STATE = r"""
ipvsadm -Sn
printf 'link\naddress\n' | ip -o -batch - | grep -Ev ': (tunl|gre|gretap|erspan)0@'
sysctl -a -r 'arp_(ignore|announce)|rp_filter|ip_forward|send_redirects' 2>/dev/null
ip fou show 2>/dev/null | grep port || true
arptables-legacy -L -n
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    name = f"lt-texts-{os.getpid()}"
    client.up(name, (REMOTE_SERVER,))
    furnish(name)
    found = WarmLab(name, tmp_path_factory.mktemp("texts"))
    yield found
    found.nodes.end()
    client.down(name)


def run(lab, path, host):
    """Run the text of a host there by dash; give what it says that it changed."""
    link = ("--link", "eth0")
    text = lab.onearm("render", path, "--for", host, "--as", "shell", *link, code=0).out
    return lab.on(host, "dash", "-s", stdin=text.encode())


def stands_by_texts(lab, path, *hosts):
    """Run the hosts' texts twice: the second time nothing changes, and nothing is left to plan."""
    for host in hosts:
        assert "203.0.113.2/32 on " in run(lab, path, host)
    first = {host: lab.sh(host, STATE) for host in hosts}
    for host in hosts:
        assert run(lab, path, host) == ""
    assert {host: lab.sh(host, STATE) for host in hosts} == first
    assert "nothing to do" in lab.onearm("plan", path, "--check", code=0).out
    lab.onearm("verify", path, "--cold", code=0)
    lab.onearm("apply", path, "--adopt", "--yes", code=0)
    lab.onearm("destroy", path, "--yes", code=0)
    for host in hosts:
        assert "203.0.113.2/" not in lab.on(host, "ip", "address")


def test_ends_of_tunnels_are_what_apply_would_make(lab):
    path = lab.spec(TUNNELS)
    stands_by_texts(lab, path, REMOTE_SERVER, "server-3", "server-2", "server-1")


def test_an_end_of_a_tunnel_from_another_director_is_set(lab):
    path = lab.spec(TUNNELS)
    run(lab, path, "server-3")
    other = "ip link change gre-vip type gre local 203.0.113.5 remote 203.0.113.10"
    lab.on("server-3", *other.split())
    said = run(lab, path, "server-3")
    assert said == "link gre-vip takes packets from 203.0.113.3 to 203.0.113.5\n"
    assert "remote 203.0.113.3 " in lab.on("server-3", "ip", "-d", "link", "show", "gre-vip")
    lab.onearm("apply", path, "--adopt", "--yes", code=0)
    lab.onearm("destroy", path, "--yes", code=0)


def test_a_director_of_masq_is_what_apply_would_make(lab):
    path = EXAMPLES / "masq.yaml"
    for host in ("server-2", "server-3"):
        lab.on(host, "ip", "route", "replace", "default", "via", OVER)
        said = lab.onearm("render", path, "--for", host, "--as", "shell", code=2).err
        assert "its default route over the director" in " ".join(said.split())
    try:
        stands_by_texts(lab, path, "server-1")
    finally:
        for host in ("server-2", "server-3"):
            lab.on(host, "ip", "route", "replace", "default", "via", GATEWAY)
