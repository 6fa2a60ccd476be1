"""A host behind a command prefix: the same verbs, as JSON lines over one node process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onearm import wire
from onearm.entries import MARKED, Entry, Marked, Served, Wanted, parse
from onearm.errors import PlaceError
from onearm.facts import HostFacts, NeighbourFact, joined
from onearm.kernel.frames import Frame
from onearm.model import Action, Address, Key, Resource, Seen, SpecFile, State, Sysctl, state_key
from onearm.places.conversation import Conversation
from onearm.places.look import Question
from onearm.traffic import Attempt, Errand
from onearm.vitals import ConnectionsFact, Vitals, joined_rules

LOCK_WAIT_S = 10.0
GROUPS_LIMIT = 1 << 17  # of one reply about connections, and own addresses; the node keeps half


@dataclass(frozen=True)
class Connections:
    """What stands in a connection table: `read` lines, what was asked for in groups, and how many
    of those found no group any more.
    """

    groups: tuple[ConnectionsFact, ...] = ()
    read: int = 0
    missed: int = 0


class RemotePlace:
    """One host for one spec. The node process starts with the first request."""

    def __init__(self, host: str, prefix: Sequence[str], name: str, deadline_s: float) -> None:
        """Reach `host` by `prefix`; each request ends within `deadline_s` seconds."""
        self.host, self._name, self.adopt = host, name, False
        self._daemon = False  # whether the daemon of this spec runs there, as the last look told
        self._conversation = Conversation(host, prefix, deadline_s)

    def close(self) -> None:
        """End the node process."""
        self._conversation.close()

    def look(self, question: Question) -> HostFacts:
        """Gather the facts of the host."""
        found: dict[str, list[Any]] = {}
        data = self._ask("look", _by_name(found), question=wire.encode(question))
        with self._naming():
            facts: HostFacts = wire.decode(HostFacts, _object(data) | found)
            _check(facts)
        self._daemon = facts.daemon is not None and facts.daemon.name == self._name
        return replace(facts, services=joined(facts.services))

    def vitals(self, vips: Iterable[Address], back: Iterable[tuple[Address, Address]]) -> Vitals:
        """Gather what only a diagnosis asks. `back` are pairs of client and VIP: the ways back.

        `vips` come first where a host has more than it tells.
        """
        rows: dict[str, list[Any]] = {}
        pairs = [[str(client), str(vip)] for client, vip in back]
        data = self._ask("vitals", _by_name(rows), vips=[str(vip) for vip in vips], back=pairs)
        with self._naming():
            sysctls = wire.decode(tuple[Sysctl, ...], rows.pop("sysctls", []))
            found: Vitals = wire.decode(Vitals, _object(data) | rows)
        return replace(
            found,
            sysctls={sysctl.name: sysctl.value for sysctl in sysctls},
            rules=joined_rules(found.rules),
            services=joined(found.services),
        )

    def observe(self, wanted: State) -> dict[Key, Seen]:
        """Show what stands under the wanted keys, and what carries our mark."""
        seen: list[Seen] = []
        self._ask("observe", _collect(tuple[Seen, ...], seen), wanted.values(), **self._ours())
        return {state_key(found.resource): found for found in seen}

    def peek(self, wanted: State) -> dict[Key, Seen]:
        """Show what the kernel has, past the daemon that alone may change it."""
        seen: list[Seen] = []
        asked = {"name": self._name, "peek": True}
        self._ask("observe", _collect(tuple[Seen, ...], seen), wanted.values(), **asked)
        return {state_key(found.resource): found for found in seen}

    def apply(
        self, batch: tuple[Action, ...], done: Callable[[Action], None]
    ) -> dict[Action, PlaceError]:
        """Try every action there; tell of each as soon as it took effect."""
        refused: dict[Action, PlaceError] = {}

        def part(data: Any) -> None:
            said = _object(data)
            if "done" in said:
                finished = _pick(batch, said["done"])
                self._daemon &= not _ends_daemon(finished)
                done(finished)
            else:
                error = wire.decode(dict[str, str], said.get("error"))
                refused[_pick(batch, said.get("refused"))] = PlaceError(error.get("text", ""))

        self._ask("apply", part, batch, adopt=self.adopt, **self._ours())
        return refused

    def _ours(self) -> dict[str, Any]:
        """Say for which spec we ask, and whether we count on its daemon."""
        return {"name": self._name, "daemon": self._daemon}

    def open(self) -> None:
        """Start the node process."""
        self._conversation.open()

    def lock(self) -> None:
        """Hold the host's lock until close; that the daemon of this spec holds it is fine."""
        self._ask("lock", name=self._name, wait_s=LOCK_WAIT_S)

    def remember_hosts(self, hosts: Iterable[str]) -> None:
        """Let the host's ledger keep the names of all hosts of this apply."""
        self._ask("hosts", hosts=sorted(hosts), **self._ours())

    def forget(self, addresses: Iterable[Address]) -> list[NeighbourFact]:
        """Delete learned neighbour entries of these addresses; list those that were there."""
        data = self._ask("forget", addresses=[str(a) for a in addresses])
        with self._naming():
            return list(wire.decode(tuple[NeighbourFact, ...], data))

    def who_has(self, link: str, address: Address, sender: Address, seconds: float) -> list[str]:
        """Ask in ARP for an address; list the MACs that answer."""
        data = self._ask(
            "who_has", link=link, address=str(address), sender=str(sender), seconds=seconds
        )
        with self._naming():
            return list(wire.decode(tuple[str, ...], data))

    def capture(self, name: str, vips: Iterable[Address]) -> None:
        """Record every frame that has to do with the VIPs, until `captured`."""
        self._ask("capture", name=name, vips=[str(vip) for vip in vips])

    def captured(self, name: str, ports: Iterable[int] = ()) -> tuple[list[Frame], int]:
        """End a capture: its frames in order, and how many the kernel had to drop.

        With the client's `ports` of connections to follow, others show their first frame only.
        """
        found: list[Frame] = []
        collect = _collect(tuple[Frame, ...], found)
        data = self._ask("captured", collect, name=name, ports=sorted(ports))
        with self._naming():
            return found, wire.decode(int, _object(data).get("lost"))

    def connect(self, errand: Errand) -> list[Attempt]:
        """Open real connections from there."""
        found: list[Attempt] = []
        self._ask("connect", _collect(tuple[Attempt, ...], found), errand=wire.encode(errand))
        return found

    def daemon(
        self, request: dict[str, Any], part: Callable[[Any], None] | None = None
    ) -> dict[str, Any]:
        """Ask the host's director daemon of our name; raises Missing where none runs."""
        asked = {"do": "daemon", "name": self._name, "request": request}
        data = self._conversation.ask(asked, (), part or _no_part)
        with self._naming():
            return _object(data)

    def connections(
        self, wanted: Wanted, services: Iterable[Served], tell: Callable[[Entry], None]
    ) -> Connections:
        """Read the connection table: `tell` gets each entry that is wanted, as it comes."""
        groups: list[ConnectionsFact] = []
        own: set[Address] = set()
        marked: dict[Address, Served] = {}

        def part(data: Any) -> None:
            said = _object(data)
            if said.keys() - {"own", "marked", "lines", "groups", "read"}:
                raise wire.WireError(f"no part of a connection table: {ascii(data)[:120]}")
            for line in wire.decode(tuple[str, ...], said.get("lines", [])):
                tell(_entry(line, own, marked))
            groups.extend(wire.decode(tuple[ConnectionsFact, ...], said.get("groups", [])))
            own.update(wire.decode(tuple[Address, ...], said.get("own", [])))
            named = wire.decode(tuple[Marked, ...], said.get("marked", []))
            marked.update({one.mark: one.served for one in named})
            if max(len(groups), len(own), len(marked)) > GROUPS_LIMIT:
                raise wire.WireError(f"over {GROUPS_LIMIT} groups of connections came back")

        asked = {"do": "connections", "wanted": wire.encode(wanted)}
        data = self._conversation.stream(asked, services, part)
        with self._naming():
            counted = wire.decode(dict[str, int], data)
            read, missed = counted.get("read", 0), counted.get("missed", 0)
            return Connections(tuple(groups), read, missed)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Let an error in what came back say which host sent it."""
        try:
            yield
        except wire.WireError as error:
            raise PlaceError(f"{self.host}: {error}") from error

    def _ask(
        self,
        verb: str,
        part: Callable[[Any], None] | None = None,
        rows: Iterable[Resource | Action] = (),
        **fields: Any,
    ) -> Any:
        return self._conversation.ask({"do": verb, **fields}, rows, part or _no_part)


def _ends_daemon(action: Action) -> bool:
    return action.after is None and isinstance(action.resource, SpecFile)


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise wire.WireError("the node sent no object where one belongs")
    return data


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise wire.WireError("the node sent no list where one belongs")
    return data


def _pick(batch: Sequence[Action], index: Any) -> Action:
    number: int = wire.decode(int, index)
    if not 0 <= number < len(batch):
        raise wire.WireError(f"the node speaks of action {number}, which nobody sent")
    return batch[number]


def _entry(line: str, own: Container[Address], marked: Mapping[Address, Served]) -> Entry:
    found = parse(line, own)
    if found is None:
        raise wire.WireError(f"{line[:120]!r} is no entry of a connection table")
    served = marked.get(found.vip) if found.protocol == MARKED else None
    if served is None:
        return found
    return replace(found, protocol=served.protocol, vip=served.vip, port=served.port)


def _check(facts: HostFacts) -> None:
    """Refuse what has the right type and cannot be."""
    for fact in facts.addresses:
        if not 0 <= fact.prefix_length <= fact.address.max_prefixlen:
            raise wire.WireError(f"{fact.address} has a prefix length of {fact.prefix_length}")


def _collect(hint: Any, found: list[Any]) -> Callable[[Any], None]:
    return lambda data: found.extend(wire.decode(hint, data))


def _by_name(found: dict[str, list[Any]]) -> Callable[[Any], None]:
    """Collect rows under the name of the field that they belong to."""

    def part(data: Any) -> None:
        for name, rows in _object(data).items():
            found.setdefault(name, []).extend(_list(rows))

    return part


def _no_part(_data: Any) -> None:
    raise wire.WireError("the node sent a part where none belongs; both ends must be one build")
