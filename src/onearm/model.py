"""The nouns: frozen resources that can be compared, and ORDER, the safe order as data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import groupby
from operator import attrgetter
from typing import Any, Optional, Union, get_args

from onearm.lean import lean

Address = Union[IPv4Address, IPv6Address]
Network = Union[IPv4Network, IPv6Network]
Key = tuple[Any, ...]

VIP_LINK = "eth-vip"  # the dummy link that holds the VIPs of a real server, as in the reference
IPV4, IPV6 = 4, 6  # address families by their version
HOST_BITS = 32  # of IPv4; an IPv6 VIP has 128, as its max_prefixlen says


@dataclass(frozen=True)
class Sysctl:
    """One value under /proc/sys, by its slashed name (`net/ipv4/vs/conntrack`)."""

    name: str
    value: str

    @property
    def key(self) -> Key:
        return (self.name,)


@dataclass(frozen=True)
class Timeout:
    """How long IPVS keeps a connection without packets: `tcp`, `tcp_fin` (a side has ended) or
    `udp`. It holds for every service of the host.
    """

    name: str
    seconds: int

    @property
    def key(self) -> Key:
        return (self.name,)


@dataclass(frozen=True)
class Link:
    """A link that we make: a dummy, up."""

    name: str
    kind: str = "dummy"
    up: bool = True

    @property
    def key(self) -> Key:
        return (self.name,)


@dataclass(frozen=True)
class TunnelLink:
    """A real server's end of tunnels: what comes in it from `remote` (None: from anybody) to
    `local` is taken out and handled as if it had come by this link.

    `loose`: the reverse path filter does not ask that replies leave by it (rp_filter is not 1).
    """

    name: str
    kind: str
    local: Address
    remote: Optional[Address] = None
    loose: bool = True
    up: bool = True

    @property
    def key(self) -> Key:
        return (self.name,)


@dataclass(frozen=True)
class GuePort:
    """A UDP port of a real server on which the kernel takes packets out of GUE."""

    port: int
    kind: str = "gue"

    @property
    def key(self) -> Key:
        return (self.port,)


@dataclass(frozen=True)
class ArpSilence:
    """One link of a real server that says nothing of the VIP in ARP.

    `policy` is `sysctl`, `arptables` or `nft`. It belongs to the key: a change of policy builds the
    new silence before the old one goes. `vip` is None for `sysctl`, which silences every VIP.
    `deaf`: no request for the VIP is answered (arp_ignore=1, or an input drop). `mute`: no own
    request carries the VIP as sender (arp_announce=2, or an output rewrite to `source`).
    `announced` is False while the director has yet to tell the neighbours where the VIP is after
    this server held it unsilenced.
    """

    link: str
    policy: str = "sysctl"
    vip: Optional[Address] = None
    source: Optional[Address] = None
    deaf: bool = True
    mute: bool = True
    announced: bool = True

    @property
    def key(self) -> Key:
        return (self.link, self.policy, self.vip)


@lean
@dataclass(frozen=True)
class HeldVip:
    """A VIP on a real server: local, so that packets are accepted, and silent."""

    vip: Address
    link: str = VIP_LINK
    prefix_length: int = HOST_BITS

    @property
    def key(self) -> Key:
        return (self.vip, self.link)


@dataclass(frozen=True)
class Drain:
    """A real server taken out of rotation by hand: since when (RFC 3339), and how long it may keep
    its connections; None: for ever. It ends when somebody ends it.
    """

    host: str
    since: str
    deadline_s: Optional[float] = None


@lean
@dataclass(frozen=True)
class Service:
    """A virtual service of the director.

    `flags` are the kernel's by ipvsadm's names, sorted (`mh-port`, `ops`). `persistence_mask` is
    the length of the prefix whose clients are one, None for one address. `drain_s` and `drains`
    are ours and live in the mark: how long a destination that is no longer wanted may keep its
    connections, and which real servers are drained by hand.

    With a firewall `mark` it is a group: the kernel knows it by the mark, which its MarkRules set;
    protocol, VIP and port are its first endpoint's, by which people know it.
    """

    protocol: str
    vip: Address
    port: int
    scheduler: str = "wlc"
    flags: tuple[str, ...] = ()
    persistence_s: int = 0
    drain_s: float = field(default=0, compare=False)
    drains: tuple[Drain, ...] = field(default=(), compare=False)
    persistence_mask: Optional[int] = None
    engine: str = ""
    mark: int = 0

    @property
    def key(self) -> Key:
        key = (self.protocol, self.vip, self.port)
        return (*key, self.mark) if self.mark else key


STREAMS = ("tcp", "sctp")  # protocols whose connections have a beginning and an end
PROBE_PORTS = range(16384, 32768)  # the source ports of checks: below the usual ephemeral ones


@dataclass(frozen=True)
class CheckMark:
    """The way of health checks to one real server: a firewall-mark service of IPVS with exactly
    this destination, so that a probe with the mark reaches it with the VIP as its destination.

    `server` None is what was made of it by other hands. The kernel has a service of each address
    family under one mark. The way is that of the real server's destinations: a real server that
    has several has a mark for each.
    """

    mark: int
    server: Optional[Address] = None
    host: str = field(default="", compare=False)
    version: int = IPV4
    forwarding: str = "direct"
    tunnel: str = ""
    tunnel_port: int = 0

    @property
    def key(self) -> Key:
        return (self.mark,) if self.version == IPV4 else (self.mark, self.version)


@dataclass(frozen=True)
class SpecFile:
    """The spec of the daemon on a director: where one runs, it alone writes what the spec says."""

    path: str
    text: str

    @property
    def key(self) -> Key:
        return (self.path,)


@dataclass(frozen=True)
class BootFile:
    """A file of ours that the host's own tools read at boot and that brings no VIP up by itself:
    silence, a link, what keeps addresses. `text` is quoted on one line.
    """

    path: str
    text: str
    mode: int = 0o644

    @property
    def key(self) -> Key:
        return (self.path,)


@dataclass(frozen=True)
class BootVip:
    """A file of ours that brings VIPs up at boot. It is written when they stand, and goes before
    they do, so that a reboot in between brings back nothing that is half taken down.
    """

    path: str
    text: str
    mode: int = 0o644

    @property
    def key(self) -> Key:
        return (self.path,)


@lean
@dataclass(frozen=True)
class Destination:
    """A real server behind a service; weight 0 takes no new connections.

    `tunnel` is ipip, gue or gre where that is the method, `tunnel_port` the UDP port of gue;
    `own_port` the real server's behind masq, 0 where it is the service's.
    `host` is the place that this leans on, `draining_since` when its draining began (RFC 3339): the
    kernel knows neither, so they are not compared and live in the mark.
    """

    protocol: str
    vip: Address
    port: int
    server: Address
    weight: int = 1
    forwarding: str = "direct"
    upper: int = 0
    lower: int = 0
    host: str = field(default="", compare=False)
    draining_since: Optional[str] = field(default=None, compare=False)
    tunnel: str = ""
    tunnel_port: int = 0
    own_port: int = 0
    mark: int = 0

    @property
    def key(self) -> Key:
        key = (*self.service_key, self.server)
        return (*key, self.own_port) if self.own_port else key

    @property
    def server_port(self) -> int:
        """The port that the kernel sends to; only masq knows another than the service's."""
        return self.own_port or self.port

    @property
    def service_key(self) -> Key:
        key = (self.protocol, self.vip, self.port)
        return (*key, self.mark) if self.mark else key


