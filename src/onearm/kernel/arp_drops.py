"""Foreign rules that drop our own ARP requests: the cause of the cold cache trap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from onearm import errors
from onearm.facts import ArpRuleFact
from onearm.kernel import arp_nft, arp_tables, tools
from onearm.model import Address

# Conditions that every ARP packet of ours meets; a rule with any other is left alone.
_ALWAYS = {"-j", "-o", "-s", "--h-type", "--h-length", "--proto-type"}
_LAYOUT = ("htype", "ptype", "hlen", "plen")
_REQUESTS = {"1", "Request"}
_HARMLESS = {"counter", "log"}


def output_drops(vips: Iterable[Address]) -> list[ArpRuleFact]:
    """Return the rules that drop outgoing ARP packets whose sender is a VIP, or all of them.

    Such a server cannot fill a cold neighbour cache and stays silent (net/ipv4/arp.c, arp_solicit
    takes the sender from the packet that waits). `address` is empty when all senders are dropped.
    Looks at arptables of both forms and at nftables; never fails for want of a tool, loads no
    module, and does not see what hangs on sets, maps or packet contents.
    """
    wanted = [vip for vip in vips if isinstance(vip, IPv4Address)]
    found: list[ArpRuleFact] = []
    for source in (_tables_drops, _nft_drops):
        try:
            found += source(wanted)
        except errors.OnearmError:  # a tool that fails has nothing to warn of
            continue
    return found


def _facts(
    tool: str, text: str, senders: list[Any], vips: list[IPv4Address]
) -> Iterator[ArpRuleFact]:
    """Yield a fact for each VIP that meets all conditions on the sender; none: one for all."""
    if not senders:
        yield ArpRuleFact(tool, text)
        return
    for vip in vips:
        if all(holds(vip) for holds in senders):
            yield ArpRuleFact(tool, text, str(vip))


def _reachable(start: list[str], jumps: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(start)
    while todo:
        chain = todo.pop()
        if chain not in seen:
            seen.add(chain)
            todo += jumps.get(chain, ())
    return seen


def _tables_drops(vips: list[IPv4Address]) -> list[ArpRuleFact]:
    # nft shows the rules of arptables-nft too: only without nft is that tool asked
    forms = [t for t in arp_tables.installed() if t != arp_tables.NFT or not tools.find("nft")]
    found: list[ArpRuleFact] = []
    for tool in forms:
        found += tables_drops(arp_tables.listing(tool), tool, vips)
    return found


def tables_drops(
    listing: arp_tables.Listing, tool: str, vips: list[IPv4Address]
) -> list[ArpRuleFact]:
    """Return the drops in one listing of arptables."""
    plain = [rule for rule in listing.rules if _plain(rule)]
    jumps: dict[str, set[str]] = {}
    for rule in plain:
        jumps.setdefault(rule.chain, set()).add(rule.target)
    reachable = _reachable(["OUTPUT"], jumps)
    found: list[ArpRuleFact] = []
    for rule in plain:
        if rule.target == "DROP" and rule.chain in reachable:
            senders = [_sender(o) for o in rule.options if o.name == "-s"]
            found += _facts(tool, f"-A {rule.chain} {rule.line}", senders, vips)
    if ("OUTPUT", "DROP") in listing.policies:
        found.append(ArpRuleFact(tool, "-P OUTPUT DROP"))
    return found


def _plain(rule: arp_tables.Rule) -> bool:
    for option in rule.options:
        request = option.name == "--opcode" and option.value in _REQUESTS and not option.negated
        if option.name not in _ALWAYS and not request:
            return False
    return True


def _sender(option: arp_tables.Option) -> Any:
    """Return the test whether a VIP is a sender of this address or network."""
    try:
        network = ip_network(option.value, strict=False)
    except ValueError:
        return lambda _vip: False
    return lambda vip: (vip in network) != option.negated


def _nft_drops(vips: list[IPv4Address]) -> list[ArpRuleFact]:
    if not tools.find("nft") or not tools.module_there("nf_tables"):
        return []
    return nft_drops(
        arp_nft.objects(tools.run(["nft", "-j", "-a", "list", "ruleset", "arp"])), vips
    )


def nft_drops(ruleset: list[dict[str, Any]], vips: list[IPv4Address]) -> list[ArpRuleFact]:
    """Return the drops in the objects of `nft -j list ruleset arp`."""
    chains = [item["chain"] for item in ruleset if isinstance(item.get("chain"), dict)]
    rules = [item["rule"] for item in ruleset if isinstance(item.get("rule"), dict)]
    jumps: dict[str, set[str]] = {}
    plain = []
    for rule in rules:
        verdict, target, senders = _nft_rule(rule)
        plain.append((rule, verdict, senders))
        if target:
            jumps.setdefault(_name(rule), set()).add(f"{rule.get('table')} {target}")
    hooked = [chain for chain in chains if chain.get("hook") == "output"]
    reachable = _reachable([f"{c.get('table')} {c.get('name')}" for c in hooked], jumps)
    found: list[ArpRuleFact] = []
    for rule, verdict, senders in plain:
        if verdict == "drop" and _name(rule) in reachable:
            found += _facts("nft", _text(rule), senders, vips)
    found += [
        ArpRuleFact("nft", f"chain arp {c.get('table')} {c.get('name')}: policy drop")
        for c in hooked
        if c.get("policy") == "drop"
    ]
    return found


def _name(rule: dict[str, Any]) -> str:
    return f"{rule.get('table')} {rule.get('chain')}"


def _text(rule: dict[str, Any]) -> str:
    return (
        f"table arp {rule.get('table')} chain {rule.get('chain')} handle {rule.get('handle')}: drop"
    )


def _nft_rule(rule: dict[str, Any]) -> tuple[str, str, list[Any]]:
    """Return (verdict, jump target, conditions on the sender); no verdict: not a plain rule."""
    senders: list[Any] = []
    expressions = rule.get("expr")
    for expression in expressions if isinstance(expressions, list) else ():
        if not isinstance(expression, dict) or len(expression) != 1:
            return "", "", []
        ((key, value),) = expression.items()
        if key in ("jump", "goto") and isinstance(value, dict):
            return key, str(value.get("target")), senders
        if key != "match":
            if key in _HARMLESS:
                continue
            return key, "", senders
        kept = _nft_match(value)
        if kept is None:
            return "", "", []
        senders += kept
    return "", "", senders


def _nft_match(match: Any) -> Any:
    """Return the conditions on the sender in a match; None when it is about other things."""
    left, right, op = (_inner(match, name) for name in ("left", "right", "op"))
    field = _inner(_inner(left, "payload"), "field")
    request = field == "operation" and right == "request" and op == "=="
    if request or field in _LAYOUT or _inner(_inner(left, "meta"), "key") == "oifname":
        return []
    if field != "saddr ip" or op not in ("==", "!="):
        return None
    return [_nft_sender(right, negated=op == "!=")]


def _inner(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _nft_sender(right: Any, *, negated: bool) -> Any:
    return lambda vip: any(_covers(part, vip) for part in _parts(right)) != negated


def _parts(right: Any) -> list[Any]:
    members = _inner(right, "set")
    return members if isinstance(members, list) else [right]


def _covers(part: Any, vip: IPv4Address) -> bool:
    """Tell whether an address, prefix or range of nft's JSON holds the VIP."""
    try:
        if isinstance(part, str):
            return ip_address(part) == vip
        if "prefix" in part:
            text = f"{part['prefix']['addr']}/{part['prefix']['len']}"
            return vip in ip_network(text, strict=False)
        first, last = (ip_address(end) for end in part["range"])
        return int(first) <= int(vip) <= int(last)
    except (ValueError, KeyError, TypeError):
        return False
