"""What people read of a diagnosis, at 80 columns."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from onearm.doctor.observations import Observations
from onearm.doctor.rank import Diagnosis, Named
from onearm.finding import Finding
from onearm.render import SEVERITIES, indented, plural
from onearm.verdicts import PASS

LABELS = (("expected", "expected"), ("cause", "why"), ("cure", "cure"))


def diagnosis(console: Console, o: Observations, found: Diagnosis, *, passive: bool) -> None:
    """Print the findings, the worst first, and what was proved."""
    for one in found.named:
        _named(console, one)
    for line in _summary(o, found, passive=passive):
        indented(console, Text(line), 0)


def _named(console: Console, one: Named) -> None:
    finding = one.finding
    style = SEVERITIES[finding.severity]
    console.print(
        Text.assemble((finding.severity, style), f" {finding.id}  ", (finding.party, "bold"))
    )
    indented(console, Text(finding.observed), 2)
    for field, label in LABELS:
        text = getattr(finding, field)
        if text:
            indented(console, Text.assemble((f"{label}: ", "dim"), text), 4)
    if one.more:
        indented(console, Text(f"the same for {', '.join(one.more)}", "dim"), 4)
    for effect in _distinct(one.because):
        indented(console, Text.assemble(("because of it: ", "dim"), effect), 4)


def _distinct(findings: tuple[Finding, ...]) -> list[str]:
    """Say each consequence once, with its id."""
    return list(dict.fromkeys(f"{f.observed} ({f.id})" for f in findings))


def _summary(o: Observations, found: Diagnosis, *, passive: bool) -> list[str]:
    counted = Counter(f.severity for f in found.findings)
    words = [plural(counted[s], s) for s in SEVERITY_ORDER if counted[s]]
    head = ", ".join(words) if words else "nothing wrong was found"
    return [f"{head}; {_proof(o, found, passive=passive)}"]


SEVERITY_ORDER = ("critical", "error", "warning", "note")


def _proof(o: Observations, found: Diagnosis, *, passive: bool) -> str:
    """Say how far it was proved: no findings is not the same as nothing wrong."""
    if passive:
        return "nothing was sent, so nothing is proved (leave out --passive)"
    if o.evidence is None:
        return "no traffic was tried, so nothing is proved"
    tried = sum(len(trial.attempts) for trial in o.evidence.trials)
    passed = sum(p.status == PASS for p in o.properties)
    text = f"{passed} of {len(o.properties)} properties proved by {plural(tried, 'connection')}"
    return f"{text}; unproved: {', '.join(found.unproved)}" if found.unproved else text
