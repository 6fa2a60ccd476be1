"""Tags set and taken one by one: a list written whole would lose what others add meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from onearm.places.neutron_api import Api, path

NOT_SO = frozenset({404, 405, 501})  # an API that cannot add several at once


def add(api: Api, kind: str, thing: str, tags: Iterable[str]) -> None:
    """Add tags to a thing; those that stand stay."""
    new = sorted(tags)
    if not new:
        return
    what = f"cannot mark {kind[:-1]} {thing} with tags"
    reply = api.send(what, "POST", path(kind, thing, "tags"), {"tags": new})
    if reply.good:
        return
    if reply.status not in NOT_SO:
        raise api.refusal(what, reply)
    for tag in new:
        reply = api.send(what, "PUT", path(kind, thing, "tags", tag))
        if not reply.good:
            raise api.refusal(what, reply)


def remove(api: Api, kind: str, thing: str, tags: Iterable[str]) -> None:
    """Take tags from a thing, in the order given; those that are gone are gone."""
    for tag in tags:
        what = f"cannot take the mark {tag} from {kind[:-1]} {thing}"
        reply = api.send(what, "DELETE", path(kind, thing, "tags", tag))
        if not reply.good and reply.status != 404:  # noqa: PLR2004 - HTTP's own number
            raise api.refusal(what, reply)
