"""Who enforces what the lab's Neutron says: an emulation in the lab's bridge, or OVN itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from onearm.errors import PlaceError, UsageError
from onearm.lab import enforce, ovn
from onearm.lab.cloud import network, watch
from onearm.lab.cloud.api import Api
from onearm.lab.cloud.ovn import OvnServer
from onearm.lab.cloud.server import Server
from onearm.lab.enforce_stages import Plan
from onearm.lab.enforce_state import MODES, OVN
from onearm.lab.topology import GUARDED

EMULATED, REAL = KINDS = ("emulated", "ovn")
ACTIVE_S, POLL_S = 90.0, 0.1


class Wanted(NamedTuple):
    """How port security is to be enforced."""

    enforce: str = EMULATED
    firewall: str = OVN  # the driver
    compute: str = "apart"  # or together


def wanted(enforce: str, firewall: str | None, compute: str | None) -> Wanted:
    """Fill in what was not said. OVN itself is one driver, on one compute node."""
    placement = "together" if enforce == REAL else "apart"
    asked = Wanted(enforce, firewall or OVN, compute or placement)
    if enforce not in KINDS or asked.firewall not in MODES:
        raise UsageError(f"enforcement is one of {KINDS}, the firewall one of {MODES}")
    if asked.compute not in network.PLACEMENTS:
        raise UsageError(f"compute is one of {network.PLACEMENTS}")
    if enforce == REAL and (asked.firewall, asked.compute) != (OVN, placement):
        raise UsageError(
            "--enforce ovn is OVN itself on one compute node: leave --firewall and --compute out,"
            " or let --enforce emulated stand for another driver or for several nodes"
        )
    return asked


class Enforcer(Protocol):
    """What a keeper needs of either."""

    server: Server

    def prepare(self) -> None:
        """Make the segment ready, before there is a Neutron."""

    def nodes(self, compute: str) -> dict[str, str]:
        """Name the compute node that each host's port is bound to."""

    def begin(self, admin: Api, ended: threading.Event) -> None:
        """Take over the ports, once there are some."""

    def once(self, firewall: str) -> None:
        """Enforce what there is, if it may be something else than before."""


class Emulated:
    """Rules in the lab's bridge, written again whenever Neutron's database has changed."""

    def __init__(self, lab: str, directory: Path) -> None:
        """Nothing is enforced yet."""
        self.lab, self.directory = lab, directory
        self.server = Server(directory)
        self._plan: Plan | None = None

    def prepare(self) -> None:
        """Leave the bridge as it is."""

    def nodes(self, compute: str) -> dict[str, str]:
        """Put hosts on compute nodes that exist by name alone."""
        return network.nodes(compute)

    def begin(self, admin: Api, ended: threading.Event) -> None:
        """Watch the database."""
        del ended
        self._admin = admin
        self._changes = watch.Changes(self.directory / "neutron.sqlite")

    def once(self, firewall: str) -> None:
        """Write what differs; what fails is due again the next time."""
        same = self._plan is not None and self._plan.mode == firewall
        if not self._changes.since() and same:
            return
        try:
            before = self._plan if same else None
            self._plan = enforce.apply(self.lab, firewall, watch.states(self._admin), before)
        except Exception:
            self._changes.forget()
            raise


class RealOvn:
    """OVN in the lab's segment, to which Neutron's own ML2/OVN writes."""

    def __init__(self, lab: str, directory: Path) -> None:
        """The segment is still a bridge."""
        self.lab = lab
        self.server: Server = OvnServer(directory, lab)

    def prepare(self) -> None:
        """Put OVN in the bridge's place."""
        ovn.switch(self.lab)

    def nodes(self, compute: str) -> dict[str, str]:
        """Put all hosts on the one there is."""
        del compute
        return dict.fromkeys(GUARDED, ovn.COMPUTE)

    def begin(self, admin: Api, ended: threading.Event) -> None:
        """Plug the hosts in, and wait until OVN has said to Neutron that every port is up."""
        ovn.plug(self.lab, {host: row["id"] for host, row in _ports(admin).items()})
        until = time.monotonic() + ACTIVE_S
        while {row["status"] for row in _ports(admin).values()} != {"ACTIVE"}:
            if time.monotonic() > until or ended.wait(POLL_S):
                raise PlaceError("OVN never said that the lab's ports are up")

    def once(self, firewall: str) -> None:
        """Leave it to OVN."""


def _ports(admin: Api) -> Mapping[str, dict[str, str]]:
    return {row["name"]: row for row in admin.list("ports") if row["name"] in GUARDED}


ENFORCERS: dict[str, type[Emulated | RealOvn]] = {EMULATED: Emulated, REAL: RealOvn}
