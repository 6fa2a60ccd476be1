"""The policy `nft` on this machine's own kernel, for the guest's lacks it: two namespaces, a veth.

The far side holds a static entry for the VIP, as if a director had chosen the MAC, and sends a SYN.
The answer starts from the VIP and finds a cold neighbour cache: that is the moment to see.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from booting import ASKER
from namespaces import Namespace

import onearm
from onearm.boot import files
from onearm.boot.files import Share
from onearm.kernel import arp, arp_tables, packets
from onearm.kernel.arp_drops import output_drops
from onearm.model import Action, ArpSilence
from onearm.places import real_server

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of this machine need root"),
]
VIP, OWN, FAR = map(ip_address, ("203.0.113.2", "203.0.113.4", "203.0.113.1"))
MAC, FAR_MAC = "02:00:00:00:00:04", "02:00:00:00:00:01"
NEAR_SIDE = f"""
ip link set lo up
ip link set s0 address {MAC} up
ip address add {OWN}/27 dev s0
ip address add {VIP}/32 dev lo
"""
SILENCE = ArpSilence("s0", "nft", VIP, OWN)
FAR_SIDE = f"""
ip link set r0 address {FAR_MAC} up
ip address add {FAR}/27 dev r0
"""
TRAP = f"""
nft add table arp trap
nft 'add chain arp trap out {{ type filter hook output priority 0; }}'
nft add rule arp trap out arp saddr ip {VIP} drop
"""
CONNECT = f"""
import socket
s = socket.socket(); s.settimeout(1.2)
try: s.connect(("{VIP}", 9)); print("connected")
except ConnectionRefusedError: print("refused")
except OSError: print("silence")
"""


@pytest.fixture
def sides():
    near, far = Namespace(), Namespace()
    try:
        add = ["ip", "link", "add", "s0", "netns", str(near.holder.pid), "type", "veth", "peer"]
        subprocess.run([*add, "name", "r0", "netns", str(far.holder.pid)], check=True)
        near.sh(NEAR_SIDE)
        far.sh(FAR_SIDE)
        yield near, far
    finally:
        near.end()
        far.end()


def provoke(near, far):
    """Return who answers for the VIP, who speaks in its name, and what the far side's SYN got."""
    near.sh("ip neigh flush dev s0")
    far.sh("ip neigh flush dev r0")
    answers = far.call(lambda: packets.who_has("r0", VIP, FAR, FAR_MAC, 0.3))
    near.sh("ip neigh flush dev s0")
    far.sh(f"ip neigh replace {VIP} lladdr {MAC} dev r0 nud permanent")
    capture = far.call(lambda: packets.Capture([VIP, FAR]))
    got = far.sh(f"{sys.executable} -I -c '{CONNECT}'").strip()
    with capture:
        frames, lost = capture.drain()
    far.sh(f"ip neigh del {VIP} dev r0")
    assert not lost
    asked = [f.source for f in frames if f.kind == "arp-request" and f.source_mac == MAC]
    return answers, asked, got


def apply(near, before, after):
    """Let the real place do it."""
    action = Action("here", before, after)
    ((_, error),) = near.call(lambda: list(real_server.apply([action], {})))
    assert error is None, error
    return near.call(lambda: real_server.read([before or after]))


def test_the_problem_is_there_without_rules(sides):
    answers, asked, got = provoke(*sides)
    assert answers == [MAC]
    assert str(VIP) in asked
    assert got == "refused"


@pytest.mark.parametrize("policy", ["nft", "arptables"])
def test_a_real_server_is_silent_and_yet_fills_its_cold_cache(sides, policy):
    near, far = sides
    reason = near.call(lambda: arp.trial(policy))
    if reason and policy == "arptables":
        print(f"arptables cannot be had on {platform.release()}: {reason}")
        return  # the guest's kernel proves that policy
    assert not reason, f"nft cannot be had on this kernel, so it is proved nowhere: {reason}"
    silence = ArpSilence("s0", policy, VIP, OWN)
    assert list(apply(near, None, silence).values()) == [silence]
    assert near.call(lambda: output_drops([VIP])) == []
    answers, asked, got = provoke(near, far)
    assert answers == []
    assert set(asked) == {str(OWN)}
    assert got == "refused"  # a reply: the cache was filled in the server's own name
    tool = arp_tables.working() if policy == "arptables" else policy
    print(f"proved: arp {policy} ({tool}) on the running kernel {platform.release()}")
    assert apply(near, silence, None) == {}
    assert near.sh("nft list tables arp").count("onearm") == 0
    assert provoke(near, far)[0] == [MAC]


@contextlib.contextmanager
def asking(far):
    """Ask for the VIP all the time; give what asks, whose output ends with who claimed it."""
    enter = ["nsenter", f"--net=/proc/{far.holder.pid}/ns/net", sys.executable, "-ISc"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*enter, ASKER.replace("eth0", "r0")], **pipes) as asker:
        assert asker.stdout.readline() == "asking\n"
        yield asker


def test_at_boot_the_rules_stand_before_the_vip(sides, tmp_path):
    """The script of the unit, on a host that has a NIC and nothing else; it is asked all along."""
    near, far = sides
    near.sh(f"ip address del {VIP}/32 dev lo")
    # this kernel may have no dummies, and what is there is taken as it is
    near.sh("ip link add eth-vip type veth peer name other")
    *_, boot = files.real_server("networkd", Share("web", (VIP,), (SILENCE,)))
    script = tmp_path / "web.sh"
    script.write_text(json.loads(boot.text))
    with asking(far) as asker:
        said = near.sh(f"sh {script}").splitlines()
        answers, asked, got = provoke(near, far)
        count, *claims = asker.communicate("end\n", timeout=30)[0].split()
    assert said == [f"silence on s0 about {VIP}", f"{VIP}/32 on eth-vip"]
    assert int(count) > 5
    assert (answers, set(asked), got, claims) == ([], {str(OWN)}, "refused", [])
    assert list(near.call(lambda: real_server.read([SILENCE])).values()) == [SILENCE]
    assert near.sh(f"sh {script}") == ""
    near.sh("nft delete table arp onearm")
    assert provoke(near, far)[0] == [MAC]


def test_the_references_own_rule_is_a_trap(sides):
    near, far = sides
    near.sh(TRAP)
    assert [fact.address for fact in near.call(lambda: output_drops([VIP]))] == [str(VIP)]
    answers, asked, got = provoke(near, far)
    assert (answers, asked) == ([], [])  # silent indeed, and
    assert got == "silence"  # deaf to its own gateway: no question leaves, so no reply does


def test_the_code_under_test_is_this_checkouts():
    assert Path(onearm.__file__).parents[2] == Path(__file__).parents[2]
