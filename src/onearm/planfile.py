"""A plan as a documented object: printed by --json, kept in a file, and checked when applied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onearm
from onearm import spec as spec_module
from onearm import wire
from onearm.cloud_facts import CloudFacts
from onearm.commands import commands, shell_line
from onearm.diff import Plan, turn
from onearm.errors import UsageError
from onearm.facts import Facts, mark_of
from onearm.finding import Finding
from onearm.model import Action, Resource
from onearm.spec import Reach, Spec, portable_text
from onearm.words import describe

Listed = list[tuple[str, Resource | None, Resource | None]]


def header(kind: str) -> dict[str, Any]:
    """Begin an object that we print or keep."""
    return {"onearm": 1, "kind": kind}


def to_data(
    spec: Spec,
    plan: Plan,
    facts: Facts,
    findings: list[Finding],
    out: Mapping[str, Exception],
    *,
    cloud: CloudFacts | None = None,
) -> dict[str, Any]:
    """Turn a plan into its object. Command prefixes never enter it: they are the operator's own."""
    text = portable_text(spec)
    return {
        **header("plan"),
        "version": onearm.__version__,
        "name": spec.name,
        "spec_digest": digest(text),
        "spec": text,
        "reach_omitted": bool(spec.reach.prefixes),
        "actions": [_action(action, facts, cloud) for action in plan],
        "refusals": list(plan.refusals),
        "findings": [wire.encode(finding) for finding in findings],
        "out": {name: str(error) for name, error in out.items()},
        "converged": not len(plan) and not plan.refusals and not out,
    }


def _action(action: Action, facts: Facts, cloud: CloudFacts | None) -> dict[str, Any]:
    mark = mark_of(facts, action)
    return {
        "place": action.place,
        "step": turn(action),
        "verb": action.verb,
        "text": describe(action, mark),
        "before": wire.encode(action.before),
        "after": wire.encode(action.after),
        "commands": [shell_line(argv) for argv in commands(action, mark, cloud)],
    }


def digest(text: str) -> str:
    """Name a spec's text by its digest."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def looks_like_plan(path: Path) -> bool:
    """Say whether a file is one of ours: a JSON object of kind `plan`."""
    try:
        with path.open("rb") as file:
            return file.read(64).replace(b" ", b"").replace(b"\n", b"").startswith(b'{"onearm":1,')
    except OSError:
        return False


def read(path: Path, reach: Reach | None) -> tuple[Spec, Listed]:
    """Read a plan file: its spec, and the actions that were shown.

    Whatever it says, only what follows from its spec can be done: the actions are only compared.
    """
    data = _load(path)
    text = _field(path, data, "spec", str)
    if digest(text) != _field(path, data, "spec_digest", str):
        raise UsageError(f"{path}: the spec in this plan was edited: make the plan again")
    if data.get("version") != onearm.__version__:
        raise UsageError(
            f"{path}: made by onearm {ascii(data.get('version'))[:40]}, this is"
            f" {onearm.__version__!r}: make the plan again"
        )
    if data.get("reach_omitted") and reach is None:
        raise UsageError(
            f"{path}: its spec reaches hosts by command prefixes, which a plan file never holds:"
            " add --reach-from SPEC"
        )
    spec = spec_module.parse(text, str(path))
    if spec.reach.prefixes:
        raise UsageError(
            f"{path}: somebody wrote command prefixes into this plan, and they are yours alone to"
            " choose: make the plan again"
        )
    return (replace(spec, reach=reach) if reach else spec), _actions(path, data)


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a readable plan file ({error}): make it again") from error
    if not isinstance(data, dict) or data.get("kind") != "plan":
        raise UsageError(f"{path}: no plan of onearm: make one with `onearm plan SPEC -o FILE`")
    return data


def _field(path: Path, data: dict[str, Any], name: str, kind: type) -> Any:
    found = data.get(name)
    if not isinstance(found, kind):
        raise UsageError(f"{path}: {name!r} is missing or wrong: make the plan again")
    return found


def _actions(path: Path, data: dict[str, Any]) -> Listed:
    try:
        return [
            (
                wire.decode(str, row.get("place")),
                wire.decode(Resource | None, row.get("before")),
                wire.decode(Resource | None, row.get("after")),
            )
            for row in _field(path, data, "actions", list)
        ]
    except (wire.WireError, AttributeError) as error:
        raise UsageError(f"{path}: its actions cannot be read: make the plan again") from error


def listed(plan: Plan) -> Listed:
    """List a plan's actions as a plan file holds them."""
    return [(action.place, action.before, action.after) for action in plan]
