"""Bytes -> YAML nodes that know their line: one small document, or a SpecError."""

from __future__ import annotations

import contextlib
from pathlib import Path

import yaml

from onearm.errors import SpecError

BYTES = 16 * 1024 * 1024  # a thousand services with a hundred real servers each take 2 MiB
DEPTH = 32  # the deepest spec is 6 deep; libyaml's compose recurses on the C stack
NODES = 2_000_000  # counted with every alias written out

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Implicit = tuple[bool, bool] | bool  # of a scalar: its tag is not written, plain and quoted


class _TooMuch(Exception):  # noqa: N818 - never leaves this module
    """More levels or nodes than one pass may build without being measured first."""


class Counting(Loader):  # type: ignore[misc,valid-type] # which of the two is known when it runs
    """Counts while it composes, and gives each kind of scalar its tag by one look."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.level = self.total = 0
        self.tags: dict[tuple[type[yaml.Node], str | None, Implicit], str] = {}

    def descend_resolver(self, _parent: yaml.Node | None, _index: object) -> None:
        """Go one level down, before libyaml does; onearm has no tags by path."""
        self.level += 1
        self.total += 1
        if self.level > DEPTH or self.total > NODES:
            raise _TooMuch

    def ascend_resolver(self) -> None:
        self.level -= 1

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Implicit) -> str:
        """Give the tag; the same text has the same one."""
        key = (kind, value, implicit)
        tag = self.tags.get(key)
        if tag is None:
            tag = self.tags[key] = str(super().resolve(*key))
        return tag


def read(path: str | Path) -> str:
    """Fetch the text of a file, of UTF-8 and of sane size."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(BYTES + 1)
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError([f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8"]) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SpecError([f"{path}:1: the spec cannot be read: {why}"]) from None


def compose(text: str, source: str) -> yaml.Node:
    """Give the root node of the only document."""
    try:
        if len(text.encode()) > BYTES:
            raise _wrong(source, 1, f"the file is larger than {BYTES >> 20} MiB: no spec is")
        root = _composed(text, source)
    except UnicodeEncodeError:
        raise _wrong(source, 1, "the text is not Unicode: it has half a surrogate pair") from None
    except yaml.MarkedYAMLError as error:
        raise _wrong(source, *_explained(error)) from None
    except yaml.YAMLError as error:  # a character that YAML forbids: only its position is known
        line = text.count("\n", 0, getattr(error, "position", 0) or 0) + 1
        raise _wrong(source, line, f"not YAML: {str(error).splitlines()[0]}") from None
    if root is None:
        raise _wrong(source, 1, "the spec is empty: it needs directors, real_servers and services")
    return root


def _composed(text: str, source: str) -> yaml.Node | None:
    """Count on the way where nothing can be written out twice; else, and if in doubt, before."""
    with contextlib.suppress(_TooMuch):
        if "*" not in text:
            return yaml.compose(text, Loader=Counting)
    _measure(text, source)
    return yaml.compose(text, Loader=Loader)


def without(text: str, key: str) -> str:
    """Write a document anew without one key of its top level; comments are lost."""
    root = compose(text, "the spec")
    if isinstance(root, yaml.MappingNode):
        root.value = [(name, value) for name, value in root.value if name.value != key]
    return str(yaml.serialize(root, allow_unicode=True))


def _wrong(source: str, line: int, text: str) -> SpecError:
    return SpecError([f"{source}:{line}: {text}"])


def _explained(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    mark = error.problem_mark or error.context_mark
    line = 1 if mark is None else mark.line + 1
    if "expected a single document" in str(error.context):
        return line, "a second document starts here: a spec is one document, without ---"
    return line, f"not YAML: {', '.join(filter(None, (error.context, error.problem)))}"


def _measure(text: str, source: str) -> None:
    """Refuse what is too deep or too large before anything is built from it."""
    sizes: dict[str, int] = {}  # nodes under each finished anchor
    within: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            if anchor:
                sizes[anchor] = total - before
            continue
        if isinstance(event, yaml.CollectionStartEvent):
            within.append((event.anchor, total))
        elif isinstance(event, yaml.ScalarEvent) and event.anchor:
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise _wrong(source, line, f"*{event.anchor} has no finished &{event.anchor} above")
            total += sizes[event.anchor]
        total += 1
        if len(within) > DEPTH:
            raise _wrong(source, line, f"more than {DEPTH} levels deep: a spec needs 6")
        if total > NODES:
            raise _wrong(source, line, f"more than {NODES:,} values, aliases counted each time")
