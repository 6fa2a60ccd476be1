"""`onearm import`: read, settle, write; and say in one sentence what did not come along."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from onearm.errors import Differs, UsageError
from onearm.imports import files, ipvsadm, keepalived, ldirectord, names, values, write
from onearm.imports.found import Cannot, Found, Service, notes_of, shown
from onearm.imports.keepalived_text import File
from onearm.imports.settle import hosts_of, settle
from onearm.spec import NAME

NAMED = 3  # of what was not carried in the sentence; the comments have them all


@dataclass(frozen=True)
class Options:
    """What the command line says beside the file."""

    output: Path | None = None
    director: str | None = None
    names: Path | None = None
    identity: str | None = None


@dataclass(frozen=True)
class Source:
    """A file to be imported, and what names mean in it."""

    path: Path
    text: str
    identity: str = ""
    addresses: names.Addresses = field(default_factory=dict)


def _keepalived(source: Source) -> Found:
    home = source.path.resolve().parent
    file = File("", str(home), source.text)
    return keepalived.parse(file, files.Beside(home).include, source.identity)


PARSERS: dict[str, Callable[[Source], Found]] = {
    "ipvsadm": lambda source: ipvsadm.parse(source.text),
    "keepalived": _keepalived,
    "ldirectord": lambda source: ldirectord.parse(source.text, source.addresses),
}


def import_command(tool: str, path: Path, options: Options) -> int:
    """Write the spec that says what a file of `tool` says; Differs where something is missing."""
    director = director_of(options.director)
    hosts = files.read(options.names) if options.names else ""
    identity = options.identity or director.name.partition(".")[0]
    source = Source(path, files.read(path), identity, names.addresses(hosts))
    found = settle(PARSERS[tool](source), director.addresses)
    if not found.services:
        raise UsageError(f"{path}: {tool} has no virtual service there: name its own file")
    known = names.named(hosts_of(found.services), names.hosts(hosts), director.name)
    _written(write.text(found, shown(path.name), director, known), options.output)
    told(found, path, options.output, director)
    return 0


def director_of(given: str | None) -> write.Director:
    """Read NAME=ADDRESS; without it the name is this host's, and the address to be filled in."""
    if given is None:
        name = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("._-")[:63]
        return write.Director(name or "director")
    name, equals, text = given.partition("=")
    try:
        own = tuple(values.address(word) for word in text.split(",")) if equals else ()
    except Cannot as reason:
        raise UsageError(f"--director {shown(given)}: {reason}") from None
    families = [address.version for address in own]
    if not NAME.fullmatch(name) or not equals or len(set(families)) < len(families):
        raise UsageError(
            f"--director {shown(given)}: write it like server-1=203.0.113.3, or with an address of"
            " each family like server-1=203.0.113.3,2001:db8:203::3"
        )
    return write.Director(name, own)


def _written(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"cannot write {output}: {why}; name a new file with -o") from None


def told(found: Found, path: Path, output: Path | None, director: write.Director) -> None:
    """Say what is left to do; what changes who is served is the command's failure."""
    where = str(output) if output else "the spec"
    if not all(director.needed(found.services).values()):
        sentence = f"{where}: write the director's own address where {write.FILL_IN} stands"
        sys.stderr.write(f"{sentence} (--director NAME=ADDRESS does)\n")
    missing = [note for note in notes_of(found) if note.differs]
    if not missing:
        return
    lost = sum(not isinstance(service, Service) for service in found.services)
    gone = f"{lost} of {len(found.services)} services are missing; " if lost else ""
    count = "1 thing is" if len(missing) == 1 else f"{len(missing)} things are"
    first = "; ".join(str(note) for note in missing[:NAMED])
    more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    raise Differs(
        f"{where} does not serve as {shown(str(path))} does: {gone}{count} not carried:"
        f" {first}{more}; read the comments there, and decide about each"
    )
