"""Every fault breaks something that the real tools show, and leaves nothing behind when it ends."""

import re

import dumps
import pytest
from chosen import part
from labs import reference

from onearm.errors import Denied, PlaceError, UsageError
from onearm.lab.faults import planted
from onearm.lab.faults.fault import HERE
from onearm.lab.faults.table import FAULTS
from onearm.lab.topology import HOSTS, SEGMENT

pytestmark = pytest.mark.lab
UDP = "  - {vip: 203.0.113.2, port: 53/udp, scheduler: rr}\n"
# The way of silence matters on real servers alone: there the other host has the other way.
EVERY = [("sysctl", fault, fault.hosts[0]) for fault in FAULTS.values()]
EVERY += [("arptables", fault, fault.hosts[1]) for fault in FAULTS.values() if fault.hosts[1:]]
EVERY = part(EVERY, one_of=6)
# The tables of a firewall appear with their first use, so they are used before; the timers of a
# bridge run by themselves. `sysctl -a` says the same as grep, but takes the guest far longer.
TABLES = "for table in raw mangle nat filter; do iptables-legacy -t $table -S >/dev/null; done"
SHOW = f"""
{dumps.SMALL}
echo '# arptables'
arptables-legacy -L -n -v | sed -E 's/, pcnt=.*//; s/ [0-9]+ packets, .*bytes//'
echo '# sysctls'; grep -rs . /proc/sys/net/ipv4/ | sort
echo '# firewall'; iptables-legacy-save | sed -E '/^#/d; s/ \\[[0-9:]+\\]//'
echo '# routes'; ip -4 route show table all | sed '/table local/d'; ip rule
echo '# neighbours'; ip neigh show nud permanent
echo '# listening'; ss -Hlntu | sort
[ ! -e /run/responder.pid ] ||
    tr '\\0' ' ' </proc/$(cat /run/responder.pid)/cmdline | grep -o -e '--[bc][ie].*' || true
"""
SEGMENTS = """
echo '# links'; ip -d -o link | sed -E 's/_timer +[0-9.]+//g'
echo '# frames'; nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//'
"""
LEFT = "echo '# left'; find /run/lab-faults -type f ! -name on 2>/dev/null || true"


def dump(lab, hosts=tuple(HOSTS)):
    """What the tools print of hosts, each in one go."""
    return {h: lab.sh(h, (SEGMENTS if h == SEGMENT else SHOW) + LEFT) for h in hosts}


def places(fault, host):
    return tuple(host if place == HERE else place for place, _ in fault.plant)


@pytest.fixture(scope="module")
def healthy(request, lab):
    """The reference setup and a UDP service, with one way of silence after the other."""
    path = lab.spec(f"arp: {request.param}\n" + reference().replace("\nreach", f"\n{UDP}reach"))
    lab.onearm("apply", path, "--yes", code=0)
    for host in HOSTS:
        if host != SEGMENT:
            lab.sh(host, TABLES)
    before = dump(lab)
    yield before
    assert not dumps.difference(before, dump(lab))  # nor on hosts that a fault has no business on
    lab.onearm("destroy", path, "--yes", code=0)


@pytest.mark.parametrize(
    ("healthy", "fault", "host"),
    EVERY,
    ids=[f"{policy}-{fault.id}" for policy, fault, _ in EVERY],
    indirect=["healthy"],
)
def test_a_fault_shows_and_leaves_nothing_behind(lab, healthy, fault, host):
    where = places(fault, host)
    try:
        planted.add(lab.name, fault.id, host)
        broken = dump(lab, where)
    finally:
        assert planted.clear(lab.name)
    before = {place: healthy[place] for place in where}
    assert dumps.difference(before, broken)
    assert not dumps.difference(before, dump(lab, where))


ONE = pytest.mark.parametrize("healthy", ["sysctl"], indirect=True)


@ONE
def test_one_of_several_ends_and_the_others_stay(lab, healthy):
    value = "sysctl -n net.ipv4.conf.eth0.arp_announce; ip -4 -o address show dev eth-vip"
    for identity in ("arp-answers", "arp-announces-1", "vip-missing", "server-drops"):
        planted.add(lab.name, identity)
    ended = planted.clear(lab.name, "arp-announces-1")
    assert [one.fault.id for one in ended] == ["arp-announces-1"]
    left = [one.fault.id for one in planted.planted(lab.name)]
    assert left == ["arp-answers", "vip-missing", "server-drops"]
    assert lab.sh("server-2", value) == "2\n"
    planted.add(lab.name, "arp-answers", "server-3")
    assert len(planted.clear(lab.name, "arp-answers")) == 2
    assert len(planted.clear(lab.name)) == 2
    assert planted.clear(lab.name) == ()
    assert not dumps.difference(healthy, dump(lab))


