"""Checks that run inside a network namespace of their own, as plain functions that assert."""

import contextlib
import errno
import json
import socket
import subprocess
import time
from ipaddress import ip_address, ip_interface, ip_network

from onearm import errors
from onearm.kernel import arp, arp_drops, counters, rulesets, sockets
from onearm.kernel.faults import translate
from onearm.kernel.links import Links
from onearm.kernel.packets import Capture, announce, who_has

VIP, OWN, PEER = (ip_address(f"203.0.113.{n}") for n in (2, 3, 4))
MAC, PEER_MAC = "02:00:00:00:00:03", "02:00:00:00:00:04"


def sh(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True)
    assert not check or done.returncode == 0, (words, done.stderr)
    return done.stdout


def ip(line):
    return sh("ip", *line.split())


def ip_json(line):
    return json.loads(sh("ip", "-j", *line.split()) or "[]")


def refused(call, *arguments, **options):
    """Return the errno that a call is refused with."""
    try:
        call(*arguments, **options)
    except OSError as error:
        assert isinstance(translate(error, "test"), errors.PlaceError)  # noqa: PT017 - no pytest in here
        return error.errno
    raise AssertionError("it was not refused")


def datagram(source, target):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((str(source), 0))
        s.sendto(b"x", (str(target), 9))


def pair():
    ip("link set lo up")
    ip(f"link add near address {MAC} type veth peer name far address {PEER_MAC}")
    ip("link set near up")
    ip("link set far up")


@contextlib.contextmanager
def neighbour():
    """Yield a runner of commands in a second namespace, PEER, at the far end of a wire."""
    pair()
    ip(f"addr add {OWN}/27 dev near")
    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as process:
        try:
            while ip_json("link show far") and refused_move(process.pid):
                time.sleep(0.01)
            run = lambda line, check=True: sh(
                "nsenter", "-t", str(process.pid), "-n", *line.split(), check=check
            )
            run("ip link set lo up")
            run("ip link set far up")
            run(f"ip addr add {PEER}/27 dev far")
            yield run
        finally:
            process.kill()


def refused_move(pid):
    """Move the far end once the process has left our namespace."""
    from pathlib import Path

    here, there = (Path(f"/proc/{p}/ns/net").readlink() for p in ("self", pid))
    if here == there:
        return True
    ip(f"link set far netns {pid}")
    return False


def reads_as_ip_does():
    pair()
    ip("link add br0 type bridge")
    ip("link set near master br0")
    ip("link add far.7 type veth peer name other")
    ip("link set far.7 up arp off")
    ip("addr add 203.0.113.3/27 dev far")
    ip("addr add 192.0.2.1 peer 192.0.2.9/32 dev far.7")
    ip("addr add 2001:db8::3/64 dev far nodad")
    ip("route add 198.51.100.0/24 nexthop via 203.0.113.1 nexthop via 203.0.113.4 dev far")
    ip("route add default via 203.0.113.1 metric 50 src 203.0.113.3")
    ip("-6 route add default via 2001:db8::1")
    ip("route add unreachable 192.0.2.128/25")
    ip("route add 192.0.2.64/26 dev far table 100")
    ip(f"neigh add 203.0.113.5 lladdr {PEER_MAC} dev far")
    with Links() as links:
        found = {link.name: link for link in links.links()}
        for shown in ip_json("-d link"):
            link = found.pop(shown["ifname"])
            assert link.index == shown["ifindex"]
            assert (link.mac, link.mtu) == (shown["address"], shown["mtu"])
            assert link.kind == shown.get("linkinfo", {}).get("info_kind", "")
            assert link.master == shown.get("master", "")
            assert link.master_kind == ("bridge" if link.master else "")
            assert link.up == ("UP" in shown["flags"])
            assert link.arp == ("NOARP" not in shown["flags"])
            assert link.loopback == ("LOOPBACK" in shown["flags"])
        assert not found
        addresses = {
            (shown["ifname"], ip_address(info["local"]), info["prefixlen"])
            for shown in ip_json("addr")
            for info in shown["addr_info"]
        }
        assert {(a.link, a.address, a.prefix_length) for a in links.addresses()} == addresses
        assert ("far.7", ip_address("192.0.2.1"), 32) in addresses
        scopes = {str(a.address): a.scope for a in links.addresses()}
        assert (scopes["127.0.0.1"], scopes["203.0.113.3"]) == (254, 0)
        routes_as_ip_shows(links.routes())
        (seen,) = [n for n in links.neighbours() if str(n.address) == "203.0.113.5"]
        assert (seen.link, seen.mac, seen.state) == ("far", PEER_MAC, 0x80)
        paths(links)


