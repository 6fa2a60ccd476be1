"""Rows of keywords: what each becomes in a spec, or why it does not; and how rows are followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from onearm.imports.found import Cannot, Note, Value, shown

SURPLUS = "{} stands behind what belongs here: the tool itself passes over it"
UNKNOWN = "no keyword that is known here"
SECRET = ("password", "passwd", "secret", "auth_pass", "login")  # their values are not repeated


class Statement(NamedTuple):
    """A keyword with its words, and the block behind it, if any. `rest` is the words as written."""

    at: str
    word: str
    words: tuple[str, ...] = ()
    rest: str = ""
    body: tuple[Statement, ...] | None = None

    @property
    def head(self) -> str:
        """How a comment repeats it, without its block."""
        rest = "..." if self.word in SECRET and self.rest else self.rest
        return shown(f"{self.word} {rest}")

    @property
    def shown(self) -> str:
        """How a comment repeats it whole."""
        inner = "; ".join(one.shown for one in self.body or ())
        return shown(f"{self.head} {{ {inner} }}") if inner else self.head


Reader = Callable[[Statement], Value]


class Row(NamedTuple):
    """One keyword in one block, or in several.

    `to` is the spec's key; `read` gives its value or raises Cannot. Without `read` it becomes a
    comment with the reason `why`; with it, `why` is what the table in the docs adds. A key `to`
    that ends in `[]` may be given often. `differs`: see Note. `most`: how many words belong behind
    the keyword, 0 for any number: what stands behind those, the tools pass over in silence.
    """

    blocks: str
    word: str
    to: str = ""
    why: str = ""
    differs: bool = False
    read: Reader | None = None
    most: int = 1


Table = Mapping[tuple[str, str], Row]


def table(rows: Iterable[Row]) -> Table:
    """Index rows by block and keyword."""
    return {(block, row.word): row for row in rows for block in row.blocks.split()}


@dataclass
class Gathered:
    """What one block says: values by the spec's keys, and the statements that they came from."""

    values: dict[str, Value] = field(default_factory=dict)
    origin: dict[str, Statement] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, statement: Statement, why: str, *, differs: bool = False) -> None:
        """Say what is not carried."""
        self.notes.append(Note(statement.at, statement.shown, why, differs))

    def drop(self, key: str, why: str, *, differs: bool = True) -> None:
        """Give up a value that was read: together with others it does not fit."""
        self.values.pop(key, None)
        self.note(self.origin[key], why, differs=differs)


def gather(rows: Table, block: str, statements: Iterable[Statement]) -> Gathered:
    """Follow the rows of one block; later statements win, as they do in the tools themselves."""
    found = Gathered()
    for statement in statements:
        row = rows.get((block, statement.word))
        if row is None:
            found.note(statement, UNKNOWN, differs=True)
        elif row.read is None:
            found.note(statement, row.why, differs=row.differs)
        else:
            _take(found, row, row.read, statement)
    return found


def _take(found: Gathered, row: Row, read: Reader, statement: Statement) -> None:
    try:
        value = read(statement)
    except Cannot as reason:
        found.note(statement, str(reason), differs=True)
        return
    if row.to.endswith("[]"):
        before = found.values.get(row.to, ())
        value = (*(before if isinstance(before, tuple) else ()), value)
    if row.most and len(statement.words) > row.most:
        found.note(statement, SURPLUS.format(" ".join(statement.words[row.most :])))
    found.values[row.to] = value
    found.origin[row.to] = statement
