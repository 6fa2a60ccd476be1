"""What Neutron shows of a cloud: ports, networks, groups, driver and rights, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field

from onearm.model import Address, GroupRule, Mark, Network

VIP_OWNER = "onearm:vip"  # the device_owner of the port that reserves a VIP


def former_groups(mark: Mark | None) -> list[str]:
    """List the groups, by id, that a port was in before us, as its mark keeps them."""
    was = (mark.was if mark else None) or {}
    tagged = [value for key, value in was.items() if "was-group" in key]
    return [group for group in (*was.get("groups", "").split(","), *tagged) if group]


@dataclass(frozen=True)
class PairFact:
    """An allowed address pair as Neutron stores it: the text is kept, for its form matters."""

    text: str
    mac: str

    @property
    def bare(self) -> bool:
        """Say whether it is written without a prefix length."""
        return "/" not in self.text


@dataclass(frozen=True)
class PortFact:
    """A Neutron port; `host` is the spec's name for it, empty for ports that are not the spec's."""

    id: str
    name: str
    host: str
    mac: str
    network_id: str
    addresses: tuple[Address, ...] = ()
    subnets: tuple[str, ...] = ()
    pairs: tuple[PairFact, ...] = ()
    groups: tuple[str, ...] = ()  # ids
    port_security: bool | None = True  # None: the extension is not there
    device_id: str = ""
    device_owner: str = ""
    status: str = ""
    revision: int = 0
    tags: tuple[str, ...] = ()
    vif_details: dict[str, str] | None = None  # None: not visible with these rights
    host_id: str | None = None


@dataclass(frozen=True)
class RuleFact:
    """A security group rule as Neutron stores it."""

    id: str
    group_id: str
    direction: str
    ethertype: str
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote: Network | None = None
    remote_group_id: str | None = None
    remote_address_group_id: str | None = None
    description: str = ""

    def says(self, rule: GroupRule) -> bool:
        """Say whether it admits what a rule of ours admits; a /0 is as good as no remote."""
        if self.remote_group_id or self.remote_address_group_id:
            return False
        shown = (self.direction, self.ethertype, self.protocol, self.port_min, self.port_max)
        wanted = (rule.direction, rule.ethertype, rule.protocol, rule.port_min, rule.port_max)
        return shown == wanted and _remote(self.remote) == _remote(rule.remote)


def _remote(network: Network | None) -> Network | None:
    return network if network is not None and network.prefixlen else None


@dataclass(frozen=True)
class GroupFact:
    """A security group; `stateful` None where the API does not know of it."""

    id: str
    name: str
    project_id: str
    stateful: bool | None = True
    rules: tuple[RuleFact, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkFact:
    """The network of the VIPs."""

    id: str
    name: str
    project_id: str
    shared: bool = False
    external: bool = False
    mtu: int = 0
    segments: int = 1
    subnets: dict[str, Network] = field(default_factory=dict)
    subnet_segments: dict[str, str] = field(default_factory=dict)  # segment by subnet, if visible


@dataclass(frozen=True)
class RouterFact:
    """A router of Neutron's with a leg in the VIPs' network; `snat`: it translates addresses."""

    name: str
    distributed: bool = False
    snat: bool = False


@dataclass(frozen=True)
class FloatingFact:
    """A floating IP, and the fixed address that it leads to."""

    address: Address
    fixed: Address


@dataclass(frozen=True)
class CloudFacts:
    """The cloud at one moment, as far as these rights show it.

    `pairs_right`: whether this identity may set pairs on the network (None: could not be told).
    `marks` are our tags, read as marks. `members` names, by group id, the visible ports in it.
    `referenced_by` lists the visible rules whose remote group it is.
    """

    project_id: str = ""
    roles: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    network: NetworkFact | None = None
    ports: tuple[PortFact, ...] = ()
    groups: tuple[GroupFact, ...] = ()
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    referenced_by: dict[str, tuple[RuleFact, ...]] = field(default_factory=dict)
    vip_ports: tuple[PortFact, ...] = ()  # ports that own a VIP as a fixed IP
    firewall: str = ""  # what was found: iptables_hybrid, openvswitch, ovn, or empty for unknown
    pairs_right: bool | None = None
    port_security_right: bool | None = None
    quota: dict[str, int] = field(default_factory=dict)  # free security_group, ..._rule, port
    routers: tuple[RouterFact, ...] = ()
    floating: tuple[FloatingFact, ...] = ()  # those of the director's port and of the VIPs' ports
    marks: tuple[Mark, ...] = ()

    def port(self, host: str) -> PortFact | None:
        """Find the port of a host of the spec."""
        return next((port for port in self.ports if port.host == host), None)

    def group(self, group_id: str) -> GroupFact | None:
        """Find a group by its id."""
        return next((group for group in self.groups if group.id == group_id), None)

    def by_id(self, port_id: str) -> PortFact | None:
        """Find any visible port by its id."""
        return next((port for port in self.ports if port.id == port_id), None)

    def named_group(self, name: str, *, stateful: bool) -> GroupFact | None:
        """Find a group of this project by what identifies one of ours."""
        own = (g for g in self.groups if self.project_id in ("", g.project_id))
        return next((g for g in own if (g.name, g.stateful is not False) == (name, stateful)), None)
