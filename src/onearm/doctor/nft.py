"""Reads `nft -j list ruleset` into chains of rules; any text, without fail; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from onearm.doctor.packets import Chain, Condition, Packet, Rule, Table

FAMILIES = ("ip", "inet")
VERDICTS = {"accept": "ACCEPT", "drop": "DROP", "reject": "REJECT", "return": "RETURN"}
HARMLESS = {"counter", "log", "comment", "mangle", "limit-log", "quota", "ct helper", "meter"}
FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32}
WORDS = {
    "destination-unreachable": 3,
    "echo-request": 8,
    "echo-reply": 0,
    "time-exceeded": 11,
    "parameter-problem": 12,
    "redirect": 5,
    **FLAGS,
}
PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6", 132: "sctp"}
Value = str | int


def tables(text: str) -> list[Table]:
    """Read every table of IPv4; those that iptables-nft manages are its own tool's to tell."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return []
    rows = data.get("nftables") if isinstance(data, dict) else None
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [table for table in (_table(name, rows) for name in _names(rows)) if table.chains]


def _names(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = [row["table"] for row in rows if isinstance(row.get("table"), dict)]
    return [(t["family"], str(t.get("name"))) for t in found if t.get("family") in FAMILIES]


def _table(key: tuple[str, str], rows: list[dict[str, Any]]) -> Table:
    table = Table("nft", " ".join(key), {})
    sets = {s["name"]: s.get("elem", ()) for s in _of("set", key, rows) if "name" in s}
    chains: dict[str, dict[str, Any]] = {str(c.get("name")): c for c in _of("chain", key, rows)}
    rules: dict[str, list[Rule]] = {name: [] for name in chains}
    for row in _of("rule", key, rows):
        if any("xt" in e for e in _list(row.get("expr")) if isinstance(e, dict)):
            return Table("nft", " ".join(key), {})
        made = _rules(_list(row.get("expr")), sets, f"{' '.join(key)} {row.get('chain')}")
        rules.setdefault(str(row.get("chain")), []).extend(made)
    table.chains.update(  # type: ignore[attr-defined]  # while it is being read
        {name: _chain(name, chains.get(name, {}), found) for name, found in rules.items()}
    )
    return table


def _of(kind: str, key: tuple[str, str], rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        found = row.get(kind)
        if isinstance(found, dict) and (found.get("family"), str(found.get("table"))) == key:
            yield found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _chain(name: str, row: dict[str, Any], rules: list[Rule]) -> Chain:
    priority = row.get("prio")
    return Chain(
        name,
        tuple(rules),
        str(row.get("hook", "")),
        priority if isinstance(priority, int) else 0,
        "DROP" if row.get("policy") == "drop" else "ACCEPT",
    )


def _rules(parts: list[Any], sets: dict[str, Any], where: str) -> Iterator[Rule]:
    """Read one rule; a verdict map is as many rules as it has elements."""
    conditions: list[Condition] = []
    for part in parts:
        if not isinstance(part, dict) or len(part) != 1:
            conditions.append(_unknown)
            continue
        ((kind, body),) = part.items()
        if kind == "match":
            conditions.append(_match(body, sets))
        elif kind == "vmap":
            yield from _map(body, sets, conditions, where)
            return
        elif kind == "notrack":
            yield Rule(f"{where}: notrack", tuple(conditions), "UNTRACK")
            return
        elif kind not in HARMLESS:
            yield _ending(kind, body, conditions, where)
            return


def _unknown(_packet: Packet) -> bool | None:
    return None


def _ending(kind: str, body: Any, conditions: list[Condition], where: str) -> Rule:
    if kind in VERDICTS:
        return Rule(f"{where}: {kind}", tuple(conditions), VERDICTS[kind])
    if kind in ("jump", "goto") and isinstance(body, dict):
        target = str(body.get("target"))
        return Rule(f"{where}: {kind} {target}", tuple(conditions), kind.upper(), target)
    return Rule(f"{where}: {kind}", tuple(conditions), "UNKNOWN")


def _map(
    body: Any, sets: dict[str, Any], conditions: list[Condition], where: str
) -> Iterator[Rule]:
    body = body if isinstance(body, dict) else {}
    data = body.get("data")
    pairs = data.get("set") if isinstance(data, dict) else None
    for pair in pairs if isinstance(pairs, list) else [None]:
        value, (kind, target) = _pair(pair)
        when = _match({"op": "==", "left": body.get("key"), "right": value}, sets)
        yield _ending(kind, target, [*conditions, when], where)


def _pair(pair: Any) -> tuple[Any, tuple[str, Any]]:
    """Read one element of a verdict map: the value, and what then happens."""
    if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict) and pair[1]:  # noqa: PLR2004 - a pair
        return pair[0], next(iter(pair[1].items()))
    return None, ("unknown", None)


def _match(body: Any, sets: dict[str, Any]) -> Condition:
    body = body if isinstance(body, dict) else {}
    try:
        field = _field(body.get("left"))
        wanted = list(_values(body.get("right"), sets))
    except (ValueError, TypeError, KeyError, RecursionError):
        return _unknown
    positive = body.get("op") in ("==", "in")
    if field is None or not (positive or body.get("op") == "!="):
        return _unknown

    def holds(packet: Packet) -> bool | None:
        value = _read(packet, field)
        if value is None or any(one is None for one in wanted):
            return None
        try:
            return bool(any(_fits(value, one, field) for one in wanted) is positive)
        except (ValueError, TypeError):  # what is compared is nothing that we know
            return None

    return holds


def _field(left: Any) -> tuple[str, str] | None:
    """Name what is compared: (protocol, field), ("meta", key) or ("ct", key)."""
    if not isinstance(left, dict):
        return None
    if isinstance(left.get("payload"), dict):
        return str(left["payload"].get("protocol")), str(left["payload"].get("field"))
    for kind in ("meta", "ct"):
        if isinstance(left.get(kind), dict):
            return kind, str(left[kind].get("key"))
    return _masked(left.get("&"))


def _masked(both: Any) -> tuple[str, str] | None:
    """Read `tcp flags & (fin | syn)`: the field with its mask."""
    if not (isinstance(both, list) and len(both) == 2 and isinstance(both[0], dict)):  # noqa: PLR2004 - a pair
        return None
    if both[0].get("payload") != {"protocol": "tcp", "field": "flags"}:
        return None
    names = both[1].get("|") if isinstance(both[1], dict) else both[1]
    return "flags", str(_bits(names))


def _bits(names: Any) -> int:
    return sum(FLAGS[str(name)] for name in (names if isinstance(names, list) else [names]))


def _values(right: Any, sets: dict[str, Any]) -> Iterator[Any]:
    """List what the field may be; None stands for what is not known here."""
    if isinstance(right, str) and right.startswith("@"):
        for one in _list(sets.get(right[1:])) or [None]:
            yield from _values(one, {})
    elif isinstance(right, list):
        for one in right:
            yield from _values(one, sets)
    elif isinstance(right, dict):
        yield from _composed(right, sets)
    else:
        yield right


def _composed(right: dict[str, Any], sets: dict[str, Any]) -> Iterator[Any]:
    if "set" in right:
        yield from _values(right["set"], sets)
    elif isinstance(right.get("prefix"), dict):
        prefix = right["prefix"]
        yield ip_network((str(prefix.get("addr")), int(prefix.get("len"))), strict=False)
    elif isinstance(right.get("range"), list) and len(right["range"]) == 2:  # noqa: PLR2004
        yield tuple(right["range"])
    elif isinstance(right.get("|"), list):
        yield _bits(right["|"])
    elif isinstance(right.get("elem"), dict):
        yield from _values(right["elem"].get("val"), sets)
    else:
        yield None


def _read(packet: Packet, field: tuple[str, str]) -> Any:  # noqa: C901, PLR0911 - a table
    match field:
        case ("ip", "saddr"):
            return packet.source
        case ("ip", "daddr"):
            return packet.target
        case ("ip", "protocol") | ("meta", "l4proto"):
            return packet.protocol
        case ("meta", "iifname" | "iif"):
            return packet.link_in
        case ("meta", "oifname" | "oif"):
            return packet.link_out
        case ("flags", mask):
            return packet.flags & int(mask) if packet.protocol == "tcp" else -1
        case ("meta", "nfproto"):
            return "ipv4"
        case ("ct", "state"):
            return packet.state.lower()
        case ("icmp", "type"):
            return packet.icmp[0] if packet.protocol == "icmp" else -1
        case ("icmp", "code"):
            return packet.icmp[1] if packet.protocol == "icmp" else -1
        case (("tcp" | "udp" | "th") as protocol, ("sport" | "dport") as which):
            if protocol not in (packet.protocol, "th") or packet.protocol == "icmp":
                return -1
            return packet.source_port if which == "sport" else packet.target_port
    return None


def _fits(value: Any, wanted: Any, field: tuple[str, str]) -> bool:
    if isinstance(wanted, tuple) and len(wanted) == 2:  # noqa: PLR2004 - a range
        first, last = (_comparable(one, value) for one in wanted)
        return bool(first <= value <= last)
    if hasattr(wanted, "network_address"):
        return bool(value in wanted)
    if field[1] in ("l4proto", "protocol") and isinstance(wanted, int):
        return bool(value == PROTOCOLS.get(wanted))
    return bool(_comparable(wanted, value) == value)


def _comparable(wanted: Any, value: Any) -> Any:
    """Bring what the tool prints to the type of what is compared."""
    if isinstance(value, int):
        text = str(wanted)
        return int(text) if text.lstrip("-").isdecimal() else WORDS.get(text, -2)
    if hasattr(value, "packed"):
        return ip_address(str(wanted))
    text = str(wanted)
    return value if text.endswith("*") and str(value).startswith(text[:-1]) else text
