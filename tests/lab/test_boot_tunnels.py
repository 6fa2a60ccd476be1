"""Reboots of a real server at the end of tunnels, by the distribution's real tools."""

import os

import pytest
from booting import FOLLOWS, SYSCTL, Asker, Booting
from labs import WarmLab, furnish

from onearm.lab import client

pytestmark = pytest.mark.lab
SPEC = """
name: web
boot: {boot}
directors: {{server-1: 203.0.113.3}}
real_servers: {{server-2: {{address: 203.0.113.4, arp: {arp}}}}}
services:
  - {{vip: 203.0.113.2, port: 80/tcp, forwarding: {first}}}
  - {{vip: 203.0.113.9, port: 80/tcp, forwarding: {{method: tunnel, type: gre}}}}
  - {{vip: 203.0.113.11, port: 80/tcp}}
reach: {{server-1: lab, server-2: {reach}}}
"""
GUE, IPIP = "{method: tunnel, type: gue, port: 6081}", "{method: tunnel}"
DIRECTOR = "02:00:00:00:00:03"
VIPS = ("203.0.113.2", "203.0.113.9", "203.0.113.11")
HELD = " && ".join(
    f"ip -o address show dev {link} 2>/dev/null | grep -q {vip}/32"
    for link, vip in zip(("ipip-vip", "gre-vip", "eth-vip"), VIPS, strict=True)
)
OURS = "find /etc -name '*onearm*' -type f"
STRICT = "/etc/sysctl.d/10-strict.conf"  # what an image may ask for, and tunnels must not mind
# That tool ends well whatever it finds; of a module that is there it says so.
LOADED = (
    "SYSTEMD_LOG_TARGET=console SYSTEMD_LOG_LEVEL=debug /lib/systemd/systemd-modules-load"
    " /etc/modules-load.d/onearm-web.conf 2>&1"
)
FILTER = "sysctl -n net.ipv4.conf.all.rp_filter net.ipv4.conf.ipip-vip.rp_filter"
LEFT = "ip -br link; ip fou show; ip -br address"


@pytest.fixture
def lab(tmp_path):
    """A lab of its own: what booted in it cannot be undone."""
    name = f"lt-tunnels-{os.getpid()}"
    client.up(name)
    furnish(name)
    lab = WarmLab(name, tmp_path)
    lab.sh("server-2", f"modprobe fou; echo net.ipv4.conf.all.rp_filter=1 >{STRICT}")
    yield lab
    lab.nodes.end()
    client.down(name)


def boots(lab, way):
    one = Booting(lab, "server-2", way)
    one.furnish()
    one.boot = "unit" if way == "unit" else "auto"
    return one


def spec(lab, boot, reach="lab", arp="sysctl", first=GUE):
    return lab.spec(SPEC.format(boot=boot, reach=reach, arp=arp, first=first))


def until_served(lab):
    for vip in VIPS:
        served = f"curl -sm 2 http://{vip}/ | grep -q server-2"
        wait = f"n=0; until {served}; do n=$((n + 1)); [ $n -lt 100 ]; sleep 0.1; done"
        lab.sh("client", wait, timeout=120)


def rebooted(lab, server, *, nic_first):
    """Reboot it until it serves; give who claimed the VIP meanwhile."""
    asker = Asker(lab)
    server.power_off()
    if nic_first:
        server.plug_in()
    server.begin()
    server.until(HELD)
    if not nic_first:
        server.plug_in()
        server.sh(FOLLOWS.get(server.manager, "true"))
    server.settled()
    server.serve()
    until_served(lab)
    asked, claims = asker.stop()
    assert asked > 50
    return claims


@pytest.mark.parametrize("nic_first", [True, False])
@pytest.mark.parametrize("way", ["networkd", "ifupdown", "unit"])
def test_ends_of_tunnels_come_back_silent_and_serve(lab, way, nic_first):
    server = boots(lab, way)
    first = IPIP if way == "networkd" else GUE
    path = spec(lab, server.boot, first=first)
    lab.onearm("apply", path, "--yes", code=0)
    assert "nothing to do" in lab.onearm("plan", path, "--check", code=0).out
    if way == "ifupdown":
        assert "'fou' is already loaded" in server.sh(LOADED)
    assert rebooted(lab, server, nic_first=nic_first) == {DIRECTOR}
    assert server.sh(FILTER).split() == ["1", "2"]

    again = spec(lab, server.boot, server.reach, first=first)
    assert "nothing to do" in lab.onearm("plan", again, "--check", code=0).out
    lab.onearm("destroy", again, "--yes", code=0)
    assert server.sh(OURS) == ""
    assert not [word for word in ("-vip", "6081", *VIPS) if word in server.sh(LEFT)]


@pytest.mark.parametrize(("arp", "first"), [("arptables", IPIP), ("sysctl", GUE)])
def test_what_networkd_cannot_do_is_a_script_that_it_leaves_alone(lab, arp, first):
    server = boots(lab, "networkd")
    path = spec(lab, "auto", arp=arp, first=first)
    lab.onearm("apply", path, "--yes", code=0)
    server.sh("ls /etc/onearm/boot/web.sh /etc/systemd/network/00-onearm-gre-vip.network")
    asker = Asker(lab)
    server.power_off()
    server.sh(f"{SYSCTL}; sh /etc/onearm/boot/web.sh")
    server.plug_in()
    server.begin()
    server.settled()
    server.until(HELD)
    server.serve()
    until_served(lab)
    assert asker.stop()[1] == {DIRECTOR}
    again = spec(lab, "auto", server.reach, arp=arp, first=first)
    assert "nothing to do" in lab.onearm("plan", again, "--check", code=0).out


def test_a_changed_director_is_a_changed_file(lab):
    server = boots(lab, "networkd")
    path = spec(lab, "auto", first=IPIP)
    lab.onearm("apply", path, "--yes", code=0)
    file = "/etc/systemd/network/00-onearm-gre-vip.netdev"
    server.sh(f"sed -i s/^Remote=.*/Remote=203.0.113.10/ {file}")
    shown = lab.onearm("apply", path, "--yes", code=0).out
    assert "-Remote=203.0.113.10" in shown
    assert "+Remote=203.0.113.3" in shown
