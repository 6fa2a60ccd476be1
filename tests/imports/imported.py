"""Case files and what becomes of them: one folder each, with the spec that is expected."""

import re
from contextlib import contextmanager
from pathlib import Path

from onearm.imports import (
    command,
    files,
    ipvsadm_table,
    keepalived,
    keepalived_blocks,
    keepalived_table,
    ldirectord_table,
    names,
)
from onearm.imports.found import Service
from onearm.imports.keepalived_text import Expander, File
from onearm.imports.settle import settle

CASES = sorted((Path(__file__).parent / "cases").iterdir())
FILES = {
    "keepalived": "keepalived.conf",
    "ldirectord": "ldirectord.cf",
    "ipvsadm": "ipvsadm.rules",
}
TABLES = {
    "keepalived": keepalived_table.SPLIT,
    "ldirectord": ldirectord_table.SPLIT,
    "ipvsadm": ipvsadm_table.SPLIT,
}
DIRECTORS = ("lb-1=203.0.113.3", "lb-1=203.0.113.3,2001:db8:203::3")  # of one family, of both
ROWS = [(tool, row) for tool, rows in TABLES.items() for row in rows]


def tool_of(case):
    return case.name.partition("-")[0]


def text_of(case):
    return (case / FILES[tool_of(case)]).read_text()


def options(case, **more):
    hosts = case / "hosts"
    given = hosts if hosts.exists() else None
    return command.Options(director=director_of(case), names=given, **more)


def director_of(case):
    """Give the director's addresses: IPv6 too where the file speaks it."""
    return DIRECTORS["2001:db8" in text_of(case)]


def own_of(case):
    return command.director_of(director_of(case)).addresses


def found_in(case, text=None):
    """Parse a case, or another text in its place."""
    hosts = case / "hosts"
    known = names.addresses(hosts.read_text()) if hosts.exists() else {}
    path = case / FILES[tool_of(case)]
    source = command.Source(path, text_of(case) if text is None else text, "lb-1", known)
    return settle(command.PARSERS[tool_of(case)](source), own_of(case))


def tree_of(case):
    """Give the statements of a keepalived case."""
    expander = Expander(files.Beside(case).include, "lb-1")
    file = File("", str(case), text_of(case))
    return keepalived_blocks.blocks(expander.file(file), expander.notes)


def of_tree(tree):
    return settle(keepalived.of_tree(tree), command.director_of(DIRECTORS[1]).addresses)


def walk(tree, block="file", path=()):
    """Give every statement, with the block in which it stands and the way there."""
    for number, one in enumerate(tree):
        yield block, one, (*path, number)
        yield from walk(one.body or (), one.word, (*path, number))


def without(tree, path):
    """Give a tree without one statement."""
    at, *rest = path
    if not rest:
        return (*tree[:at], *tree[at + 1 :])
    one = tree[at]._replace(body=without(tree[at].body, rest))
    return (*tree[:at], one, *tree[at + 1 :])


def served(found):
    """Give what a spec says, comments aside."""
    kept = [one for one in found.services if isinstance(one, Service)]
    services = [
        (
            s.vip,
            s.port,
            s.protocol,
            s.keys,
            s.servers,
            s.sorry,
            s.sorry_way,
            s.check and s.check.keys,
        )
        for s in kept
    ]
    return [*services, found.timeouts]


def comments(text):
    """Give all comments of a spec as one line."""
    lines = [line.partition("# ")[2] for line in text.splitlines() if line.lstrip().startswith("#")]
    return re.sub(r"\s+", " ", " ".join(lines))


@contextmanager
def told(sentence):
    """Expect an error of ours with some words in it."""
    import pytest

    from onearm.errors import OnearmError

    with pytest.raises(OnearmError, match=re.escape(sentence)) as caught:
        yield caught
    assert type(caught.value) is not OnearmError
