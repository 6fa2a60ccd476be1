"""keepalived's language -> plain lines: includes, $definitions, @conditions, ~SEQ and ~LST."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from onearm.errors import UsageError
from onearm.imports.found import Note, shown

MOST_LINES = 100_000  # that come out, and that are tried
LONGEST_LINE = 4096
MOST_GROWN = 1 << 20  # characters that the definitions in one line may stand for
DEEPEST = 16  # definitions in definitions, files in files
LONGEST_SEQUENCE = 10_000

DEFINITION = re.compile(r"\$([A-Za-z_]\w*)[ \t]*=[ \t]*(.*)", re.ASCII)
PARAMETER = re.compile(
    r"\$(?:\{([A-Za-z_]\w*)((?: [0-9]{1,9}){0,2})\}|([A-Za-z_]\w*)(?=\s|$))", re.ASCII
)
SEQUENCE = re.compile(r"~SEQ(x?)\(([^)]*)\)[ \t]*(.*)", re.ASCII)
LIST = re.compile(r"~LST\(([^)]*)\)[ \t]*(.*)", re.ASCII)
INCLUDE = re.compile(r"include([rmwba]?)[ \t]+(.*)", re.ASCII)
BRACED = re.compile(r"\{([^}]*)\}|([^,{}]+)")
QUOTED = re.compile(r'"[^"]*"')


class Line(NamedTuple):
    """A line and where it stands."""

    at: str
    text: str


class File(NamedTuple):
    """A file that was read: what comments call it, the folder of its own includes, its text."""

    name: str
    folder: str
    text: str


# (pattern, folder of the including file) -> the files that fit, or a reason why there are none
Include = Callable[[str, str], list[File] | str]


@dataclass
class Expander:
    """One reading of a configuration; `identity` is what @conditions are compared with."""

    include: Include
    identity: str
    notes: list[Note] = field(default_factory=list)
    defined: dict[str, str] = field(default_factory=dict)
    tried: int = 0

    def file(self, file: File, depth: int = 0) -> Iterator[Line]:
        """Give the lines of a file, of what it includes, and of what stands for others."""
        self.bound(Line(file.name, "include"), depth)
        pending: tuple[str, list[str]] | None = None
        for number, raw in enumerate(file.text.split("\n"), 1):
            line = Line(f"{file.name}{':' if file.name else 'line '}{number}", raw)
            if len(raw) > LONGEST_LINE:
                self.bound(line, depth)
            line = Line(line.at, decommented(raw))
            if pending is not None:
                pending = self.go_on(pending, line.text)
            elif line.text:
                pending = self.begins(line)
                if pending is None:
                    yield from self.line(line, file.folder, depth)
        if pending is not None:
            self.defined[pending[0]] = "\n".join(pending[1])

    def bound(self, line: Line, depth: int) -> None:
        """Refuse what never ends."""
        self.tried += 1
        if self.tried > MOST_LINES or depth > DEEPEST or len(line.text) > LONGEST_LINE:
            raise UsageError(
                f"{line.at}: {shown(line.text)} grows to more than {MOST_LINES} lines,"
                f" {LONGEST_LINE} characters or {DEEPEST} levels: write it out, or cut it down"
            )

    def begins(self, line: Line) -> tuple[str, list[str]] | None:
        """Begin a definition of several lines."""
        found = DEFINITION.fullmatch(self.conditional(line, quiet=True))
        if not found or not found[2].endswith("\\"):
            return None
        head = found[2][:-1].strip()
        return found[1], [head] if head else []

    def go_on(self, pending: tuple[str, list[str]], text: str) -> tuple[str, list[str]] | None:
        name, lines = pending
        ends = not text.endswith("\\")
        body = text.removesuffix("\\").strip()
        lines += [body] if body else []
        if ends:
            self.defined[name] = "\n".join(lines)
            return None
        return pending

    def line(self, line: Line, folder: str, depth: int) -> Iterator[Line]:
        """Give what one line stands for."""
        self.bound(line, depth)
        text = self.conditional(line)
        definition = DEFINITION.fullmatch(text)
        sequence, listed = SEQUENCE.fullmatch(text), LIST.fullmatch(text)
        if definition:
            self.defined[definition[1]] = definition[2]
        elif sequence:
            name, values = self.sequence(line, sequence)
            again = Line(line.at, sequence[3])
            yield from self.repeated([{name: value} for value in values], again, folder, depth)
        elif listed:
            again = Line(line.at, listed[2])
            yield from self.repeated(list(lists(listed[1])), again, folder, depth)
        elif included := INCLUDE.fullmatch(text):
            yield from self.included(line, included[2].strip(), folder, depth)
        elif text:
            yield from self.replaced(Line(line.at, text), folder, depth)

    def conditional(self, line: Line, *, quiet: bool = False) -> str:
        """Give what stands behind a @condition that holds, else nothing."""
        text = line.text
        while text.startswith("@"):
            condition, _, rest = text[1:].partition(" ")
            holds = (condition.removeprefix("^") == self.identity) != condition.startswith("^")
            if not holds or not rest.strip():
                if not quiet:
                    why = f"a line for another configuration id than {self.identity} (--config-id)"
                    self.notes.append(Note(line.at, shown(line.text), why))
                return ""
            text = rest.strip()
        return text

    def repeated(
        self, bindings: list[dict[str, str]], line: Line, folder: str, depth: int
    ) -> Iterator[Line]:
        for binding in bindings:
            self.defined |= binding
            yield from self.line(line, folder, depth + 1)

    def sequence(self, line: Line, found: re.Match[str]) -> tuple[str, list[str]]:
        """Read ~SEQ(var, start, step, end)."""
        name, *words = (word.strip() for word in found[2].split(","))
        try:
            numbers = [int(word, 0 if found[1] else 10) for word in words]
            end = numbers[-1]
            start = numbers[0] if len(numbers) > 1 else (1 if end > 0 else -1)
            step = numbers[1] if len(numbers) == 3 else (1 if end >= start else -1)  # noqa: PLR2004
            values = range(start, end + (1 if step > 0 else -1), step)
        except (ValueError, IndexError):
            self.notes.append(Note(line.at, shown(line.text), "no sequence", differs=True))
            return name, []
        if len(values) > LONGEST_SEQUENCE:
            raise UsageError(f"{line.at}: {shown(line.text)}: more than {LONGEST_SEQUENCE} values")
        return name, [f"{value:x}" if found[1] else str(value) for value in values]

    def included(self, line: Line, wanted: str, folder: str, depth: int) -> Iterator[Line]:
        files = self.include(wanted.strip('"'), folder)
        if isinstance(files, str):
            self.notes.append(Note(line.at, shown(line.text), files, differs=True))
            return
        for file in files:
            yield from self.file(file, depth + 1)

    def replaced(self, line: Line, folder: str, depth: int) -> Iterator[Line]:
        """Put values in the place of $NAME and ${NAME}, until nothing changes any more."""
        room = MOST_GROWN

        def value(found: re.Match[str]) -> str:
            nonlocal room
            text = self.value(found, line, folder)
            room -= len(text)
            return text if room > 0 else ""

        text = PARAMETER.sub(value, line.text)
        if text == line.text:
            yield line
            return
        if room <= 0:
            self.bound(line, DEEPEST + 1)
        for part in text.split("\n"):
            if len(part) > LONGEST_LINE:
                self.bound(Line(line.at, part), depth)
            if plain := decommented(part):
                yield from self.line(Line(line.at, plain), folder, depth + 1)

    def value(self, found: re.Match[str], line: Line, folder: str) -> str:
        """Give a parameter's value; one that is not defined stays as it is."""
        name = found[1] or found[3]
        if name in self.defined:
            return self.defined[name]
        if name == "_RANDOM":
            why = "keepalived takes another random number each time: its least one stands here"
            self.notes.append(Note(line.at, shown(line.text), why))
            return found[2].split()[0] if found[2] else "0"
        known = {"_PWD": folder, "_INSTANCE": self.identity, "_HASH": "\\#", "_BANG": "\\!"}
        return known.get(name, found[0])


def lists(text: str) -> Iterator[dict[str, str]]:
    """Read ~LST(var, a, b) and ~LST({x, y}, {1, 2}, {3, 4})."""
    groups = [(a if a or not b else b).strip() for a, b in BRACED.findall(text)]
    tuples = [[word.strip() for word in group.split(",")] for group in groups if group]
    names = tuples[0] if tuples else []
    for values in tuples[1:]:
        yield dict(zip(names, values, strict=False))


def decommented(raw: str) -> str:
    """Strip a comment: # or ! to the end of the line, but for quoted and escaped ones."""
    text, at = raw.strip(), 0
    quoted = False
    while at < len(text):
        char = text[at]
        if char == '"':
            quoted = not quoted
        elif char == "\\" and at + 1 < len(text):
            if not quoted and text[at + 1] in "#!":
                text = text[:at] + text[at + 1 :]
            else:
                at += 1
        elif char in "#!" and not quoted:
            return text[:at].rstrip()
        at += 1
    return text
