"""Each change as an engineer would have typed it, quoted for a shell."""

import json
import shlex
import subprocess
from dataclasses import replace
from ipaddress import ip_address

import pytest

from onearm.commands import commands, shell_line
from onearm.model import (
    Action,
    AnnouncedVip,
    ArpSilence,
    BootFile,
    BootVip,
    Destination,
    GuePort,
    HeldVip,
    Link,
    Mark,
    Service,
    Sysctl,
    Timeout,
    TunnelLink,
)
from worlds import VIP

SERVER = ip_address("203.0.113.4")
SERVICE = Service("tcp", VIP, 80, "rr")
DEST = Destination("tcp", VIP, 80, SERVER)
SIX = Service("udp", ip_address("2001:db8::2"), 53, "mh", ("mh-fallback", "mh-port", "ops"))
DOTTED = ArpSilence("eth0.7")
GUE = "-i --tun-type gue --tun-port 6080"
TUNNEL = TunnelLink("ipip-vip", "ipip", SERVER)
RULES = ArpSilence("eth0", "arptables", VIP, SERVER)


def typed(before, after, mark=None):
    return [shell_line(argv) for argv in commands(Action("h", before, after), mark)]


CASES = [
    (None, Link("eth-vip"), ["ip link add eth-vip type dummy", "ip link set eth-vip up"]),
    (Link("eth-vip", up=False), Link("eth-vip"), ["ip link set eth-vip up"]),
    (Link("eth-vip"), None, ["ip link del eth-vip"]),
    (None, HeldVip(VIP), ["ip address add 203.0.113.2/32 dev eth-vip"]),
    (HeldVip(VIP), None, ["ip address del 203.0.113.2/32 dev eth-vip"]),
    (AnnouncedVip(VIP, "eth0"), None, ["ip address del 203.0.113.2/32 dev eth0"]),
    (None, SERVICE, ["ipvsadm -A -t 203.0.113.2:80 -s rr"]),
    (SERVICE, replace(SERVICE, scheduler="sh"), ["ipvsadm -E -t 203.0.113.2:80 -s sh"]),
    (SERVICE, None, ["ipvsadm -D -t 203.0.113.2:80"]),
    (None, SIX, ["ipvsadm -A -u '[2001:db8::2]:53' -s mh -b mh-fallback,mh-port -o"]),
    (
        None,
        replace(SERVICE, persistence_s=300, persistence_mask=24, engine="sip"),
        ["ipvsadm -A -t 203.0.113.2:80 -s rr -p 300 -M 255.255.255.0 --pe sip"],
    ),
    (
        None,
        replace(SIX, flags=(), persistence_s=300, persistence_mask=64),
        ["ipvsadm -A -u '[2001:db8::2]:53' -s mh -p 300 -M 64"],
    ),
    (
        None,
        replace(SERVICE, protocol="sctp", port=3868),
        ["ipvsadm -A --sctp-service 203.0.113.2:3868 -s rr"],
    ),
    (BootVip("/etc/x/y.sh", '""'), None, ["rm /etc/x/y.sh"]),
    (None, Timeout("tcp_fin", 60), ["ipvsadm --set 0 60 0"]),
    (None, DEST, ["ipvsadm -a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 1"]),
    (
        None,
        replace(DEST, upper=100, lower=80),
        ["ipvsadm -a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 1 -x 100 -y 80"],
    ),
    (DEST, replace(DEST, weight=0), ["ipvsadm -e -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 0"]),
    (
        None,
        replace(DEST, forwarding="tunnel", tunnel="ipip"),
        ["ipvsadm -a -t 203.0.113.2:80 -r 203.0.113.4:80 -i -w 1"],
    ),
    (
        DEST,
        replace(DEST, forwarding="tunnel", tunnel="gue", tunnel_port=6080),
        ["ipvsadm -e -t 203.0.113.2:80 -r 203.0.113.4:80 -i --tun-type gue --tun-port 6080 -w 1"],
    ),
    (
        None,
        replace(DEST, forwarding="masq", own_port=8080),
        ["ipvsadm -a -t 203.0.113.2:80 -r 203.0.113.4:8080 -m -w 1"],
    ),
    (
        None,
        replace(DEST, forwarding="masq", own_port=8080, upper=100, lower=80),
        ["ipvsadm -a -t 203.0.113.2:80 -r 203.0.113.4:8080 -m -w 1 -x 100 -y 80"],
    ),
    (
        replace(DEST, forwarding="masq", own_port=8080),
        None,
        ["ipvsadm -d -t 203.0.113.2:80 -r 203.0.113.4:8080"],
    ),
    (
        None,
        TUNNEL,
        [
            "ip link add ipip-vip type ipip local 203.0.113.4 remote any",
            "sysctl -w net.ipv4.conf.ipip-vip.rp_filter=2",
            "ip link set ipip-vip up",
        ],
    ),
    (
        replace(TUNNEL, remote=VIP),
        TUNNEL,
        [
            "ip link change ipip-vip type ipip local 203.0.113.4 remote any",
            "sysctl -w net.ipv4.conf.ipip-vip.rp_filter=2",
            "ip link set ipip-vip up",
        ],
    ),
    (TUNNEL, None, ["ip link del ipip-vip"]),
    (None, GuePort(6080), ["ip fou add port 6080 gue"]),
    (GuePort(6080), None, ["ip fou del port 6080"]),
    (DEST, None, ["ipvsadm -d -t 203.0.113.2:80 -r 203.0.113.4:80"]),
    (None, Sysctl("net/ipv4/vs/conntrack", "0"), ["sysctl -w net.ipv4.vs.conntrack=0"]),
    (
        None,
        DOTTED,
        [
            "sysctl -w net.ipv4.conf.eth0/7.arp_ignore=1",
            "sysctl -w net.ipv4.conf.eth0/7.arp_announce=2",
        ],
    ),
    (
        RULES,
        None,
        [
            "arptables-legacy -D INPUT -i eth0 -d 203.0.113.2 -j DROP",
            "arptables-legacy -D OUTPUT -o eth0 -s 203.0.113.2 -j mangle --mangle-ip-s 203.0.113.4",
        ],
    ),
]


