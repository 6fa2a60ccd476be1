"""A lab host that boots: a network namespace with nothing in it, and the distribution's own tools.

`power_off` throws the host's namespace away but for its NIC, which `plug_in` gives to a new one;
nothing but what lies in /etc and /var/lib brings anything back.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field

from labs import RESPONDER_STARTS

VIP = "203.0.113.2"
ADDRESSES = {"server-1": "203.0.113.3", "server-2": "203.0.113.4"}
NETWORKD = """
[Match]
Name=eth0
[Network]
Address={address}/27
Gateway=203.0.113.1
"""
INTERFACES = """
auto eth0
iface eth0 inet static
    address {address}/27
    gateway 203.0.113.1
"""
# What an init does first: systemd-sysctl comes before all that has to do with the network.
SYSCTL = "/lib/systemd/systemd-sysctl"
BEGIN = {
    "networkd": f"""
        mkdir -p -m 0755 /run/systemd
        {SYSCTL}
        /lib/systemd/systemd-udevd --daemon 2>/dev/null
        udevadm trigger --subsystem-match=net --action=add
        udevadm settle
        setsid /lib/systemd/systemd-networkd >/run/networkd.log 2>&1 &
        echo $! >/run/networkd.pid
        """,
    "ifupdown": f"mkdir -p /run/network; {SYSCTL}; ifup -a 2>/dev/null || true",
    "unit": f"""
        mkdir -p /run/network
        {SYSCTL}
        sh /etc/onearm/boot/web.sh
        ifup -a 2>/dev/null || true
        """,
}
RESTART = """
ip -o monitor address >/run/monitor &
monitor=$!
sleep 0.3
pid=$(cat /run/networkd.pid)
kill $pid
while kill -0 $pid 2>/dev/null; do sleep 0.1; done
setsid /lib/systemd/systemd-networkd >>/run/networkd.log 2>&1 &
echo $! >/run/networkd.pid
sleep 3
kill $monitor
cat /run/monitor
"""
FOLLOWS = {  # when a NIC appears: udev and networkd notice by themselves
    "networkd": "true",
    "ifupdown": "ifup eth0",
    "unit": "ifup eth0",
}
END = """
for pid in $(pidof systemd-networkd systemd-udevd); do
    [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/self/ns/net)" ] && kill $pid
done
rm -rf /run/systemd /run/udev /run/network
"""
# Asks for the VIP all the time; says who claimed it, in requests of its own or in replies.
ASKER = r"""
import select, socket, struct, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
s.bind(("eth0", 0x0806))
own, vip = s.getsockname()[4], socket.inet_aton("203.0.113.2")
ask = b"\xff" * 6 + own + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
ask += own + socket.inet_aton("203.0.113.10") + bytes(6) + vip
claims, asked = set(), 0
print("asking", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    s.send(ask)
    asked += 1
    end = time.monotonic() + 0.02
    while select.select([s], [], [], max(end - time.monotonic(), 0))[0]:
        frame = s.recv(2048)
        if frame[28:32] == vip and frame[6:12] != own:
            claims.add(frame[6:12].hex(":"))
print(asked, *sorted(claims))
"""


@dataclass
class Booting:
    """A host of the lab, its manager, and whether it runs in the lab's namespace or a new one."""

    lab: object
    host: str
    manager: str
    prefix: list = field(default_factory=list)

    def sh(self, script, **more):
        return self.lab.on(self.host, *self.prefix, "sh", "-ec", script, **more)

    def furnish(self):
        """Let the distribution's manager rule eth0, as on an image; then it runs."""
        text = (NETWORKD if self.manager == "networkd" else INTERFACES).format(
            address=ADDRESSES[self.host]
        )
        name = {"networkd": "/etc/systemd/network/20-eth0.network"}.get(
            self.manager, "/etc/network/interfaces.d/eth0"
        )
        self.sh(f"mkdir -p $(dirname {name}); cat >{name}", stdin=text.encode())
        self.sh("ip address flush dev eth0; ip link set eth0 down")
        self.begin()
        self.settled()

    def begin(self):
        self.sh(BEGIN["ifupdown" if self.manager == "unit" and not self.prefix else self.manager])

    def settled(self):
        """Wait until the NIC has the host's own address, and a way out."""
        address = ADDRESSES[self.host]
        self.until(
            f"ip -o address show dev eth0 | grep -q {address}/ && ip route | grep -q default"
        )

    def until(self, true):
        wait = f"n=0; until {true}; do sleep 0.1; n=$((n + 1)); [ $n -lt 300 ]; done"
        self.sh(wait)

    def power_off(self):
        """Throw all away that a reboot would: the link's state with the namespace, /run."""
        self.lab.nodes.end()
        self.sh(END, check=False)
        self.lab.sh(self.host, "ip netns add booted; ip -n booted link set lo up")
        self.prefix = ["ip", "netns", "exec", "booted"]
        # the modules of tunnels put links of their own into every namespace
        fresh = "cat /proc/sys/net/ipv4/conf/default/arp_ignore; ip -br link | grep -vc @NONE"
        assert self.sh(fresh).split() == ["0", "1"]

    def plug_in(self):
        self.lab.sh(self.host, "ip link set eth0 netns booted")

    def serve(self):
        """Start what answers on port 80, as an init would at the end."""
        self.sh(f"{RESPONDER_STARTS} </dev/null >/dev/null 2>&1")

    def restart_networkd(self):
        """Restart it; say which addresses went and came meanwhile."""
        said = self.sh(
            RESTART,
        )
        return said.splitlines()

    def holds_vip(self):
        self.until("ip -o address show dev eth-vip 2>/dev/null | grep -q 203.0.113.2/32")

    @property
    def reach(self):
        """Give the prefix that reaches it where it is now."""
        this = [sys.executable, "-I", "-m", "onearm", "lab", "exec", "--name", self.lab.name]
        return json.dumps([*this, self.host, "--", *self.prefix])


class Asker:
    """The neighbour, asking for the VIP until it is told to stop."""

    def __init__(self, lab):
        words = ("lab", "exec", "neighbour", "--", "python3", "-ISc", ASKER)
        self.process = lab.start(*words, stdin=subprocess.PIPE)
        assert self.process.stdout.readline() == "asking\n"

    def stop(self):
        """End it; give how often it asked, and the MACs that claimed the VIP."""
        out, err = self.process.communicate(timeout=30)
        assert not err, err
        asked, *claims = out.split()
        return int(asked), set(claims)
