"""The netlink bodies of many changes of the IPVS table, encoded as often as there are kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from onearm.kernel.ipvs import Change
from onearm.kernel.ipvs_messages import change_body
from onearm.kernel.ipvs_templates import Template, template
from onearm.model import Destination, Resource, Service

Wish = tuple[int, str, Resource]  # the asker's number; add, set or delete; what


def _settings(kind: type[Destination | Service]) -> Callable[[Any], Any]:
    """Give what reads all that the kernel is told of a thing, but its addresses."""
    told = (f.name for f in fields(kind) if f.compare and f.name not in ("vip", "server"))
    return attrgetter(*told)


_OF_SERVICE, _OF_DESTINATION = _settings(Service), _settings(Destination)


def bodies(wishes: Iterable[Wish], change: Callable[[str, Resource], Change]) -> list[bytes]:
    """Encode each wish; `change` turns one into the kernel's values.

    What has equal settings, and addresses of the same families, shares all other bytes.
    """
    made: list[bytes] = []
    known: dict[Any, Template] = {}
    key: Any
    for _, verb, resource in wishes:
        vip = getattr(resource, "vip", None)
        if getattr(resource, "mark", 0):  # a group's body holds no VIP, and there are few
            made.append(change_body(*change(verb, resource)))
        elif isinstance(resource, Destination) and vip is not None:
            server = resource.server
            key = (verb, type(vip), type(server), _OF_DESTINATION(resource))
            found = known.get(key)
            if found is None:
                found = known[key] = template(*change(verb, resource))
            head, between, tail = found
            made.append(head + vip.packed + between + server.packed + tail)
        elif isinstance(resource, Service) and vip is not None:
            key = (verb, type(vip), _OF_SERVICE(resource))
            found = known.get(key)
            if found is None:
                found = known[key] = template(*change(verb, resource))
            head, tail = found
            made.append(head + vip.packed + tail)
        else:
            made.append(change_body(*change(verb, resource)))
    return made
