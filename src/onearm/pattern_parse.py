"""The text of a regular expression -> a small program of sets, splits and assertions."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

LONGEST = 500  # characters of a pattern
INSTRUCTIONS_MOST = 1000
DEEPEST = 20  # groups in groups

SET, SPLIT, MATCH, HOLD = range(4)
ASSERT = {name: number for number, name in enumerate("AZ^$bB")}

Instruction = tuple[int, int, int]
Node: TypeAlias = tuple[Any, ...]  # a name, and what belongs to it: see _Emitter.emit

ALL = (1 << 256) - 1


class Flaw(ValueError):  # noqa: N818 - a sentence on its way to the complaints
    """What is wrong with a pattern, in words."""


def _mask(members: bytes) -> int:
    return sum(1 << byte for byte in set(members))


_DIGITS = _mask(b"0123456789")
_SPACES = _mask(b" \t\n\r\f\v")
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_WORD = _mask(_LETTERS + _LETTERS.upper() + b"_") | _DIGITS
_NEWLINE = _mask(b"\n")
CLASSES = {"d": _DIGITS, "s": _SPACES, "w": _WORD}
CLASSES |= {name.upper(): ALL & ~mask for name, mask in CLASSES.items()}
CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}

_FLAGS = re.compile(r"\(\?([a-zA-Z]+)\)")
_COUNTS = re.compile(r"\{([0-9]{1,4})?(,)?([0-9]{1,4})?\}")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})")


def program(text: str, encoding: str) -> tuple[Instruction, ...]:
    """Compile a pattern; raise Flaw with a sentence."""
    if len(text) > LONGEST:
        raise Flaw(f"longer than {LONGEST} characters")
    code = _Emitter()
    code.emit(_Parser(text, encoding).whole())
    return (*code.made, (MATCH, 0, 0))


class _Parser:
    """Reads a pattern from left to right."""

    def __init__(self, text: str, encoding: str) -> None:
        flags = _FLAGS.match(text)
        self.flags = set(flags[1]) if flags else set()
        if self.flags - set("ism"):
            raise Flaw(f"flags {flags[0] if flags else ''}: only i, s and m are known")
        self.text = text[flags.end() :] if flags else text
        self.encoding = encoding
        self.at = 0
        self.depth = 0

    def whole(self) -> Node:
        found = self.alternatives()
        if self.at < len(self.text):
            raise Flaw("a ) without its (")
        return found

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        found = self.peek()
        self.at += 1
        return found

    def alternatives(self) -> Node:
        branches = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            branches.append(self.sequence())
        return ("alt", branches) if len(branches) > 1 else branches[0]

    def sequence(self) -> Node:
        parts = []
        while self.peek() not in {"", "|", ")"}:
            parts.append(self.repeated(self.atom()))
        return ("cat", parts)

    def repeated(self, node: Node) -> Node:
        counts = self.counts()
        if counts is None:
            return node
        if node[0] == "hold":
            raise Flaw("an assertion is repeated")
        if self.peek() == "?":
            self.at += 1  # lazy: whether it matches stays the same
        again = self.at
        if self.peek() == "+" or self.counts() is not None:
            self.at = again
            raise Flaw(f"a repetition is repeated at {self.text[again : again + 10]!r}")
        return ("rep", node, *counts)

    def counts(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if self.peek() in simple:
            return simple[self.take()]
        found = _COUNTS.match(self.text, self.at)
        if found is None or found[0] in {"{}", "{,}"}:
            return None  # a brace for itself, as in re
        self.at = found.end()
        least = int(found[1] or 0)
        most = int(found[3]) if found[3] else None if found[2] else least
        if most is not None and most < least:
            raise Flaw(f"{found[0]} ends before it begins")
        return least, most

    def atom(self) -> Node:
        char = self.take()
        if char == "(":
            return self.group()
        if char == "[":
            return ("set", self.members())
        if char == ".":
            return ("set", ALL if "s" in self.flags else ALL & ~_NEWLINE)
        if char in {"^", "$"}:
            return self.edge(char)
        if char == "\\":
            return self.escaped()
        if char in {"*", "+", "?"}:
            raise Flaw(f"nothing stands before {char} to be repeated")
        return self.literal(char)

    def edge(self, char: str) -> Node:
        if "m" in self.flags:
            return ("hold", ASSERT[char])
        if char == "^":
            return ("hold", ASSERT["A"])
        newline: Node = ("rep", ("set", _NEWLINE), 0, 1)  # a last one may follow, as in re
        return ("cat", [newline, ("hold", ASSERT["Z"])])

    def group(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Flaw(f"more than {DEEPEST} groups in groups")
        if self.peek() == "?":
            if self.text[self.at : self.at + 2] != "?:":
                start = self.text[self.at - 1 : self.at + 2]
                raise Flaw(f"{start}...) is not supported: no look-around, no named groups")
            self.at += 2
        found = self.alternatives()
        if self.take() != ")":
            raise Flaw("a ( without its )")
        self.depth -= 1
        return found

    def escaped(self) -> Node:
        char = self.peek()
        if char in CLASSES:
            self.at += 1
            return ("set", CLASSES[char])
        if char in {"b", "B", "A", "Z"}:
            self.at += 1
            return ("hold", ASSERT[char])
        found = self.byte_or_literal()
        if "i" in self.flags and found[0] == "set":
            return ("set", _either_case(found[1]))
        return found

    def byte_or_literal(self) -> Node:
        """Read what stands behind a backslash and means one character or byte."""
        found = _HEX.match(self.text, self.at)
        if found:
            self.at = found.end()
            return ("set", 1 << int(found[1], 16))
        char = self.take()
        if char in CONTROLS:
            return self.literal(CONTROLS[char])
        if not char or char.isalnum():
            raise Flaw(f"\\{char} is not supported" if char else "it ends with a backslash")
        return self.literal(char)

    def literal(self, char: str) -> Node:
        both = (char.lower() + char.upper()) if "i" in self.flags and char.isascii() else char
        if len(both) > 1:
            return ("set", _mask(both.encode()))
        try:
            return ("cat", [("set", 1 << byte) for byte in char.encode(self.encoding)])
        except UnicodeEncodeError:
            raise Flaw(f"{char!r} is no single byte: write its bytes as \\xNN") from None

    def members(self) -> int:
        """Read a class behind its [."""
        negated = self.peek() == "^"
        self.at += negated
        found, first = 0, True
        while first or self.peek() != "]":
            if not self.peek():
                raise Flaw("a [ without its ]")
            first = False
            found |= self.member()
        self.at += 1
        if "i" in self.flags:
            found = _either_case(found)
        return ALL & ~found if negated else found

    def member(self) -> int:
        low = self.one()
        if isinstance(low, frozenset):
            return sum(1 << byte for byte in low)
        following = self.text[self.at + 1 : self.at + 2]
        if self.peek() != "-" or following in {"]", ""}:
            return 1 << low
        self.at += 1
        high = self.one()
        if isinstance(high, frozenset) or high < low:
            raise Flaw("a range in [] ends before it begins")
        return sum(1 << byte for byte in range(low, high + 1))

    def one(self) -> int | frozenset[int]:
        """Read one byte of a class, or a class in the class."""
        char = self.take()
        if char == "\\":
            if self.peek() in CLASSES:
                mask = CLASSES[self.take()]
                return frozenset(byte for byte in range(256) if mask >> byte & 1)
            if self.peek() == "b":
                raise Flaw("\\b in [] is not supported: write \\x08")
            node = self.byte_or_literal()
            parts = node[1] if node[0] == "cat" else [node]
        else:
            parts = [("set", 1 << byte) for byte in self.encoded(char)]
        if len(parts) != 1:
            raise Flaw("characters in [] are single bytes: write (?:a|b) for others")
        return int(parts[0][1]).bit_length() - 1

    def encoded(self, char: str) -> bytes:
        try:
            return char.encode(self.encoding)
        except UnicodeEncodeError:
            raise Flaw(f"{char!r} is no single byte: write its bytes as \\xNN") from None


def _either_case(mask: int) -> int:
    for lower, upper in zip(_LETTERS, _LETTERS.upper(), strict=True):
        if mask >> lower & 1 or mask >> upper & 1:
            mask |= 1 << lower | 1 << upper
    return mask


class _Emitter:
    """Lays the program out: a set and an assertion go on behind themselves, a split in two places.

    An unconditional jump is a split whose two places are one.
    """

    def __init__(self) -> None:
        self.made: list[Instruction] = []

    def add(self, kind: int, value: int = 0, other: int = 0) -> int:
        if len(self.made) >= INSTRUCTIONS_MOST:
            raise Flaw(f"more than {INSTRUCTIONS_MOST} steps with its repetitions written out")
        self.made.append((kind, value, other))
        return len(self.made) - 1

    def emit(self, node: Node) -> None:
        kind, value = node[0], node[1]
        if kind == "set":
            self.add(SET, value)
        elif kind == "hold":
            self.add(HOLD, value)
        elif kind == "cat":
            for part in value:
                self.emit(part)
        elif kind == "alt":
            self.choose(value)
        else:
            self.repeat(value, node[2], node[3])

    def choose(self, branches: list[Node]) -> None:
        ends = []
        for branch in branches[:-1]:
            split = self.add(SPLIT)
            self.emit(branch)
            ends.append(self.add(SPLIT))
            self.made[split] = (SPLIT, split + 1, len(self.made))
        self.emit(branches[-1])
        for end in ends:
            self.made[end] = (SPLIT, len(self.made), len(self.made))

    def repeat(self, node: Node, least: int, most: int | None) -> None:
        for _ in range(least):
            self.emit(node)
        if most is None:
            split = self.add(SPLIT)
            self.emit(node)
            self.add(SPLIT, split, split)
            self.made[split] = (SPLIT, split + 1, len(self.made))
            return
        splits = []
        for _ in range(most - least):
            splits.append(self.add(SPLIT))
            self.emit(node)
        for split in splits:
            self.made[split] = (SPLIT, split + 1, len(self.made))
