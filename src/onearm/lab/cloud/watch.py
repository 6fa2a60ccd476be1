"""Neutron's ports, groups and rules, read from its API as what the lab's bridge enforces."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import NamedTuple

from onearm.lab.cloud.api import Api, Json
from onearm.lab.enforce_state import Member, Pair, PortState, Rule
from onearm.lab.topology import GUARDED, HOSTS


class Changes:
    """Says when something was written to the database, so that the API is not asked in vain."""

    def __init__(self, file: Path) -> None:
        """Open it for reading."""
        self._database = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=1)
        self._seen: int | None = None

    def since(self) -> bool:
        """Say whether there may be news since the last call."""
        with contextlib.suppress(sqlite3.OperationalError):
            (now,) = self._database.execute("PRAGMA data_version").fetchone()
            before, self._seen = self._seen, now
            return bool(now != before)
        return True

    def forget(self) -> None:
        """Let the next call say yes."""
        self._seen = None


class World(NamedTuple):
    """What the API lists."""

    ports: list[Json]
    groups: list[Json]

    def members(self, group: str) -> tuple[Member, ...]:
        """Give the ports of a group."""
        return tuple(_member(row) for row in self.ports if group in row["security_groups"])


def states(admin: Api) -> dict[str, PortState]:
    """Read the state of every lab host's port; a host without one may send and get nothing."""
    world = World(admin.list("ports"), admin.list("security_groups"))
    found: dict[str, PortState] = {}
    for host in GUARDED:
        mac = HOSTS[host].wires[0].mac
        rows = [row for row in world.ports if _is_hosts(row, host, mac)]
        found[host] = _state(world, rows[0]) if rows else PortState(mac, ())
    return found


def _is_hosts(row: Json, host: str, mac: str) -> bool:
    return bool(row["mac_address"] == mac and row["name"] == host)


def _state(world: World, row: Json) -> PortState:
    groups = [group for group in world.groups if group["id"] in row["security_groups"]]
    member = _member(row)
    return PortState(
        mac=member.mac,
        addresses=member.addresses,
        pairs=member.pairs,
        port_security=row["port_security_enabled"],
        rules=_rules(world, groups),
        stateful=all(group.get("stateful", True) for group in groups),
        compute=row.get("binding:host_id") or "compute-1",
    )


def _member(row: Json) -> Member:
    return Member(
        row["mac_address"],
        tuple(ip_address(fixed["ip_address"]) for fixed in row["fixed_ips"]),
        tuple(_pair(pair, row["mac_address"]) for pair in row["allowed_address_pairs"]),
    )


def _pair(pair: Json, own: str) -> Pair:
    mac = pair.get("mac_address") or own
    return Pair(ip_network(pair["ip_address"], strict=False), "" if mac == own else mac)


def _rules(world: World, groups: Sequence[Json]) -> tuple[Rule, ...]:
    """Give the rules of all groups, each once; what names an address group admits nobody."""
    rows = [row for group in groups for row in group["security_group_rules"]]
    plain = [row for row in rows if not row.get("remote_address_group_id")]
    return tuple(dict.fromkeys(_rule(world, row) for row in plain))


def _rule(world: World, row: Json) -> Rule:
    prefix, group = row["remote_ip_prefix"], row["remote_group_id"]
    return Rule(
        direction=row["direction"],
        ethertype=row["ethertype"],
        protocol=row["protocol"],
        port_min=row["port_range_min"],
        port_max=row["port_range_max"],
        remote=ip_network(prefix, strict=False) if prefix else None,
        members=world.members(group) if group else None,
    )
