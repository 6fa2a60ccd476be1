"""Checks against a kernel that has ip_vs, as plain functions that assert."""

import errno
import re
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

from onearm.kernel import arp, sysctl
from onearm.kernel.ipvs import (
    DIRECT,
    MASQ,
    PERSISTENT,
    TUNNEL,
    Ipvs,
    IpvsDestination,
    IpvsService,
    IpvsTimeouts,
    bits_to_flags,
    flags_to_bits,
)
from onearm.kernel.links import Links

WEB = IpvsService(protocol=6, address=ip_address("203.0.113.2"), port=80, scheduler="rr")
DNS6 = IpvsService(10, 17, ip_address("2001:db8::2"), 53, 0, "mh", flags_to_bits("mh", ["mh-port"]))
MARK = IpvsService(fwmark=5, flags=PERSISTENT, timeout_s=300, netmask=0xFFFFFF00)
MARK6 = IpvsService(10, fwmark=6, scheduler="sh", flags=flags_to_bits("sh", ["sh-port", "ops"]))
SERVER = IpvsDestination(ip_address("203.0.113.4"), 80)


def sh(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def saved():
    return sorted(line.strip() for line in sh("ipvsadm", "-Sn").splitlines())


def clean(ipvs):
    ipvs.change([("delete", service, None) for service in ipvs.services()])
    assert ipvs.services() == []


def programs_what_ipvsadm_shows():
    assert Ipvs.available() == ""
    with Ipvs() as ipvs:
        clean(ipvs)
        gue = {"forwarding": TUNNEL, "tunnel_type": 1, "tunnel_port": 6080}
        behind = {
            WEB: [
                replace(SERVER, weight=0, upper=100, lower=10),
                replace(SERVER, port=81, forwarding=MASQ),
            ],
            DNS6: [replace(SERVER, address=ip_address("2001:db8::4"), port=53)],
            MARK: [replace(SERVER, port=0, **gue)],
            MARK6: [],
        }
        changes = [("add", service, None) for service in behind]
        changes += [("add", s, d) for s, found in behind.items() for d in found]
        assert ipvs.change(changes) == {}
        assert saved() == sorted(
            [
                "-A -t 203.0.113.2:80 -s rr",
                "-a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 0",
                "-a -t 203.0.113.2:80 -r 203.0.113.4:81 -m -w 1",
                "-A -u [2001:db8::2]:53 -s mh -b mh-port",
                "-a -u [2001:db8::2]:53 -r [2001:db8::4]:53 -g -w 1",
                "-A -f 5 -s wlc -p 300 -M 255.255.255.0",
                "-a -f 5 -r 203.0.113.4:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum",
                "-A -f 6 -6 -s sh -o -b sh-port",
            ]
        )
        assert "203.0.113.4:80               100        10" in sh("ipvsadm", "-Ln", "--thresholds")
        found = {(s.fwmark, s.address): s for s in ipvs.services()}
        for service, destinations in behind.items():
            got = found.pop((service.fwmark, service.address))
            host = 128 if service.family == 10 else 0xFFFFFFFF
            assert got == replace(service, netmask=service.netmask or host, flags=service.flags | 2)
            assert ipvs.destinations(service)[::-1] == destinations  # the newest comes first
        assert not found
        clean(ipvs)


def reads_what_ipvsadm_wrote():
    sh("ipvsadm", "-A", "-t", "203.0.113.2:80", "-s", "wrr", "-p", "60")
    sh("ipvsadm", "-a", "-t", "203.0.113.2:80", "-r", "203.0.113.4", "-g", "-w", "7", "-x", "9")
    sh("ipvsadm", "-A", "-t", "[2001:db8::2]:80", "-s", "mh", "-b", "mh-fallback,mh-port")
    with Ipvs() as ipvs:
        by_address = {str(s.address): s for s in ipvs.services()}
        four, six = by_address["203.0.113.2"], by_address["2001:db8::2"]
        assert (four.scheduler, four.timeout_s, four.flags & PERSISTENT) == ("wrr", 60, PERSISTENT)
        assert (four.netmask, six.netmask) == (0xFFFFFFFF, 128)
        assert bits_to_flags("mh", six.flags) == ("mh-fallback", "mh-port")
        (server,) = ipvs.destinations(four)
        assert (server.weight, server.upper, server.forwarding) == (7, 9, DIRECT)
        assert (server.address, server.port) == (ip_address("203.0.113.4"), 80)
        clean(ipvs)


def refuses_one_by_one():
    nowhere = replace(WEB, address=ip_address("192.0.2.1"))
    with Ipvs() as ipvs:
        clean(ipvs)
        changes = {
            ("add", WEB, None): 0,
            ("add", WEB, None, "again"): errno.EEXIST,
            ("add", nowhere, None, "no scheduler"): errno.ENOENT,
            ("add", WEB, SERVER): 0,
            ("add", WEB, SERVER, "again"): errno.EEXIST,
            ("set", WEB, replace(SERVER, port=81)): errno.ENOENT,
            ("set", nowhere, None): errno.ESRCH,
            ("add", nowhere, SERVER): errno.ESRCH,
            ("delete", nowhere, None): errno.ESRCH,
            ("set", WEB, replace(SERVER, weight=9)): 0,
            ("delete", WEB, replace(SERVER, port=82)): errno.ENOENT,
        }
        sent = [
            (c[0], replace(c[1], scheduler="nope") if c[-1] == "no scheduler" else c[1], c[2])
            for c in changes
        ]
        refused = {n: code for n, code in enumerate(changes.values()) if code}
        assert ipvs.change(sent) == refused
        assert [d.weight for d in ipvs.destinations(WEB)] == [9]
        assert ipvs.destinations(nowhere) == []
        assert ipvs.change([("set", replace(WEB, scheduler="wrr"), None)]) == {}
        assert saved()[0] == "-A -t 203.0.113.2:80 -s wrr"
        clean(ipvs)


def thousands_in_a_few_sends():
    many = [replace(SERVER, address=IPv4Address(0x0A000000 + n)) for n in range(3000)]
    with Ipvs() as ipvs:
        clean(ipvs)
        sends = []
        real, ipvs._netlink._send = (
            ipvs._netlink._send,
            lambda data: (sends.append(1), real(data))[1],
        )
        assert ipvs.change([("add", WEB, None), *(("add", WEB, d) for d in many)]) == {}
        assert len(sends) <= 3
        assert set(ipvs.destinations(WEB)) == set(many)
        again = ipvs.change([("add", WEB, d) for d in many])  # every single one is refused
        assert again == dict.fromkeys(range(3000), errno.EEXIST)
        clean(ipvs)


def counts_and_times():
    with Ipvs() as ipvs:
        shown = re.search(r"version ([\d.]+) \(size=(\d+)\)", sh("ipvsadm", "-Ln"))
        info = ipvs.info()
        assert (info.version, info.table_size) == (shown.group(1), int(shown.group(2)))
        before = ipvs.timeouts()
        ipvs.set_timeouts(IpvsTimeouts(tcp_fin_s=77))
        assert ipvs.timeouts() == replace(before, tcp_fin_s=77)
        assert " 77 " in sh("ipvsadm", "-Ln", "--timeout")
        ipvs.set_timeouts(before)
        clean(ipvs)
        assert ipvs.change([("add", WEB, None), ("add", WEB, SERVER)]) == {}
        ipvs.zero(WEB)
        ipvs.zero()
        assert ipvs.services()[0].counters.connections == 0
        clean(ipvs)


def makes_dummy_links():
    with Links() as links:
        assert arp.trial_dummy() == ""
        links.add_dummy("eth-vip")
        (link,) = [link for link in links.links() if link.name == "eth-vip"]
        assert (link.kind, link.up) == ("dummy", True)
        try:
            links.add_dummy("eth-vip")
        except OSError as error:
            assert error.errno == errno.EEXIST  # noqa: PT017 - no pytest in here
        links.add_address("eth-vip", ip_address("203.0.113.2"), 32)
        links.add_address("eth-vip", ip_address("2001:db8::2"), 128, vip=True)
        assert "203.0.113.2/32" in sh("ip", "-4", "address", "show", "eth-vip")
        links.delete_dummy("eth-vip")
        assert "eth-vip" not in sh("ip", "link")


def writes_sysctls():
    name = "net/ipv4/conf/eth0/arp_ignore"
    before = sysctl.read(name)
    sysctl.write(name, "1")
    assert sysctl.read_conf("arp_ignore")["eth0"] == "1"
    sysctl.write(name, before)
    assert sysctl.read("net/ipv4/vs/conn_reuse_mode") is not None
