"""What can be wrong on the director: its services, its VIP, its firewall, its settings."""

from __future__ import annotations

from onearm.lab.faults.fault import Fault, director

# The kernel stores a port of its own for a destination, but ipvsadm writes none for direct routing.
STRANGE_PORT = """\
destination
note "with_destination $service -r $server $how"
note "without_destination $service -r ${server%:*}:8080"
python3 -ISsB -c '
import sys
sys.path.append(sys.argv.pop())
from dataclasses import replace
from onearm.kernel.ipvs import Ipvs
with Ipvs() as ipvs:
    for service in ipvs.services():
        for found in ipvs.destinations(service):
            kind = {"-t": 6, "-u": 17}.get(sys.argv[1])
            at = (service.protocol, f"{service.address}:{service.port}")
            if at == (kind, sys.argv[2]) and f"{found.address}:{found.port}" == sys.argv[3]:
                strange = replace(found, port=8080)
                sys.exit(bool(ipvs.change([("delete", service, found), ("add", service, strange)])))
sys.exit(1)
' $service "$server" "$SOURCE"
"""
EVERY_WEIGHT_0 = """\
destination
keep_destinations
destinations | while read -r one; do
    ipvsadm -e $service -r $(echo "$one" | sed -E 's/ -w [0-9]+/ -w 0/')
done
"""
OTHER_SCHEDULER = """\
service
note "with_service $service $setting"
case "$setting" in *"-s lc"*) other=wlc ;; *) other=lc ;; esac
ipvsadm -E $service $(echo "$setting" | sed -E "s/-s [a-z]+( -b [a-z,-]+)?/-s $other/")
"""
MASQUERADED = """\
destination
note "with_destination $service -r $server $how"
ipvsadm -e $service -r $server $(echo "$how" | sed -E 's/-[gi]/{how}/')
"""
STATEFUL = """\
need "the address $VIP on its link eth0" has_address eth0 "$VIP"
rule filter INPUT -d "$VIP" -p tcp -j DROP
rule filter INPUT -d "$VIP" -p tcp --syn -m conntrack --ctstate NEW -j ACCEPT
rule filter INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
"""
INVALID = """\
rule filter INPUT -d "$VIP" -m conntrack --ctstate INVALID -j DROP
set_sysctl net.ipv4.vs.conntrack=1 net.netfilter.nf_conntrack_tcp_loose=0
"""
# Everything leaves with the VIP as its source: the last address that is left on the NIC.
ONLY_THE_VIP = """\
need "the address $VIP on its link eth0" has_address eth0 "$VIP"
keep_routes
keep_addresses eth0
note "without_route 203.0.113.0/27 dev eth0 proto static"
ip address del "$(addresses_of eth0 | grep -o "^$OWN/[0-9]*")" dev eth0
ip route add 203.0.113.0/27 dev eth0 proto static
ip route replace default via "$GATEWAY"
"""