def routes_as_ip_shows(found):
    shown = set()
    for family, all_ in ((4, "0.0.0.0/0"), (6, "::/0")):
        for route in ip_json(f"-{family} route show table main type unicast"):
            network = ip_network(route["dst"].replace("default", all_))
            for hop in route.get("nexthops", [route]):
                gateway = ip_address(hop["gateway"]) if "gateway" in hop else None
                shown.add((network, hop["dev"], gateway, route.get("metric", 0)))
    assert {(r.network, r.link, r.gateway, r.metric) for r in found} == shown
    assert len(shown) >= 6
    (default,) = [r for r in found if r.network == ip_network("0.0.0.0/0")]
    assert default.source == ip_address("203.0.113.3")


def paths(links):
    outside = links.route_get(ip_address("8.8.8.8"))
    assert (outside.link, str(outside.gateway)) == ("far", "203.0.113.1")
    assert (str(outside.source), outside.error) == ("203.0.113.3", "")
    assert links.route_get(ip_address("203.0.113.3")).link == "lo"
    assert links.route_get(ip_address("192.0.2.200")).error
    assert str(links.route_get(ip_address("2001:db8:1::1")).gateway) == "2001:db8::1"


def ways_back_as_ip_says():
    """A policy rule, a route's own MTU, a dead end, a source that nobody holds."""
    pair()
    ip("link set far mtu 1400")
    for line in (
        f"addr add {PEER}/27 dev far",
        f"addr add {VIP}/32 dev lo",
        "addr add 2001:db8::4/64 dev far nodad",
        "route add default via 203.0.113.1",
        "route add 198.51.100.0/25 via 203.0.113.1 mtu 1300",
        "route add unreachable 192.0.2.128/25",
        "route add default via 203.0.113.5 dev far table 100",
        f"rule add from {VIP} to 8.0.0.0/8 lookup 100",
    ):
        ip(line)
    clients = [ip_address(a) for a in ("8.8.8.8", "9.9.9.9", "198.51.100.10", str(PEER))]
    with Links() as links:
        for client in clients:
            (shown,) = ip_json(f"route get {client} from {VIP}")
            found = links.route_back(client, VIP)
            gateway = ip_address(shown["gateway"]) if "gateway" in shown else None
            assert (found.client, found.vip, found.error) == (client, VIP, "")
            assert (found.link, found.gateway) == (shown["dev"], gateway), shown
        mtus = {str(c): links.route_back(c, VIP).mtu for c in clients[:3]}
        assert mtus == {"8.8.8.8": 1400, "9.9.9.9": 1400, "198.51.100.10": 1300}
        assert str(links.route_back(clients[0], VIP).gateway) == "203.0.113.5"
        dead = links.route_back(ip_address("192.0.2.200"), VIP)
        assert (dead.link, dead.error) == ("", "No route to host")
        foreign = links.route_back(clients[0], ip_address("203.0.113.9"))
        assert foreign.error.startswith("no link of this host holds 203.0.113.9")
        assert (foreign.link, str(foreign.gateway), foreign.mtu) == ("far", "203.0.113.1", 1400)
        six = links.route_back(ip_address("2001:db8::9"), ip_address("2001:db8::4"))
        assert (six.link, six.gateway, six.mtu, six.error) == ("far", None, 1400, "")
        assert links.route_back(ip_address("::1"), VIP).error


def listens_as_ss_says():
    ip("link set lo up")
    ip(f"addr add {VIP}/32 dev lo")
    with contextlib.ExitStack() as stack:
        for kind, address in (
            (socket.SOCK_STREAM, "0.0.0.0"),
            (socket.SOCK_STREAM, str(VIP)),
            (socket.SOCK_STREAM, "::"),
            (socket.SOCK_STREAM, "::ffff:127.0.0.1"),
            (socket.SOCK_DGRAM, "::1"),
            (socket.SOCK_DGRAM, str(VIP)),
        ):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            s = stack.enter_context(socket.socket(family, kind))
            s.bind((address, 0))
            if kind == socket.SOCK_STREAM:
                s.listen()
        server = s.getsockname()
        for _ in range(2):  # connected: no listeners
            s = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            s.connect(server)
        shown = set()
        for line in sh("ss", "-Hltun").splitlines():
            protocol, state, _, _, local, _ = line.split()
            address, _, port = local.rpartition(":")
            address = address.strip("[]").replace("*", "::").removeprefix("::ffff:")
            if state in ("LISTEN", "UNCONN"):
                shown.add((protocol, ip_address(address), int(port)))
        found, cut = sockets.listeners({VIP})
        assert not cut
        assert {(f.protocol, f.address, f.port) for f in found} == shown
        assert len(shown) == 6


