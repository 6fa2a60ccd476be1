"""ARP silences as rules of a table of our own, `arp onearm`, through the nft tool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Optional

from onearm import errors
from onearm.kernel import tools

TABLE = "onearm"
Key = tuple[IPv4Address, str, Optional[IPv4Address]]  # vip, link, source
_CHAINS = f"""add table arp {TABLE}
add chain arp {TABLE} input {{ type filter hook input priority 0; policy accept; }}
add chain arp {TABLE} output {{ type filter hook output priority 0; policy accept; }}
"""


@dataclass(frozen=True)
class NftRule:
    """A rule of our table; `silence` (vip, link, source) when it is exactly of our form."""

    chain: str
    handle: int
    silence: Optional[Key]


def comment(vip: IPv4Address, link: str) -> str:
    """Return the words by which we know our rules."""
    return f"onearm {vip} {link}"


def deaf_text(vip: IPv4Address, link: str) -> str:
    """Return the rule that drops every ARP packet that asks for the VIP."""
    return f'input iifname "{link}" arp daddr ip {vip} drop comment "{comment(vip, link)}"'


def mute_text(vip: IPv4Address, link: str, source: IPv4Address) -> str:
    """Return the rule that puts `source` in place of the VIP as the sender of our requests."""
    match = f'output oifname "{link}" arp saddr ip {vip}'
    return f'{match} arp saddr ip set {source} comment "{comment(vip, link)}"'


def _match(left: dict[str, Any], right: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": left, "right": right}}


def _payload(name: str) -> dict[str, Any]:
    return {"payload": {"protocol": "arp", "field": name}}


def _expected(
    vip: IPv4Address, link: str, source: Optional[IPv4Address]
) -> tuple[str, list[dict[str, Any]]]:
    """Return chain and expressions of a rule of ours, as nft shows them in JSON."""
    if source is None:
        name = {"meta": {"key": "iifname"}}
        found = [_match(name, link), _match(_payload("daddr ip"), str(vip)), {"drop": None}]
        return "input", found
    sender = _payload("saddr ip")
    mangle = {"mangle": {"key": sender, "value": str(source)}}
    return "output", [_match({"meta": {"key": "oifname"}}, link), _match(sender, str(vip)), mangle]


def parse_rule(rule: dict[str, Any]) -> NftRule:
    """Read one rule object of `nft -j`; anything but our exact form has no silence."""
    found = NftRule(str(rule.get("chain")), int(rule.get("handle", 0)), None)
    words = str(rule.get("comment", "")).split(" ")
    try:
        if len(words) != 3 or words[0] != "onearm":
            return found
        vip, link = IPv4Address(words[1]), words[2]
        source = (
            IPv4Address(rule["expr"][-1]["mangle"]["value"]) if found.chain == "output" else None
        )
    except (AddressValueError, KeyError, IndexError, TypeError):
        return found
    ours = (found.chain, rule.get("expr")) == _expected(vip, link, source)
    return NftRule(found.chain, found.handle, (vip, link, source) if ours else None)


def objects(text: str) -> list[dict[str, Any]]:
    """Return the objects of an `nft -j` listing; Denied when it is not one."""
    try:
        found = json.loads(text)["nftables"]
        return [item for item in found if isinstance(item, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise errors.Denied("nft -j: its output is not the JSON that it should be") from error


def there() -> bool:
    """Tell whether our table stands; loads no module to find out."""
    if not tools.find("nft") or not tools.module_there("nf_tables"):
        return False
    tables = objects(tools.run(["nft", "-j", "list", "tables", "arp"]))
    return any(item.get("table", {}).get("name") == TABLE for item in tables)


def rules() -> list[NftRule]:
    """Return every rule of our table, in order."""
    if not there():
        return []
    found = objects(tools.run(["nft", "-j", "-a", "list", "table", "arp", TABLE]))
    return [parse_rule(item["rule"]) for item in found if isinstance(item.get("rule"), dict)]


def _of(found: list[NftRule], vip: IPv4Address, link: str) -> Iterator[NftRule]:
    return (rule for rule in found if rule.silence and rule.silence[:2] == (vip, link))


def _deletion(rule: NftRule) -> str:
    return f"delete rule arp {TABLE} {rule.chain} handle {rule.handle}\n"


def _load(text: str) -> None:
    tools.run(["nft", "-f", "-"], text)


def add(vip: IPv4Address, link: str, source: IPv4Address) -> None:
    """Add the rules that are missing and drop those with another source, all in one transaction."""
    deaf: Key = (vip, link, None)
    wanted = {deaf: deaf_text(vip, link), (vip, link, source): mute_text(vip, link, source)}
    standing = list(_of(rules(), vip, link))
    have = {rule.silence for rule in standing}
    lines = [f"add rule arp {TABLE} {text}\n" for key, text in wanted.items() if key not in have]
    lines += [_deletion(r) for r in standing if r.silence and r.silence[2] not in (None, source)]
    if lines:
        _load(_CHAINS + "".join(lines))


def remove(vip: IPv4Address, link: str) -> None:
    """Delete our rules by handle; with the last rule of the table the table goes too."""
    found = rules()
    ours = list(_of(found, vip, link))
    if not ours:
        return
    if len(ours) == len(found):
        _load(f"delete table arp {TABLE}\n")
    else:
        _load("".join(map(_deletion, ours)))


def trial(vip: IPv4Address, link: str, source: IPv4Address) -> str:
    """Add, list and remove a silence here (a namespace apart); return what went wrong."""
    if not tools.find("nft"):
        return "nft is not installed here; install nftables, or use arp: sysctl"
    add(vip, link, source)
    if {rule.silence for rule in rules()} != {(vip, link, None), (vip, link, source)}:
        return "nft: the rules do not stand as written"
    remove(vip, link)
    return "nft: the table cannot be deleted" if there() else ""
