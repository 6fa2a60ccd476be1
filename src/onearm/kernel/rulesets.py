"""Firewall rules whole, as the host's own tools print them; what is asked loads no module."""

from __future__ import annotations

import errno
import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

from onearm import errors
from onearm.kernel import arp_tables, tools
from onearm.kernel.faults import translate
from onearm.kernel.netlink import Netlink
from onearm.vitals import RulesFact

LEGACY, IPTABLES_NFT, NFT = "iptables-legacy", "iptables-nft", "nft"
ARPTABLES = "arptables"
# The thread's own namespace. Missing where ip_tables is not loaded, empty where it has no tables.
TABLES = "/proc/thread-self/net/ip_tables_names"
TEXT_MOST = 1 << 18  # characters of one firewall
LINE_MOST = 1 << 16  # a line goes over the wire whole
OPAQUE = '"xt":'  # what nft shows of a rule of iptables-nft that it does not understand
NETLINK_NETFILTER = 12
GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN: netfilter/nf_tables.h
NFGENMSG = struct.Struct("=BBH")


def bounded(tool: str, lines: Iterable[str]) -> RulesFact:
    """Put lines together as long as they fit; too long ones are left out."""
    kept: list[str] = []
    size, cut = 0, False
    for line in lines:
        if len(line) > LINE_MOST or size + len(line) + 1 > TEXT_MOST:
            cut = True
            continue
        kept.append(line)
        size += len(line) + 1
    return RulesFact(tool, "\n".join(kept), cut)


def saved(tool: str, text: str) -> Optional[RulesFact]:
    """Read what iptables-save prints, comments aside (they hold the time); None: it allows all."""
    lines = [line.rstrip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    return bounded(tool, lines) if any(map(_says_something, lines)) else None


def _says_something(line: str) -> bool:
    """Tell whether a line is a rule, a chain of the operator's own, or a policy that drops."""
    words = line.split()
    return line.startswith("-") or (line.startswith(":") and words[1:2] != ["ACCEPT"])


def listed(text: str) -> Optional[RulesFact]:
    """Read the JSON of `nft -j list ruleset`; None: it allows all. One object goes on each line.

    What is left out for its length is left out object by object: the text stays JSON.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise errors.PlaceError("nft -j list ruleset: it printed no JSON; update nft") from None
    objects = found.get("nftables") if isinstance(found, dict) else None
    rows = [row for row in objects if isinstance(row, dict)] if isinstance(objects, list) else []
    if not any(map(_does_something, rows)):
        return None
    fact = bounded(NFT, (json.dumps(row, separators=(",", ":")) for row in rows))
    text = ",\n".join(fact.text.split("\n"))
    return RulesFact(NFT, f'{{"nftables":[\n{text}\n]}}', fact.cut)


def _does_something(row: dict[str, Any]) -> bool:
    chain = row.get("chain")
    drops = isinstance(chain, dict) and chain.get("policy", "accept") != "accept"
    return "rule" in row or drops


def rules() -> tuple[tuple[RulesFact, ...], dict[str, str]]:
    """Return the firewalls that do something, and by tool why one could not be looked at."""
    found: list[RulesFact] = []
    cannot: dict[str, errors.OnearmError] = {}
    for tool, read in READERS.items():
        try:
            fact = read()
        except errors.OnearmError as error:
            cannot[tool] = error
            continue
        found += [fact] if fact else []
    opaque = any(fact.tool == NFT and (OPAQUE in fact.text or fact.cut) for fact in found)
    missing = isinstance(cannot.get(IPTABLES_NFT), errors.Missing)
    if missing and NFT not in cannot and not opaque:
        del cannot[IPTABLES_NFT]  # nft has said it all
    return tuple(found), {tool: str(error) for tool, error in cannot.items()}


def _legacy() -> Optional[RulesFact]:
    return saved(LEGACY, tools.run([_saver(LEGACY)])) if has_legacy() else None


def _nft() -> Optional[RulesFact]:
    return listed(tools.run([NFT, "-j", "list", "ruleset"])) if has_nft() else None


def _iptables_nft() -> Optional[RulesFact]:
    return saved(IPTABLES_NFT, tools.run([_saver(IPTABLES_NFT)])) if has_nft() else None


def _arp() -> Optional[RulesFact]:
    """Read the rules for ARP of arptables; those of nft are in its own list."""
    rules = [
        f"-A {rule.chain} {rule.line}"
        for tool in arp_tables.installed()
        if tool != arp_tables.NFT
        for rule in arp_tables.listing(tool).rules
    ]
    return bounded(ARPTABLES, rules) if rules else None


READERS = {LEGACY: _legacy, NFT: _nft, IPTABLES_NFT: _iptables_nft, ARPTABLES: _arp}


def has_legacy(names: str = TABLES) -> bool:
    """Tell whether this namespace has legacy tables; raises Denied when that may not be read."""
    try:
        return bool(Path(names).read_text(encoding="ascii", errors="replace").split())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise errors.Denied(f"{names}: {error.strerror}; run it through sudo") from error


def has_nft() -> bool:
    """Tell whether this kernel has nf_tables; raises Denied when it may not be asked.

    What is not loaded but could be is not asked, for asking would load it; what is built in shows
    nowhere but in its answer.
    """
    if not tools.module_there("nf_tables"):
        return False
    try:
        with Netlink(NETLINK_NETFILTER) as netlink:
            netlink.request(GET_GENERATION, NFGENMSG.pack(0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise translate(error, "reading the rules of nf_tables") from error
        return False
    return True


def _saver(form: str) -> str:
    """Return the tool that prints this form: its own, or a plain iptables-save that speaks it."""
    named, plain = f"{form}-save", "iptables-save"
    if tools.find(named) or not tools.find(plain):
        return named
    nft = "nf_tables" in tools.attempt([plain, "--version"])[1]
    return plain if nft == (form == IPTABLES_NFT) else named
