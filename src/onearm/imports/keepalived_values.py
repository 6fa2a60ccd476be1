"""Values that only keepalived writes so: codes, hexadecimal payloads, patterns, scripts."""

from __future__ import annotations

import re

from onearm.imports import values
from onearm.imports.found import Cannot, Value
from onearm.imports.keepalived_blocks import script_words
from onearm.imports.table import Statement
from onearm.spec_load.fields import HIGHEST_PORT
from onearm.spec_load.kinds import LONGEST_S
from onearm.spec_load.probes import (
    HIGHEST_CODE,
    LONGEST_FILE,
    LONGEST_SEND,
    LOWEST_CODE,
    MOST_WORDS,
    RECORDS,
)

CODE = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?", re.ASCII)
OPTIONS = {"caseless": "i", "dotall": "s", "multiline": "m", "utf": "", "never_utf": "", "ucp": ""}
TIMEOUTS = {"tcp": "tcp", "tcpfin": "tcp_fin", "udp": "udp"}  # and the spec's names
UNTOLD_S = 360  # how long clients stay where persistence_timeout stands alone
HEX = re.compile(r"[0-9A-Fa-fXx ]*", re.ASCII)


def block(statement: Statement) -> Value:
    """Take a block; what is in it is read by the rows of its own."""
    if statement.body is None:
        raise Cannot("its block is missing")
    return statement.word


def sorry(statement: Statement) -> Value:
    """Read an address and, where it is given, a port; 0 is the VIP's."""
    address = values.host_address(statement)
    given = statement.words[1] if len(statement.words) > 1 else "0"
    return address, values.number(given, 0, HIGHEST_PORT)


def persistence(statement: Statement) -> Value:
    """Read seconds; without any they are six minutes."""
    return values.persistence(statement) if statement.words else UNTOLD_S


def timeouts(statement: Statement) -> Value:
    """Read `tcp 7200 tcpfin 120 udp 300`, or a part of it."""
    names, spans = statement.words[::2], statement.words[1::2]
    if not names or len(names) != len(spans) or any(name not in TIMEOUTS for name in names):
        raise Cannot("tcp, tcpfin and udp belong here, each with its seconds")
    return tuple(
        (TIMEOUTS[n], values.number(s, 1, LONGEST_S)) for n, s in zip(names, spans, strict=True)
    )


def numbered_flag(statement: Statement) -> Value:
    """Read flag-1 to flag-3, whose meaning is the scheduler's: settled when that is known."""
    if statement.word == "hashed":
        raise Cannot("a spec has no such flag")
    return statement.word


def url_path(statement: Statement) -> Value:
    return values.path(values.first(statement))


def codes(statement: Statement) -> Value:
    """Read codes and ranges, as a spec writes them."""
    found: list[Value] = []
    for word in statement.words:
        match = CODE.fullmatch(word)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not LOWEST_CODE <= low <= high <= HIGHEST_CODE:
            raise Cannot(f"a spec's codes go from {LOWEST_CODE} to {HIGHEST_CODE}")
        found.append(low if low == high else f"{low}-{high}")
    if not found:
        raise Cannot("nothing stands behind it")
    return found[0] if len(found) == 1 else tuple(dict.fromkeys(found))


def regex(statement: Statement) -> Value:
    words = script_words(statement.rest)
    if len(words) != 1:
        raise Cannot("keepalived itself wants one word or quoted text here, and drops this")
    return values.searched(words[0])


def options(statement: Statement) -> Value:
    """Read the options of a pattern that a spec's patterns have, as their letters."""
    strange = [word for word in statement.words if word not in OPTIONS]
    if strange:
        raise Cannot(f"a spec's patterns have no {', '.join(strange)}")
    return "".join(dict.fromkeys(OPTIONS[word] for word in statement.words))


def record(statement: Statement) -> Value:
    found = values.first(statement).upper()
    if found not in RECORDS:
        raise Cannot(f"a spec knows the records {', '.join(RECORDS)}")
    return found


def query(statement: Statement) -> Value:
    return "." if statement.words[:1] == (".",) else values.domain(statement)


def argv(statement: Statement) -> Value:
    """Read a command, which no shell takes apart."""
    return command(script_words(statement.rest))


def command(words: tuple[str, ...]) -> tuple[str, ...]:
    """Take words for a command as a spec has it."""
    if len(words) == 1:
        words = script_words(words[0], "'")  # a quoted command, split where it is not quoted itself
    if not words or not words[0].startswith("/"):
        raise Cannot("a spec's scripts begin with a whole path")
    if len(words) > MOST_WORDS or any(
        len(word) > LONGEST_FILE or (word and not word.isprintable()) for word in words
    ):
        raise Cannot("words that a spec's scripts cannot have: unprintable or too long")
    return words


def nibbles(statement: Statement) -> list[str]:
    """Read keepalived's free hexadecimal: digits in pairs, a lone one at a blank stands alone."""
    text = " ".join(statement.words)
    if not HEX.fullmatch(text) or not text.strip():
        raise Cannot("no hexadecimal text")
    found = []
    for word in text.split():
        pairs = [word[at : at + 2] for at in range(0, len(word), 2)]
        found += [pair if len(pair) == 2 else f"0{pair}" for pair in pairs]  # noqa: PLR2004
    return found


def payload(statement: Statement) -> Value:
    pairs = nibbles(statement)
    if any("x" in pair.lower() for pair in pairs):
        raise Cannot("no hexadecimal text")
    if len(pairs) > LONGEST_SEND:
        raise Cannot(f"a spec sends up to {LONGEST_SEND} bytes")
    return bytes.fromhex("".join(pairs))


def reply(statement: Statement) -> Value:
    """Turn the bytes that a reply begins with into a pattern; an X is any half of a byte."""
    if not statement.words:
        return "^"
    return values.searched("(?s)^" + "".join(map(_byte, nibbles(statement))), "latin-1")


def _byte(pair: str) -> str:
    high, low = pair[0].lower(), pair[1].lower()
    if (high, low) == ("x", "x"):
        return "."
    if low == "x":
        return rf"[\x{high}0-\x{high}f]"
    if high == "x":
        return "[" + "".join(rf"\x{digit:x}{low}" for digit in range(16)) + "]"
    return rf"\x{high}{low}"
