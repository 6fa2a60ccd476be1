"""YAML -> Spec; each complaint has file:line, the value, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from onearm.lean import lean
from onearm.model import IPV4, IPV6, Address, Key, Network

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)  # of a spec or host; no option


@dataclass(frozen=True)
class Host:
    """A director or real server: its name (a place) and its own address in the VIP's network.

    `address6` is the IPv6 address beside an IPv4 one; a host with IPv6 alone has it as `address`.
    """

    name: str
    address: Address
    arp: str = "sysctl"
    address6: Address | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Its own addresses, one of each family that it has."""
        return (self.address,) if self.address6 is None else (self.address, self.address6)

    def own(self, version: int) -> Address | None:
        """Give its address of a family (4 or 6); None when it has none."""
        return next((found for found in self.addresses if found.version == version), None)


@lean
@dataclass(frozen=True)
class Forwarding:
    """How a director hands packets to a real server: `direct`, `tunnel` or `masq`.

    `tunnel` is ipip, gue or gre (empty unless the method is tunnel), `port` the UDP port of gue.
    """

    method: str = "direct"
    tunnel: str = ""
    port: int = 0


DIRECT = Forwarding()


@dataclass(frozen=True)
class Member:
    """A real server behind a service. With `upper` connections it gets no new ones, until fewer
    than `lower` are left; 0: no such bound, or the kernel's own (three quarters of `upper`).
    `forwarding` None is the service's; `port` is its own one behind masq, 0 the service's.
    """

    host: str
    weight: int = 1
    upper: int = 0
    lower: int = 0
    forwarding: Forwarding | None = None
    port: int = 0


@dataclass(frozen=True)
class Policy:
    """What health does to a service's weights, where a daemon runs its checks.

    `on_failure`: a failing real server is taken out (`remove`) or gets `weight 0`, which leaves its
    connections alone. `panic`: below this percentage of healthy ones all are served again; 0 never.
    `quorum`: how many must be healthy; with fewer, `sorry` (a real server) serves alone.
    `slow_start_s`: how long the weight of one that comes back grows.
    """

    on_failure: str = "remove"
    panic: int = 0
    quorum: int = 1
    sorry: str | None = None
    slow_start_s: float = 0


@dataclass(frozen=True)
class Check:
    """How the daemon asks a real server whether it serves; docs/reference/checks.md has each field.

    `through` vip: the packet has the VIP as destination, as a client's; host: the server's own
    address, or `address`. `port` None is the service's, `host` None the address that is asked.
    `body` and `expect` are patterns (pattern.py); `send` is the payload's bytes.
    """

    kind: str = "tcp"
    through: str = "vip"
    interval_s: float = 2.0
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 3
    port: int | None = None
    address: Address | None = None
    method: str = "GET"
    path: str = "/"
    host: str | None = None
    codes: tuple[tuple[int, int], ...] = ((200, 399),)
    body: str | None = None
    verify: bool = False
    ca: str | None = None
    send: bytes = b""
    expect: str | None = None
    query: str | None = None
    record: str = "A"
    answer: str | None = None
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class End:
    """One endpoint of a group: a VIP with the ports from `port` to `last`, mostly one."""

    vip: Address
    port: int
    last: int


