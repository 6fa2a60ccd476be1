"""What can be wrong on a real server: its VIP, its silence, its server, its way back."""

from __future__ import annotations

from onearm.lab.faults.fault import DIRECTOR, HERE, REAL_SERVERS, Fault, real_server

HELD = 'need "the address $VIP on its link eth-vip" has_address eth-vip "$VIP"; '
EVERYWHERE = "net.ipv4.conf.all.{0}={1} net.ipv4.conf.eth0.{0}={1}"
ANSWERS = f"set_sysctl {EVERYWHERE.format('arp_ignore', 0)}; arp_rules INPUT; "
ANNOUNCES = f"set_sysctl {EVERYWHERE.format('arp_announce', 0)}; arp_rules OUTPUT; "
DROPS = 'rule filter INPUT -d "$VIP" '
OWN_ONLY = 'rule filter INPUT -p tcp -j DROP; rule filter INPUT -d "$OWN" -j ACCEPT'
UDP = 'need "a virtual service of the VIP for 53/udp" has_service -u "$VIP:53"'
OTHER_WAY = "second_nic; add_route 198.51.100.0/24 via 192.0.2.1 dev eth-other"
LOOP = 'new_service "{}"'

FAULTS: tuple[Fault, ...] = (
    real_server(
        "vip-missing",
        "vip.missing",
        "a real server lacks the VIP: it throws its packets away",
        'take_address eth-vip "$VIP"',
    ),
    real_server(
        "vip-link-down",
        "vip.link_down",
        "the link that holds the VIP is down (in IPv4 the VIP works all the same)",
        f"{HELD}down eth-vip",
    ),
    real_server(
        "vip-prefix",
        "vip.prefix",
        "the VIP has a whole network behind it (/27 instead of /32)",
        'take_address eth-vip "$VIP"; give_address eth-vip "$VIP/27"',
    ),
    real_server(
        "vip-on-nic",
        "vip.on_nic",
        "a real server has its VIP on the NIC",
        'take_address eth-vip "$VIP"; give_address eth0 "$VIP/32"',
        "arp.answers",
    ),
    real_server(
        "arp-answers",
        "arp.answers",
        "a real server answers ARP requests for the VIP",
        f"{HELD}{ANSWERS}",
    ),
    real_server(
        "arp-dummy-only",
        "arp.answers",
        "silence is set on the link that holds the VIP, where no ARP request arrives",
        f"{HELD}{ANSWERS}{ANNOUNCES}"
        "set_sysctl net.ipv4.conf.eth-vip.arp_ignore=1 net.ipv4.conf.eth-vip.arp_announce=2",
        "arp.announces",
    ),
    real_server(
        "arp-nothing",
        "arp.answers",
        "nothing at all silences a real server: the ARP problem itself",
        f"{HELD}{ANSWERS}{ANNOUNCES}",
        "arp.announces",
    ),
    real_server(
        "arp-announces",
        "arp.announces",
        "a real server asks for its gateway in the VIP's name (arp_announce=0)",
        f"{HELD}{ANNOUNCES}",
    ),
    real_server(
        "arp-announces-1",
        "arp.announces",
        "the same with arp_announce=1, which does not help for a VIP of the same network",
        f"{HELD}{ANNOUNCES}set_sysctl {EVERYWHERE.format('arp_announce', 1)}",
    ),
    real_server(
        "arp-drop-out",
        "arp.no_out_drop_without_announce2",
        "the tutorials' two ARP rules: its own ARP requests are dropped as well",
        f"{HELD}{ANSWERS}{ANNOUNCES}"
        'arp_rules INPUT -d "$VIP" -j DROP; arp_rules OUTPUT -s "$VIP" -j DROP',
    ),
    real_server(
        "listen-own-address",
        "listen.on_vip",
        "the server listens on its own address, not on the VIP",
        'responder --bind "$OWN"',
    ),
    real_server(
        "listen-nowhere",
        "listen.on_vip",
        "the server is not running",
        "silence_responder",
    ),
    Fault(
        "udp-own-address",
        "udp.reply_source",
        "the UDP server answers from its own address, not from the VIP",
        ((DIRECTOR[0], UDP), (HERE, "responder --careless")),
        REAL_SERVERS,
    ),
    real_server(
        "rp-filter",
        "rp_filter.effective",
        "clients are reached by a second NIC, and rp_filter drops what comes by the first",
        f"{OTHER_WAY}; set_sysctl net.ipv4.conf.all.rp_filter=1",
        "route.back",
    ),
    real_server(
        "route-other-nic",
        "route.back",
        "replies leave by a second NIC, which does not lead to the clients",
        OTHER_WAY,
    ),
    real_server(
        "route-by-policy",
        "route.back",
        "a policy rule sends all that comes from the VIP to a second NIC",
        'second_nic; add_policy from "$VIP" lookup 100; '
        "add_route default via 192.0.2.1 dev eth-other table 100",
    ),
    real_server(
        "route-via-director",
        "route.via_director",
        "replies go to the director, which throws them away",
        "keep_routes; ip route replace default via 203.0.113.3",
    ),
    real_server(
        "route-none",
        "route.none",
        "a real server has no default route",
        "keep_routes; ip route del default",
    ),
    real_server(
        "route-blackhole",
        "route.none",
        "the route to the clients is a black hole",
        "add_route blackhole 198.51.100.0/24",
    ),
    real_server(
        "server-drops",
        "fw.r.drop",
        "a real server's firewall drops what comes for the VIP",
        f"{DROPS}-j DROP",
    ),
    real_server(
        "server-own-only",
        "fw.r.drop",
        "a real server's firewall knows its own address alone, as most do",
        OWN_ONLY,
    ),
    real_server(
        "server-raw-drops",
        "fw.r.drop",
        "packets for the VIP are dropped in the table that sees them first (raw)",
        'rule raw PREROUTING -d "$VIP" -j DROP',
    ),
    real_server(
        "server-rejects",
        "fw.r.drop",
        "a real server's firewall refuses what comes for the VIP",
        f"{DROPS}-j REJECT",
    ),
    real_server(
        "server-resets",
        "fw.r.drop",
        "a real server's firewall resets: as if nothing listened",
        f"{DROPS}-p tcp -j REJECT --reject-with tcp-reset",
    ),
    real_server(
        "server-out-drops",
        "fw.r.out",
        "a real server's firewall drops replies of the VIP",
        'rule filter OUTPUT -s "$VIP" -j DROP',
    ),
    real_server(
        "server-drops-icmp",
        "fw.r.icmp",
        "a real server drops need-fragment ICMP",
        "rule filter INPUT -p icmp --icmp-type fragmentation-needed -j DROP",
    ),
    real_server(
        "gateway-wrong",
        "neigh.gateway",
        "a real server has a wrong, permanent MAC for its gateway",
        'wrong_neighbour "$GATEWAY" "$NOBODY"',
    ),
    real_server(
        "gateway-nobody",
        "neigh.gateway",
        "the default route leads to an address that nobody has",
        "keep_routes; ip route replace default via 203.0.113.29",
    ),
    real_server(
        "arp-off",
        "arp.off",
        "a real server's NIC speaks no ARP (arp off): nobody finds it",
        "set_link eth0 arp off on",
    ),
    real_server(
        "nic-down",
        "link.down",
        "the NIC of a real server is down",
        "keep_routes; down eth0",
    ),
    real_server(
        "server-hangs",
        "hop.server_mute",
        "the server hangs: the kernel takes connections, and nobody answers",
        'note "kill -CONT $(cat /run/responder.pid)"; kill -STOP $(cat /run/responder.pid)',
    ),
    real_server(
        "client-address",
        "client.local",
        "a real server has a client's address, so that client's packets are martians to it",
        'give_address lo "198.51.100.10/32"',
    ),
    real_server(
        "mtu-differs",
        "mtu.differs",
        "a real server's NIC takes smaller packets than the others",
        "set_mtu eth0 1400",
    ),
    Fault(
        "server-is-director",
        "loop.rs_is_director",
        "a real server shares out by itself what it is handed (two boxes, both directors)",
        ((HERE, LOOP.format("$OTHER")),),
        REAL_SERVERS,
    ),
    Fault(
        "directors-loop",
        "loop.rs_is_director",
        "two real servers hand packets to each other until their TTL ends",
        (
            ("server-2", LOOP.format("203.0.113.5")),
            ("server-3", LOOP.format("203.0.113.4")),
        ),
        REAL_SERVERS,
    ),
    real_server(
        "forwards-without-vip",
        "loop.rs_forwards_without_vip",
        "a real server that forwards lacks the VIP: packets go round until their TTL ends",
        'take_address eth-vip "$VIP"; forward 1',
        "vip.missing",
    ),
)
