"""Reboots by the distribution's real tools: silent from the first moment, then served; restarts."""

import os

import daemoned
import pytest
from booting import FOLLOWS, VIP, Asker, Booting
from labs import WarmLab, furnish

from onearm.lab import client

pytestmark = pytest.mark.lab
SPEC = """
name: web
boot: {boot}
directors: {{server-1: 203.0.113.3}}
real_servers: {{server-2: {server}, server-3: 203.0.113.5}}
services: [{more}{{vip: 203.0.113.2, port: 80/tcp, scheduler: rr}}]
reach: {reach}
"""
SECOND = "{vip: 203.0.113.7, port: 80/tcp, scheduler: rr}, "
WAYS = [
    *("networkd", "networkmanager", "ifupdown", "unit"),
    *("netplan-networkd", "netplan-networkmanager"),
]
DIRECTOR, SERVER = "02:00:00:00:00:03", "02:00:00:00:00:04"
SERVED = "curl -sm 2 http://203.0.113.2/ | grep -q server-2"
OURS = "find /etc -name '*onearm*' -type f"
SYSCTLS = "/etc/sysctl.d/99-zz-onearm-web.conf"
KEPT = "/etc/systemd/network/20-eth0.network.d/onearm-web.conf"


@pytest.fixture
def lab(tmp_path):
    """A lab of its own: what booted in it cannot be undone."""
    name = f"lt-boot-{os.getpid()}"
    client.up(name)
    furnish(name)
    lab = WarmLab(name, tmp_path)
    yield lab
    lab.nodes.end()
    client.down(name)


def spec(lab, boot="auto", one=None, arp="sysctl", more=""):
    """The spec, with the host that booted reached where it is now."""
    at = {"server-1": "lab", "server-2": "lab", "server-3": "lab"}
    at |= {one.host: one.reach} if one else {}
    reach = "{" + ", ".join(f"{host}: {how}" for host, how in at.items()) + "}"
    server = f"{{address: 203.0.113.4, arp: {arp}}}"
    return lab.spec(SPEC.format(boot=boot, server=server, reach=reach, more=more), f"{boot}.yaml")


def boots(lab, way):
    """Give server-2, which its own tools brought up, with the spec applied."""
    one = Booting(lab, "server-2", way)
    one.furnish()
    one.boot = "unit" if way == "unit" else "auto"
    return one


def until_served(lab):
    wait = f"n=0; until {SERVED}; do n=$((n + 1)); [ $n -lt 100 ]; sleep 0.1; done"
    lab.sh("client", wait, timeout=120)


def places_of_files(plan):
    return {a["place"] for a in plan["actions"] if "/" in (a["after"] or {}).get("path", "")}


@pytest.mark.parametrize("way", WAYS)
def test_the_vip_is_there_before_the_nic_and_silent_until_it_serves(lab, way):
    server = boots(lab, way)
    path = spec(lab, server.boot)
    plan = lab.onearm("plan", path, "--json", code=0).json()
    # nobody boots the others, which are no machines, unless the spec says so
    assert places_of_files(plan) == {"server-2"} | ({"server-3"} if way == "unit" else set())
    lab.onearm("apply", path, "--yes", code=0)

    asker = Asker(lab)
    server.power_off()
    server.begin()
    server.holds_vip()
    server.plug_in()
    server.sh(FOLLOWS.get(way, "true"))
    server.settled()
    server.serve()
    until_served(lab)
    asked, claims = asker.stop()
    assert asked > 50
    assert claims == {DIRECTOR}

    # what came back is what the spec wants, and still ours
    again = spec(lab, server.boot, server)
    assert "nothing to do" in lab.onearm("plan", again, "--check", code=0).out
    lab.onearm("destroy", again, "--yes", code=0)
    assert server.sh(OURS) == ""
    assert VIP not in server.sh("ip address")


@pytest.mark.parametrize("way", WAYS)
def test_the_nic_is_there_before_the_vip_and_silent_all_the_same(lab, way):
    server = boots(lab, way)
    lab.onearm("apply", spec(lab, server.boot), "--yes", code=0)
    asker = Asker(lab)
    server.power_off()
    server.plug_in()
    server.begin()
    server.settled()
    server.holds_vip()
    server.serve()
    until_served(lab)
    assert asker.stop()[1] == {DIRECTOR}


