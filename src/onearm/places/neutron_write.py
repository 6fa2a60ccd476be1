"""Hosts' ports: read, merge, one PUT with the port's revision; what is foreign stays."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence

from onearm.errors import Denied, PlaceError, Unreachable
from onearm.model import Action, GroupMembership, Key
from onearm.places import neutron_port, neutron_tags
from onearm.places.neutron_api import Api, path
from onearm.places.neutron_marks import OURS, tag
from onearm.places.neutron_port import PortState, Target
from onearm.places.neutron_rows import PORT_FIELDS, Groups

TRIES = 8
STALE, GONE, BROKEN = 412, 404, 500
log = logging.getLogger(__name__)


class PortWriter:
    """Brings hosts' ports to what batches say, for one spec by its name."""

    def __init__(self, api: Api, name: str, groups: Groups) -> None:
        """Take the groups as they are now: memberships name them."""
        self._api, self._name, self._groups = api, name, groups

    def change(self, port_id: str, batch: Sequence[Action]) -> dict[Action, PlaceError]:
        """Do all changes of one port in one request; return what was refused."""
        try:
            self._check_groups(batch)
            self._loop(port_id, batch)
        except Unreachable:
            raise
        except PlaceError as error:
            return dict.fromkeys(batch, error)
        except _PortGoneError:
            gone = Denied(
                f"neutron: port {port_id} is not there (HTTP 404); it was removed meanwhile, or"
                " these rights do not show it: run plan again"
            )
            return {action: gone for action in batch if action.after is not None}
        return {}

    def _check_groups(self, batch: Sequence[Action]) -> None:
        for action in batch:
            wanted = action.after
            if isinstance(wanted, GroupMembership) and not self._groups.of(wanted):
                raise Denied(
                    f"neutron: the security group {wanted.group!r} is not there, so port"
                    f" {wanted.port_id} cannot be put into it: run plan again"
                )

    def _loop(self, port_id: str, batch: Sequence[Action]) -> None:
        fresh: frozenset[Key] | None = None
        added: set[str] = set()
        tries = 0
        while tries < TRIES:
            port = self._read(port_id)
            fresh = neutron_port.unmarked(port, batch) if fresh is None else fresh
            goal = self._target(port, batch, fresh)
            missing = {t for t in goal.tags - port.tags if t.startswith(OURS)}
            if missing:  # marked before it is made; the tags move the revision, so read again
                neutron_tags.add(self._api, "ports", port_id, missing)
                added |= missing
                if goal.body:
                    port = self._read(port_id)
                    goal = self._target(port, batch, fresh)
                    if not goal.tags <= port.tags:
                        tries += 1
                        continue
            if not goal.body or self._put(port, goal, added):
                neutron_tags.remove(self._api, "ports", port_id, goal.stale)
                self._say_lost(port_id, goal)
                return
            tries += 1
            time.sleep(random.uniform(0.01, 0.05) * tries)  # noqa: S311 - a pause, no secret
        raise Denied(
            f"neutron: port {port_id} was changed by somebody else each of {TRIES} times that it"
            " was to be written, so nothing was: find out who does it, and try again"
        )

    def _target(self, port: PortState, batch: Sequence[Action], fresh: frozenset[Key]) -> Target:
        return neutron_port.target(
            port, self._name, batch, fresh, self._groups.of, lambda g: bool(self._groups.by_id(g))
        )

    def _read(self, port_id: str) -> PortState:
        what = f"cannot read port {port_id}"
        reply = self._api.call(what, "GET", path("ports", port_id), query={"fields": PORT_FIELDS})
        if reply.status == GONE:
            raise _PortGoneError
        if not reply.good:
            raise self._api.refusal(what, reply)
        return neutron_port.state(self._api.parsed(what, reply)["port"])

    def _put(self, port: PortState, goal: Target, added: set[str]) -> bool:
        """Write a port; False if somebody was quicker."""
        what = f"cannot set {_fields(goal)} of port {port.id}"
        reply = self._api.send(
            what, "PUT", path("ports", port.id), {"port": goal.body}, port.revision
        )
        if reply.good:
            return True
        if reply.status == STALE:
            return False
        if reply.status == GONE:
            raise _PortGoneError
        if reply.status < BROKEN:  # else it may have been done, and only the answer is lost
            self._unmark(port, added)
        raise self._api.refusal(what, reply)

    def _unmark(self, port: PortState, added: set[str]) -> None:
        """Take back the marks of what was refused: the port is as it was before."""
        plain = tag(self._name)
        neutron_tags.remove(
            self._api, "ports", port.id, sorted(added, key=lambda t: (t == plain, t))
        )

    def _say_lost(self, port_id: str, goal: Target) -> None:
        for group in goal.lost:
            log.warning(
                "neutron: port %s: the group %s that it was in before is not there any more,"
                " so it was not put back",
                port_id,
                group,
            )


class _PortGoneError(Exception):
    """The port is not there."""


def _fields(goal: Target) -> str:
    words = {
        "allowed_address_pairs": "the allowed address pairs",
        "security_groups": "the groups",
        "port_security_enabled": "port security",
    }
    return " and ".join(words[field] for field in goal.body)
