"""A fault as a value, and the constructors that the tables are written with."""

from __future__ import annotations

from typing import NamedTuple

from onearm.lab.topology import SEGMENT

HERE = ""  # as a place: the host that the fault is given to
DIRECTOR = ("server-1",)
REAL_SERVERS = ("server-2", "server-3")


class Fault(NamedTuple):
    """One way to break the lab.

    `plant` says what is run in which place, with the words of journal.sh: these note by themselves
    how it is taken back. `also`: findings that are as true, behind `finding`, which comes first.
    """

    id: str
    finding: str
    about: str  # for people, one line
    plant: tuple[tuple[str, str], ...]
    hosts: tuple[str, ...]  # that it can be given to, the default first
    also: tuple[str, ...] = ()


def director(identity: str, finding: str, about: str, script: str, *also: str) -> Fault:
    """Make a fault of the director."""
    return Fault(identity, finding, about, ((HERE, script),), DIRECTOR, also)


def real_server(identity: str, finding: str, about: str, script: str, *also: str) -> Fault:
    """Make a fault of one real server."""
    return Fault(identity, finding, about, ((HERE, script),), REAL_SERVERS, also)


def segment(
    identity: str, finding: str, about: str, rule: str, hosts: tuple[str, ...] = REAL_SERVERS
) -> Fault:
    """Make a fault of the segment at the port of a host: frames that it drops."""
    return Fault(identity, finding, about, ((SEGMENT, f'frames "{rule}"'),), hosts)


def elsewhere(
    identity: str, finding: str, about: str, script: str, hosts: tuple[str, ...]
) -> Fault:
    """Make a fault of the router or of another machine in the segment."""
    return Fault(identity, finding, about, ((HERE, script),), hosts)