def test_rules_of_arptables_come_back_with_the_vip(lab):
    server = boots(lab, "networkd")
    lab.onearm("apply", spec(lab, arp="arptables"), "--yes", code=0)
    assert SYSCTLS not in server.sh(OURS)
    asker = Asker(lab)
    server.power_off()
    server.sh("sh /etc/onearm/boot/web.sh")
    server.plug_in()
    server.begin()
    server.settled()
    server.holds_vip()
    server.serve()
    until_served(lab)
    assert asker.stop()[1] == {DIRECTOR}


def test_without_the_file_of_its_silence_it_answers(lab):
    """What the others prove is worth something: the asker hears one that speaks."""
    server = boots(lab, "ifupdown")
    lab.onearm("apply", spec(lab), "--yes", code=0)
    server.sh(f"rm {SYSCTLS}")
    asker = Asker(lab)
    server.power_off()
    server.plug_in()
    server.begin()
    server.settled()
    server.holds_vip()
    server.until("ip neigh | grep -q 203.0.113.1")
    assert asker.stop()[1] == {DIRECTOR, SERVER}


def test_networkmanager_leaves_a_vip_alone_over_restarts_and_changes(lab):
    """Its files are written beside a link that it did not make; after a reboot it did."""
    server = boots(lab, "networkmanager")
    lab.onearm("apply", spec(lab), "--yes", code=0)
    assert server.restart() == []
    server.sh("nmcli connection reload")
    assert VIP in server.sh("ip address show dev eth-vip")

    server.power_off()
    server.plug_in()
    server.begin()
    server.settled()
    server.holds_vip()
    assert server.restart() == []
    again = spec(lab, one=server, more=SECOND)
    lab.onearm("apply", again, "--yes", code=0)
    assert server.restart() == []
    assert {"203.0.113.2/32", "203.0.113.7/32"} <= {*server.sh("ip address").split()}
    lab.onearm("destroy", again, "--yes", code=0)
    server.restart()
    assert "203.0.113.4/" in (found := server.sh("ip address; nmcli -t connection"))
    assert not {"203.0.113.2/32", "203.0.113.7/32"} & {*found.split()}
    assert "onearm" not in found


@pytest.mark.parametrize("kept", [True, False])
def test_a_restart_of_networkd_leaves_a_directors_vip_alone(lab, kept):
    director = Booting(lab, "server-1", "networkd")
    director.furnish()
    lab.onearm("apply", spec(lab, "auto" if kept else "off"), "--yes", code=0)
    assert (KEPT in director.sh(OURS)) == kept
    for _ in range(2):
        moved = [line for line in director.restart() if f"{VIP}/32" in line]
        assert ("203.0.113.2/32" in director.sh("ip address show dev eth0")) == kept
        assert bool(moved) != kept
        lab.onearm("apply", spec(lab, "auto" if kept else "off"), "--yes", code=0)
    lab.onearm("destroy", spec(lab, "auto" if kept else "off"), "--yes", code=0)
    assert director.sh(OURS) == ""


def test_a_foreign_file_in_our_place_is_refused_and_shown(lab):
    server = boots(lab, "ifupdown")
    mine = "/etc/network/interfaces.d/onearm-web"
    server.sh(f"echo '# mine' >{mine}")
    done = lab.onearm("apply", spec(lab), "--yes", code=3)
    assert f"BootVip({mine}" in done.err
    assert server.sh(f"cat {mine}") == "# mine\n"
    shown = lab.onearm("apply", spec(lab), "--yes", "--adopt", code=0).out
    assert "-# mine" in shown
    assert "+auto eth-vip" in shown


def test_a_restart_of_networkd_beside_a_daemon_costs_a_vip_one_event(lab):
    """The loss is an event, and what the daemon does at it is to put the VIP back."""
    host = Booting(lab, "server-1", "networkd")
    host.furnish()
    path = lab.spec(daemoned.SPEC)
    lab.onearm("apply", path, "--yes", "--limit", "server-2", "--limit", "server-3")
    lab.nodes.end()
    with daemoned.director(lab) as daemon:
        daemon.up()
        host.until("ip -o address show dev eth0 | grep -q 203.0.113.2/32")
        for _ in range(2):
            moved = [line.split()[0] == "Deleted" for line in host.restart() if VIP in line]
            assert moved == [True, False], daemon.log()
            assert "203.0.113.2/32" in host.sh("ip address show dev eth0")
            assert daemon.servers() == ["server-2", "server-3"]
