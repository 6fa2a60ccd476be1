"""What a real server's own tools find at boot: whose file it is, silence first, modes."""

import configparser
import json
import subprocess
from dataclasses import replace
from ipaddress import ip_address

import pytest

from onearm.boot import files
from onearm.boot.share import Share, Tunnel
from onearm.model import ArpSilence, BootFile, BootVip, TunnelLink

VIP, VIP6 = ip_address("203.0.113.2"), ip_address("2001:db8:203::2")
BY_SYSCTL = (ArpSilence("eth0"), ArpSilence("eth1.5", deaf=False))
BY_RULES = (ArpSilence("eth0", "arptables", VIP, ip_address("203.0.113.4")),)
SHARE = Share("web", (VIP, VIP6), BY_SYSCTL)
OWN, DIRECTOR = ip_address("203.0.113.4"), ip_address("203.0.113.3")
IPIP = Tunnel(TunnelLink("ipip-vip", "ipip", OWN, DIRECTOR), (ip_address("203.0.113.9"),))
GRE = Tunnel(TunnelLink("gre-vip", "gre", OWN), (ip_address("203.0.113.11"),))
TUNNELS = Share("web", (), BY_SYSCTL, (IPIP, GRE))
HEAD = "# made by onearm for web; changes are overwritten\n"
EVERY_LINKS = "# made by onearm; changes are overwritten\n"
SYSCTLS = "/etc/sysctl.d/99-zz-onearm-web.conf"


def made(manager, share=SHARE):
    return {one.path: one for one in files.real_server(manager, share)}


def text(one):
    return json.loads(one.text)


@pytest.mark.parametrize("manager", [*files.names()])
@pytest.mark.parametrize("silences", [BY_SYSCTL, BY_RULES])
def test_every_file_says_whose_it_is_and_vips_come_last(manager, silences):
    found = files.real_server(manager, Share("web", (VIP, VIP6), silences))
    for one in found:
        lines = text(one).splitlines(keepends=True)
        assert {HEAD, EVERY_LINKS} & {*lines[:2]}, one.path
    kinds = [type(one) for one in found]
    assert kinds == [BootFile] * (len(kinds) - 1) + [BootVip]
    assert [one.path for one in found if str(VIP) in text(one)] == [found[-1].path]


def test_links_are_silent_from_their_first_moment():
    assert text(made("networkd")[SYSCTLS]) == HEAD + (
        "net/ipv4/conf/default/arp_ignore = 1\n"
        "net/ipv4/conf/default/arp_announce = 2\n"
        "net/ipv4/conf/eth0/arp_ignore = 1\n"
        "net/ipv4/conf/eth0/arp_announce = 2\n"
        "net/ipv4/conf/eth1.5/arp_announce = 2\n"
    )


def test_ipv6_needs_no_silence():
    found = made("networkd", Share("web", (VIP6,)))
    assert SYSCTLS not in found


@pytest.mark.parametrize("manager", [*files.names()])
def test_who_holds_nothing_has_no_file(manager):
    assert files.real_server(manager, Share("web", ())) == []


def ini(one):
    parser = configparser.ConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(text(one))
    return {name: dict(parser[name]) for name in parser.sections()}


def test_networkd_makes_the_link_and_each_spec_adds_its_vips():
    folder = "/etc/systemd/network/00-onearm-eth-vip"
    found = made("networkd")
    assert ini(found[f"{folder}.netdev"])["NetDev"] == {"Name": "eth-vip", "Kind": "dummy"}
    assert ini(found[f"{folder}.network"])["Match"] == {"Name": "eth-vip"}
    own = text(found[f"{folder}.network.d/web.conf"])
    assert "[Address]\nAddress=203.0.113.2/32\n" in own
    assert "Address=2001:db8:203::2/128\nDuplicateAddressDetection=none\n" in own
    other = made("networkd", Share("mail", (VIP,), BY_SYSCTL))
    shared = found.keys() & other.keys()
    assert {path: found[path] for path in shared} == {path: other[path] for path in shared}
    assert shared == {f"{folder}.netdev", f"{folder}.network"}


def test_networkmanager_has_one_connection_that_only_root_reads():
    path = "/etc/NetworkManager/system-connections/onearm-eth-vip.nmconnection"
    one = made("networkmanager")[path]
    assert one.mode == 0o600
    found = ini(one)
    assert found["connection"]["type"] == "dummy"
    assert found["connection"]["interface-name"] == "eth-vip"
    assert found["ipv4"] == {
        "method": "manual",
        "address1": "203.0.113.2/32",
        "never-default": "true",
    }
    assert found["ipv6"]["address1"] == "2001:db8:203::2/128"
    only = ini(made("networkmanager", Share("web", (VIP,), BY_SYSCTL))[path])
    assert only["ipv6"] == {"method": "disabled"}


