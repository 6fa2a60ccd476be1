"""The reference network as data, and what `ip -batch` must be told to make it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BRIDGE = "br0"
SEGMENT = "l2"  # the host that is nothing but the bridge
OUTSIDE, OUTSIDE6 = "198.51.100.", "2001:db8:5::"
INSIDE6 = "2001:db8:203::"  # each host has the same number as in IPv4, in decimal digits
CLIENTS = 64  # the client's addresses: .10 and 63 more


class Wire(NamedTuple):
    """A veth: one end is a host's link, the other a link of `peer` or a port of the bridge.

    `peer_address` is what the peer's end gets where this host is made.
    """

    link: str
    mac: str
    peer: str = SEGMENT
    peer_link: str = ""  # default: a port of the bridge, named after the host
    peer_mac: str = "02:00:00:00:01:00"
    peer_address: str = ""


class Host(NamedTuple):
    """One host: its wires, addresses by link, and a gateway of each family."""

    wires: tuple[Wire, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    gateways: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    responder: bool = False


def _inside(number: int, *, responder: bool = False) -> Host:
    """Build a host of the segment."""
    return Host(
        wires=(Wire("eth0", f"02:00:00:00:00:{number:02x}", peer_mac=_port_mac(number)),),
        addresses=((f"203.0.113.{number}/27", "eth0"), (f"{INSIDE6}{number}/64", "eth0")),
        gateways=("203.0.113.1", f"{INSIDE6}1"),
        responder=responder,
    )


def _port_mac(number: int) -> str:
    return f"02:00:00:00:01:{number:02x}"


_CLIENT_WIRE = Wire("eth0", "02:00:00:00:00:c0", "router", "eth1", "02:00:00:00:00:c1")
_BRIDGE_SYSCTLS = (
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),  # a bridge has nothing to say by itself
    ("net/ipv6/conf/default/disable_ipv6", "1"),
)
HOSTS: dict[str, Host] = {
    SEGMENT: Host(sysctls=_BRIDGE_SYSCTLS),
    "client": Host(
        wires=(_CLIENT_WIRE,),
        addresses=tuple(
            (address, "eth0")
            for i in range(10, 10 + CLIENTS)
            for address in (f"{OUTSIDE}{i}/24", f"{OUTSIDE6}{i}/64")
        ),
        gateways=("198.51.100.1", f"{OUTSIDE6}1"),
    ),
    "router": Host(
        wires=(Wire("eth0", "02:00:00:00:00:01", peer_mac=_port_mac(1)),),
        addresses=(
            (f"{OUTSIDE}1/24", "eth1"),
            ("203.0.113.1/27", "eth0"),
            (f"{OUTSIDE6}1/64", "eth1"),
            (f"{INSIDE6}1/64", "eth0"),
        ),
        sysctls=(("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")),
    ),
    "server-1": _inside(3),
    "server-2": _inside(4, responder=True),
    "server-3": _inside(5, responder=True),
    "neighbour": _inside(10),
}
SECOND_DIRECTOR = "server-4"
REMOTE_SERVER = "server-5"  # in a network of its own, behind the router
_REMOTE_WIRE = Wire(
    "eth0", "02:00:00:00:02:05", "router", "eth2", "02:00:00:00:02:01", "192.0.2.1/27"
)
EXTRA = {  # made only where a lab is asked for it
    SECOND_DIRECTOR: _inside(6),
    REMOTE_SERVER: Host(
        wires=(_REMOTE_WIRE,),
        addresses=(("192.0.2.5/27", "eth0"),),
        gateways=("192.0.2.1",),
        responder=True,
    ),
}
KNOWN = {**HOSTS, **EXTRA}
GUARDED = ("server-1", "server-2", "server-3", "neighbour")  # Neutron guards no router port

# A new namespace copies some IPv4 values of the running machine: here the kernel's own defaults
# hold. Before any link is there, `default` says what it will get.
SYSCTLS: tuple[tuple[str, str], ...] = (
    ("net/ipv4/ip_forward", "0"),
    *(
        (f"net/ipv4/conf/{which}/{name}", "0")
        for which in ("all", "default")
        for name in ("rp_filter", "arp_ignore", "arp_announce", "arp_filter", "log_martians")
    ),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
)


def wiring(pids: dict[str, int]) -> str:
    """Every veth, each end born in its host, named by the pid of the host's init."""
    lines = []
    for name, pid in pids.items():
        for wire in KNOWN[name].wires:
            here = f"link add {wire.link} netns {pid} address {wire.mac} type veth"
            there = f"peer name {wire.peer_link or name} netns {pids[wire.peer]}"
            lines.append(f"{here} {there} address {wire.peer_mac}")
    return "\n".join(lines) + "\n"


def setting(name: str, names: Sequence[str], *, six: bool = True) -> str:
    """Return a host's own part: loopback, links, addresses, the default routes; or the bridge.

    Without `six` the kernel has no IPv6.
    """
    if name == SEGMENT:
        return "link set lo up\n" + _bridge(names)
    host = KNOWN[name]
    wires = [wire for other in names for wire in KNOWN[other].wires if wire.peer == name]
    addresses = [*host.addresses, *((w.peer_address, w.peer_link) for w in wires if w.peer_address)]
    lines = ["link set lo up"]
    known = [(address, link) for address, link in addresses if six or ":" not in address]
    lines += [f"addr add {address} dev {link}" for address, link in known]
    lines += [f"link set {link} up" for link in sorted({link for _, link in addresses})]
    gateways = [gateway for gateway in host.gateways if six or ":" not in gateway]
    lines += [f"route add default via {gateway}" for gateway in gateways]
    return "\n".join(lines) + "\n"


def _bridge(names: Sequence[str]) -> str:
    ports = [name for name in names for wire in KNOWN[name].wires if wire.peer == SEGMENT]
    lines = [
        f"link add {BRIDGE} address 02:00:00:00:01:ff type bridge mcast_snooping 0 forward_delay 0",
        *(f"link set {port} master {BRIDGE} up" for port in ports),
        f"link set {BRIDGE} up",
    ]
    return "\n".join(lines) + "\n"


def host_table() -> str:
    """Build the hosts' /etc/hosts."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for name, host in KNOWN.items():
        lines += [f"{address.split('/')[0]} {name}" for address in _named(host)]
    return "\n".join(lines) + "\n"


def _named(host: Host) -> list[str]:
    """List the first address of each family."""
    four = [address for address, _ in host.addresses if ":" not in address]
    six = [address for address, _ in host.addresses if ":" in address]
    return [*four[:1], *six[:1]]
