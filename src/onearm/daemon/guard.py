"""Who else claims a VIP: what was heard, for how long it counts, whom it isolates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from onearm.facts import HostFacts
from onearm.model import IPV4, IPV6, Address
from onearm.snapshot import ISOLATED, Claimant
from onearm.spec import Spec, names_of

TALK = {IPV4: "ARP", IPV6: "neighbour solicitations"}
FRESH = timedelta(seconds=5)  # asked twice a second, one that falls silent has stopped
MOST = 64  # MACs per VIP: more are a storm, not a list


@dataclass
class Guard:
    """The claimants of each VIP by MAC."""

    claimants: dict[Address, dict[str, Claimant]] = field(default_factory=dict)

    def heard(self, vip: Address, mac: str, facts: HostFacts, spec: Spec, now: datetime) -> str:
        """Note a claim; return a sentence when it is news."""
        known = self.claimants.setdefault(vip, {})
        if mac in known:
            known[mac] = replace(known[mac], last_seen=now.isoformat())
            return ""
        if len(known) >= MOST:
            return ""
        host = host_of(mac, facts, spec)
        known[mac] = Claimant(mac, host, now.isoformat(), now.isoformat())
        who = f"{host} ({mac})" if host else mac
        return (
            f"{who} answers {TALK[vip.version]} for the VIP {vip} too: clients may reach it past"
            " this director; silence it there (onearm doctor names how it slipped)"
        )

    def forget(self, now: datetime) -> bool:
        """Drop those that were not heard lately; say whether there were any."""
        old = [
            (known, mac)
            for known in self.claimants.values()
            for mac, claimant in known.items()
            if now - datetime.fromisoformat(claimant.last_seen) > FRESH
        ]
        for known, mac in old:
            del known[mac]
        return bool(old)

    def isolated(self, spec: Spec, now: datetime) -> dict[str, str]:
        """Name the real servers that answer for a VIP, each with the reason."""
        self.forget(now)
        servers = {host.name for host in spec.real_servers}
        return {
            claimant.host: f"{ISOLATED}: it answers {TALK[vip.version]} for the VIP {vip}"
            for vip, known in self.claimants.items()
            for claimant in known.values()
            if claimant.host in servers
        }


def host_of(mac: str, facts: HostFacts, spec: Spec) -> str:
    """Name the host of a MAC by the neighbours that the kernel knows; empty when none fits."""
    names = names_of((*spec.real_servers, *spec.directors))
    for entry in facts.neighbours:
        if entry.mac.lower() == mac and entry.address in names:
            return names[entry.address]
    return ""
