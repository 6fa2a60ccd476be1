"""Rules that mark a group's packets, set and read by nft, or by iptables where nft cannot."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Optional

from onearm import errors, mark_words
from onearm.kernel import arp_nft, tools
from onearm.kernel.arp_tables import options
from onearm.mark_words import CHAIN, NFT, TABLE
from onearm.model import GROUP_MARKS, IPV4, IPV6, MarkRule

# The thread's own, for a trial runs in a namespace of its own.
TABLES = {
    IPV4: "/proc/thread-self/net/ip_tables_names",
    IPV6: "/proc/thread-self/net/ip6_tables_names",
}
LOCK = ("-w", "5")  # seconds that another run of the tool may take
TRIAL = {  # RFC 5737, RFC 3849
    IPV4: MarkRule("tcp", IPv4Address("192.0.2.1"), 80, 81, GROUP_MARKS[0]),
    IPV6: MarkRule("tcp", IPv6Address("2001:db8::1"), 80, 81, GROUP_MARKS[0]),
}
_worked: dict[int, tuple[str, ...]] = {}  # the tool that set the last rule, by address family


def legacy(version: int) -> str:
    """Name the tool that speaks to ip_tables: never to nf_tables in its clothes."""
    return f"{mark_words.iptables(version)}-legacy"


def standing(version: int) -> list[MarkRule]:
    """Return the rules of our form under either tool, one for each endpoint; loads no module.

    Of two for one endpoint the last acts.
    """
    rules = [*(rule for _, rule in _of_nft(version)), *_of_iptables(version)]
    return list({rule.key: rule for rule in rules}.values())


def _of_nft(version: int) -> Iterator[tuple[int, MarkRule]]:
    """Give handle and rule of what stands in our table."""
    for row in _table(version):
        rule = row.get("rule")
        found = parse_nft(rule) if isinstance(rule, dict) else None
        if found:
            yield int(row["rule"].get("handle", 0)), found


def _table(version: int) -> list[dict[str, Any]]:
    if not tools.find(NFT) or not tools.module_there("nf_tables"):
        return []
    name = mark_words.family(version)
    tables = arp_nft.objects(_run([NFT, "-j", "list", "tables", name]))
    if not any(item.get("table", {}).get("name") == TABLE for item in tables):
        return []
    return arp_nft.objects(_run([NFT, "-j", "-a", "list", "table", name, TABLE]))


def _run(argv: list[str], stdin: str = "") -> str:
    """Run a tool, with the rights that a daemon else keeps from what it runs."""
    from onearm.kernel import capabilities  # each start of a node pays for what it loads

    with capabilities.lent():
        return tools.run(argv, stdin)


def parse_nft(rule: dict[str, Any]) -> Optional[MarkRule]:
    """Read one rule object of `nft -j`; None for anything but our exact form."""
    words = str(rule.get("comment", "")).split(" ")
    try:
        _, vip, protocol, ports = words
        first, _, last = ports.partition("-")
        seen = [one for one in rule["expr"] if "counter" not in one]
        mark = seen[-1]["mangle"]["value"]
        found = MarkRule(protocol, ip_address(vip), int(first), int(last), int(mark))
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    ours = rule.get("chain") == CHAIN and seen == mark_words.expressions(found)
    return found if ours and len(seen) + 1 == len(rule["expr"]) else None


def _of_iptables(version: int) -> Iterator[MarkRule]:
    if not _has_mangle(version) or not tools.find(legacy(version)):
        return
    text = _run([legacy(version), *LOCK, "-t", "mangle", "-S", "PREROUTING"])
    yield from filter(None, map(parse_iptables, text.splitlines()))


def _has_mangle(version: int) -> bool:
    """Tell whether the table was ever used: a tool that only lists would load it."""
    try:
        return "mangle" in Path(TABLES[version]).read_text(encoding="ascii").split()
    except OSError:
        return False


def parse_iptables(line: str) -> Optional[MarkRule]:
    """Read one line of `iptables -S`; None for anything but our exact form."""
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    if words[:2] != ["-A", "PREROUTING"]:
        return None
    seen = options(words[2:])
    values = {o.name: o.value for o in seen if not o.negated}
    try:
        first, _, last = values["--dport"].partition(":")
        vip = ip_address(values["-d"].partition("/")[0])
        mark = int(values["--set-xmark"].partition("/")[0], 16)
        found = MarkRule(values["-p"], vip, int(first), int(last or first), mark)
    except (ValueError, KeyError):
        return None
    wanted = options(mark_words.written(found, mark_words.IPTABLES)[1:])
    return found if sorted(map(repr, seen)) == sorted(map(repr, wanted)) else None


def put(rule: MarkRule) -> None:
    """Set the rule by the first tool that can, and delete what either has for the same endpoint
    besides, when it stands; Missing says why none can.
    """
    version, reasons = rule.vip.version, []
    for tool in _worked.get(version, (NFT, legacy(version))):
        try:
            _put_nft(rule) if tool == NFT else _put_iptables(rule)
        except errors.OnearmError as error:
            reasons.append(str(error))
        else:
            _worked[version] = (tool,)
            _drop_others(rule, tool)
            return
    _worked.pop(version, None)
    raise errors.Missing(f"groups need firewall marks, and none can be set: {'; '.join(reasons)}")


def _drop_others(rule: MarkRule, tool: str) -> None:
    version = rule.vip.version
    for other in list(_of_iptables(version)):
        if other.key == rule.key and (tool == NFT or other != rule):
            _delete_iptables(other)
    if tool != NFT:
        _load(_deletions(version, rule, but=None))


def _put_nft(rule: MarkRule) -> None:
    version = rule.vip.version
    there = any(found == rule for _, found in _of_nft(version))
    lines = [] if there else [f"add rule {' '.join(mark_words.written(rule, NFT))}"]
    lines += _deletions(version, rule, but=rule)
    _load([*mark_words.chain(version), *lines] if lines else [])


def _put_iptables(rule: MarkRule) -> None:
    if rule not in _of_iptables(rule.vip.version):
        _iptables(rule, "-A")


def _iptables(rule: MarkRule, verb: str) -> None:
    words = mark_words.written(rule, mark_words.IPTABLES)
    _run([legacy(rule.vip.version), *LOCK, "-t", "mangle", verb, *words])


def _delete_iptables(rule: MarkRule) -> None:
    _iptables(rule, "-D")


def _deletions(version: int, rule: MarkRule, but: Optional[MarkRule]) -> list[str]:
    """Write what deletes the rules of an endpoint from our table, all but one."""
    name = f"{mark_words.family(version)} {TABLE}"
    return [
        f"delete rule {name} {CHAIN} handle {handle}"
        for handle, found in _of_nft(version)
        if found.key == rule.key and found != but
    ]


def _load(lines: list[str]) -> None:
    if lines:
        _run([NFT, "-f", "-"], "".join(f"{line}\n" for line in lines))


def remove(rule: MarkRule) -> None:
    """Delete our rules for the endpoint, whatever their mark; nothing there is fine.

    With the last rule of our table the table goes too.
    """
    version = rule.vip.version
    gone = _deletions(version, rule, but=None)
    rows = [row for row in _table(version) if "rule" in row]
    if gone and len(gone) == len(rows):
        gone = [f"delete table {mark_words.family(version)} {TABLE}"]
    _load(gone)
    for found in _of_iptables(version):
        if found.key == rule.key:
            _delete_iptables(found)


@functools.cache
def chosen(version: int) -> tuple[str, str]:
    """Return (tool, "") for the first that works here, or ("", why none does).

    The very rules are set, read and deleted in a network namespace of their own: the host's rules
    are untouched, though the kernel may load the modules that the rules need.
    """
    reasons: list[str] = []
    for tool in (NFT, legacy(version)):
        reason = tools.apart(functools.partial(_trial, tool, TRIAL[version]))
        if not reason:
            return tool, ""
        reasons.append(reason)
    return "", "; ".join(reasons)


def _trial(tool: str, rule: MarkRule) -> str:
    if not tools.find(tool):
        return f"{tool} is not installed here"
    (_put_nft if tool == NFT else _put_iptables)(rule)
    if standing(rule.vip.version) != [rule]:
        return f"{tool}: the rule does not stand as written"
    remove(rule)
    return f"{tool}: the rule cannot be deleted" if standing(rule.vip.version) else ""
