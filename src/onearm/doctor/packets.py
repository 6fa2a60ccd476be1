"""Packets that a host firewall must let pass, and rules as conditions on them; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onearm.model import Address

SYN, ACK, FIN = 0x02, 0x10, 0x01
MOST_STEPS = 20000  # rules tried for one packet: a ruleset is somebody else's text


@dataclass(frozen=True)
class Packet:
    """One packet at one host. `state` is conntrack's word for it; `icmp` its type and code."""

    what: str
    protocol: str
    source: Address
    target: Address
    source_port: int = 0
    target_port: int = 0
    link_in: str = ""
    link_out: str = ""
    flags: int = 0
    state: str = "NEW"
    icmp: tuple[int, int] = (0, 0)


# True or False when certain, None when a condition is not known to us.
Condition = Callable[[Packet], bool | None]


@dataclass(frozen=True)
class Rule:
    """Conditions that must all hold, and what then happens: ACCEPT, DROP, REJECT, RETURN, CONTINUE,
    UNTRACK, UNKNOWN, or JUMP and GOTO to the chain `target`.
    """

    text: str
    conditions: tuple[Condition, ...]
    verdict: str
    target: str = ""

    def holds(self, packet: Packet) -> bool | None:
        """Say whether the rule takes a packet."""
        known = [condition(packet) for condition in self.conditions]
        if False in known:
            return False
        return None if None in known else True


@dataclass(frozen=True)
class Chain:
    """A chain; a base chain has a hook (input, output, ...), a priority and a policy."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    priority: int = 0
    policy: str = "ACCEPT"


@dataclass(frozen=True)
class Table:
    """One table of one tool."""

    tool: str
    name: str
    chains: Mapping[str, Chain] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a host's firewall does with a packet. `certain` is False where a rule's condition is
    unknown to us and either could happen.
    """

    verdict: str = "ACCEPT"
    rule: str = ""
    certain: bool = True


ACCEPTED = Outcome()


def decide(tables: Sequence[Table], hooks: Sequence[str], packet: Packet) -> Outcome:
    """Send a packet through the base chains of hooks, in the order of their priorities.

    A drop anywhere is final, an acceptance only for its own chain (netfilter's NF_HOOK).
    """
    certain = True
    for hook in hooks:
        found = [(c.priority, n, t, c) for n, t in enumerate(tables) for c in _based(t, hook)]
        for _, _, table, chain in sorted(found, key=lambda row: row[:2]):
            walk = _Walk(table, packet)
            verdict, rule = walk.through(chain)
            packet = walk.packet
            if verdict in ("DROP", "REJECT"):
                return Outcome(verdict, f"{table.tool}: {rule}", certain and walk.certain)
            certain = certain and walk.certain
    return Outcome(certain=certain)


def _based(table: Table, hook: str) -> list[Chain]:
    return [chain for chain in table.chains.values() if chain.hook == hook]


class _Walk:
    """One packet on its way through one table's chain and those that it jumps to."""

    def __init__(self, table: Table, packet: Packet) -> None:
        self.table, self.packet, self.certain, self.steps = table, packet, True, 0

    def through(self, chain: Chain) -> tuple[str, str]:
        verdict, rule = self._chain(chain, frozenset())
        if verdict in ("", "RETURN"):
            return chain.policy, f"policy {chain.policy} of {self.table.name} {chain.name}"
        return verdict, rule

    def _chain(self, chain: Chain, above: frozenset[str]) -> tuple[str, str]:
        for rule in chain.rules:
            self.steps += 1
            if self.steps > MOST_STEPS:
                self.certain = False
                return "", ""
            verdict, text = self._rule(rule, above | {chain.name})
            if verdict:
                return verdict, text
        return "", ""

    def _rule(self, rule: Rule, above: frozenset[str]) -> tuple[str, str]:
        """Follow one rule; an empty verdict goes on to the next."""
        holds = rule.holds(self.packet)
        if holds is False or rule.verdict == "CONTINUE":
            return "", ""
        if holds is None or rule.verdict == "UNKNOWN":
            self.certain = False
            return "", ""
        if rule.verdict == "UNTRACK":
            self.packet = replace(self.packet, state="UNTRACKED")
            return "", ""
        if rule.verdict not in ("JUMP", "GOTO"):
            return rule.verdict, rule.text
        return self._jump(rule, above)

    def _jump(self, rule: Rule, above: frozenset[str]) -> tuple[str, str]:
        chain = self.table.chains.get(rule.target)
        if chain is None or rule.target in above:
            self.certain = False
            return "", ""
        verdict, text = self._chain(chain, above)
        if rule.verdict == "GOTO":
            return verdict or "RETURN", text
        return ("", "") if verdict == "RETURN" else (verdict, text)
