"""A host as a place: look, observe and apply, with both roles' kinds and one ledger."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Any, Optional

from onearm.errors import Denied, PlaceError
from onearm.kernel.faults import translate
from onearm.kernel.ipvs import Table
from onearm.ledger import Ledger
from onearm.model import (
    Action,
    AnnouncedVip,
    Key,
    Mark,
    Resource,
    Seen,
    State,
    by_kind,
    notes,
    state_key,
)
from onearm.places import boot_files, director, real_server

ROLES: dict[type, Any] = {
    **dict.fromkeys(director.KINDS, director),
    **dict.fromkeys(real_server.KINDS, real_server),
    **dict.fromkeys(boot_files.KINDS, boot_files),
}
MODULES = (director, real_server, boot_files)


Made = tuple[Resource, Optional[Mark], Seen]


@dataclass
class Sight:
    """An observation: all that it was made of, thing by thing and as a whole, and what it gave."""

    made: dict[Key, Made] = field(default_factory=dict)
    wanted: int = 0  # so many are wanted; the rest is only marked
    basis: tuple[list[Any], ...] = ()
    found: dict[Key, Seen] = field(default_factory=dict)

    def same(self, wanted: int, basis: tuple[list[Any], ...]) -> bool:
        """Say whether it would be made of the very same values again."""
        alike = wanted == self.wanted and [*map(len, basis)] == [*map(len, self.basis)]
        return alike and all(all(map(is_, *two)) for two in zip(basis, self.basis))


class HostPlace:
    """The host we run on, for one spec by its name. Whoever applies holds the host's lock."""

    def __init__(
        self,
        name: str,
        ledger: Optional[Ledger] = None,
        *,
        adopt: bool = False,
        unwritten: Optional[Callable[[str], None]] = None,
        table: Optional[Table] = None,
        sight: Optional[Sight] = None,
        files: bool = True,
    ) -> None:
        """Read the ledger: it says what is ours here. With `adopt`, what is kept is marked too.

        With `unwritten`, which is told why, a ledger that cannot be written keeps nothing from
        being set anew that is marked already: weights must follow health on a full disk. `table`
        is the IPVS table as it was read a moment ago, for what is observed now. `sight` is kept
        from one observation to the next, which makes anew only what differs. Without `files`
        those of the boot are nobody's business here: a daemon's unit may not write them.
        """
        self._name, self._adopt, self._unwritten, self._table = name, adopt, unwritten, table
        self._ledger, self._files = ledger or Ledger(), files
        self._sight = sight or Sight()

    def observe(self, wanted: State) -> dict[Key, Seen]:
        """Show what stands under the wanted keys, and what carries our mark.

        A mark whose thing is gone, and which nobody wants, is shown as if the thing stood: so the
        next plan takes the mark down.
        """
        marks, sight = self._ledger.marks, self._sight
        asked = {**wanted, **self._unwanted(wanted)}
        standing = self._read(asked.values())
        basis = ([*asked.values()], [*map(standing.get, asked)], [*map(marks.get, asked)])
        if not sight.same(len(wanted), basis):
            sight.found = self._seen(wanted, asked, basis)
            sight.wanted, sight.basis = len(wanted), basis
        return dict(sight.found)

    def _seen(self, wanted: State, asked: State, basis: tuple[list[Any], ...]) -> dict[Key, Seen]:
        """Make of it what differs from the last sight."""
        found: dict[Key, Seen] = {}
        sight = self._sight.made
        for key, want, resource, mark, made in zip(asked, *basis, map(sight.get, asked)):
            if made and made[0] is resource and made[1] is mark and made[2].resource is want:
                found[key] = made[2]
            elif resource is not None:
                found[key] = _seen(resource, mark, want)
                sight[key] = resource, mark, found[key]
            elif key not in wanted:
                found[key] = _seen(want, mark, want)
        for key in set(sight).difference(found) if len(sight) > len(found) else ():
            del sight[key]
        return found

    def _unwanted(self, wanted: State) -> dict[Key, Resource]:
        """Give what carries our mark and nobody wants any more."""
        marks = self._ledger.marks
        others = set(marks).difference(wanted)
        found = {key: marks[key] for key in marks if key in others} if others else {}
        return {
            key: mark.resource
            for key, mark in found.items()
            if self._name in mark.names and self._minds(mark.resource)
        }

    def _minds(self, resource: Resource) -> bool:
        return self._files or not isinstance(resource, boot_files.KINDS)

    def _read(self, asked: Iterable[Resource]) -> dict[Key, Resource]:
        found: dict[Key, Resource] = {}
        kinds = by_kind(asked)
        for role in MODULES:
            mine = [r for kind in role.KINDS for r in kinds.get(kind, ())]
            if self._table is not None and role is director:
                found.update(director.read(mine, self._table))
            else:
                found.update(role.read(mine))
        return found

    def apply(
        self, batch: Sequence[Action], done: Callable[[Action], None]
    ) -> dict[Action, PlaceError]:
        """Try every action and tell of each that took effect; return the refused.

        Things are marked before they are made and unmarked after they are gone, so that a kill at
        any point leaves either nothing or a mark, which the next run repairs.
        """
        try:
            return self._apply(batch, done)
        except OSError as error:
            raise translate(error, "reading what stands here") from error

    def _apply(
        self, batch: Sequence[Action], done: Callable[[Action], None]
    ) -> dict[Action, PlaceError]:
        unmarked = {
            key for key in (a.state_key for a in batch) if self._name not in self._ledger.names(key)
        }
        refused = self._note([a for a in batch if a.after is not None and not self._only_told(a)])
        shared = [a for a in batch if a.after is None and self._shared(a)]
        left = {*shared, *refused}
        for action, error in self._change([a for a in batch if a not in left] if left else batch):
            if error is None:
                done(action)
            else:
                refused[action] = error
        self._unmark(batch, refused, unmarked)
        for action in shared:
            done(action)
        return refused

    def _note(self, built: Sequence[Action]) -> dict[Action, PlaceError]:
        """Mark what is about to be made; return what may not be made without, if all else may."""
        wanted = [a.after for a in built if a.after is not None]
        try:
            if wanted:
                self._ledger.mark(self._name, wanted, self._was(wanted))
        except Denied as error:
            news = [a for a in built if not self._ledger.holds(self._name, a.resource)]
            if self._unwritten is None or len(news) == len(built):
                raise
            self._unwritten(f"{error}; what is noted there, such as weights, is set all the same")
            return dict.fromkeys(news, error)
        return {}

    def _only_told(self, action: Action) -> bool:
        """Say whether a VIP is merely announced again: one that is nobody's of ours stays so."""
        standing = type(action.after) is AnnouncedVip and action.before == action.after
        return standing and not self._adopt and not self._ledger.names(action.state_key)

    def _shared(self, action: Action) -> bool:
        return bool({*self._ledger.names(action.state_key)} - {self._name})

    @staticmethod
    def _was(built: Iterable[Resource]) -> dict[Key, dict[str, str]]:
        return {
            state_key(r): values for r in built if (values := ROLES[type(r)].was(r)) is not None
        }

    def _change(self, batch: Sequence[Action]) -> Iterable[tuple[Action, Optional[PlaceError]]]:
        marks = self._ledger.marks
        keys = [key for key in (a.state_key for a in batch) if key in marks]
        marked = {key: marks[key].was for key in keys}
        for role in MODULES:
            kinds = tuple(role.KINDS)
            mine = [a for a in batch if isinstance(a.resource, kinds)]
            if mine:
                yield from role.apply(mine, marked)

    def _unmark(
        self, batch: Sequence[Action], refused: dict[Action, PlaceError], unmarked: set[Key]
    ) -> None:
        """Forget what is gone, and what was marked now but is still as it was before."""
        gone = [a.state_key for a in batch if a.after is None and not (refused and a in refused)]
        tried = [a for a in refused if a.after and a.state_key in unmarked]
        if gone or tried:
            standing = self._read([a.resource for a in tried])
            same = [a for a in tried if standing.get(a.state_key) == a.before]
            self._ledger.unmark(self._name, gone + [a.state_key for a in same])

    def note(self, resources: Sequence[Resource]) -> None:
        """Mark what stands and is known to be ours, though no mark says so; raises PlaceError."""
        self._ledger.mark(self._name, resources, self._was(resources))

    def remember_hosts(self, hosts: Iterable[str]) -> None:
        """Keep the names of all hosts of this apply, so that one that leaves is visited again."""
        self._ledger.remember_hosts(self._name, hosts)


def _seen(resource: Resource, mark: Optional[Mark], want: Resource) -> Seen:
    """Show what stands with what only its mark knows. What is as wanted is the wanted value."""
    if mark is None:
        return Seen(resource)
    if mark.resource == resource:
        known = want is mark.resource or (want == resource and notes(want) == notes(mark.resource))
        return Seen(want if known else mark.resource, mark.names, mark.resource)
    noted = {
        name: getattr(mark.resource, name)
        for name, spec in type(resource).__dataclass_fields__.items()
        if not spec.compare or name == "announced"
    }
    return Seen(replace(resource, **noted), mark.names, mark.resource)


def identity() -> dict[str, Any]:
    """Say which machine this is."""
    return {
        "hostname": socket.gethostname(),
        "kernel": os.uname().release,
        "python": "{}.{}.{}".format(*sys.version_info),
        "uid": os.geteuid(),
    }
