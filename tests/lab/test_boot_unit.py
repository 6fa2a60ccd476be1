"""The unit of a real server under a systemd that boots: enabled, before the network, silent."""

import json
import re
import textwrap
from ipaddress import ip_address

import pytest
from booted import told
from booting import ASKER, NETPLAN, NETWORKD, VIP

from onearm.boot import files
from onearm.boot.files import Share
from onearm.model import ArpSilence

pytestmark = pytest.mark.lab
UNIT = "onearm-web.service"
ORDER = (UNIT, "network-pre.target", "systemd-networkd.service")
VIP6 = "2001:db8:203::2"
ADDRESS = ip_address("203.0.113.4")
# Nothing of this machine's own is to start: of multi-user.target stays what our drop-in adds.
NETWORK = """
rm -rf /etc/systemd/system/*.wants /etc/network/interfaces.d
rm -f /lib/systemd/system/multi-user.target.wants/*
ip netns add neighbour
ip link add eth0 type veth peer name eth0 netns neighbour
ip -n neighbour link set eth0 up
mkdir -p /etc/systemd/network
cp /mnt/shared/eth0.network /etc/systemd/network/20-eth0.network
mkfifo /mnt/asker
ip netns exec neighbour python3 -ISc "$(cat /mnt/shared/asker.py)" </mnt/asker >/mnt/asked 2>&1 &
sleep infinity >/mnt/asker &
"""
BY_NETPLAN = """
rm /etc/systemd/network/20-eth0.network
install -D -m 0600 /mnt/shared/eth0.yaml /etc/netplan/50-cloud-init.yaml
"""
APPLY = """
ip -o monitor address >/mnt/monitor &
netplan apply
networkctl --no-pager status eth0 eth-vip
kill $!
grep -w 203.0.113.2 /mnt/monitor || true
"""
PROOF = f"""
import json, os, subprocess, sys, time
sys.path.append("/opt/world/inside")
from booted_inside import SHARED, run, until

def first_true(name):
    return int(run("systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", name))

found = {{}}
try:
    until(lambda: "203.0.113.4/27" in run("ip", "address", "show", "dev", "eth0"))
    until(lambda: run("systemctl", "is-active", "multi-user.target", check=False) == "active\\n")
    run("ip", "netns", "exec", "neighbour", "ip", "address", "add", "203.0.113.9/27", "dev", "eth0")
    run("ip", "netns", "exec", "neighbour", "arping", "-q", "-c", "2", "-I", "eth0", "203.0.113.4")
    found["states"] = {{n: run("systemctl", "is-active", n, check=False).strip() for n in {ORDER}}}
    found["times"] = {{n: first_true(n) for n in {ORDER}}}
    found["vip"] = run("ip", "-o", "address", "show", "dev", "eth-vip", check=False)
    found["applied"] = run("sh", "-e", "/mnt/shared/apply.sh")
    found["vip_then"] = run("ip", "-o", "address", "show", "dev", "eth-vip", check=False)
    found["verify"] = subprocess.run(
        ["systemd-analyze", "verify", "/etc/systemd/system/{UNIT}"], capture_output=True, text=True
    ).stderr
    found["again"] = run("sh", "/etc/onearm/boot/web.sh", check=False)
    with open("/mnt/asker", "w") as fifo:
        fifo.write("end\\n")
    until(lambda: len(open("/mnt/asked").read().splitlines()) > 1)
    found["asked"] = open("/mnt/asked").read().split()
    found["log"] = run("journalctl", "-o", "cat", "--no-pager", "-u", "{UNIT}")
except Exception as error:
    found["failed"] = repr(error) + run("journalctl", "--no-pager", "-n", "60")
finally:
    (SHARED / "told.new").write_text(json.dumps(found))
    (SHARED / "told.new").rename(SHARED / "told.json")
"""
UNITS = {
    "proof.target": """
        [Unit]
        Wants=multi-user.target systemd-networkd.service proof.service
        """,
    "proof.service": """
        [Unit]
        After=multi-user.target systemd-networkd.service
        [Service]
        Type=oneshot
        TimeoutStartSec=infinity
        ExecStart=/usr/bin/python3 -IsB /mnt/shared/proof.py
        StandardOutput=tty
        StandardError=tty
        TTYPath=/dev/console
        ExecStopPost=systemctl poweroff -ff
        """,
}
MASKED = (
    *("systemd-tmpfiles-setup", "systemd-binfmt", "systemd-networkd-wait-online", "getty-static"),
    *("systemd-tmpfiles-setup-dev", "systemd-firstboot", "systemd-remount-fs"),
    *("openvswitch-switch", "ovsdb-server", "ovs-vswitchd", "ipvsadm"),
)


