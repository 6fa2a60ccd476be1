"""The reference's ports as states of port security, probes through the VIP, and raw frames."""

import json
import os
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address, ip_network

from onearm.lab import client, enforce
from onearm.lab.enforce import Pair, PortState, Rule
from onearm.lab.topology import GUARDED, HOSTS

VIP = "203.0.113.2"
EGRESS = Rule("egress")
WEB = Rule("ingress", protocol="tcp", port_min=80, port_max=80, remote=ip_network("0.0.0.0/0"))
EVERYTHING = Pair(ip_network("0.0.0.0/0"))
HIS = Pair(ip_network(f"{VIP}/32"))
MAC = {host: HOSTS[host].wires[-1 if host == "client" else 0].mac for host in (*GUARDED, "router")}
TOGETHER = dict.fromkeys(GUARDED, "compute-1")
APART = {**dict.fromkeys(GUARDED, "compute-2"), "server-1": "compute-1", "neighbour": "compute-3"}
SERVERS = ("server-2", "server-3")


def port(host, *pairs, rules=(WEB, EGRESS), **more):
    """Give a lab host's port."""
    address = ip_address(HOSTS[host].addresses[0][0].split("/")[0])
    return PortState(MAC[host], (address,), pairs=pairs, rules=rules, **more)


def reference(where, director, *, servers=(HIS,)):
    """Give the ports of the reference: who stands where, and the director's port."""
    states = {host: port(host, *servers) for host in SERVERS}
    states |= {"server-1": director, "neighbour": port("neighbour")}
    return {host: replace(state, compute=where[host]) for host, state in states.items()}


# --- through the VIP

CURL = f"curl -s -m %s -w ' %%{{http_code}} %%{{time_connect}}\\n' http://{VIP}/"


def verdict(lab, host, seconds):
    """Open two connections at once: works, hangs (connects, then no data) or times out."""
    script = f"({CURL % seconds}) & ({CURL % seconds}) & wait"
    lines = lab.sh(host, script, check=False).splitlines()
    words = [line.split() for line in lines if line.strip()]
    ends = [w for w in words if len(w) >= 2 and w[-2] in {"000", "200"}]
    served = {w[0] for w in words if w[0].startswith("server-")}
    if all(w[-2] == "200" for w in ends):
        return "works", served
    kinds = {"hangs" if float(w[-1]) else "timeout" for w in ends if w[-2] == "000"}
    return " and ".join(sorted(kinds)), served


def verdicts(lab, expected):
    """Ask outside and inside at once; what is not as expected gets a second, longer chance."""
    with ThreadPoolExecutor(2) as pool:
        for seconds in (0.8, 5):
            asked = [pool.submit(verdict, lab, h, seconds) for h in ("client", "neighbour")]
            said = [each.result() for each in asked]
            found = tuple(word for word, _ in said)
            if found == expected:
                break
    return found, said[0][1] | said[1][1]


class Drops:
    """What is dropped from one look to the next, by host and reason."""

    def __init__(self, lab):
        self.lab, self.counts, self.layout = lab, {}, ""

    def since(self, plan):
        """Look; stages that were built anew began at 0."""
        before = self.counts if plan.layout == self.layout else {}
        now = enforce.counters(self.lab.name)
        self.counts = {(h, r): n for h, reasons in now.items() for r, n in reasons.items()}
        self.layout = plan.layout
        drops = {key: count - before.get(key, 0) for key, count in self.counts.items()}
        return {key: count for key, count in drops.items() if count}


# --- raw frames

EAR = r"""
import contextlib, json, select, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("eth0", 0))
heard = {}
print(json.dumps("ready"), flush=True)
def listen():
    while select.select([wire], [], [], 0)[0]:
        try:
            data, (_, _, kind, *_) = wire.recvfrom(2048)
        except OSError:  # the link went down
            continue
        at = data.find(b"<frame ")
        if at >= 0 and kind != 4:
            name = data[at + 7 : data.find(b">", at)].decode()
            heard[name] = heard.get(name, 0) + 1
while True:
    ready = select.select([wire, 0], [], [])[0]
    listen()
    if 0 in ready:
        line = sys.stdin.readline()
        if not line:
            break
        order = json.loads(line)
        if order:
            for frame in order:
                with contextlib.suppress(OSError):
                    wire.send(bytes.fromhex(frame))
            print(json.dumps(len(order)), flush=True)
        else:
            listen()
            print(json.dumps(heard), flush=True)
            heard = {}
"""


class Ear:
    """A process on a host that sends frames and counts those marked ones that arrive."""

    def __init__(self, lab, host):
        theirs, self.orders = os.pipe()
        self.answers, out = os.pipe()
        self.reader = os.fdopen(self.answers)

        def run():
            argv = ["python3", "-ISsc", EAR]
            client.run(lab.name, host, argv, stdin=theirs, stdout=out, stderr=2)
            os.close(theirs)
            os.close(out)

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert json.loads(self.reader.readline()) == "ready"

    def ask(self, frames=()):
        """Send frames; without any, return what arrived since the last time, by name."""
        os.write(self.orders, json.dumps([frame.hex() for frame in frames]).encode() + b"\n")
        return json.loads(self.reader.readline())

    def close(self):
        os.close(self.orders)
        self.thread.join()
        self.reader.close()


def _mac(text):
    return bytes.fromhex(text.replace(":", ""))


def _sum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def udp(name, mac, source, to_mac, target):
    """Build a UDP frame that carries its name."""
    body = f"<frame {name}>".encode()
    body += b"\0" * (len(body) % 2)
    datagram = struct.pack("!HHHH", 4242, 4243, 8 + len(body), 0) + body
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + ends
    head = head[:10] + struct.pack("!H", _sum(head)) + head[12:]
    return _mac(to_mac) + _mac(mac) + b"\x08\x00" + head + datagram


def claim(name, mac, address):
    """Build a gratuitous ARP reply that carries its name behind it."""
    who = _mac(mac) + socket.inet_aton(address)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + who + who
    return b"\xff" * 6 + _mac(mac) + b"\x08\x06" + body + f"<frame {name}>".encode()