def counts_as_nstat_does():
    ip("link set lo up")
    ip("addr add 127.0.0.9/32 dev lo")
    before = counters.counters()
    for _ in range(3):
        datagram("127.0.0.9", "127.0.0.1")
    found = counters.counters()
    assert found["Udp.NoPorts"] == before.get("Udp.NoPorts", 0) + 3
    rows = [line.split() for line in sh("nstat", "-asz").splitlines() if line[0] != "#"]
    shown = {name: int(value) for name, value, _ in rows}
    ours = {name.replace(".", ""): n for name, n in found.items()}
    same = {name for name, value in shown.items() if ours.get(name, 0) == value}
    assert {"UdpNoPorts", "IpInReceives", "IcmpOutDestUnreachs", "TcpExtTW"} <= same
    assert not {name for name in shown.keys() - same if "6" not in name}


def reads_firewalls_and_leaves_them():
    """nf_tables by both of its tools; asking makes nothing, not even a table."""
    assert rulesets.rules() == ((), {})
    assert sh("nft", "list", "ruleset") == ""
    sh("nft", "add", "table", "inet", "fw")
    sh("nft", "add chain inet fw in { type filter hook input priority 0; policy accept; }")
    assert rulesets.rules() == ((), {})
    drop = "-A INPUT -p tcp --dport 80 -m conntrack --ctstate INVALID"
    sh("iptables-nft", *drop.split(), "-m", "comment", "--comment", "two words", "-j", "DROP")
    sh("nft", "add rule inet fw in ct state established accept")
    before = sh("nft", "list", "ruleset")
    found, cannot = rulesets.rules()
    assert (sh("nft", "list", "ruleset"), cannot) == (before, {})
    texts = {fact.tool: fact.text for fact in found}
    assert texts.keys() == {rulesets.NFT, rulesets.IPTABLES_NFT}
    listed = json.loads(sh("nft", "-j", "list", "ruleset"))
    assert json.loads(texts[rulesets.NFT]) == listed
    rule = next(line for line in texts[rulesets.IPTABLES_NFT].split("\n") if line[0] == "-")
    assert rule in sh("iptables-nft-save")
    assert "INVALID" in rule


def reads_legacy_firewalls_and_loads_none():
    from pathlib import Path

    assert not [f for f in rulesets.rules()[0] if f.tool == rulesets.LEGACY]
    names = Path("/proc/thread-self/net/ip_tables_names")
    assert not names.exists() or not names.read_text()
    reject = "-A INPUT -p tcp --dport 80 -j REJECT"
    sh("iptables-legacy", *reject.split())
    before = sh("iptables-legacy-save").splitlines()[1:-1]
    found, cannot = rulesets.rules()
    (legacy,) = [fact for fact in found if fact.tool == rulesets.LEGACY]
    assert (legacy.text.split("\n"), cannot) == (before, {})
    assert names.read_text().split() == ["filter"]


def changes_and_their_refusals():
    pair()
    six = ip_address("2001:db8::2")
    with Links() as links:
        links.add_address("far", VIP, 32)
        links.add_address("far", six, 128, vip=True)
        assert refused(links.add_address, "far", VIP, 32) == errno.EEXIST
        assert refused(links.add_address, "far", six, 128) == errno.EEXIST
        (shown,) = ip_json("addr show far")
        own = {i["local"]: i for i in shown["addr_info"]}
        assert own[str(VIP)]["prefixlen"] == 32
        assert own[str(six)].get("nodad")
        assert not own[str(six)].get("tentative")
        assert ip_interface("203.0.113.2/32") in {
            ip_interface(f"{a.address}/{a.prefix_length}") for a in links.addresses()
        }
        links.delete_address("far", VIP, 32)
        links.delete_address("far", six, 128)
        assert refused(links.delete_address, "far", VIP, 32) == errno.EADDRNOTAVAIL
        assert refused(links.add_address, "nowhere", VIP, 32) == errno.ENODEV
        assert refused(links.set_up, "nowhere") == errno.ENODEV
        links.set_up("far", up=False)
        assert not next(link for link in links.links() if link.name == "far").up
        links.set_up("far")
        ip(f"neigh add 203.0.113.5 lladdr {PEER_MAC} dev far nud reachable")
        links.delete_neighbour("far", ip_address("203.0.113.5"))
        assert refused(links.delete_neighbour, "far", ip_address("203.0.113.9")) == errno.ENOENT
        try:
            links.delete_dummy("far")
        except errors.Denied as error:
            assert "kind veth" in str(error)  # noqa: PT017
        else:
            raise AssertionError("a veth was deleted")
        assert ip_json("link show far")


