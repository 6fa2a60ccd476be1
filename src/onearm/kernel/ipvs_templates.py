"""Changes of many destinations that differ in their address alone, encoded once and filled in."""

from __future__ import annotations

from typing import NamedTuple, Optional

from onearm.kernel.ipvs_layout import Span, spans
from onearm.kernel.ipvs_messages import (
    CMD_DEST,
    DEST_ADDR,
    GENL,
    IpvsDestination,
    IpvsService,
    change_body,
)


class Template(NamedTuple):
    """The bytes before and behind a destination's packed address."""

    head: bytes
    tail: bytes


def template(command: str, service: IpvsService, destination: IpvsDestination) -> Template:
    """Encode one change of a destination, and cut its address out."""
    whole = change_body(command, service, destination)
    outer = _span(whole, GENL.size, len(whole), CMD_DEST)
    address = _span(whole, outer.start, outer.stop, DEST_ADDR)
    width = len(destination.address.packed)
    return Template(whole[: address.start], whole[address.start + width :])


def _span(data: bytes, start: int, stop: int, kind: int) -> Span:
    found: Optional[list[Span]] = spans(data, start, stop)
    for span in found or ():
        if span.kind == kind:
            return span
    raise ValueError(f"a change without the attribute {kind}")