FAULTS: tuple[Fault, ...] = (
    director(
        "service-gone",
        "ipvs.service",
        "the virtual service is missing: the director itself answers, with a reset",
        'destination; keep_destinations; note "with_service $service $setting"; '
        "ipvsadm -D $service",
    ),
    director(
        "destination-gone",
        "ipvs.destination",
        "a real server gets nothing: it is no destination of the service",
        'destination; note "with_destination $service -r $server $how"; '
        "ipvsadm -d $service -r $server",
    ),
    director(
        "weights-zero",
        "ipvs.weights",
        "no destination has a weight: new connections are refused",
        EVERY_WEIGHT_0,
    ),
    director(
        "weight-differs",
        "ipvs.weight",
        "a destination gets another share than the spec says",
        'destination; note "with_destination $service -r $server $how"; '
        "ipvsadm -e $service -r $server $(echo \"$how\" | sed -E 's/ -w [0-9]+/ -w 7/')",
    ),
    director(
        "other-scheduler",
        "ipvs.scheduler",
        "the service shares connections out by another scheduler",
        OTHER_SCHEDULER,
    ),
    director(
        "destination-masq",
        "ipvs.method",
        "a destination is reached by masquerading: it answers past the director",
        MASQUERADED.replace("{how}", "-m"),
    ),
    director(
        "destination-tunnel",
        "ipvs.method",
        "a destination is sent packets in a tunnel that it does not have",
        MASQUERADED.replace("{how}", "-i"),
    ),
    director(
        "destination-port",
        "ipvs.port",
        "a destination has another port in the kernel's table, as direct routing never can",
        STRANGE_PORT,
    ),
    director(
        "vip-gone",
        "vip.announced",
        "the director lacks the VIP: nobody answers for it in ARP",
        'take_address eth0 "$VIP"',
    ),
    director(
        "vip-on-loopback",
        "vip.wrong_link",
        "the director has its VIP on lo, and its NIC answers for its own addresses alone",
        'take_address eth0 "$VIP"; give_address lo "$VIP/32"; '
        "set_sysctl net.ipv4.conf.eth0.arp_ignore=1",
        "vip.announced",
    ),
    director(
        "only-the-vip",
        "director.second_address",
        "the director has no address but the VIP: no real server answers its ARP requests",
        ONLY_THE_VIP,
    ),
    director(
        "asks-as-the-vip",
        "director.source",
        "the director asks for its real servers in the VIP's name, and they do not answer that",
        'need "the address $VIP on its link eth0" has_address eth0 "$VIP"; '
        'note "ip route replace 203.0.113.0/27 dev eth0 proto kernel scope link src $OWN"; '
        'ip route replace 203.0.113.0/27 dev eth0 proto kernel scope link src "$VIP"',
    ),
    director(
        "director-silent",
        "arp.director_silent",
        "the director answers no ARP request at all (arp_ignore=8)",
        'need "the address $VIP on its link eth0" has_address eth0 "$VIP"; '
        "set_sysctl net.ipv4.conf.all.arp_ignore=8",
    ),
    director(
        "director-arp-drop",
        "arp.director_silent",
        "an ARP rule of a real server drops requests for the VIP on the director",
        'arp_rules INPUT -d "$VIP" -j DROP',
    ),
    director(
        "director-drops",
        "fw.d.drop",
        "the director's firewall drops what comes for the VIP",
        'rule filter INPUT -d "$VIP" -p tcp --dport "$PORT" -j DROP',
    ),
    director(
        "director-raw-drops",
        "fw.d.drop",
        "the same, in the table that sees packets first (raw)",
        'rule raw PREROUTING -d "$VIP" -j DROP',
    ),
    director(
        "director-rejects",
        "fw.d.reject",
        "the director's firewall refuses: clients see No route to host",
        'rule filter INPUT -d "$VIP" -j REJECT --reject-with icmp-admin-prohibited',
    ),
    director(
        "director-stateful",
        "fw.d.stateful",
        "a stateful firewall on the director, which never sees a reply: connects, then hangs",
        STATEFUL,
    ),
    director(
        "director-invalid",
        "fw.d.stateful",
        "the director drops packets of no known state, with conntrack for IPVS: the same",
        INVALID,
        "vs.conntrack",
    ),
    director(
        "director-out-drops",
        "fw.d.out",
        "the director's firewall drops what it hands on (OUTPUT)",
        'rule filter OUTPUT -d "$VIP" -j DROP',
    ),
    director(
        "director-drops-icmp",
        "fw.d.icmp",
        "the director drops need-fragment ICMP: large replies stall where a path is narrower",
        "rule filter INPUT -p icmp --icmp-type fragmentation-needed -j DROP",
    ),
    director(
        "vs-conntrack",
        "vs.conntrack",
        "connections of IPVS are tracked: entries that never see a reply",
        "turn_sysctl net.ipv4.vs.conntrack=1",
    ),
    director(
        "vs-nodest",
        "vs.expire_nodest_conn",
        "packets of a removed server vanish until their connection times out",
        "turn_sysctl net.ipv4.vs.expire_nodest_conn=0",
    ),
    director(
        "vs-quiescent",
        "vs.expire_quiescent_template",
        "persistent clients stay on a drained server",
        "turn_sysctl net.ipv4.vs.expire_quiescent_template=0",
    ),
    director(
        "vs-reuse",
        "vs.conn_reuse_mode",
        "a client that uses a port again gets the server of before, also a drained one",
        "turn_sysctl net.ipv4.vs.conn_reuse_mode=0",
    ),
    director(
        "neighbour-wrong",
        "neigh.server",
        "the director has a wrong, permanent MAC for a real server",
        'wrong_neighbour 203.0.113.4 "$NOBODY"',
    ),
    director(
        "director-forwards",
        "forward.accept_local",
        "the director would pass replies on: one that comes back to it goes unnoticed",
        "forward 1; set_sysctl net.ipv4.conf.all.accept_local=1",
    ),
    director(
        "director-mtu",
        "mtu.director",
        "the director's NIC takes smaller packets than the others",
        "set_mtu eth0 1400",
    ),
)