REPAIRED = {
    "vip-missing": "ip address add 203.0.113.2/32 dev eth-vip",
    "arp-drop-out": "arptables-legacy -F; sysctl -qw net.ipv4.conf.eth0.arp_ignore=1",
    "route-none": "ip route add default via 203.0.113.1",
    "server-drops": "iptables-legacy -F",
    "route-other-nic": "ip link del eth-other",
    "server-is-director": "ipvsadm -C",
    "gateway-wrong": "ip neigh del 203.0.113.1 dev eth0",
    "mtu-differs": "ip link set eth0 mtu 1500",
    "listen-own-address": "kill $(cat /run/responder.pid)",
}


@ONE
@pytest.mark.parametrize("identity", REPAIRED)
def test_what_was_repaired_by_hand_ends_as_well(lab, healthy, identity):
    planted.add(lab.name, identity)
    lab.sh("server-2", REPAIRED[identity])
    planted.clear(lab.name)
    assert not dumps.difference({"server-2": healthy["server-2"]}, dump(lab, ("server-2",)))


@ONE
def test_a_fault_that_cannot_be_planted_whole_is_taken_back(lab, healthy, monkeypatch):
    fault = FAULTS["arp-drop-out"]
    broken = fault._replace(plant=((HERE, f"{fault.plant[0][1]}\nip link show nothing"),))
    monkeypatch.setitem(FAULTS, fault.id, broken)
    with pytest.raises(PlaceError, match=r"server-2 could not be given .* \"nothing\" does not ex"):
        planted.add(lab.name, fault.id)
    assert planted.planted(lab.name) == ()
    assert not dumps.difference({"server-2": healthy["server-2"]}, dump(lab, ("server-2",)))


@ONE
def test_what_cannot_be_is_refused(lab, healthy):
    with pytest.raises(UsageError, match="no fault named 'vip-mising'; did you mean 'vip-missing'"):
        planted.add(lab.name, "vip-mising")
    with pytest.raises(UsageError, match=r"vip\.prefix.*did you mean 'vip-prefix'"):
        planted.add(lab.name, "vip.prefix")
    with pytest.raises(UsageError, match="fits server-2 or server-3, not 'server-1'"):
        planted.add(lab.name, "vip-missing", "server-1")
    planted.add(lab.name, "vip-missing")
    with pytest.raises(UsageError, match="vip-missing is on already on server-2"):
        planted.add(lab.name, "vip-missing", "server-2")
    with pytest.raises(Denied, match=r"it needs the address 203\.0\.113\.2 on its link eth-vip"):
        planted.add(lab.name, "vip-prefix")
    planted.clear(lab.name)


@ONE
def test_the_command_line(lab, healthy):
    words = ("lab", "fault")
    udp = "203.0.113.2:53"
    services = lab.sh("server-1", f"ipvsadm -Sn | grep -e {udp}; ipvsadm -D -u {udp}")
    refused = lab.onearm(*words, "add", "udp-own-address", code=4)
    assert "it needs a virtual service of the VIP for 53/udp" in " ".join(refused.err.split())
    lab.on("server-1", "ipvsadm", "-R", stdin=services.encode())
    assert lab.onearm(*words, "add", "nothing", code=2).err.count("\n") == 1
    assert lab.onearm(*words, "add", "vip-missing", "neighbour", code=2).err
    said = lab.onearm(*words, "add", "vip-missing", "server-3", code=0).out
    assert "to be found: vip.missing" in said
    lab.onearm(*words, "add", "vip-missing", "server-3", code=2)
    on = {f["id"]: f["on"] for f in lab.onearm(*words, "list", "--json", code=0).json()["faults"]}
    assert on.pop("vip-missing") == ["server-3"]
    assert not any(on.values())
    shown = lab.onearm(*words, "list", code=0).out
    assert re.findall(r"^\* .*", shown, re.MULTILINE) == [
        "* vip-missing            vip.missing  on server-3"
    ]
    assert max(map(len, shown.splitlines())) <= 80
    assert lab.onearm(*words, "clear", "vip-missing", code=0).out == (
        "vip-missing is over on server-3\n"
    )
    assert lab.onearm(*words, "clear", code=0).out == "no such fault was on\n"
    assert not dumps.difference(healthy, dump(lab))
