"""Changes that differ in their addresses alone, encoded once and filled in."""

from __future__ import annotations

from typing import Optional

from onearm.kernel.ipvs_alike import Span, spans
from onearm.kernel.ipvs_messages import (
    CMD_DEST,
    CMD_SERVICE,
    DEST_ADDR,
    GENL,
    SVC_ADDR,
    IpvsDestination,
    IpvsService,
    change_body,
)

Template = tuple[bytes, ...]  # the bytes before, between and behind the packed addresses


def template(
    command: str, service: IpvsService, destination: Optional[IpvsDestination]
) -> Template:
    """Encode one change, and cut out the address of its service and of its destination."""
    whole = change_body(command, service, destination)
    if service.address is None:
        raise ValueError("a service by mark has no address that could be filled in")
    cuts = [_cut(whole, CMD_SERVICE, SVC_ADDR, len(service.address.packed))]
    if destination is not None:
        cuts.append(_cut(whole, CMD_DEST, DEST_ADDR, len(destination.address.packed)))
    starts = [0, *(stop for _, stop in cuts)]
    stops = [*(start for start, _ in cuts), len(whole)]
    return tuple(whole[start:stop] for start, stop in zip(starts, stops))


def _cut(whole: bytes, outer: int, inner: int, width: int) -> tuple[int, int]:
    around = _span(whole, GENL.size, len(whole), outer)
    address = _span(whole, around.start, around.stop, inner)
    return address.start, address.start + width


def _span(data: bytes, start: int, stop: int, kind: int) -> Span:
    for span in spans(data, start, stop) or ():
        if span.kind == kind:
            return span
    raise ValueError(f"a change without the attribute {kind}")
