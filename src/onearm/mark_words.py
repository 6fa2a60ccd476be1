"""The rule of the packet filter that marks a group's endpoint, as each tool has it; pure."""

from __future__ import annotations

from typing import Any

from onearm.model import IPV4, MarkRule

NFT, IPTABLES = "nft", "iptables"
TABLE, CHAIN = "onearm", "prerouting"  # ours alone, of nft
REMARK = "onearm"
OWN = "lo"  # the link by which the host reaches itself
MASK = 0xFFFFFFFF
# At the priority of iptables' mangle table, behind what tracks connections and before routing.
_HOOK = "type filter hook prerouting priority -150; policy accept;"


def family(version: int) -> str:
    """Name the family of a table of nft."""
    return "ip" if version == IPV4 else "ip6"


def iptables(version: int) -> str:
    """Name the tool of a family."""
    return "iptables" if version == IPV4 else "ip6tables"


def written(rule: MarkRule, tool: str) -> list[str]:
    """Write the rule as words: what follows `iptables -t mangle -A`, or nft's `add rule`.

    It stands where packets come in, and leaves alone what the host itself sends, its checks above
    all: to an address of its own that comes back in by the loopback link. One form of words for
    each tool: what stands in another form is not ours.
    """
    if tool == NFT:
        ports = str(rule.port) if rule.last == rule.port else f"{rule.port}-{rule.last}"
        match = ["iifname", "!=", f'"{OWN}"', family(rule.vip.version), "daddr", str(rule.vip)]
        match += [rule.protocol, "dport", ports]
        change = ["meta", "mark", "set", f"{rule.mark:#x}", "comment", f'"{remark(rule)}"']
        return [family(rule.vip.version), TABLE, CHAIN, *match, "counter", *change]
    ports = str(rule.port) if rule.last == rule.port else f"{rule.port}:{rule.last}"
    match = ["-d", f"{rule.vip}/{rule.vip.max_prefixlen}", "!", "-i", OWN, "-p", rule.protocol]
    match += ["-m", rule.protocol, "--dport", ports, "-m", "comment", "--comment", REMARK]
    return ["PREROUTING", *match, "-j", "MARK", "--set-xmark", f"{rule.mark:#x}/{MASK:#x}"]


def remark(rule: MarkRule) -> str:
    """Give the words by which a rule in our table says what it is for."""
    return f"{REMARK} {rule.vip} {rule.protocol} {rule.port}-{rule.last}"


def chain(version: int) -> list[str]:
    """Write what makes our table and its chain, where they are not there."""
    name = f"{family(version)} {TABLE}"
    return [f"add table {name}", f"add chain {name} {CHAIN} {{ {_HOOK} }}"]


def expressions(rule: MarkRule) -> list[dict[str, Any]]:
    """Give the rule as nft shows it in JSON, its counter aside."""
    ports: Any = rule.port if rule.last == rule.port else {"range": [rule.port, rule.last]}
    ends = ((family(rule.vip.version), "daddr", str(rule.vip)), (rule.protocol, "dport", ports))
    outside = {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": OWN}
    return [
        {"match": outside},
        *(
            {"match": {"op": "==", "left": _payload(protocol, field), "right": right}}
            for protocol, field, right in ends
        ),
        {"mangle": {"key": {"meta": {"key": "mark"}}, "value": rule.mark}},
    ]


def _payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}
