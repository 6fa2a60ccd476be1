"""The `openstack:` section of a spec: where the cloud is, and what may be done there."""

from __future__ import annotations

import yaml

from onearm.spec import Cloud
from onearm.spec_load import fields
from onearm.spec_load.hosts import Hosts
from onearm.spec_load.notes import Complaints, Fields, Wrong, entries, known, shown, text

CLOUD = (
    "cloud",
    "network",
    "ports",
    "firewall",
    "manage_security_groups",
    "reserve_vip",
    "director_groups",
    "director_port_security",
    "max_address_pairs",
)
FIREWALLS = ("auto", "iptables_hybrid", "openvswitch", "ovn")
GROUPS = ("keep", "replace")
SWITCH = ("on", "off")
MOST_PAIRS = 1000  # of max_address_pairs
LONGEST_NAME = 255  # of anything in Neutron


def read_cloud(notes: Complaints, node: yaml.Node | None, hosts: Hosts) -> Cloud | None:
    """Read the section; None when the spec has none."""
    if node is None:
        return None
    before = len(notes.found)
    given = known(notes, node, "openstack", CLOUD)
    if given is None:
        return None
    ports = _ports(notes, given.get("ports"), hosts)
    typo = len(notes.found) > before  # which may be that of `network`
    if "network" not in given and not typo and hosts.names.keys() - ports.keys():
        missing = ", ".join(sorted(hosts.names.keys() - ports.keys()))
        notes.add(
            node,
            f"openstack has no network, and no port for {missing}: write network: NAME-OR-ID, or"
            " name every host's port in ports",
        )
    return _cloud(notes, given, ports)


def _cloud(notes: Complaints, given: Fields, ports: dict[str, str]) -> Cloud:
    def word(key: str, allowed: tuple[str, ...]) -> str:
        found = notes.optional(
            given, key, lambda n: fields.one_of(n, key, allowed, notes), allowed[0]
        )
        return found or allowed[0]

    def consent(key: str) -> bool:
        return notes.optional(given, key, lambda n: fields.boolean(n, key), default=True) is True

    default = Cloud.max_address_pairs
    most = notes.optional(
        given,
        "max_address_pairs",
        lambda n: fields.whole(n, "max_address_pairs", 1, MOST_PAIRS),
        default,
    )
    security = notes.optional(given, "director_port_security", _switch, "on")
    return Cloud(
        cloud=notes.optional(given, "cloud", lambda n: _name(n, "cloud"), None),
        network=notes.optional(given, "network", lambda n: _name(n, "network"), None),
        ports=ports,
        firewall=word("firewall", FIREWALLS),
        manage_security_groups=consent("manage_security_groups"),
        reserve_vip=consent("reserve_vip"),
        director_groups=word("director_groups", GROUPS),
        director_port_security=security or "on",
        max_address_pairs=most or default,
    )


def _name(node: yaml.Node, what: str) -> str:
    """Read a name or id of Neutron's: any text of one line."""
    found = text(node, what)
    if not found.strip() or not found.isprintable() or len(found) > LONGEST_NAME:
        raise Wrong(f"{what} {shown(node)} is no name: 1 to 255 printable characters")
    return found


def _switch(node: yaml.Node) -> str:
    """Read on or off; YAML 1.1 takes either for a truth value, with or without quotes is fine."""
    found = node.value.lower() if isinstance(node, yaml.ScalarNode) else ""
    if found not in SWITCH:
        raise Wrong(f"director_port_security is {shown(node)}: write on or off")
    return str(found)


def _ports(notes: Complaints, node: yaml.Node | None, hosts: Hosts) -> dict[str, str]:
    if node is None:
        return {}
    found: dict[str, str] = {}
    for host, (key, value) in (entries(notes, node, "ports") or {}).items():
        if host not in hosts.names:
            meant = notes.meant(host, hosts.names)
            notes.add(key, f"ports: {shown(key)} is no host of this spec; {meant}")
        port = notes.take(value, lambda n: _name(n, f"port of {host!r}"))  # noqa: B023 - at once
        found[host] = port or host
    return found
