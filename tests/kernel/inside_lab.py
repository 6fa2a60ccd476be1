"""Checks against a kernel that has ip_vs, as plain functions that assert."""

import errno
import re
import socket
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

from onearm.kernel import arp, sysctl
from onearm.kernel import ipvs_messages as messages
from onearm.kernel.ipvs import (
    BACKUP,
    DIRECT,
    MASQ,
    MASTER,
    PERSISTENT,
    TUNNEL,
    Ipvs,
    IpvsDaemon,
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


def runs_sync_daemons():
    """Ours are those that ipvsadm shows, and the other way round, in both states."""
    sent = IpvsDaemon(MASTER, "eth0", 7, 1000, ip_address("224.0.0.99"), 9000, 3)
    six = ip_address("ff02::81")
    with Ipvs() as ipvs:
        assert ipvs.daemons() == []
        ipvs.start_daemon(sent)
        assert ipvs.daemons() == [sent]
        shown = sh("ipvsadm", "-Ln", "--daemon")
        said = "mcast=eth0, syncid=7, maxlen=1000, group=224.0.0.99, port=9000, ttl=3"
        assert f"master sync daemon ({said})" in shown, shown
        assert refused(ipvs.start_daemon, sent) == errno.EEXIST
        assert refused(ipvs.start_daemon, replace(sent, state=BACKUP, link="no")) == errno.ENODEV
        sh(*["ipvsadm", "--start-daemon", "backup", "--mcast-interface", "eth0", "--syncid", "8"])
        sh("ipvsadm", "--stop-daemon", "master")
        (default,) = ipvs.daemons()
        assert (default.state, default.sync_id, default.port, default.ttl) == (BACKUP, 8, 8848, 1)
        assert default.group == ip_address("224.0.0.81")
        ipvs.stop_daemon(default)
        assert refused(ipvs.stop_daemon, default) == errno.ESRCH
        ipvs.start_daemon(replace(sent, group=six))
        assert [found.group for found in ipvs.daemons()] == [six]
        assert "group=ff02::81" in sh("ipvsadm", "-Ln", "--daemon")
        ipvs.stop_daemon(sent)
        assert "daemon" not in sh("ipvsadm", "-Ln", "--daemon")


def refused(call, *words):
    try:
        call(*words)
    except OSError as error:
        return error.errno
    return 0


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


def walked(ipvs, service):
    """Read destinations attribute by attribute, past what was learned."""
    asked = messages.body(messages.GET_DEST, messages.service_key(service))
    payloads = ipvs._netlink.dump(ipvs._type, asked)
    return [shown(messages.parse_destination(p, service.family)) for p in payloads]


def shown(found):
    return (found, found.active, found.inactive, found.persistent, found.counters)


def reads_by_layout_what_the_walk_reads():
    local()
    servers = [
        replace(SERVER, address=IPv4Address(0x0A000100 + n), weight=n % 4) for n in range(300)
    ]
    six = [replace(SERVER, address=ip_address(f"2001:db8::{n:x}"), port=53) for n in range(1, 300)]
    gue = {"forwarding": TUNNEL, "tunnel_type": 1, "tunnel_port": 6080}
    behind = {
        replace(WEB, protocol=17): servers,
        DNS6: six,
        MARK: [replace(d, port=0, **gue) for d in servers],
    }
    with Ipvs() as ipvs:
        changes = [("add", service, None) for service in behind]
        changes += [("add", s, d) for s, found in behind.items() for d in found]
        assert ipvs.change(changes) == {}
        send_datagrams(count=200)  # some of them have figures now
        for service, destinations in behind.items():
            for _ in range(2):
                found = ipvs.destinations(service)
                assert [shown(d) for d in found] == walked(ipvs, service)
                assert found[::-1] == destinations
        assert sum(d.inactive for d in ipvs.destinations(replace(WEB, protocol=17))) == 200
        assert saved() == sorted(
            [
                "-A -u 203.0.113.2:80 -s rr",
                *(f"-a -u 203.0.113.2:80 -r {d.address}:80 -g -w {d.weight}" for d in servers),
                "-A -u [2001:db8::2]:53 -s mh -b mh-port",
                *(f"-a -u [2001:db8::2]:53 -r [{d.address}]:53 -g -w 1" for d in six),
                "-A -f 5 -s wlc -p 300 -M 255.255.255.0",
                *(
                    f"-a -f 5 -r {d.address}:0 -i -w {d.weight} --tun-type gue --tun-port 6080"
                    " --tun-nocsum"
                    for d in servers
                ),
            ]
        )


def local():
    """Give an empty namespace the VIP and a way to real servers that nobody answers from."""
    for words in (
        "link set lo up",
        "link add d0 type dummy",
        "link set d0 up",
        "address add 203.0.113.2/32 dev lo",
        "address add 10.0.0.1/16 dev d0",
    ):
        sh("ip", *words.split())


def send_datagrams(count, port=80):
    """Send one from each of many source ports to the VIP."""
    for source in range(20000, 20000 + count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("203.0.113.2", source))
            sender.sendto(b"x", ("203.0.113.2", port))


def mh_depends_on_the_order():
    """Tables of the same set are alike when made in one order, and not when made in another.

    The hash takes the client's address and port alone, so other services show the same table.
    """
    local()
    servers = [replace(SERVER, address=IPv4Address(0x0A000100 + n)) for n in range(7)]
    flags = flags_to_bits("mh", ["mh-port"])
    service = replace(WEB, protocol=17, scheduler="mh", flags=flags)

    def chosen(port, order):
        one = replace(service, port=port)
        with Ipvs() as ipvs:
            assert ipvs.change([("add", one, None), *(("add", one, d) for d in order)]) == {}
        send_datagrams(1000, port)
        rows = [line.split() for line in sh("ipvsadm", "-Lnc").splitlines() if "UDP" in line]
        found = {row[3]: row[5] for row in rows if row[4] == f"203.0.113.2:{port}"}
        assert len(found) == 1000, len(found)
        return found

    first, again = chosen(80, servers), chosen(81, servers)
    other = chosen(82, servers[3:] + servers[:3])
    moved = sum(first[client] != other[client] for client in first)
    print(f"mh: {moved} of 1000 clients meet another server after another order of insertion")
    assert first == again
    assert 0 < moved < 500