def captures_what_concerns_the_vip():
    pair()
    with Capture([VIP]) as capture:
        announce("near", VIP, MAC, times=2, pause_s=0.01)
        announce("near", OWN, MAC, times=1)
        frames, lost = capture.drain()
        assert lost == 0
        for link in ("near", "far"):  # in their order on each link; between links there is none
            seen = [(f.outgoing, f.kind) for f in frames if f.link == link]
            assert seen == [(link == "near", k) for k in ("arp-request", "arp-reply")] * 2, frames
        for frame in frames:
            assert (frame.source, frame.target) == (str(VIP), str(VIP))
            assert (frame.source_mac, frame.claimed_mac) == (MAC, MAC)
            assert frame.target_mac == "ff:ff:ff:ff:ff:ff"
            assert (frame.to_us, frame.length) == (False, 60)
            assert abs(frame.time_s - time.time()) < 60
        assert capture.drain() == ([], 0)


def captures_ip_and_counts_losses():
    ip("link set lo up")
    many = [ip_address(f"10.0.{n // 250}.{n % 250 + 1}") for n in range(700)]
    for vips in ([ip_address("127.0.0.2")], [*many, ip_address("127.0.0.2")]):
        with Capture(vips) as capture, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.2", 0))
            port = s.getsockname()[1]
            s.sendto(bytes(1000), ("127.0.0.1", port))  # nobody there: an ICMP error comes back
            s.sendto(b"x", ("127.0.0.2", 9))
            frames, _ = capture.drain()
            out = [f for f in frames if f.outgoing]
            assert (out[0].kind, out[0].source_port, out[0].length) == ("udp", port, 1042)
            icmp = next(f for f in out if f.kind == "icmp")
            assert (icmp.icmp_type, icmp.icmp_code, icmp.target) == (3, 3, "127.0.0.2")
            assert all("127.0.0.2" in (f.source, f.target) for f in frames)
            assert any(f.to_us for f in frames)
            capture._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            for _ in range(100):
                with contextlib.suppress(ConnectionRefusedError):
                    s.sendto(b"x", ("127.0.0.2", 9))
            kept, lost = capture.drain()
            assert lost > 0
            assert len(kept) + lost >= 200
    with Capture([ip_address("127.0.0.3")]) as other:
        datagram("127.0.0.1", "127.0.0.2")
        assert other.drain() == ([], 0)


def captures_a_reply_from_a_wrong_address():
    """What goes between a client and anybody is kept when the client is watched too."""
    client, wrong, other = (ip_address(f"127.0.1.{n}") for n in (1, 2, 3))
    pair()
    many = [ip_address(f"10.0.{n // 250}.{n % 250 + 1}") for n in range(700)]
    for watched in ([VIP, client], [VIP, client, *many]):
        with Capture(watched) as capture:
            datagram(client, wrong)
            datagram(wrong, client)
            datagram(wrong, other)
            announce("near", client, MAC, times=1)
            announce("near", other, MAC, times=1)
            frames, lost = capture.drain()
        assert lost == 0
        ends = {(f.source, f.target) for f in frames if f.kind == "udp"}
        assert ends == {(str(client), str(wrong)), (str(wrong), str(client))}
        assert {f.source for f in frames if f.kind.startswith("arp")} == {str(client)}


def asks_who_has():
    with neighbour() as run:
        assert who_has("near", PEER, OWN, MAC, 0.5) == [PEER_MAC]
        assert who_has("near", PEER, None, MAC, 0.5) == [PEER_MAC]
        assert who_has("near", VIP, OWN, MAC, 0.2) == []
        run(f"ip addr add {VIP}/32 dev far")
        assert who_has("near", VIP, OWN, MAC, 0.5, requests=1) == [PEER_MAC]
        assert refused(who_has, "nowhere", VIP, OWN, MAC) == errno.ENODEV
        ip("link set near down")
        assert refused(who_has, "near", VIP, OWN, MAC, 0.1) == errno.ENETDOWN


def moves_an_address_by_announcing_it():
    with neighbour() as run:
        run(f"ip neigh add {VIP} lladdr 02:00:00:00:00:99 dev far nud stale")
        time.sleep(1.1)  # an entry younger than locktime is not overwritten (net/ipv4/arp.c)
        announce("near", VIP, MAC, times=1)
        assert MAC in run(f"ip neigh show {VIP}")