@pytest.mark.parametrize(("before", "after", "lines"), CASES, ids=lambda v: str(v)[:30])
def test_what_is_typed(before, after, lines):
    assert typed(before, after) == lines


def test_a_vip_is_announced_when_it_is_made_and_when_it_is_kept():
    vip = AnnouncedVip(VIP, "eth0")
    announce = [f"arping -{way} -c 5 -I eth0 203.0.113.2" for way in "UA"]
    assert typed(None, vip) == ["ip address add 203.0.113.2/32 dev eth0", *announce]
    assert typed(vip, vip) == announce


@pytest.mark.parametrize("thing", [SERVICE, DEST, Link("eth-vip"), HeldVip(VIP), DOTTED])
def test_what_only_changes_a_mark_is_not_typed(thing):
    assert typed(thing, thing) == []
    assert typed(thing, None, Mark(thing, ("a", "b"))) == []


def test_what_was_there_is_put_back():
    thing = Sysctl("net/ipv4/vs/conntrack", "0")
    assert typed(thing, None, Mark(thing, ("a",), {"value": "1"})) == [
        "sysctl -w net.ipv4.vs.conntrack=1"
    ]
    assert typed(DOTTED, None, Mark(DOTTED, ("a",), {"arp_ignore": "0"})) == [
        "sysctl -w net.ipv4.conf.eth0/7.arp_ignore=0"
    ]


def test_every_word_survives_a_shell():
    for argv in commands(Action("h", None, Link("a;b $(c) 'd'"))):
        assert shlex.split(shell_line(argv)) == argv


def test_rules_of_nft_are_one_word_for_the_shell():
    lines = typed(None, replace(RULES, policy="nft"))
    assert all(len(shlex.split(line)) == 2 for line in lines)
    assert "drop" in lines[-2]
    assert "saddr ip set 203.0.113.4" in lines[-1]


def test_a_file_is_written_by_a_line_that_any_shell_takes(tmp_path):
    text = "it's \\n\n$HOME\n"
    path = tmp_path / "new/y.sh"
    (argv,) = commands(Action("h", None, BootFile(str(path), json.dumps(text), 0o755)))
    subprocess.run(["sh", "-c", shell_line(argv)], check=True)
    assert path.read_text() == text
    assert path.stat().st_mode & 0o7777 == 0o755