@lean
@dataclass(frozen=True)
class VirtualService:
    """A service of the spec; `drain_s` 0 cuts, otherwise connections may end within it.

    `ends` is empty but for a group: several endpoints that share one scheduler and one persistence,
    by a firewall mark. `vip` and `port` are then those of its first endpoint, and name the group.

    `check` None: its real servers are not checked and have the weights of the spec.
    `persistence_s` 0: each connection is scheduled anew; otherwise clients of one prefix (a mask's
    length; None: one address) stay with their server, or calls do by the `engine` sip.
    """

    vip: Address
    port: int
    protocol: str
    scheduler: str = "wlc"
    flags: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    drain_s: float = 0
    check: Check | None = None
    policy: Policy = Policy()
    persistence_s: int = 0
    persistence_mask: int | None = None
    engine: str = ""
    forwarding: Forwarding = DIRECT
    ends: tuple[End, ...] = ()

    @cached_property
    def key(self) -> Key:
        """What names it: no other service of the spec has the same."""
        return (self.protocol, self.vip, self.port)

    @property
    def identity(self) -> Key:
        """What a fact of the kernel about it has as `identity`."""
        return (self.protocol, self.vip, self.port, bool(self.ends))

    @property
    def endpoints(self) -> tuple[End, ...]:
        """All its endpoints: one, but for a group."""
        return self.ends or (End(self.vip, self.port, self.port),)

    @property
    def vips(self) -> tuple[Address, ...]:
        """Its VIPs, each once."""
        return tuple(dict.fromkeys(end.vip for end in self.ends)) or (self.vip,)

    def way(self, host: str) -> Forwarding:
        """Say how packets get to one of its real servers."""
        own = self._apart.get(host)
        return own.forwarding or self.forwarding if own else self.forwarding

    def port_at(self, host: str) -> int:
        """Give the port that one of its real servers answers on."""
        own = self._apart.get(host)
        return own.port or self.port if own else self.port

    @cached_property
    def _apart(self) -> dict[str, Member]:
        """Find the members that say something of their own about the way to them: mostly none."""
        return {m.host: m for m in self.members if m.forwarding or m.port}

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The real servers of the service, the sorry server among them."""
        names = [member.host for member in self.members]
        sorry = self.policy.sorry
        return (*names, sorry) if sorry and sorry not in names else tuple(names)


@dataclass(frozen=True)
class Reach:
    """How hosts are reached: `ssh`, `local` or `lab`; single hosts by a keyword or a prefix."""

    default: str = "ssh"
    prefixes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    keywords: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cloud:
    """The cloud's part: where its API is (as the openstack client takes it), and what is allowed.

    `cloud` None means OS_* variables. `network` is a name or id; None where every port is named in
    `ports` (host -> port id or name). `firewall` is auto, iptables_hybrid, openvswitch or ovn.
    Consents: `director_groups` "replace" lets the director's other groups go (kept, put back),
    `director_port_security` "off" lets its filtering be turned off (openvswitch).
    `max_address_pairs` is Neutron's max_allowed_address_pair, which its API does not tell.
    """

    cloud: str | None = None
    network: str | None = None
    ports: dict[str, str] = field(default_factory=dict)
    firewall: str = "auto"
    manage_security_groups: bool = True
    reserve_vip: bool = True
    director_groups: str = "keep"
    director_port_security: str = "on"
    max_address_pairs: int = 10


@dataclass(frozen=True)
class Spec:
    """The whole file, checked. `text` is its source, for digests and plan files."""

    name: str = "default"
    directors: tuple[Host, ...] = ()
    real_servers: tuple[Host, ...] = ()
    services: tuple[VirtualService, ...] = ()
    clients: tuple[Network, ...] = ()
    reach: Reach = field(default_factory=Reach)
    shared_director: bool = False
    openstack: Cloud | None = None
    resync_s: float = 10.0  # how often a daemon compares everything with the kernel, come what may
    timeouts: tuple[tuple[str, int], ...] = ()  # of idle connections, by name, in seconds
    boot: str = "auto"  # how real servers hold their VIPs after a reboot
    isolate: bool = False  # whether a real server that answers for a VIP in ARP gets weight 0
    text: str = field(default="", compare=False)

    @property
    def versions(self) -> tuple[int, ...]:
        """The address families of its VIPs: 4, 6 or both."""
        return tuple(sorted({service.vip.version for service in self.services}))

    @cached_property
    def servers(self) -> Mapping[int, Mapping[str, Address]]:
        """The real servers' addresses by their family and name."""
        own = [(host.name, a) for host in self.real_servers for a in host.addresses]
        return {v: {name: a for name, a in own if a.version == v} for v in (IPV4, IPV6)}


def servers_of(spec: Spec, version: int) -> Mapping[str, Address]:
    """Give the real servers' addresses of one family by name; those that have none are left out."""
    return spec.servers[version]


def names_of(hosts: Iterable[Host]) -> dict[Address, str]:
    """Name hosts by each of their addresses."""
    return {address: host.name for host in hosts for address in host.addresses}


def load(path: str | Path) -> Spec:
    """Read a spec from a file; SpecError carries every complaint at once."""
    from onearm.spec_load import document

    return parse(document.read(path), str(path))


def parse(text: str, source_name: str) -> Spec:
    """Read a spec from its text; complaints name it `source_name`."""
    from onearm import spec_load

    return spec_load.spec(text, source_name)


def portable_text(spec: Spec) -> str:
    """Return the spec's text; where it holds command prefixes, the same spec without them.

    How hosts are reached is the operator's own: it goes into no plan file and to no host.
    """
    from onearm.spec_load import document

    return document.without(spec.text, "reach") if spec.reach.prefixes else spec.text