def boot(folder, silences, *, manager="unit", loud=False):
    share = Share("web", (ip_address(VIP), ip_address(VIP6)), silences)
    made = {f"file-{n}": one for n, one in enumerate(files.real_server(manager, share))}
    for name, one in made.items():
        text = json.loads(one.text)
        (folder / name).write_text(re.sub("(?m)^ +put .*", "    :", text) if loud else text)
    (folder / "asker.py").write_text(ASKER)
    (folder / "proof.py").write_text(PROOF)
    (folder / "apply.sh").write_text("" if manager == "unit" else APPLY)
    (folder / "eth0.network").write_text(NETWORKD.format(address=ADDRESS))
    (folder / "eth0.yaml").write_text(NETPLAN.format(renderer="networkd").format(address=ADDRESS))
    more = {
        "files": {name: one.path for name, one in made.items()},
        "network": NETWORK if manager == "unit" else NETWORK + BY_NETPLAN,
        "masked": MASKED,
    }
    found = told(folder, {name: textwrap.dedent(text) for name, text in UNITS.items()}, more)
    assert "failed" not in found, found["failed"]
    return found


SILENCES = {
    "sysctl": (ArpSilence("eth0"),),
    "arptables": (ArpSilence("eth0", "arptables", ip_address(VIP), ADDRESS),),
    "nft": (ArpSilence("eth0", "nft", ip_address(VIP), ADDRESS),),
}


def claims(found):
    """Who claimed the VIP, though it was asked for all the time."""
    asking, asked, *claims = found["asked"]
    assert asking == "asking"
    assert int(asked) > 50
    return claims


@pytest.mark.parametrize("policy", ["sysctl", "arptables"])
def test_the_unit_runs_before_the_network_and_the_host_is_silent(tmp_path, policy):
    found = boot(tmp_path, SILENCES[policy])
    assert found["states"] == dict.fromkeys(ORDER, "active"), found
    unit, target, networkd = (found["times"][name] for name in ORDER)
    assert 0 < unit <= target <= networkd
    assert {f"{VIP}/32", f"{VIP6}/128"} <= {*found["vip"].split()}
    assert found["verify"] == ""
    assert found["again"] == "", "a second run changes nothing"
    assert claims(found) == []


def test_a_kernel_that_takes_no_rules_holds_no_vip(tmp_path):
    """The guest's kernel has no nftables for ARP: the unit fails, and the network comes up."""
    found = boot(tmp_path, SILENCES["nft"])
    assert found["states"] == {**dict.fromkeys(ORDER, "active"), UNIT: "failed"}
    assert "Operation not supported" in found["log"]
    assert found["vip"] == ""
    assert claims(found) == []


def test_without_silence_the_asker_hears_it(tmp_path):
    """What the others prove is worth something."""
    found = boot(tmp_path, (), loud=True)
    assert len(claims(found)) == 1


def test_netplan_at_boot_and_when_applied_has_the_vip_back_at_once(tmp_path):
    """Its generator is run by systemd itself; `netplan apply` asks systemd and networkd."""
    found = boot(tmp_path, SILENCES["sysctl"], manager="networkd")
    assert "/run/systemd/network/10-netplan-eth0.network" in found["applied"]
    assert f"{VIP}/32" in found["vip"]
    assert f"{VIP}/32" in found["vip_then"]
    told = [line for line in found["applied"].splitlines() if f"inet {VIP}/32 scope" in line]
    assert [line.startswith("Deleted") for line in told] == [True, False]  # networkd's own doing
    assert claims(found) == []
