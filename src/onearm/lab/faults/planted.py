"""Faults put into a running lab and taken out again; what is on is kept in the lab itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from onearm.errors import Denied, PlaceError, UsageError
from onearm.lab import client
from onearm.lab.faults.fault import HERE, Fault
from onearm.lab.faults.table import find, host_of
from onearm.lab.topology import HOSTS, SEGMENT

WORDS = Path(__file__).with_name("journal.sh").read_text("utf-8")
SOURCE = Path(__file__).parents[3]
FOLDER = "/run/lab-faults"  # of each host: the journals of what was done to it
STACK = f"{FOLDER}/on"  # of the segment
LACKS = 66  # how a script says that what it would break is not there
VIP, PORT, GATEWAY = "203.0.113.2", "80", "203.0.113.1"
NOBODY = "02:00:00:00:00:fe"
# What was learned while things were different: neighbours, and how large packets may be.
FORGET = "neigh flush all\nroute flush cache\n"


class Planted(NamedTuple):
    """A fault that is on, and the host that it was given to."""

    fault: Fault
    host: str


Stack = tuple[Planted, ...]  # the newest last


def planted(name: str | None) -> Stack:
    """Say which faults are on in a running lab."""
    client.info(name)
    said = _run(name, SEGMENT, f'[ ! -e {STACK} ] || {{ read -r all <{STACK}; echo "$all"; }}')
    return tuple(Planted(find(identity), host) for identity, host in json.loads(said or "[]"))


def add(name: str | None, identity: str, host: str | None = None) -> Planted:
    """Put a fault in; it is noted before, so that it can be taken out whatever happens."""
    fault = find(identity)
    one = Planted(fault, host_of(fault, host))
    with _alone(name):
        stack = planted(name)
        if one in stack:
            raise UsageError(
                f"{identity} is on already on {one.host}; end it with: "
                f"onearm lab fault clear {identity}"
            )
        _note(name, (*stack, one))
        try:
            _plant(name, one)
        except PlaceError:
            _cure(name, one)
            _note(name, stack)
            raise
        _forget(name)
    return one


def clear(name: str | None, identity: str | None = None) -> Stack:
    """Take out one fault, on whatever hosts, or all; return them in the order of their end.

    Each knows what was there when it came, so those that came later are taken out with it and put
    in again.
    """
    wanted = find(identity) if identity else None
    with _alone(name):
        stack = planted(name)
        chosen = [one for one in stack if wanted in (None, one.fault)]
        if not chosen:
            return ()
        first = stack.index(chosen[0])
        later = [one for one in stack[first:] if one not in chosen]
        for index in range(len(stack) - 1, first - 1, -1):
            _cure(name, stack[index])
            _note(name, stack[:index])
        for index, one in enumerate(later, 1):
            _note(name, (*stack[:first], *later[:index]))
            _plant(name, one)
        _forget(name)
    return tuple(reversed(chosen))


@contextlib.contextmanager
def _alone(name: str | None) -> Iterator[None]:
    """Let nobody else change the faults of this lab meanwhile."""
    directory = Path(client.info(name).directory)
    fd = os.open(directory / "faults.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _note(name: str | None, stack: Sequence[Planted]) -> None:
    text = shlex.quote(json.dumps([(one.fault.id, one.host) for one in stack]))
    _run(name, SEGMENT, f"[ -d {FOLDER} ] || mkdir {FOLDER}; echo {text} >{STACK}")


def _plant(name: str | None, one: Planted) -> None:
    for place, script in one.fault.plant:
        where = one.host if place == HERE else place
        code, _, complaint = _call(name, where, f"{_words(one)}{script}\n")
        said = complaint.decode(errors="replace").strip()
        if code == LACKS:
            raise Denied(
                f"{one.fault.id} breaks what {where} does not have: it needs {said}; "
                "first, for instance: onearm apply examples/reference.yaml --yes"
            )
        if code:
            raise PlaceError(f"{where} could not be given the fault {one.fault.id}: {said}")


def _cure(name: str | None, one: Planted) -> None:
    places = [one.host if place == HERE else place for place, _ in one.fault.plant]
    for where in reversed(places):
        _run(name, where, f"{_words(one)}undo\n")


def _words(one: Planted) -> str:
    """Write the words of the scripts, and what they call things."""
    host = HOSTS[one.host]
    own = next(address for address, link in host.addresses if link == "eth0").partition("/")[0]
    key = f"{one.fault.id}@{one.host}"
    values = {
        "VIP": VIP,
        "PORT": PORT,
        "GATEWAY": GATEWAY,
        "OWN": own,
        "OTHER": "203.0.113.5" if one.host == "server-2" else "203.0.113.4",
        "MAC": next(wire.mac for wire in host.wires if wire.link == "eth0"),
        "NOBODY": NOBODY,
        "JOURNAL": f"{FOLDER}/{key}",
        "TABLE": "fault_" + "".join(c if c.isalnum() else "_" for c in key),
        "SOURCE": str(SOURCE),
        "RESPONDER": f"python3 -ISsB {client.START} responder",
    }
    return "".join(f"{k}={shlex.quote(v)}\n" for k, v in values.items()) + WORDS


def _forget(name: str | None) -> None:
    for host in HOSTS:
        if host != SEGMENT:
            client.call(name, host, ["ip", "-batch", "-"], FORGET.encode())


def _call(name: str | None, host: str, script: str) -> tuple[int, bytes, bytes]:
    return client.call(name, host, ["sh", "-es"], script.encode())


def _run(name: str | None, host: str, script: str) -> str:
    code, out, complaint = _call(name, host, script)
    if code:
        said = complaint.decode(errors="replace").strip()
        raise PlaceError(f"{host} could not be put right: {said}")
    return out.decode()