GROUP_MARKS = range(0x6F670001, 0x6F680000)  # "og": the firewall marks of groups


@dataclass(frozen=True)
class MarkRule:
    """A rule of the packet filter that gives packets for one endpoint of a group its mark.

    The endpoint is a VIP with a port, or with the ports from `port` to `last`. Packets that the
    host itself makes are left alone: the rule stands where packets come in.
    """

    protocol: str
    vip: Address
    port: int
    last: int
    mark: int

    @property
    def key(self) -> Key:
        return (self.protocol, self.vip, self.port, self.last)


@dataclass(frozen=True)
class AnnouncedVip:
    """The VIP on the director's NIC: it alone answers for it, and it must never exist twice."""

    vip: Address
    link: str
    prefix_length: int = HOST_BITS

    @property
    def key(self) -> Key:
        return (self.vip, self.link)


NEUTRON = "neutron"  # the place that is no host; no host may be called so where a cloud is used


@dataclass(frozen=True)
class SecurityGroup:
    """A group of ours, by its name in the project. A group in use cannot change `stateful`, so it
    belongs to the key (neutron/db/securitygroups_db.py).
    """

    name: str
    stateful: bool = True

    @property
    def key(self) -> Key:
        return (self.name, self.stateful)


@dataclass(frozen=True)
class VipPort:
    """The unbound port that reserves a VIP, so that nobody else is given the address."""

    network_id: str
    address: Address

    @property
    def key(self) -> Key:
        return (self.network_id, self.address)


