"""What can be wrong between the hosts: other holders of the VIP, frames that are dropped."""

from __future__ import annotations

from onearm.lab.faults.fault import DIRECTOR, Fault, elsewhere, segment
from onearm.lab.topology import SEGMENT

# Frames are told by their MACs, not by the port of the bridge: with `--cloud` ports are elsewhere.
FROM = "ether saddr $MAC "
TO = "ether daddr $MAC "
NARROW = "add_route 198.51.100.0/25 dev eth1 scope link src 198.51.100.1 mtu 1200"
NEED_FRAGMENT = "icmp type destination-unreachable icmp code frag-needed counter drop"
SNAT = "-o eth0 -s 198.51.100.0/24 -j SNAT --to-source"

FAULTS: tuple[Fault, ...] = (
    elsewhere(
        "vip-taken",
        "vip.duplicate",
        "another machine has the VIP as well, and answers for it",
        'give_address eth0 "$VIP/32"',
        ("neighbour", "router"),
    ),
    elsewhere(
        "arp-stale",
        "arp.stale",
        "the router takes a real server for the VIP's owner, and asks no more",
        'wrong_neighbour "$VIP" 02:00:00:00:00:04',
        ("router", "neighbour"),
    ),
    elsewhere(
        "client-no-route",
        "client.route",
        "a client has no route to the VIP",
        "keep_routes; ip route del default",
        ("client",),
    ),
    elsewhere(
        "router-drops",
        "hop.client_to_director",
        "what is sent to the VIP never arrives at the director",
        'rule filter FORWARD -d "$VIP" -j DROP',
        ("router",),
    ),
    segment(
        "group-closed",
        "hop.client_to_director",
        "the director's security group does not let the port in",
        f"{TO}ip daddr $VIP tcp dport $PORT counter drop",
        DIRECTOR,
    ),
    segment(
        "pair-missing-director",
        "hop.director_to_server",
        "the director may only send from its own address: its address pair is missing",
        f"{FROM}ip saddr != {{ $OWN, $VIP }} counter drop",
        DIRECTOR,
    ),
    segment(
        "pair-missing-ovn",
        "hop.director_to_server",
        "a real server's address pair is missing, and OVN keeps the VIP's packets from it",
        f"{TO}ip daddr $VIP counter drop",
    ),
    segment(
        "group-director-only",
        "hop.director_to_server",
        "a real server's group lets the director's address in, but packets keep the client's",
        f"{TO}ip daddr $VIP ip saddr != 203.0.113.3 counter drop",
    ),
    segment(
        "pair-missing-server",
        "hop.server_to_client",
        "a real server may not answer from the VIP: its address pair is missing",
        f"{FROM}ip saddr $VIP counter drop",
    ),
    elsewhere(
        "router-drops-replies",
        "hop.server_to_client",
        "the router takes replies for forged: none reaches the clients",
        'rule filter FORWARD -s "$VIP" -j DROP',
        ("router",),
    ),
    segment(
        "group-stateful",
        "hop.first_data",
        "a stateful group at the director: connects, then the first data hangs",
        f"{TO}ip daddr $VIP tcp flags & (syn|ack) == ack counter drop",
        DIRECTOR,
    ),
    Fault(
        "large-replies",
        "hop.large_reply",
        "the path to clients is narrow, and the ICMP that says so is lost: large replies stall",
        (("router", NARROW), (SEGMENT, f'frames "{TO}ip daddr $VIP {NEED_FRAGMENT}"')),
        DIRECTOR,
    ),
    elsewhere(
        "router-nat",
        "path.client_address",
        "the router puts its own address in place of the client's",
        f'rule nat POSTROUTING {SNAT} "$OWN"',
        ("router",),
    ),
)
