"""ARP silences as rules of arptables, in its legacy and its nft-backed form."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Optional

from onearm import errors
from onearm.kernel import tools

LEGACY, NFT, PLAIN = "arptables-legacy", "arptables-nft", "arptables"
# The thread's own, for a trial runs in a namespace of its own.
TABLES = "/proc/thread-self/net/arp_tables_names"
_CHAIN = re.compile(r"Chain (\S+) \((?:policy (\w+)|\d+ references?)")


@dataclass(frozen=True)
class Option:
    """One condition or setting of a rule: `! -s 192.0.2.1` is Option("-s", "192.0.2.1", True)."""

    name: str
    value: str
    negated: bool = False


@dataclass(frozen=True)
class Rule:
    """One rule as `arptables -L -n` prints it."""

    tool: str
    chain: str
    line: str
    options: tuple[Option, ...]

    @property
    def target(self) -> str:
        return next((o.value for o in self.options if o.name == "-j"), "")


@dataclass(frozen=True)
class Listing:
    """All rules of the filter table, and the policies of its own chains."""

    rules: tuple[Rule, ...] = ()
    policies: tuple[tuple[str, str], ...] = ()


def installed() -> list[str]:
    """Return the forms of arptables on this host, the preferred one first."""
    named = [tool for tool in (LEGACY, NFT) if tools.find(tool)]
    return named or [tool for tool in (PLAIN,) if tools.find(tool)]


def options(words: list[str]) -> tuple[Option, ...]:
    """Read `-x value` pairs with an optional `!` before; an odd word stands with no value."""
    found: list[Option] = []
    negated = False
    while words:
        word, words = words[0], words[1:]
        if word == "!":
            negated = True
            continue
        value = words[0] if words and not words[0].startswith("-") and words[0] != "!" else ""
        words = words[1:] if value else words
        found.append(Option(word, value, negated))
        negated = False
    return tuple(found)


def parse(tool: str, text: str) -> Listing:
    """Read the output of `arptables -t filter -L -n`, the same in both forms."""
    chain = ""
    rules: list[Rule] = []
    policies: list[tuple[str, str]] = []
    for line in map(str.strip, text.splitlines()):
        head = _CHAIN.match(line)
        if head:
            chain = head.group(1)
            if head.group(2):
                policies.append((chain, head.group(2)))
        elif line.startswith("-") and chain:
            rules.append(Rule(tool, chain, line, options(line.split())))
    return Listing(tuple(rules), tuple(policies))


def listing(tool: str) -> Listing:
    """Return what stands; never loads a module for it: what is not loaded holds no rules.

    `arptables-legacy-save` is not used: on Debian it shows the rules of another form, as it asks
    whatever /usr/sbin/arptables leads to.
    """
    if not _worth_asking(tool):
        return Listing()
    return parse(tool, tools.run([tool, "-t", "filter", "-L", "-n"]))


def _worth_asking(tool: str) -> bool:
    if tool == NFT or (tool == PLAIN and _plain_is_nft()):
        return tools.module_there("nf_tables")
    try:
        return "filter" in Path(TABLES).read_text(encoding="ascii").split()
    except OSError:
        return False


@functools.cache
def _plain_is_nft() -> bool:
    return "nf_tables" in tools.attempt([PLAIN, "--version"])[1]


def deaf_words(vip: IPv4Address, link: str) -> list[str]:
    """Return the rule that drops every ARP packet that asks for, or is meant for, the VIP."""
    return ["INPUT", "-i", link, "-d", str(vip), "-j", "DROP"]


def mute_words(vip: IPv4Address, link: str, source: IPv4Address) -> list[str]:
    """Return the rule that puts `source` in place of the VIP as the sender of our own requests.

    Never a drop: then a cold neighbour cache could not be filled, and the server would be deaf.
    """
    rewrite = ["-j", "mangle", "--mangle-ip-s", str(source)]
    return ["OUTPUT", "-o", link, "-s", str(vip), *rewrite]


def matching(words: list[str], found: Listing) -> list[Rule]:
    """Return the rules that say exactly this, whatever the order of their options."""
    chain, wanted = words[0], set(options(words[1:]))
    return [
        rule
        for rule in found.rules
        if rule.chain == chain and len(rule.options) == len(wanted) and set(rule.options) == wanted
    ]


def silence_of(rule: Rule) -> Optional[tuple[IPv4Address, str, Optional[IPv4Address]]]:
    """Return (vip, link, source) of a rule of our form: source None makes deaf, else mute."""
    values = {o.name: o.value for o in rule.options if not o.negated}
    side, who = ("-i", "-d") if rule.chain == "INPUT" else ("-o", "-s")
    try:
        vip = IPv4Address(values[who])
        source = IPv4Address(values["--mangle-ip-s"]) if rule.chain == "OUTPUT" else None
        link = values[side]
    except (KeyError, AddressValueError):
        return None
    words = mute_words(vip, link, source) if source else deaf_words(vip, link)
    ours = rule.chain == words[0] and set(rule.options) == set(options(words[1:]))
    return (vip, link, source) if ours and len(rule.options) == len(set(rule.options)) else None


def standing() -> Iterator[tuple[str, tuple[IPv4Address, str, Optional[IPv4Address]]]]:
    """Yield (tool, silence) of every rule of our form, of all forms of the tool, in order."""
    for tool in installed():
        for rule in listing(tool).rules:
            found = silence_of(rule)
            if found:
                yield tool, found


def add(tool: str, vip: IPv4Address, link: str, source: IPv4Address) -> None:
    """Add the missing rules; one of ours with another source goes when the new one stands."""
    found = listing(tool)
    mute, deaf = mute_words(vip, link, source), deaf_words(vip, link)
    for words in (mute, deaf):
        if not matching(words, found):
            tools.run([tool, "-t", "filter", "-A", *words])
    for other in _sources(found, vip, link) - {source}:
        _delete(tool, mute_words(vip, link, other))


def _sources(found: Listing, vip: IPv4Address, link: str) -> set[IPv4Address]:
    ours = filter(None, map(silence_of, found.rules))
    return {s for address, on, s in ours if s is not None and (address, on) == (vip, link)}


def remove(vip: IPv4Address, link: str) -> None:
    """Delete our two rules, one of each, from whichever form of the tool holds them."""
    for tool in installed():
        found = listing(tool)
        for source in _sources(found, vip, link):
            _delete(tool, mute_words(vip, link, source))
        if matching(deaf_words(vip, link), found):
            _delete(tool, deaf_words(vip, link))


def _delete(tool: str, words: list[str]) -> None:
    tools.run([tool, "-t", "filter", "-D", *words])


def trial(tool: str, vip: IPv4Address, link: str, source: IPv4Address) -> str:
    """Add, list and remove a silence here (a namespace apart); return what went wrong."""
    add(tool, vip, link, source)
    stood = [silence_of(rule) for rule in listing(tool).rules]
    if sorted(stood, key=str) != sorted([(vip, link, None), (vip, link, source)], key=str):
        return f"{tool}: the rules do not stand as written"
    _delete(tool, mute_words(vip, link, source))
    _delete(tool, deaf_words(vip, link))
    return f"{tool}: the rules cannot be deleted" if listing(tool).rules else ""


@functools.cache
def chosen() -> tuple[str, str]:
    """Return (tool, "") for the first form that works here, or ("", why none does)."""
    reasons: list[str] = []
    for tool in installed():
        reason = tools.apart(functools.partial(trial, tool, *TRIAL))
        if not reason:
            return tool, ""
        reasons.append(reason)
    return "", "; ".join(
        reasons
    ) or "arptables is not installed here; install it, or use arp: sysctl"


TRIAL = (IPv4Address("192.0.2.1"), "lo", IPv4Address("192.0.2.2"))  # RFC 5737


def working() -> str:
    """Return the form of arptables that works here; Missing says why none does."""
    found, reason = chosen()
    if not found:
        raise errors.Missing(reason)
    return found
