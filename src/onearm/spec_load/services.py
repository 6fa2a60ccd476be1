"""The services of a spec: VIP, port, scheduler, flags, real servers."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from onearm.model import Address
from onearm.spec import DIRECT, Host, Member, VirtualService
from onearm.spec_load import fields, notes
from onearm.spec_load.bodies import Bodies
from onearm.spec_load.checks import Checks
from onearm.spec_load.ends import Claims, Ends, read_ends
from onearm.spec_load.hosts import Hosts
from onearm.spec_load.kinds import read_persistence
from onearm.spec_load.notes import NULL, SECTIONS, Complaints, Fields, entries, known, line, shown
from onearm.spec_load.policy import POLICY, read_policy
from onearm.spec_load.ways import agree, no_masq, one_family, own_port, read_way

SERVICE = (
    *(
        "vip",
        "vips",
        "port",
        "ports",
        "scheduler",
        "flags",
        "persistence",
        "real_servers",
        "drain",
        "check",
    ),
    "forwarding",
    *POLICY,
)

SCHEDULERS: dict[str, tuple[str, ...]] = {  # and the flags that each knows
    "rr": (),
    "wrr": (),
    "lc": (),
    "wlc": (),
    "lblc": (),
    "lblcr": (),
    "dh": (),
    "sh": ("sh-fallback", "sh-port"),
    "sed": (),
    "nq": (),
    "fo": (),
    "ovf": (),
    "mh": ("mh-fallback", "mh-port"),
    "twos": (),
}
DEFAULT_SCHEDULER = "wlc"
ONE_PACKET = "ops"  # a flag of the service, whatever its scheduler


class Services:
    """The virtual services read so far: one for each protocol, VIP and port."""

    def __init__(
        self, notes: Complaints, hosts: Hosts, servers: tuple[Host, ...], checks: Checks
    ) -> None:
        self.notes = notes
        self.checks = checks
        self.hosts = hosts
        self.names = dict.fromkeys(hosts.roles["real server"])
        self.versions: dict[str, set[int]] = {}
        for address, (name, _) in hosts.addresses.items():
            self.versions.setdefault(name, set()).add(address.version)
        self.everyone = tuple(Member(host.name) for host in servers)
        self.claims = Claims(notes)
        self.bodies = Bodies(notes)
        self.members: dict[Member, Member] = {}  # one value, however often it is used
        self.way, self.ends = DIRECT, Ends([], [])  # of the service that is being read

    def read(self, node: yaml.Node | None) -> tuple[VirtualService, ...]:
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            found = "empty" if isinstance(node, yaml.SequenceNode) else shown(node)
            self.notes.add(node, f"services is {found}: {SECTIONS['services']}")
            return ()
        made = [service for child in node.value if (service := self._service(child))]
        agree(self.notes, node, made)
        return tuple(made)

    def _service(self, node: yaml.Node) -> VirtualService | None:
        given = known(self.notes, node, "a service", SERVICE)
        if given is None:
            return None
        ends = self.ends = read_ends(self.notes, node, given, self._vip)
        vip, port = ends.vip, ends.port
        scheduler, flags = self._scheduler(given, port[1] if port else "udp")
        way = self.way = read_way(self.notes, given.get("forwarding")) or DIRECT
        members = (
            self._members(given["real_servers"]) if "real_servers" in given else self._all(given)
        )
        drain_s = self.notes.optional(given, "drain", fields.duration, 0.0)
        check = self.checks.read(node, given.get("check"), port)
        policy = read_policy(self.notes, given, self.names, scheduler, members)
        kept = read_persistence(self.notes, given, vip, port[1] if port else None)
        if vip is None or port is None:
            return None
        for end in ends.all:
            self.claims.claim(node, port[1], end)
        made = VirtualService(
            vip,
            *port,
            scheduler,
            flags,
            members,
            drain_s or 0.0,
            check,
            policy,
            persistence_s=kept.seconds,
            persistence_mask=kept.mask,
            engine=kept.engine,
            forwarding=way,
            ends=ends.group,
        )
        self._one_family(node, made)
        one_family(self.notes, node, made)
        if ONE_PACKET in flags:
            no_masq(self.notes, given["flags"], made)
        return made

    def _one_family(self, node: yaml.Node, service: VirtualService) -> None:
        """Complain of hosts of the service without an address of the VIP's family."""
        version = service.vip.version
        hosts = (*self.hosts.roles["director"], *service.hosts)
        known = ((host, self.versions.get(host, {version})) for host in hosts)
        lacking = [host for host, versions in known if version not in versions]
        if lacking:
            text = (
                f"vip {service.vip} is IPv{version}, and no IPv{version} address is given of"
                f" {', '.join(map(repr, lacking))}: write {{address: IPV4, address6: IPV6}} there,"
                " or choose the service's real servers with real_servers"
            )
            self.notes.add(node, text)

    def _all(self, given: Fields) -> tuple[Member, ...]:
        """Let every real server serve, but the one that waits for the others' failure."""
        sorry = getattr(given.get("sorry_server"), "value", None)
        return tuple(member for member in self.everyone if member.host != sorry)

    def _vip(self, node: yaml.Node) -> Address | None:
        vip = self.notes.take(node, lambda n: fields.address(n, "vip"))
        if vip in self.hosts.addresses:
            owner, at = self.hosts.addresses[vip]
            text = f"vip {vip} is the own address of {owner!r} (line {at}): a VIP is nobody's own"
            self.notes.add(node, text)
        return vip

    def _scheduler(self, given: Fields, protocol: str) -> tuple[str, tuple[str, ...]]:
        scheduler = self.notes.optional(given, "scheduler", self._known, DEFAULT_SCHEDULER) or ""
        if "flags" not in given:
            return scheduler, ()
        node = given["flags"]
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        flags = [f for f in (self._flag(child, scheduler, protocol) for child in nodes) if f]
        if len(set(flags)) < len(flags):
            self.notes.add(node, "flags: one stands twice; write each once")
        return scheduler, tuple(sorted(set(flags)))

    def _known(self, node: yaml.Node) -> str:
        return fields.one_of(node, "scheduler", SCHEDULERS, self.notes)

    def _flag(self, node: yaml.Node, scheduler: str, protocol: str) -> str | None:
        flag = self.notes.take(node, lambda n: notes.text(n, "flag"))
        if flag == ONE_PACKET:
            return self._one_packet(node, protocol)
        allowed = SCHEDULERS.get(scheduler)
        if flag is None or allowed is None or flag in allowed:
            return flag
        knows = f"it knows {' and '.join(allowed)}" if allowed else "it knows none"
        self.notes.add(node, f"flag {shown(node)} is unknown to scheduler {scheduler}: {knows}")
        return None

    def _one_packet(self, node: yaml.Node, protocol: str) -> str | None:
        if protocol == "udp":
            return ONE_PACKET
        text = f"flag ops schedules each packet anew, which suits udp alone, not {protocol}"
        self.notes.add(node, f"{text}: leave it out")
        return None

    def _members(self, node: yaml.Node) -> tuple[Member, ...]:
        if isinstance(node, yaml.ScalarNode):
            text = f"real_servers of a service is {shown(node)}: write a list or map of host names"
            self.notes.add(node, text)
            return ()
        if not node.value:
            self.notes.add(node, "a service without real servers: name one, or leave the key out")
        if isinstance(node, yaml.MappingNode):
            found = entries(self.notes, node, "real_servers") or {}
            made = [self._weighted(name, k, v) for name, (k, v) in found.items()]
        else:
            made = self._listed(node.value)
        return tuple(member for member in made if member)

    def _listed(self, nodes: Sequence[yaml.Node]) -> list[Member | None]:
        seen: dict[str, int] = {}
        for node in nodes:
            name = self.notes.take(node, lambda n: notes.text(n, "real server"))
            if name is None:
                continue
            if name in seen:
                text = f"real server {shown(node)} stands twice in this service (line {seen[name]})"
                self.notes.add(node, text)
            seen[name] = line(node)
            self._check_member(name, node)
        return [self._member(Member(name)) for name in seen]

    def _weighted(self, name: str, key: yaml.Node, value: yaml.Node) -> Member | None:
        self._check_member(name, key)
        if value.tag == NULL:
            return self._member(Member(name))
        if not isinstance(value, yaml.MappingNode):
            text = f"real server {shown(key)} is {shown(value)}: write {{weight: 3}} or nothing"
            self.notes.add(value, text)
            return None
        weight, upper, lower, way, node = self.bodies.read(key, value)
        port = own_port(self.notes, node, way or self.way, self.ends)
        if weight is None:
            return None
        return self._member(Member(name, weight, upper, lower, way, port))

    def _check_member(self, name: str, node: yaml.Node) -> None:
        if self.names and name not in self.names:
            text = f"{shown(node)} is not in real_servers; {self.notes.meant(name, self.names)}"
            self.notes.add(node, text)

    def _member(self, member: Member) -> Member:
        return self.members.setdefault(member, member)
