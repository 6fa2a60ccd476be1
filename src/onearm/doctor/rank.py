"""From clues to ranked findings: the worst and the nearest to the client first, each with those
that it explains folded under it; pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.doctor.table import BY_ID, TABLE, Row
from onearm.finding import SEVERITIES, Finding

PLACE = {row.id: n for n, row in enumerate(TABLE)}
SYMPTOMS = ("hop.", "path.")


@dataclass(frozen=True)
class Named:
    """One finding that stands by itself; `because` is what it explains. The same was found for
    `more`: services, VIPs or real servers.
    """

    finding: Finding
    touches: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()
    because: tuple[Finding, ...] = ()
    fix: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """All findings, ranked, and what could not be judged."""

    named: tuple[Named, ...] = ()
    unproved: tuple[str, ...] = field(default=())

    @property
    def findings(self) -> list[Finding]:
        """Give the findings that stand by themselves, the first one first."""
        return [one.finding for one in self.named]


def diagnose(o: Observations, more: Iterable[Finding] = ()) -> Diagnosis:
    """Try every rule; `more` are findings of other tables, as of the cloud."""
    found = [_named(row, clue) for row in TABLE for clue in row.rule(o)]
    found += [Named(finding) for finding in more]
    roots, folded = _fold(found)
    unproved = tuple(f"{p.id} {p.about}" for p in o.properties if p.status == "unproved")
    return Diagnosis(tuple(_merged(_ranked(roots, folded))), unproved)


def _named(row: Row, clue: Clue) -> Named:
    finding = Finding(
        row.id,
        clue.severity or row.severity,
        clue.party,
        clue.observed,
        clue.cure,
        clue.expected,
        clue.cause,
        clue.about,
    )
    return Named(finding, frozenset(clue.touches), fix=row.fix)


def explains(cause: Named, effect: Named) -> bool:
    """Say whether one finding is a consequence of another: the table says which may be, and both
    must touch the same real server.
    """
    row = BY_ID.get(cause.finding.id)
    if row is None or cause.finding.severity == SEVERITIES[-1]:
        return False
    if not any(fnmatchcase(effect.finding.id, pattern) for pattern in row.explains):
        return False
    if cause.finding.id == effect.finding.id:
        return False
    return not cause.touches or not effect.touches or bool(cause.touches & effect.touches)


def _fold(found: Sequence[Named]) -> tuple[list[Named], dict[int, list[Named]]]:
    """Put each finding that others explain under the first of those that nothing explains."""
    causes = {
        n: [m for m, other in enumerate(found) if m != n and explains(other, one)]
        for n, one in enumerate(found)
    }
    roots = [n for n, above in causes.items() if not above]
    folded: dict[int, list[Named]] = {n: [] for n in roots}
    for n, above in causes.items():
        if above:
            folded[_root(n, causes, roots)].append(found[n])
    return [found[n] for n in roots], {k: folded[n] for k, n in enumerate(roots)}


def _root(n: int, causes: dict[int, list[int]], roots: Sequence[int]) -> int:
    """Follow causes upwards; the table has no circles, so this ends."""
    while causes[n]:
        n = next((m for m in causes[n] if m in roots), causes[n][0])
    return n


def _ranked(roots: Sequence[Named], folded: dict[int, list[Named]]) -> list[Named]:
    made = []
    for n, one in enumerate(roots):
        under = [effect.finding for effect in folded[n]]
        worst = min((f.severity for f in (one.finding, *under)), key=SEVERITIES.index)
        finding = replace(one.finding, severity=worst)
        made.append(replace(one, finding=finding, because=tuple(under)))
    return sorted(made, key=_order)


def _order(one: Named) -> tuple[int, bool, int]:
    found = one.finding
    symptom = found.id.startswith(SYMPTOMS)
    return SEVERITIES.index(found.severity), symptom, PLACE.get(found.id, len(PLACE))


def _merged(ranked: Iterable[Named]) -> list[Named]:
    """Join findings of one party that say the same of several services, VIPs or real servers."""
    kept: dict[tuple[str, ...], Named] = {}
    for one in ranked:
        found = one.finding
        key = (found.id, found.severity, found.party, found.cause)
        first = kept.get(key)
        if first is None:
            kept[key] = one
            continue
        same = found.about == first.finding.about
        label = ", ".join(sorted(one.touches)) if same else found.about
        kept[key] = replace(
            first,
            touches=first.touches | one.touches,
            more=tuple(dict.fromkeys((*first.more, label or found.party))),
            because=tuple(dict.fromkeys((*first.because, *one.because))),
        )
    return list(kept.values())
