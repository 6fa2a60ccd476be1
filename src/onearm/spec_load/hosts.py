"""The hosts of a spec: one name, one address and one role each."""

from __future__ import annotations

import yaml

from onearm.model import IPV4, NEUTRON, Address
from onearm.spec import Host
from onearm.spec_load import fields
from onearm.spec_load.notes import SECTIONS, Complaints, Fields, entries, known, line, shown

DIRECTOR = ("address", "address6")
REAL_SERVER = ("address", "address6", "arp")
POLICIES = ("sysctl", "arptables", "nft")
DEFAULT_POLICY = "sysctl"


class Hosts:
    """The hosts read so far: one name and one address each, in one role."""

    def __init__(self, notes: Complaints, top: Fields) -> None:
        self.notes = notes
        self.policy = notes.optional(top, "arp", self._policy, DEFAULT_POLICY) or DEFAULT_POLICY
        self.names: dict[str, tuple[str, int]] = {}  # role, line
        self.addresses: dict[Address, tuple[str, int]] = {}  # host, line
        self.roles: dict[str, list[str]] = {"director": [], "real server": []}

    def read(self, node: yaml.Node | None, role: str) -> tuple[Host, ...]:
        if node is None:
            return ()
        section = f"{role.replace(' ', '_')}s"
        found = entries(self.notes, node, section)
        if found is not None and not found:
            self.notes.add(node, f"{section} is empty: {SECTIONS[section]}")
        made = [self._host(key, value, role) for key, value in (found or {}).values()]
        return tuple(host for host in made if host)

    def _policy(self, node: yaml.Node) -> str:
        return fields.one_of(node, "arp", POLICIES, self.notes)

    def _host(self, key: yaml.Node, value: yaml.Node, role: str) -> Host | None:
        name = self.notes.take(key, lambda n: fields.name(n, "host name")) or key.value
        self._claim_name(name, key, role)
        given: Fields = {"address": value}
        if isinstance(value, yaml.MappingNode):
            allowed = REAL_SERVER if role == "real server" else DIRECTOR
            given = known(self.notes, value, f"{role} {shown(key)}", allowed) or {}
        if "address" not in given:
            self.notes.add(value, f"{role} {shown(key)} has no address: write one like 203.0.113.4")
            return None
        what = f"address of {shown(key)}"
        address = self.notes.take(given["address"], lambda n: fields.address(n, what))
        policy = self.notes.optional(given, "arp", self._policy, self.policy)
        if address is None:
            return None
        self._claim_address(address, name, given["address"])
        second = self._second(given, address, name, key)
        if role == "director":
            return Host(name, address, address6=second)
        return Host(name, address, policy or self.policy, second)

    def _second(self, given: Fields, first: Address, name: str, key: yaml.Node) -> Address | None:
        """Read the IPv6 address beside an IPv4 one."""
        if "address6" not in given:
            return None
        node = given["address6"]
        found = self.notes.take(node, lambda n: fields.address6(n, f"address6 of {shown(key)}"))
        if found is None:
            return None
        if first.version != IPV4:
            text = f"address of {shown(key)} is an IPv6 address already: leave address6 out"
            self.notes.add(node, text)
        self._claim_address(found, name, node)
        return found

    def _claim_name(self, name: str, key: yaml.Node, role: str) -> None:
        if name == NEUTRON:
            text = f"host {shown(key)} has the cloud's own name in a plan: call it otherwise"
            self.notes.add(key, text)
        if name in self.names:
            other, at = self.names[name]
            text = f"host {shown(key)} is a {other} already (line {at}): a host has one role"
            self.notes.add(key, text)
            return
        self.names[name] = (role, line(key))
        if role == "director" and self.roles["director"]:
            first = self.roles["director"][0]
            text = (
                f"a second director {shown(key)} beside {first!r}: one is allowed until ha exists"
            )
            self.notes.add(key, text)
        self.roles[role].append(name)

    def _claim_address(self, address: Address, name: str, node: yaml.Node) -> None:
        other, at = self.addresses.setdefault(address, (name, line(node)))
        if other != name:
            text = f"address {address} of {name!r} is the address of {other!r} already (line {at})"
            self.notes.add(node, text)
