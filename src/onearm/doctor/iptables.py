"""Reads what iptables-save prints into chains of rules; any text, without fail; pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from ipaddress import ip_network

from onearm.doctor.packets import Chain, Condition, Packet, Rule, Table

HOOKS = {  # chain -> hook; and per table the priority (include/uapi/linux/netfilter_ipv4.h)
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
FINAL = {"ACCEPT", "DROP", "REJECT", "RETURN"}
HARMLESS = {
    *("LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TCPMSS", "TOS", "DSCP", "CLASSIFY", "TRACE"),
    *("SECMARK", "CONNSECMARK", "CHECKSUM", "AUDIT", "HL", "TTL"),
}
FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}
ICMP_NAMES: dict[str, tuple[int, int | None] | None] = {
    "any": None,
    "destination-unreachable": (3, None),
    "fragmentation-needed": (3, 4),
    "echo-request": (8, None),
    "echo-reply": (0, None),
    "time-exceeded": (11, None),
    "port-unreachable": (3, 3),
    "host-unreachable": (3, 1),
}
PLAIN = {"-m", "--comment", "--match"}  # options that condition nothing by themselves


def tables(text: str, tool: str) -> list[Table]:
    """Read every table; a line that makes no sense becomes a rule that nobody knows."""
    found: list[Table] = []
    for line in text.splitlines():
        if line.startswith("*"):
            found.append(Table(tool, line[1:].strip(), {}))
        elif found and line.startswith(":"):
            _chain(found[-1], line)
        elif found and line.startswith("-A "):
            _rule(found[-1], line)
    return found


def _chain(table: Table, line: str) -> None:
    name, policy, *_ = (*line[1:].split(), "", "")
    hook = HOOKS.get(name, "") if policy != "-" else ""
    priority = PRIORITIES.get(table.name, 0)
    kept = policy if policy in ("ACCEPT", "DROP") else "ACCEPT"
    _put(table, Chain(name, (), hook, priority, kept))


def _put(table: Table, chain: Chain) -> None:
    table.chains[chain.name] = chain  # type: ignore[index]  # while it is being read


def _rule(table: Table, line: str) -> None:
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    name = words[1] if len(words) > 1 else ""
    chain = table.chains.get(name) or Chain(name)
    rule = _parsed(words[2:], line.strip())
    _put(table, Chain(chain.name, (*chain.rules, rule), chain.hook, chain.priority, chain.policy))


def _parsed(words: list[str], text: str) -> Rule:
    conditions: list[Condition] = []
    verdict, target = "CONTINUE", ""
    for option, negated, values in _options(words):
        if option in ("-j", "-g"):
            verdict, target = _target(values[0] if values else "", jump=option == "-j")
        elif verdict == "CONTINUE" and option not in PLAIN:  # what follows -j belongs to the target
            conditions.append(_condition(option, values, negated=negated))
    return Rule(text, tuple(conditions), verdict, target)


def _options(words: list[str]) -> Iterator[tuple[str, bool, list[str]]]:
    """Group words by option; a `!` before an option negates it."""
    option, negated, values, flip = "", False, list[str](), False
    for word in words:
        if word == "!":
            flip = True
        elif word.startswith("-") and len(word) > 1 and not word[1].isdigit():
            if option:
                yield option, negated, values
            option, negated, values, flip = word, flip, [], False
        else:
            values.append(word)
    if option:
        yield option, negated, values


def _target(name: str, *, jump: bool) -> tuple[str, str]:
    if name in FINAL:
        return name, ""
    if name in HARMLESS:
        return "CONTINUE", ""
    if name == "NOTRACK":
        return "UNTRACK", ""
    if name.isupper() and name in ("CT", "DNAT", "REDIRECT", "SNAT", "MASQUERADE", "QUEUE"):
        return ("UNTRACK" if name == "CT" else "UNKNOWN"), ""
    return ("JUMP" if jump else "GOTO"), name


def _condition(option: str, values: list[str], *, negated: bool) -> Condition:
    """Make a condition; one that is not known here, or not understood, is unknown for all."""
    maker = CONDITIONS.get(option)
    try:
        made = maker(values) if maker else None
    except (ValueError, IndexError, KeyError):
        made = None
    if made is None:
        return lambda _packet: None
    return made if not negated else lambda packet: _not(made(packet))


def _not(value: bool | None) -> bool | None:  # noqa: FBT001 - three values
    return None if value is None else not value


def _network(values: list[str], field: str) -> Condition:
    networks = [ip_network(text, strict=False) for text in values[0].split(",")]
    return lambda p: any(getattr(p, field) in network for network in networks)


def _protocol(values: list[str]) -> Condition:
    name = {"6": "tcp", "17": "udp", "1": "icmp", "all": "", "0": ""}.get(values[0], values[0])
    return lambda p: not name or p.protocol == name


def _link(values: list[str], field: str) -> Condition:
    name = values[0]
    if name.endswith("+"):
        return lambda p: str(getattr(p, field)).startswith(name[:-1])
    return lambda p: getattr(p, field) == name


def _ports(values: list[str], *fields: str) -> Condition:
    ranges = [_range(text) for text in values[0].split(",")]
    return lambda p: any(a <= getattr(p, field) <= b for field in fields for a, b in ranges)


def _range(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    low = int(first or 0)
    return low, int(last or 65535) if colon else low


def _states(values: list[str]) -> Condition:
    wanted = set(values[0].split(","))
    return lambda p: p.state in wanted


def _flags(values: list[str]) -> Condition:
    mask, comp = (sum(FLAGS[name] for name in text.split(",")) for text in values[:2])
    return lambda p: p.flags & mask == comp


def _icmp(values: list[str]) -> Condition:
    known: tuple[int, int | None] | None = ICMP_NAMES.get(values[0])
    if known is None and values[0] != "any":
        number, _, code = values[0].partition("/")
        known = (int(number), int(code) if code else None)
    return lambda p: known is None or (p.icmp[0] == known[0] and known[1] in (None, p.icmp[1]))


def _syn(_values: list[str]) -> Condition:
    return lambda p: p.flags & (FLAGS["SYN"] | FLAGS["ACK"] | FLAGS["RST"]) == FLAGS["SYN"]


def _local(values: list[str]) -> Condition | None:
    """Know only one use: packets come to an address of this host."""
    wanted = values[0].split(",")
    return lambda p: "LOCAL" in wanted if p.link_in else None


def _mark(values: list[str]) -> Condition:
    value, _, mask = values[0].partition("/")
    return lambda _p: int(value, 0) & (int(mask, 0) if mask else ~0) == 0  # nobody marked it


CONDITIONS = {
    "-p": _protocol,
    "-s": lambda values: _network(values, "source"),
    "-d": lambda values: _network(values, "target"),
    "-i": lambda values: _link(values, "link_in"),
    "-o": lambda values: _link(values, "link_out"),
    "--sport": lambda values: _ports(values, "source_port"),
    "--dport": lambda values: _ports(values, "target_port"),
    "--sports": lambda values: _ports(values, "source_port"),
    "--dports": lambda values: _ports(values, "target_port"),
    "--ports": lambda values: _ports(values, "source_port", "target_port"),
    "--state": _states,
    "--ctstate": _states,
    "--tcp-flags": _flags,
    "--syn": _syn,
    "--icmp-type": _icmp,
    "--dst-type": _local,
    "--mark": _mark,
}
__all__ = ["Packet", "tables"]