@dataclass(frozen=True)
class GroupRule:
    """One rule of a group of ours; Neutron has no update for rules, so all of it is the key.

    `protocol` None is any; ports None are all; for ICMP they are type and code. `remote` is a
    prefix, never a group: a rule by remote group does not see forwarded or VIP-sourced packets.
    """

    group: str
    stateful: bool
    direction: str
    ethertype: str = "IPv4"
    protocol: Optional[str] = None
    port_min: Optional[int] = None
    port_max: Optional[int] = None
    remote: Optional[Network] = None
    description: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        fixed = (self.group, self.stateful, self.direction, self.ethertype, self.protocol)
        return (*fixed, self.port_min, self.port_max, self.remote)


@dataclass(frozen=True)
class AddressPair:
    """An allowed address pair of a port, with the port's own MAC.

    `bare` tells `203.0.113.2` from `203.0.113.2/32`: OVN makes a port with the bare form a parent
    of the VIP's virtual port, which the director must be and a real server must not.
    """

    port_id: str
    network: Network
    bare: bool = False
    host: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return (self.port_id, self.network)


@dataclass(frozen=True)
class GroupMembership:
    """A port in a group of ours; `only`: in no other, the former ones being kept in the mark."""

    port_id: str
    group: str
    stateful: bool
    only: bool = False
    host: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return (self.port_id, self.group, self.stateful)


@dataclass(frozen=True)
class PortSecurity:
    """Whether Neutron filters a port at all; off takes its pairs and groups with it."""

    port_id: str
    enabled: bool = False
    host: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return (self.port_id,)


Resource = Union[
    SecurityGroup,
    VipPort,
    GroupRule,
    AddressPair,
    GroupMembership,
    PortSecurity,
    Sysctl,
    Timeout,
    Link,
    TunnelLink,
    GuePort,
    ArpSilence,
    HeldVip,
    Service,
    CheckMark,
    SpecFile,
    BootFile,
    BootVip,
    Destination,
    MarkRule,
    AnnouncedVip,
]
KINDS: dict[str, type[Resource]] = {kind.__name__: kind for kind in get_args(Resource)}

