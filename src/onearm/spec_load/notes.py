"""Complaints about a spec: each with its line, collected, and the maps they are mostly about."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import yaml

from onearm.errors import SpecError

T = TypeVar("T")
Entries = dict[str, tuple[yaml.Node, yaml.Node]]
Fields = dict[str, yaml.Node]

SUGGESTIONS = 100  # a file with more mistakes than this is wrong in another way
LONGEST_SHOWN = 60
LONGEST_LIST = 16
NO_HINTS: Mapping[str, str] = {}

SECTIONS = {  # the keys that every spec has, and what belongs there
    "directors": "write the director, like {server-1: 203.0.113.3}",
    "real_servers": "write at least one, like {server-2: 203.0.113.4}",
    "services": "write at least one, like [{vip: 203.0.113.2, port: 80/tcp}]; "
    "onearm destroy takes everything down",
}
READS_AS = {
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:merge": "a merge",
}
TEXT = "tag:yaml.org,2002:str"
INTEGER = "tag:yaml.org,2002:int"
BOOLEAN = "tag:yaml.org,2002:bool"
NULL = "tag:yaml.org,2002:null"


class Wrong(ValueError):  # noqa: N818 - a sentence on its way to the complaints
    """A value that cannot be, in words."""


class Complaints:
    """Everything wrong with one file, collected, so that it is repaired in one go."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[tuple[int, str]] = []

    def add(self, node: yaml.Node, text: str) -> None:
        self.found.append((line(node), text))

    def take(self, node: yaml.Node, reader: Callable[[yaml.Node], T]) -> T | None:
        """Read a value; when it is wrong, note the sentence and go on with None."""
        try:
            return reader(node)
        except Wrong as wrong:
            self.add(node, str(wrong))
            return None

    def optional(
        self, given: Fields, key: str, reader: Callable[[yaml.Node], T], default: T
    ) -> T | None:
        """Read the value of a key that may be left out."""
        return self.take(given[key], reader) if key in given else default

    def meant(self, word: str, known: Collection[str]) -> str:
        """Suggest the known word that was probably meant, or name all when they are few."""
        close: list[str] = []
        if len(self.found) < SUGGESTIONS:
            close = difflib.get_close_matches(word[:64], known, n=1)
        if close:
            return f"did you mean '{close[0]}'?"
        return (
            f"known are {', '.join(known)}" if len(known) <= LONGEST_LIST else "nothing is like it"
        )

    def settle(self) -> None:
        """Raise what was found, in the order of the file."""
        if self.found:
            lines = sorted(dict.fromkeys(self.found), key=lambda found: found[0])
            raise SpecError([f"{self.source}:{at}: {text}" for at, text in lines])


def line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def shown(node: yaml.Node) -> str:
    """Show a value as the reader knows it, on one line and not too long."""
    if isinstance(node, yaml.MappingNode):
        return "a map"
    if not isinstance(node, yaml.ScalarNode):
        return "a list"
    if node.tag == NULL:
        return "nothing"
    value = node.value
    if len(value) > LONGEST_SHOWN:
        value = value[:LONGEST_SHOWN] + "..."
    return value if node.tag in READS_AS and value.isprintable() else repr(value)


def text(node: yaml.Node, what: str) -> str:
    """Read text; a plain 5 or `on` reads as something else in YAML and is refused."""
    if not isinstance(node, yaml.ScalarNode) or node.tag == NULL:
        raise Wrong(f"{what} is {shown(node)}: one word belongs here")
    if node.tag != TEXT:
        reads = READS_AS.get(node.tag, node.tag)
        raise Wrong(f"{what} {shown(node)} reads as {reads} in YAML: put it in quotes")
    return str(node.value)


def known(
    notes: Complaints,
    node: yaml.Node,
    what: str,
    allowed: Sequence[str],
    hints: Mapping[str, str] = NO_HINTS,
) -> Fields | None:
    """Give the values of a map whose keys are fixed; None when it is no map.

    `hints` says more than "unknown" of a key that someone may expect there.
    """
    found = entries(notes, node, what)
    if found is None:
        return None
    for key, (key_node, _) in found.items():
        if key in allowed:
            continue
        hint = hints.get(key) or notes.meant(key, allowed)
        notes.add(key_node, f"unknown key {shown(key_node)} in {what}; {hint}")
    return {key: value for key, (_, value) in found.items() if key in allowed}


def entries(notes: Complaints, node: yaml.Node, what: str) -> Entries | None:
    """Give key and value nodes by key, each key once; None when it is no map."""
    if not isinstance(node, yaml.MappingNode):
        notes.add(node, f"{what} is {shown(node)}: a map of `key: value` belongs here")
        return None
    found: Entries = {}
    for key, value in node.value:
        word = notes.take(key, lambda n: text(n, "key"))
        if word is None:
            continue
        if word in found:
            first = line(found[word][0])
            notes.add(key, f"key {shown(key)} stands twice in {what}; first at line {first}")
            continue
        found[word] = (key, value)
    return found
