"""A finding: one thing wrong or worth knowing, and how severe it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CRITICAL, ERROR, WARNING, NOTE = "critical", "error", "warning", "note"
SEVERITIES = (CRITICAL, ERROR, WARNING, NOTE)
RIGHTS = frozenset({"net.owner"})  # not unsafe, but not ours to do: exit 4 instead of 3


@dataclass(frozen=True)
class Finding:
    """One thing wrong or worth knowing: a stable id, where, what was seen, and the cure.

    A diagnosis adds what was expected, why it matters, and the service or VIP that it is about.
    """

    id: str
    severity: str
    party: str
    observed: str
    cure: str
    expected: str = ""
    cause: str = ""
    about: str = ""

    @property
    def said(self) -> str:
        """What was seen, with the party's name."""
        return self.observed if self.party in self.observed else f"{self.party}: {self.observed}"


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Put the worst first."""
    return sorted(findings, key=lambda found: SEVERITIES.index(found.severity))


def forbidding(findings: Iterable[Finding]) -> list[Finding]:
    """List those that forbid the plan as unsafe."""
    bad = [found for found in findings if found.severity in (CRITICAL, ERROR)]
    return [found for found in bad if found.id not in RIGHTS]


def lacking_rights(findings: Iterable[Finding]) -> list[Finding]:
    """List those that say that this identity may not do what the plan needs."""
    return [f for f in findings if f.id in RIGHTS and f.severity == ERROR]
