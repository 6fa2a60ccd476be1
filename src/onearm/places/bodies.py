"""The netlink bodies of many changes of the IPVS table, as few as there are kinds of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from onearm.kernel.ipvs import Change
from onearm.kernel.ipvs_messages import change_body
from onearm.kernel.ipvs_templates import Template, template
from onearm.model import Destination, Resource

# What a destination's message is made of besides its address: all that the kernel is told.
_SETTINGS = attrgetter(
    *(f.name for f in fields(Destination) if f.compare and f.name not in ("vip", "server"))
)
Wish = tuple[str, Resource]  # add, set or delete


def bodies(wishes: Iterable[Wish], change: Callable[[str, Resource], Change]) -> list[bytes]:
    """Encode each wish; `change` turns one into the kernel's values.

    Destinations that stand one behind the other, belong to one service and have equal settings
    share all bytes but their address.
    """
    made: list[bytes] = []
    vip: Any = None
    known: dict[Any, Template] = {}
    for verb, resource in wishes:
        if not isinstance(resource, Destination):
            made.append(change_body(*change(verb, resource)))
            continue
        if resource.vip is not vip:
            vip, known = resource.vip, {}
        server = resource.server
        key = (verb, type(server), _SETTINGS(resource))
        found = known.get(key)
        if found is None:
            command, service, destination = change(verb, resource)
            if destination is None:
                raise TypeError(f"{resource} is no destination of IPVS")
            found = known[key] = template(command, service, destination)
        made.append(found.head + server.packed + found.tail)
    return made