def test_ifupdown_brings_it_up_and_never_down():
    lines = text(made("ifupdown")["/etc/network/interfaces.d/onearm-web"]).splitlines()
    assert lines[1:3] == ["auto eth-vip", "iface eth-vip inet manual"]
    assert "    up ip address replace 203.0.113.2/32 dev eth-vip" in lines
    assert not [line for line in lines if "down" in line]


def test_rules_and_vips_are_one_script_that_ends_at_the_first_failure():
    found = made("networkd", Share("web", (VIP,), BY_RULES))
    assert SYSCTLS not in found
    script = text(found["/etc/onearm/boot/web.sh"])
    steps = [
        "set -eu",
        "arptables-legacy -A INPUT",
        "arptables-legacy -A OUTPUT",
        "hold 203.0.113.2",
    ]
    places = [script.index(step) for step in steps]
    assert places == sorted(places)
    unit = text(found["/etc/systemd/system/onearm-web.service"])
    assert "Before=network-pre.target\n" in unit


def test_networkd_makes_the_ends_of_tunnels_without_waiting_for_a_nic():
    folder = "/etc/systemd/network/00-onearm-"
    found = made("networkd", TUNNELS)
    assert f"{folder}eth-vip.netdev" not in found
    ends = {"Independent": "yes", "Local": "203.0.113.4", "Remote": "203.0.113.3"}
    assert ini(found[f"{folder}ipip-vip.netdev"])["Tunnel"] == ends
    assert ini(found[f"{folder}gre-vip.netdev"])["Tunnel"] == {**ends, "Remote": "any"}
    assert "Address=203.0.113.9/32" in text(found[f"{folder}ipip-vip.network.d/web.conf"])
    loose = "-net/ipv4/conf/ipip-vip/rp_filter = 2\n-net/ipv4/conf/gre-vip/rp_filter = 2\n"
    assert text(found[SYSCTLS]).endswith(loose)


def test_ifupdown_opens_the_port_and_loosens_the_filter_before_a_link_is_up():
    found = made("ifupdown", replace(TUNNELS, ports=(6080,)))
    lines = text(found["/etc/network/interfaces.d/onearm-web"]).split("auto ")[1].splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["pre-up"] * 3
    assert lines[4].endswith("|| ip fou add port 6080 gue")
    assert lines[-2] == "    up ip address replace 203.0.113.9/32 dev ipip-vip"
    assert text(found["/etc/modules-load.d/onearm-web.conf"]) == HEAD + "fou\n"


@pytest.mark.parametrize(
    ("manager", "ports"), [("networkmanager", ()), ("networkd", (6080,)), ("unit", (6080,))]
)
def test_tunnels_that_a_manager_has_no_words_for_are_a_script(manager, ports):
    found = made(manager, replace(TUNNELS, ports=ports))
    script = text(found["/etc/onearm/boot/web.sh"])
    assert ("ip fou add port 6080 gue" in script) == bool(ports)
    assert "hold 203.0.113.11/32 gre-vip\n" in script
    assert SYSCTLS not in found
    # networkd is kept from taking away what the script made
    guards = [path for path in found if path.endswith("-vip.network")]
    assert len(guards) == (2 if manager == "networkd" else 0)


def test_a_directors_vip_is_kept_beside_the_file_that_rules_its_link():
    (one,) = files.kept("web", "/run/systemd/network/10-netplan-eth0.network")
    assert one.path == "/etc/systemd/network/10-netplan-eth0.network.d/onearm-web.conf"
    assert text(one).startswith(HEAD)
    assert text(one).endswith("[Network]\nKeepConfiguration=static\n")


@pytest.mark.parametrize("director", [False, True])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path, director):
    service, wants, _ = files.unit("web", "true\n", director=director)
    path = tmp_path / "onearm-web.service"
    path.write_text(text(service))
    assert complaints(path) == []
    path.write_text(text(service) + "Nonsense=1\n")
    assert "Nonsense" in complaints(path)[0]
    assert text(wants).splitlines()[-1] == f"Wants={path.name}"


def complaints(unit):
    """List what `verify` says of this unit; it reads those of other packages, too."""
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if unit.name in line]
