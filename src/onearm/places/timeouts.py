"""How long IPVS keeps idle connections: read, set one by one, and put back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from onearm.kernel.faults import translate
from onearm.kernel.ipvs import Ipvs, IpvsTimeouts
from onearm.model import Action, Timeout

NAMES = {"tcp": "tcp_s", "tcp_fin": "tcp_fin_s", "udp": "udp_s"}


def read(wanted: Iterable[Timeout]) -> list[Timeout]:
    """Show those that are asked for."""
    names = [resource.name for resource in wanted]
    if not names:
        return []
    try:
        with Ipvs() as ipvs:
            found = ipvs.timeouts()
    except OSError as error:
        raise translate(error, "reading the timeouts of IPVS") from error
    return [Timeout(name, getattr(found, NAMES[name])) for name in names]


def was(resource: Timeout) -> Optional[dict[str, str]]:
    """Say what is there before we set it."""
    (found,) = read([resource])
    return {"value": str(found.seconds)}


def set_one(action: Action, resource: Timeout, before_us: Optional[dict[str, str]]) -> None:
    """Set it, or put back what was there; OSError when the kernel refuses."""
    seconds = resource.seconds if action.after is not None else 0
    if action.after is None and before_us:
        seconds = int(before_us["value"])
    with Ipvs() as ipvs:
        ipvs.set_timeouts(IpvsTimeouts(**{NAMES[resource.name]: seconds}))
