"""What port security knows of a lab host's Neutron port, as values; what the drivers are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onearm.errors import UsageError
from onearm.lab.topology import GUARDED
from onearm.model import Address, Network

IPTABLES, OPENVSWITCH, OVN = MODES = ("iptables_hybrid", "openvswitch", "ovn")
REASONS = ("spoof-out", "spoof-in", "arp-spoof", "invalid", "no-rule-in", "no-rule-out")


@dataclass(frozen=True)
class Pair:
    """An allowed address pair; no MAC means the port's own."""

    network: Network
    mac: str = ""


@dataclass(frozen=True)
class Member:
    """A port of a remote group: what of it counts as a source differs by driver."""

    mac: str
    addresses: tuple[Address, ...] = ()
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A security group rule; `members` None means that it names no remote group."""

    direction: str  # ingress or egress
    ethertype: str = "IPv4"  # or IPv6
    protocol: str | None = None  # a name or a number, as Neutron stores it
    port_min: int | None = None  # of ICMP the type
    port_max: int | None = None  # of ICMP the code
    remote: Network | None = None
    members: tuple[Member, ...] | None = None


@dataclass(frozen=True)
class PortState:
    """A host's port: `rules` of all its groups together, which are all stateful or all not."""

    mac: str
    addresses: tuple[Address, ...]
    pairs: tuple[Pair, ...] = ()
    port_security: bool = True
    rules: tuple[Rule, ...] = ()
    stateful: bool = True
    compute: str = "compute-1"

    @property
    def macs(self) -> tuple[str, ...]:
        """Every MAC that the port may send from."""
        return tuple(dict.fromkeys((self.mac, *(pair.mac or self.mac for pair in self.pairs))))


States = Mapping[str, PortState]


def checked(mode: str, states: States) -> None:
    """Refuse a mode that is none, and hosts without a port that could be guarded."""
    if mode not in MODES:
        raise UsageError(f"no firewall driver is called {mode!r}; have {', '.join(MODES)}")
    strangers = sorted(set(states) - set(GUARDED))
    if strangers:
        raise UsageError(f"no port of the lab is guarded for {strangers}; have {GUARDED}")


def tracked(mode: str, state: PortState) -> bool:
    """Say whether the driver tracks the port's connections; openvswitch ignores `stateful`."""
    return state.port_security and (state.stateful or mode == OPENVSWITCH)
