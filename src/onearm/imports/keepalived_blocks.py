"""Plain lines of keepalived's language -> statements and blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from onearm.errors import UsageError
from onearm.imports.found import Note
from onearm.imports.keepalived_text import Line
from onearm.imports.table import Statement

DEEPEST = 16
PIECE = re.compile(r'"[^"]*"?|\$\{[^}{$]{0,64}\}|[{}]|(?:(?!\$\{)[^"{}])+|\$')
WORD = re.compile(r'"([^"]*)"?|([^\s"]+)')
ESCAPE = re.compile(r"x[0-9A-Fa-f]{1,8}|[0-7]{1,3}|c.|.", re.DOTALL)
ESCAPES = {"a": "\a", "b": "\b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def pieces(lines: Iterable[Line]) -> Iterator[Line]:
    """Split lines at braces that are not in quotes."""
    for at, text in lines:
        said = ""
        for piece in PIECE.findall(text):
            if piece in ("{", "}"):
                yield Line(at, said.strip())
                yield Line(at, piece)
                said = ""
            else:
                said += piece
        yield Line(at, said.strip())


@dataclass
class _Open:
    """A block that is being read."""

    head: Line
    inner: list[Statement] = field(default_factory=list)


def blocks(lines: Iterable[Line], notes: list[Note]) -> tuple[Statement, ...]:
    """Build the tree; what is not balanced is noted."""
    stack = [_Open(Line("", ""))]
    last: Line | None = None
    for piece in pieces(lines):
        if piece.text == "{":
            stack.append(_Open(last or Line(piece.at, "")))
            last = None
            if len(stack) > DEEPEST:
                raise UsageError(f"{piece.at}: more than {DEEPEST} blocks in each other")
            continue
        if not piece.text:
            continue
        if last:
            stack[-1].inner.append(statement(last))
        last = None if piece.text == "}" else piece
        if piece.text == "}" and len(stack) > 1:
            _close(stack)
        elif piece.text == "}":
            notes.append(Note(piece.at, "}", "closes no block", differs=True))
    if last:
        stack[-1].inner.append(statement(last))
    while len(stack) > 1:
        head = stack[-1].head
        notes.append(Note(head.at, head.text, "its block has no end", differs=True))
        _close(stack)
    return tuple(stack[0].inner)


def _close(stack: list[_Open]) -> None:
    done = stack.pop()
    stack[-1].inner.append(statement(done.head, tuple(done.inner)))


def statement(line: Line, body: tuple[Statement, ...] | None = None) -> Statement:
    """Take a line apart."""
    word, *words = [quoted or plain for quoted, plain in WORD.findall(line.text)] or [""]
    rest = line.text[len(line.text.split(maxsplit=1)[0]) :].strip() if line.text.strip() else ""
    return Statement(line.at, word, tuple(words), rest, body)


def script_words(text: str, quotes: str = "\"'") -> tuple[str, ...]:
    """Take apart what keepalived reads with quotes and escapes, such as scripts and patterns."""
    words: list[str] = []
    quote, begun, at = "", False, 0
    while at < len(text):
        char = text[at]
        at += 1
        if char in " \t" and not quote:
            begun = False
            continue
        if not begun:
            words.append("")
            begun = True
        if char == quote or (not quote and char in quotes):
            quote = "" if quote else char
        elif char == "\\" and (escape := ESCAPE.match(text, at)):
            words[-1] += _escaped(escape[0])
            at = escape.end()
        else:
            words[-1] += char
    return tuple(words)


def _escaped(escape: str) -> str:
    if escape[0] == "x" and len(escape) > 1:
        return chr(int(escape[1:][-2:], 16))
    if escape[0] in "01234567":
        return chr(int(escape, 8) & 0xFF)
    if escape[0] == "c" and len(escape) > 1:
        return chr(ord(escape[1]) & 0x1F)
    return ESCAPES.get(escape, escape)


def written(inner: Iterable[Statement], indent: str = "") -> Iterator[str]:
    """Write statements as they stood, a line each, for comments."""
    for one in inner:
        yield f"{indent}{one.head}{' {' if one.body is not None else ''}"
        if one.body is not None:
            yield from written(one.body, indent + "  ")
            yield indent + "}"
