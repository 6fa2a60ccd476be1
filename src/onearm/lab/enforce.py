"""Neutron's port security between lab hosts, as one of three firewall drivers enforces it.

`apply` puts it in force, `release` ends it, `counters` says what was dropped and why, `follow`
keeps it what somebody else's cloud says. Hosts without a state are not guarded.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping

from onearm.errors import Missing, PlaceError
from onearm.lab import client, enforce_stages
from onearm.lab.enforce_stages import Plan
from onearm.lab.enforce_state import (
    IPTABLES,
    MODES,
    OPENVSWITCH,
    OVN,
    REASONS,
    Member,
    Pair,
    PortState,
    Rule,
    States,
    checked,
)
from onearm.lab.topology import SEGMENT

__all__ = [
    "IPTABLES", "MODES", "OPENVSWITCH", "OVN", "REASONS", "Member", "Pair", "PortState", "Rule",
    "States", "apply", "counters", "follow", "release",
]  # fmt: skip
POLL_S = 0.2
UNTRACKED = "Protocol error"  # what nft says to `ct` on a bridge that cannot


def apply(name: str | None, mode: str, states: States, before: Plan | None = None) -> Plan:
    """Enforce these states from now on, each port's rules in one transaction.

    `before` is what the last call returned, if nothing else has applied anything since: then only
    what differs is sent. Another mode, node or set of ports cuts the hosts off for a moment, in
    which nothing passes.
    """
    checked(mode, states)
    wanted = enforce_stages.plan(mode, states)
    stages = tuple(wanted.hosts)
    if before is not None and before.layout == wanted.layout:
        stages = tuple(s for s in stages if before.rules[s] != wanted.rules[s])
    if stages or before is None:
        _shell(name, enforce_stages.script(wanted, stages))
    return wanted


def release(name: str | None) -> None:
    """Let everything through again."""
    _shell(name, enforce_stages.plain())


def counters(name: str | None) -> dict[str, dict[str, int]]:
    """Count what was dropped, by host and reason; a change of rules resets nothing."""
    found: dict[str, dict[str, int]] = {}
    for line in _shell(name, enforce_stages.counting()).splitlines():
        for item in json.loads(line)["nftables"]:
            if "counter" in item:
                host, _, reason = item["counter"]["name"].partition("/")
                found.setdefault(host, {})[reason] = item["counter"]["packets"]
    return found


def follow(
    name: str | None,
    mode: str,
    read_states: Callable[[], Mapping[str, PortState] | None],
    stop: threading.Event,
    poll_s: float = POLL_S,
) -> None:
    """Enforce what `read_states` says until `stop`; None says that it cannot be told just now.

    What was in force stays so, then, and also when this ends or fails.
    """
    plan: Plan | None = None
    while not stop.is_set():
        states = read_states()
        if states is not None:
            plan = apply(name, mode, states, plan)
        stop.wait(poll_s)


def _shell(name: str | None, script: str) -> str:
    code, out, complaint = client.call(name, SEGMENT, ["sh", "-es"], script.encode())
    if code:
        text = complaint.decode(errors="replace").strip()
        if UNTRACKED in text:
            raise Missing("the lab's kernel tracks no connections on bridges (nf_conntrack_bridge)")
        raise PlaceError(f"the lab's segment refused to enforce port security: {text}")
    return out.decode()