# Steps. Within one, all places at once and in any order; between two, a barrier. Built in this
# order, then taken down in reverse: each step leans on those before it.
ORDER: tuple[tuple[type[Resource], ...], ...] = (
    (SecurityGroup, VipPort),  # the cloud comes first on the way up, last on the way down
    (GroupRule,),
    (AddressPair, GroupMembership, PortSecurity),
    # a real server is silent before ...
    (Sysctl, Timeout, Link, TunnelLink, GuePort, ArpSilence, BootFile),
    (HeldVip,),  # ... it holds the VIP, and holds it before ...
    (Service, CheckMark, SpecFile, BootVip),
    (Destination,),  # ... packets are sent to it
    (MarkRule,),  # a mark leads to a service that has destinations, as long as it is set
    (AnnouncedVip,),  # clients are invited when all the rest stands
)
STEP: dict[type[Resource], int] = {kind: n for n, kinds in enumerate(ORDER) for kind in kinds}


def endpoint(address: object, port: int, last: int = 0) -> str:
    """Write an address with its port, the address in brackets where it has colons itself.

    `last`: the last port of a range.
    """
    ports = f"{port}-{last}" if last > port else f"{port}"
    return f"[{address}]:{ports}" if ":" in str(address) else f"{address}:{ports}"


State = Mapping[Key, Resource]
World = Mapping[str, State]  # state by place


# What identifies the two kinds of which there are very many, with addresses as bytes: those know
# their hash, while an address is asked for it anew, in Python, by every dictionary.
_IDENTITY: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    Service: attrgetter("protocol", "vip.packed", "port", "mark"),
    Destination: attrgetter("protocol", "vip.packed", "port", "server.packed", "own_port", "mark"),
}


def state_key(resource: Resource) -> Key:
    """Identify a resource within its place, as its `key` does."""
    kind = type(resource)
    identity = _IDENTITY.get(kind)
    return (kind.__name__, *(resource.key if identity is None else identity(resource)))


def state(resources: Iterable[Resource]) -> dict[Key, Resource]:
    """Index resources by what identifies them."""
    return {state_key(resource): resource for resource in resources}


def by_kind(resources: Iterable[Resource]) -> dict[type, list[Any]]:
    """Sort resources by their kind."""
    found: defaultdict[type, list[Any]] = defaultdict(list)
    for kind, some in groupby(resources, type):  # most stand beside their like
        found[kind] += some
    return dict(found)


@lean
@dataclass(frozen=True)
class Action:
    """One change in one place. `before` None creates, `after` None deletes.

    Both equal: the thing stands; our name is added to its mark, and a VIP is announced again.
    """

    place: str
    before: Optional[Resource]
    after: Optional[Resource]

    @property
    def resource(self) -> Resource:
        found = self.after or self.before
        if found is None:
            raise ValueError("an action without before and after changes nothing")
        return found

    @property
    def state_key(self) -> Key:
        """What identifies the resource; asked for several times, and made once."""
        held: Optional[Key] = self.__dict__.get("_key")
        if held is None:
            held = self.__dict__["_key"] = state_key(self.resource)
        return held

    @property
    def verb(self) -> str:
        if self.before is None:
            return "create"
        if self.after is None:
            return "delete"
        return "keep" if self.before == self.after else "update"


@lean
@dataclass(frozen=True)
class Mark:
    """What the ledger holds about one thing: who wants it, and what was there before."""

    resource: Resource
    names: tuple[str, ...]
    was: Optional[dict[str, str]] = None

    def without(self, name: str) -> Mark:
        return replace(self, names=tuple(n for n in self.names if n != name))


@lean
@dataclass(frozen=True)
class Seen:
    """A resource as a place shows it, the specs whose mark it carries (none: foreign), and what
    they want it to be.
    """

    resource: Resource
    names: tuple[str, ...] = ()
    marked: Optional[Resource] = None


Observed = dict[str, dict[Key, Seen]]  # by place, then by state_key


_NOTED: dict[type, tuple[str, ...]] = {}


def notes(resource: Resource) -> tuple[Any, ...]:
    """Collect the fields that only the mark knows, such as when draining began."""
    kind = type(resource)
    if kind not in _NOTED:
        _NOTED[kind] = tuple(f.name for f in fields(kind) if not f.compare)
    return tuple([getattr(resource, name) for name in _NOTED[kind]])