def silence(policy):
    """Seen from the wire: deaf to requests for the VIP, and asking in its own name alone."""
    pair()
    ip(f"addr add {PEER}/27 dev far")
    ip(f"addr add {VIP}/32 dev lo")
    with Capture([VIP, ip_address("203.0.113.9")]) as capture:
        assert arp.silences(policy) == []
        ask = lambda: who_has("near", VIP, OWN, MAC, 0.2)
        assert ask() == [PEER_MAC]
        arp.add(policy, VIP, "far", PEER)
        arp.add(policy, VIP, "far", PEER)
        assert arp.silences(policy) == [arp.Silence("far", VIP, True, True, PEER)]  # noqa: FBT003
        assert ask() == []
        capture.drain()
        datagram(VIP, "203.0.113.9")
        asked = {f.source for f in capture.drain()[0] if f.kind == "arp-request" and f.outgoing}
        assert asked == {str(PEER)}
        arp.add(policy, ip_address("203.0.113.20"), "far", PEER)
        arp.add(policy, VIP, "far", OWN)  # another source: the old rule goes
        kept, changed = sorted(arp.silences(policy), key=lambda s: s.vip == VIP)
        assert (changed.source, kept.source) == (OWN, PEER)
        assert not arp_drops.output_drops([VIP])
        arp.remove(policy, VIP, "far")
        arp.remove(policy, VIP, "far")
        assert arp.silences(policy) == [kept]
        assert ask() == [PEER_MAC]
        arp.remove(policy, kept.vip, "far")
        assert arp.silences(policy) == []


def silences_by_nft():
    silence("nft")
    assert sh("nft", "list", "tables").split() == []


def silences_by_arptables():
    before = [f"-A INPUT -i far -d {VIP} -j DROP"] * 2 + [f"-A INPUT -d {VIP} -j DROP"]
    from onearm.kernel.arp_tables import working

    silence("arptables")
    for line in before:  # foreign rules, the first two in our form: one of those goes, no more
        sh(working(), *line.split())
    arp.remove("arptables", VIP, "far")
    left = sh(working(), "-L", "INPUT", "-n").splitlines()
    assert [line.strip() for line in left if line.startswith("-")] == [
        f"-j DROP -i far -d {VIP}",
        f"-j DROP -d {VIP}",
    ]


def half_a_silence_is_completed():
    ip("link add near type veth peer name far")
    for policy in arp.POLICIES:
        if arp.trial(policy):
            continue
        arp.add(policy, VIP, "far", PEER)
        if policy == "nft":
            (rule,) = [r for r in __import__("onearm.kernel.arp_nft", fromlist=["x"]).rules()
                       if r.chain == "input"]  # fmt: skip
            sh("nft", "delete", "rule", "arp", "onearm", "input", "handle", str(rule.handle))
        else:
            from onearm.kernel.arp_tables import working

            sh(working(), *f"-D INPUT -i far -d {VIP} -j DROP".split())
        (half,) = arp.silences(policy)
        assert (half.deaf, half.mute) == (False, True)
        arp.add(policy, VIP, "far", PEER)
        (whole,) = arp.silences(policy)
        assert (whole.deaf, whole.mute, whole.source) == (True, True, PEER)
        arp.remove(policy, VIP, "far")


def trials_leave_the_host_alone():
    sh("nft", "add", "table", "arp", "onearm", check=False)  # what the operator may have
    before = sh("nft", "list", "ruleset", check=False), ip("link")
    for policy in arp.POLICIES:
        print(policy, arp.trial(policy))
    print("dummy", arp.trial_dummy())
    assert (sh("nft", "list", "ruleset", check=False), ip("link")) == before


def sees_foreign_drops():
    from onearm.kernel.arp_tables import working

    for line in (
        "-N more",
        "-A OUTPUT -s 203.0.113.0/30 -j DROP",
        "-A OUTPUT -o near -j more",
        "-A more ! -s 203.0.113.9 -j DROP",
        "-A OUTPUT --opcode 2 -j DROP",
        "-A OUTPUT -s 203.0.113.2 -d 203.0.113.1 -j DROP",
    ):
        sh(working(), *line.split())
    found = arp_drops.output_drops([VIP, ip_address("2001:db8::1")])
    assert [fact.address for fact in found] == [str(VIP)] * 2
    sh(working(), "-P", "OUTPUT", "DROP")
    assert "" in {fact.address for fact in arp_drops.output_drops([VIP])}
