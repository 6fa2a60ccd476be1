"""Single values of foreign files: a statement goes in, a spec's value or a reason comes out."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address, ip_address

from onearm import pattern
from onearm.imports.found import Cannot, Value, must, shown
from onearm.imports.table import Reader, Statement
from onearm.model import Address
from onearm.spec_load.checks import LONGEST_S as LONGEST_INTERVAL_S
from onearm.spec_load.checks import LONGEST_TIMEOUT_S, MOST_TIMES, SHORTEST_S
from onearm.spec_load.fields import HIGHEST_PORT, HIGHEST_WEIGHT, unusable
from onearm.spec_load.kinds import ENGINES, MOST
from onearm.spec_load.kinds import LONGEST_S as LONGEST_PERSISTENCE_S
from onearm.spec_load.probes import DOMAIN, LONGEST_DOMAIN, LONGEST_PATH, PATH
from onearm.spec_load.services import ONE_PACKET, SCHEDULERS

NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
TRUE = ("on", "true", "yes", "")
FALSE = ("off", "false", "no")


def first(statement: Statement) -> str:
    """Give the first word behind the keyword."""
    if not statement.words:
        raise Cannot("nothing stands behind it")
    return statement.words[0]


def number(text: str, least: int = 0, most: int = 10**9) -> int:
    """Read a whole number."""
    if not NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise Cannot(f"no number from {least} to {most}")
    return int(text)


def counted(least: int, most: int, plus: int = 0) -> Reader:
    """Make a reader of a whole number, which may stand for one more in the spec."""
    return lambda statement: number(first(statement), least, most - plus) + plus


def weight(statement: Statement) -> int:
    return number(first(statement), 0, HIGHEST_WEIGHT)


def port(text: str) -> int:
    return number(text, 1, HIGHEST_PORT)


def one_port(statement: Statement) -> int:
    return port(first(statement))


failures = counted(0, MOST_TIMES, plus=1)  # so many retries are one failure more


def seconds(statement: Statement) -> float:
    """Read seconds with their fraction, as they are."""
    text = first(statement)
    if not SECONDS.fullmatch(text):
        raise Cannot("no number of seconds")
    return float(text)


def interval(statement: Statement) -> float:
    return bounded(seconds(statement), LONGEST_INTERVAL_S)


def timeout(statement: Statement) -> float:
    return bounded(seconds(statement), LONGEST_TIMEOUT_S)


def bounded(found: float, most: float) -> float:
    """Refuse what a spec has no room for."""
    if not SHORTEST_S <= found <= most:
        raise Cannot(f"a spec allows {SHORTEST_S:g} to {most:g} seconds here")
    return round(found, 3)


def flag(statement: Statement) -> int:
    """Read a switch, which may stand alone."""
    text = statement.words[0].lower() if statement.words else ""
    if text in TRUE:
        return 1
    if text in FALSE:
        return 0
    raise Cannot("neither on nor off")


def address(text: str) -> Address:
    """Read the address of a host or a VIP; of IPv6 also in brackets."""
    plain = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        found = ip_address(plain)
    except ValueError:
        raise Cannot(f"{shown(text)} is no address") from None
    if isinstance(found, IPv6Address) and found.scope_id:
        raise Cannot("an address of a spec is not bound to a link")
    for bad, why in unusable(found):
        if bad:
            raise Cannot(f"{text} is {why}, and no host's own")
    return found


def host_address(statement: Statement) -> str:
    return str(address(first(statement)))


def scheduler(statement: Statement) -> str:
    """Read a scheduler that the spec knows."""
    found = first(statement)
    if found not in SCHEDULERS:
        raise Cannot(f"a spec has {', '.join(SCHEDULERS)} only, and without the key wlc")
    return found


def persistence(statement: Statement) -> int:
    return number(first(statement), 1, LONGEST_PERSISTENCE_S)


def netmask(statement: Statement) -> int:
    """Read a mask, or the length of a prefix; the VIP's family bounds it later."""
    text = first(statement)
    masks = {str(IPv4Network((0, length)).netmask): length for length in range(1, 33)}
    return masks[text] if text in masks else number(text, 1, 128)


def engine(statement: Statement) -> str:
    must(first(statement) in ENGINES, f"a spec has the engine {', '.join(ENGINES)} only")
    return first(statement)


def bound(statement: Statement) -> int:
    return number(first(statement), 0, MOST)


def one_packet(_: Statement) -> str:
    return ONE_PACKET


def scheduler_flag(statement: Statement) -> str:
    return statement.word


def protocol(statement: Statement) -> str:
    return first(statement).lower()


def domain(statement: Statement) -> str:
    found = first(statement)
    if not DOMAIN.fullmatch(found) or len(found.rstrip(".")) > LONGEST_DOMAIN:
        raise Cannot("no name that a spec allows here")
    return found


def path(text: str) -> str:
    if not PATH.fullmatch(text) or len(text) > LONGEST_PATH:
        raise Cannot("a path in a spec begins with / and is plain ASCII without spaces")
    return text


def searched(text: str, encoding: str = "utf-8") -> str:
    """Read a pattern, if it is one that a spec can search for."""
    if not text:
        raise Cannot("an empty pattern matches everything")
    try:
        pattern.compiled(text, encoding)
    except pattern.Flaw as flaw:
        raise Cannot(f"a spec's patterns have no such thing ({flaw})") from None
    return text


def pairs(value: Value | None) -> tuple[tuple[str, int], ...]:
    """Give names with whole numbers, as a reader of several left them."""
    given = value if isinstance(value, tuple) else ()
    return tuple((str(one[0]), int(str(one[1]))) for one in given if isinstance(one, tuple))
