"""Figures of services and destinations beside those that ipvsadm prints, as a plain function."""

import socket
import time
from dataclasses import replace
from ipaddress import ip_address

from inside_lab import DNS6, MARK, PERSISTENT, SERVER, WEB, sh

from onearm.kernel.ipvs import Ipvs

FOUR, SIX = ip_address("203.0.113.2"), ip_address("2001:db8::2")
UDP4 = replace(WEB, protocol=17, flags=PERSISTENT, timeout_s=300)
UDP6 = replace(DNS6, scheduler="rr", flags=0)
BEHIND = {
    UDP4: [replace(SERVER, address=ip_address(f"10.0.1.{n}"), weight=n) for n in (1, 2)],
    UDP6: [replace(SERVER, address=ip_address(f"2001:db8::1:{n}"), port=53) for n in (1, 2)],
    MARK: [replace(SERVER, address=ip_address(f"10.0.2.{n}"), port=0) for n in (1, 2)],
}
SENT = {UDP4: 41, UDP6: 31, MARK: 21}
TRIES, WAIT_S = 100, 0.1  # the kernel sums up every two seconds


def counts_what_ipvsadm_prints():
    """Every number of ours is ipvsadm's, for IPv4, IPv6 and marks."""
    world()
    with Ipvs() as ipvs:
        changes = [("add", service, None) for service in BEHIND]
        changes += [("add", s, d) for s, found in BEHIND.items() for d in found]
        assert ipvs.change(changes) == {}
        send(socket.AF_INET, str(FOUR), 80, SENT[UDP4])
        send(socket.AF_INET6, str(SIX), 53, SENT[UDP6])
        send(socket.AF_INET, "198.51.100.7", 7, SENT[MARK], mark=MARK.fwmark)
        exact = ("--exact",)
        summed_up(ipvs)
        same(lambda: {name: counters(f)[:5] for name, f in rows(ipvs)}, "--stats", *exact)
        same(lambda: {name: counters(f)[5:] for name, f in rows(ipvs)}, "--rate", *exact)
        same(lambda: connections(ipvs, "persistent"), "--persistent-conn")
        same(lambda: connections(ipvs))
        assert {f.persistent for name, f in rows(ipvs) if name.startswith("-> 10.0.")} == {0, 1}


def world():
    """Give an empty namespace the VIPs and ways to servers that need no neighbour."""
    for words in (
        "link set lo up",
        "link add d0 type dummy",
        "link set d0 up",
        "address add 203.0.113.2/32 dev lo",
        "address add 2001:db8::2/128 dev lo",
        "address add 10.0.0.1/16 dev d0",
        "address add 2001:db8::1:9/112 dev d0 nodad",
        "route add default dev d0",
    ):
        sh("ip", *words.split())


def send(family, vip, port, count, mark=0):
    for _ in range(count):
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            for _ in range(2):  # so that packets are no connections
                sender.sendto(b"some bytes", (vip, port))


def rows(ipvs):
    """Give what we read, by the name that ipvsadm prints it with."""
    for service in ipvs.services():
        name = f"FWM {service.fwmark}" if service.fwmark else f"UDP {end(service)}"
        yield name, service
        for destination in ipvs.destinations(service):
            yield f"-> {end(destination)}", destination


def end(found):
    return (
        f"[{found.address}]:{found.port}"
        if ":" in str(found.address)
        else (f"{found.address}:{found.port}")
    )


def counters(found):
    kept = found.counters
    return [getattr(kept, name) for name in kept.__dataclass_fields__]


def connections(ipvs, *first):
    """Give weight and connections of the destinations; ipvsadm prints none of a service."""
    names = ("weight", *first, "active", "inactive")
    return {
        name: [getattr(found, word) for word in names]
        for name, found in rows(ipvs)
        if name.startswith("->")
    }


def printed(count, *words):
    """Read the last numbers of each row that has so many."""
    found = {}
    for line in sh("ipvsadm", "-Ln", *words).splitlines():
        parts = line.split()
        if parts and all(part.isdigit() for part in parts[-count:]):
            found[" ".join(parts[:2])] = [int(part) for part in parts[-count:]]
    return found


def summed_up(ipvs):
    """Wait until the kernel has added up what was sent."""
    for _ in range(TRIES):
        if sorted(s.counters.connections for s in ipvs.services()) == sorted(SENT.values()):
            return
        time.sleep(WAIT_S)
    raise AssertionError([s.counters for s in ipvs.services()])


def same(ours, *words):
    """Compare; again where something moved while both were read."""
    for _ in range(TRIES):
        before = ours()
        theirs = printed(len(next(iter(before.values()))), *words)
        if before == ours():
            break
        time.sleep(WAIT_S)
    assert before == theirs, (words, before, theirs)
    assert any(map(any, before.values()))
    print(words, before)
