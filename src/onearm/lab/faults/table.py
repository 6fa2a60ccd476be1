"""Every fault by its id, and what somebody may have meant by another."""

from __future__ import annotations

import difflib

from onearm.errors import UsageError
from onearm.lab.faults import director, network, real_server
from onearm.lab.faults.fault import Fault

FAULTS: dict[str, Fault] = {
    fault.id: fault for fault in (*director.FAULTS, *real_server.FAULTS, *network.FAULTS)
}


def find(identity: str) -> Fault:
    """Find a fault by its id."""
    if identity in FAULTS:
        return FAULTS[identity]
    by_finding = [fault.id for fault in FAULTS.values() if fault.finding == identity]
    close = by_finding or difflib.get_close_matches(identity[:64], FAULTS, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "see: onearm lab fault list"
    raise UsageError(f"there is no fault named {identity[:64]!r}; {hint}")


def host_of(fault: Fault, host: str | None) -> str:
    """Choose the host that a fault is given to; refuse one that it does not fit."""
    if host is None or host in fault.hosts:
        return host or fault.hosts[0]
    close = difflib.get_close_matches(host[:64], fault.hosts, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    fits = " or ".join(fault.hosts)
    raise UsageError(f"{fault.id} fits {fits}, not {host[:64]!r}{hint}")
