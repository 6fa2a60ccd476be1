"""The host's marks: what is ours here, for which specs, and what was there before."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from onearm import wire
from onearm.again import Again
from onearm.errors import Denied
from onearm.model import Key, Mark, Resource, notes, state_key

MOST_TEXTS = 1 << 18  # marks whose text is remembered
PATH = Path("/var/lib/onearm/ledger.json")


class Kept(NamedTuple):
    """What a file held when it was read last, and which file that was."""

    which: tuple[int, ...]
    marks: dict[Key, Mark]
    hosts: dict[str, tuple[str, ...]]


_NOTHING = Kept((), {}, {})
# A daemon reads its ledger with every round. Each write makes another file, so that one which is
# the same file, of the same size and times, holds the same. Nobody changes these dictionaries.
_kept: dict[Path, Kept] = {}


class Ledger:
    """Marks in one file, root only, replaced atomically and synced before anything is made.

    A lost file deletes nothing: what it named is then foreign. A file that cannot be read stops
    every change, because guessing here would either delete or leak.
    """

    def __init__(self, path: Path = PATH) -> None:
        """Read the file if it is there."""
        self._path = path
        self.marks: dict[Key, Mark] = {}
        self.hosts: dict[str, tuple[str, ...]] = {}
        self._read()

    def _read(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, encoding="utf-8") as file:
                which = _which(os.fstat(descriptor))
                if _kept.get(self._path, _NOTHING).which == which:
                    self.marks, self.hosts = _kept[self._path].marks, _kept[self._path].hosts
                    return
                text = file.read()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error
        self._parse(text)
        _kept[self._path] = Kept(which, self.marks, self.hosts)

    def _parse(self, text: str) -> None:
        try:
            data = json.loads(text)
            _check_kind(data)
            marks = wire.decode(tuple[Mark, ...], data["marks"])
            self.hosts = wire.decode(dict[str, tuple[str, ...]], data["hosts"])
        except (ValueError, KeyError, TypeError, RecursionError, wire.WireError) as error:
            raise self._unreadable(error) from error
        self.marks = {state_key(mark.resource): mark for mark in marks}

    def _unreadable(self, error: Exception) -> Denied:
        return Denied(
            f"{self._path} cannot be read ({error}), so nothing here is changed: repair it, or move"
            " it away, after which nothing that it named counts as ours"
        )

    def names(self, key: Key) -> tuple[str, ...]:
        """Say which specs want this thing; empty for what is not ours."""
        mark = self.marks.get(key)
        return mark.names if mark else ()

    def holds(self, name: str, resource: Resource) -> bool:
        """Say whether the mark is this spec's alone and lacks only values, such as a weight, which
        the kernel shows itself: a crash loses nothing if it stays as it is.
        """
        mark = self.marks.get(state_key(resource))
        return bool(mark and mark.names == (name,) and _told(mark.resource) == _told(resource))

    def mark(
        self, name: str, resources: Iterable[Resource], was: Mapping[Key, dict[str, str]]
    ) -> None:
        """Mark things before they are made. What was there before is recorded once."""
        marks = dict(self.marks)
        for resource in resources:
            key = state_key(resource)
            old = marks.get(key)
            if old is None:
                marks[key] = Mark(resource, (name,), was.get(key))
            elif name not in old.names or not _same(old.resource, resource):
                marks[key] = Mark(resource, tuple(sorted({*old.names, name})), old.was)
        self._keep(marks, self.hosts)

    def unmark(self, name: str, keys: Iterable[Key]) -> None:
        """Forget things after they are gone, for this spec; others that share them keep them."""
        marks = dict(self.marks)
        for key in keys:
            mark = marks.get(key)
            if mark is None or name not in mark.names:
                continue
            rest = mark.without(name)
            if rest.names:
                marks[key] = rest
            else:
                del marks[key]
        self._keep(marks, self.hosts)

    def remember_hosts(self, name: str, hosts: Iterable[str]) -> None:
        """Keep the host names of the last apply; none of them forgets the spec here."""
        found = tuple(sorted(hosts))
        hosts = {other: kept for other, kept in self.hosts.items() if other != name}
        self._keep(self.marks, {**hosts, name: found} if found else hosts)

    def _keep(self, marks: dict[Key, Mark], hosts: dict[str, tuple[str, ...]]) -> None:
        """Write, then remember: what could not be written counts as never said.

        What is noted already is not written again: a real server that health took out must be able
        to come back on a disk that is full.
        """
        before = self.marks
        alike = len(marks) == len(before) and all(before.get(k) is m for k, m in marks.items())
        if alike and hosts == self.hosts:
            return
        try:
            self._write(marks, hosts)
        except OSError as error:
            raise Denied(
                f"{self._path} cannot be written ({error.strerror or error}), and nothing is"
                " changed here that is not noted there: make room or mend it, and run it again"
            ) from error
        self.marks, self.hosts = marks, hosts

    def _write(self, marks: dict[Key, Mark], hosts: dict[str, tuple[str, ...]]) -> None:
        if not marks and not hosts:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)  # of a run that was killed
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(_lines(marks, hosts))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        _sync_folder(self._path.parent)
        _kept[self._path] = Kept(_which(self._path.lstat()), marks, hosts)


def _which(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _same(one: Resource, other: Resource) -> bool:
    """Say whether two resources are equal in what only the mark knows, too."""
    return one == other and notes(one) == notes(other)


def _lines(marks: Mapping[Key, Mark], hosts: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Write the file, a mark to a line."""
    yield '{"onearm": 1, "kind": "ledger", "marks": [\n'
    yield ",\n".join(map(_text, marks, marks.values()))
    yield f'\n], "hosts": {json.dumps(wire.encode(hosts))}}}\n'


# Each change writes the whole file, of which most is as it was.
_text = Again(wire.text, MOST_TEXTS)


def _told(resource: Resource) -> tuple[Any, ...]:
    """Give what no kernel shows, so that it is lost where it is not noted."""
    return (*notes(resource), getattr(resource, "announced", None))


def _check_kind(data: dict[str, Any]) -> None:
    if data["onearm"] != 1 or data["kind"] != "ledger":
        raise ValueError("it is no ledger of onearm")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
