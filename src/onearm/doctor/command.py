"""`onearm doctor`: gather, diagnose, print; with --fix hand what onearm can cure to apply."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onearm import planfile, wire
from onearm import spec as spec_module
from onearm.doctor import show
from onearm.doctor.gather import LARGE_BYTES, LARGE_REQUEST, Gathering
from onearm.doctor.observations import Observations
from onearm.doctor.rank import Diagnosis, Named, diagnose
from onearm.errors import PlaceError, UsageError
from onearm.finding import NOTE, Finding
from onearm.model import NEUTRON
from onearm.render import screen
from onearm.report import reached
from onearm.session import Session
from onearm.spec import Spec

FINE, DIFFERS = 0, 5


def doctor_command(
    path: Path, *, passive: bool, clients: Sequence[str], as_json: bool, fix: bool, yes: bool
) -> int:
    """Say what is wrong, where, why, and the cure; 5 when something is."""
    if fix and as_json:
        raise UsageError("--fix asks before it changes anything, so it goes without --json")
    spec = spec_module.load(path)
    observed, found = examine(spec, passive=passive, clients=clients)
    code = _code(found)
    if as_json:
        sys.stdout.write(json.dumps(_data(observed, found, code, passive=passive), indent=1) + "\n")
    else:
        show.diagnosis(screen(), observed, found, passive=passive)
    return _cure(path, found, code, yes=yes) if fix else code


def examine(spec: Spec, *, passive: bool, clients: Sequence[str]) -> tuple[Observations, Diagnosis]:
    """Look at everything and name what is wrong."""
    lab = spec.reach.default == "lab"
    request, size = (LARGE_REQUEST, LARGE_BYTES) if lab and not clients else (b"", 0)
    with Session(spec, ask_drops=True, ask_vips=not passive) as session:
        session.open()
        out = _cloud(session)
        gathering = Gathering(
            session, {} if passive else reached(spec, clients), request, size, out=out
        )
        observed, cloud = gathering.observe()
    return observed, diagnose(observed, cloud)


def _cloud(session: Session) -> dict[str, str]:
    """Look at the cloud, where the spec has one; that it denies itself is a finding, no end."""
    try:
        session.open_cloud()
    except PlaceError as error:
        return {NEUTRON: str(error)}
    return {}


def _code(found: Diagnosis) -> int:
    return DIFFERS if any(f.severity != NOTE for f in found.findings) else FINE


def _cure(path: Path, found: Diagnosis, code: int, *, yes: bool) -> int:
    """Apply the spec where that cures something: shown first, as any plan."""
    if not any(one.fix for one in found.named):
        screen().print("onearm itself can cure none of it" if found.named else "nothing to cure")
        return code
    from onearm.operate import apply_command

    screen().print()
    return apply_command(path, yes=yes, adopt=False, limit=(), reach_from=None, as_json=False)


def _data(o: Observations, found: Diagnosis, code: int, *, passive: bool) -> dict[str, Any]:
    tried = o.evidence.trials if o.evidence else []
    return {
        **planfile.header("diagnosis"),
        "name": o.spec.name,
        "passive": passive,
        "findings": [_entry(one) for one in found.named],
        "properties": [{**wire.encode(p), "details": list(p.details)} for p in o.properties],
        "unproved": list(found.unproved),
        "connections": sum(len(trial.attempts) for trial in tried),
        "out": dict(o.out),
        "exit_code": code,
    }


def _entry(one: Named) -> dict[str, Any]:
    return {
        **_plain(one.finding),
        "touches": sorted(one.touches),
        "same_for": list(one.more),
        "explains": [_plain(f) for f in one.because],
        "fix": one.fix,
    }


def _plain(finding: Finding) -> dict[str, str]:
    return {name: getattr(finding, name) for name in finding.__dataclass_fields__}
