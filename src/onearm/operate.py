"""The commands that look at hosts and change them: plan, apply, destroy."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from onearm import planfile, proof, render, wire
from onearm import spec as spec_module
from onearm.diff import Plan
from onearm.errors import Denied, Differs, Refused, UsageError
from onearm.facts import Facts, mark_of
from onearm.finding import Finding, forbidding, lacking_rights
from onearm.model import NEUTRON, Action
from onearm.progress import Progress
from onearm.reconcile import Outcome
from onearm.report import property_data, show_property
from onearm.session import Session, without_services
from onearm.spec import Spec
from onearm.verdicts import FAIL
from onearm.verify import Property
from onearm.words import describe

FINE, REFUSED, OUT, DIFFERS, INTERRUPTED = 0, 3, 4, 5, 130
DRAIN_LOOK_S = 1.0
STDERR = 2


def _print_json(data: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(data, indent=1) + "\n")


def plan_command(
    path: Path,
    *,
    commands: bool,
    check: bool,
    output: Path | None,
    as_json: bool,
    as_admin: bool = False,
) -> int:
    """Show what would change; change nothing. `as_admin`: only what somebody else has to do."""
    spec = spec_module.load(path)
    progress = Progress(render.screen(stderr=True))
    with Session(spec, watch=progress) as session:
        with progress:
            session.open(cloud=True)
            findings = session.findings()
            plan = session.plan()
        data = planfile.to_data(
            spec, plan, session.marked, findings, session.out, cloud=session.cloud
        )
        data["foreseen"] = _foreseen_data(session, plan)
        data["runs"] = [
            {"place": place, "argv": list(argv)}
            for place, found in session.scripts(plan).items()
            for argv in found
        ]
        if output:
            _keep(output, data)
        if as_json:
            _print_json(data)
        elif commands or as_admin:
            shown = session.for_an_admin(plan) if as_admin else list(plan)
            render.show_commands(render.screen(), shown, session.marked, session.cloud)
            _show_troubles(render.screen(stderr=True), session, plan, findings)
        else:
            _show(render.screen(), path, session, plan, findings)
    return _verdict(plan, findings, out=bool(session.out), check=check)


def _foreseen_data(session: Session, plan: Plan) -> list[dict[str, Any]]:
    """List what daemons will do with their new spec: told, not part of what is carried out."""
    return [
        {**_action_data(action, session), "joins": list(joins)}
        for _, ahead, joins in session.foreseen(plan)
        for action in ahead
    ]


def _keep(output: Path, data: dict[str, Any]) -> None:
    try:
        output.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{output}: the plan cannot be kept there ({error.strerror}): choose another file"
        ) from error


def _verdict(plan: Plan, findings: list[Finding], *, out: bool, check: bool) -> int:
    if plan.refusals or forbidding(findings):
        return REFUSED
    if out or lacking_rights(findings):
        return OUT
    behind = any(found.id == "daemon.behind" for found in findings)
    return DIFFERS if check and (len(plan) or behind) else FINE


def _show(
    screen: Console, path: Path, session: Session, plan: Plan, findings: list[Finding]
) -> None:
    render.show_plan(screen, plan, session.marked, session.cut(plan))
    for place, ahead, joins in session.foreseen(plan):
        screen.print(f"the daemon of {place} will then")
        render.show_plan(screen, ahead, session.marked, session.cut(ahead), numbered=False)
        for text in joins:
            render.indented(screen, Text(f"… {text}"), 5)
    _show_troubles(screen, session, plan, findings)
    if not session.facts and session.cloud is None:
        screen.print(f"{path}: no host could be looked at")
    elif not (plan.refusals and not len(plan)):
        screen.print(f"{path}: {render.summary(plan)}")


def _show_troubles(screen: Console, session: Session, plan: Plan, findings: list[Finding]) -> None:
    render.show_scripts(screen, session.scripts(plan))
    render.show_findings(screen, findings)
    for refusal in plan.refusals:
        screen.print(Text.assemble(("refused ", "bold red"), refusal))
    render.show_out(screen, session.out)
    for name, error in sorted(session.forgotten.items()):
        screen.print(f"{name} left the spec and does not answer, so it is forgotten: {error}")


@dataclass
class Watcher:
    """Counts finished actions on stderr, and notes the first Ctrl-C instead of dying of it."""

    expected: int
    facts: Facts
    done: int = 0
    interrupted: bool = False
    previous: Any = field(default=None)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Watcher:  # noqa: PYI034 - typing.Self is of Python 3.11
        """Listen for Ctrl-C."""
        self.previous = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no longer."""
        signal.signal(signal.SIGINT, self.previous)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        # Past sys.stderr, which it may have come into the middle of: that would be an error. Who
        # no longer reads changes nothing.
        with contextlib.suppress(OSError):
            clear = b"\r\x1b[2K" if os.isatty(STDERR) else b""  # the line of Progress
            os.write(STDERR, clear + b"interrupted: ending after the batch in hand\n")

    def progress(self, action: Action) -> None:
        """Write one line for an action that took effect; places report from several threads."""
        with self.lock:
            self.done += 1
            total = max(self.expected, self.done)
            said = describe(action, mark_of(self.facts, action))
            sys.stderr.write(f"[{self.done}/{total}] {action.place}: {said}\n")
            sys.stderr.flush()

    def stop(self) -> bool:
        """Say whether to end before the next batch."""
        return self.interrupted


def apply_command(
    path: Path,
    *,
    yes: bool,
    adopt: bool,
    limit: tuple[str, ...],
    reach_from: Path | None,
    as_json: bool,
) -> int:
    """Apply a spec, or the plan that a file holds."""
    _needs_yes(yes=yes, what="apply")
    if planfile.looks_like_plan(path):
        reach = spec_module.load(reach_from).reach if reach_from else None
        spec, expected = planfile.read(path, reach)
    else:
        spec, expected = spec_module.load(path), None
    _check_limit(spec, limit)
    change = Change(path, spec, yes=yes, adopt=adopt, as_json=as_json)
    return change.run(frozenset(limit), expected)


def destroy_command(path: Path, *, yes: bool, as_json: bool) -> int:
    """Take down all that is ours."""
    _needs_yes(yes=yes, what="destroy")
    spec = without_services(spec_module.load(path))
    return Change(path, spec, yes=yes, adopt=False, as_json=as_json).run(frozenset(), None)


def _needs_yes(*, yes: bool, what: str) -> None:
    if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"{what} asks before it changes anything: without a terminal, add --yes")


def _check_limit(spec: Spec, limit: tuple[str, ...]) -> None:
    names = {host.name for host in (*spec.directors, *spec.real_servers)}
    names |= {NEUTRON} if spec.openstack else set()
    for name in limit:
        if name not in names:
            known = ", ".join(sorted(names))
            raise UsageError(f"--limit {name}: the spec has no such host, it has {known}")


@dataclass
class Change:
    """One run that may change hosts: look, show, ask, do, look again, and drain."""

    path: Path
    spec: Spec
    yes: bool
    adopt: bool
    as_json: bool

    def run(self, limit: frozenset[str], expected: planfile.Listed | None) -> int:
        """Do it; returns the exit code."""
        progress = Progress(render.screen(stderr=True))
        with Session(self.spec, limit, watch=progress) as session:
            with progress:
                session.open(lock=True, cloud=True)
                findings = session.findings()
                plan = session.plan(adopt=self.adopt)
            self._may_go_on(session, plan, findings)
            if expected is not None and planfile.listed(plan) != expected:
                raise Differs(
                    f"{self.path}: what stands there is not what the plan was made for, so nothing"
                    " was changed: make the plan again"
                )
            if not self._agreed(session, plan, findings):
                sys.stderr.write("nothing was changed\n")
                return self._report(session, Outcome(left=plan, out=session.out), findings)
            with progress:
                outcome = self._do(session, plan)
            proof = self._prove(session, outcome)
            return self._report(session, outcome, findings, proof)

    @staticmethod
    def _prove(session: Session, outcome: Outcome) -> Property | None:
        """Try by traffic what the plan had to guess of the cloud, once all of it stands."""
        services = proof.needed(session) if _outcome_code(outcome) == FINE else []
        return proof.prove(session, services, _say) if services else None

    def _screen(self) -> Console:
        return render.screen(stderr=True) if self.as_json else render.screen()

    def _may_go_on(self, session: Session, plan: Plan, findings: list[Finding]) -> None:
        errors = forbidding(findings)
        if errors or plan.refusals:
            said = [f"{f.id}: {f.said}; {f.cure}" for f in errors] + list(plan.refusals)
            raise Refused("\n".join(["nothing was changed:", *said]))
        denied = [f"{f.said}; {f.cure}" for f in lacking_rights(findings)]
        if denied:
            raise Denied("\n".join(["nothing was changed:", *denied]))
        if not session.facts and session.cloud is None:
            raise next(iter(session.out.values()))

    def _agreed(self, session: Session, plan: Plan, findings: list[Finding]) -> bool:
        _show(self._screen(), self.path, session, plan, findings)
        if self.yes or not len(plan):
            return True
        hosts = render.plural(len(session.facts), "host")
        return click.confirm(f"Do this on {hosts}?", err=self.as_json)

    def _do(self, session: Session, plan: Plan) -> Outcome:
        with Watcher(len(plan), session.marked) as watcher:
            outcome = session.run(
                plan, adopt=self.adopt, progress=watcher.progress, stop=watcher.stop
            )
            while self._goes_on_draining(session, outcome, watcher):
                more = session.run(
                    None, adopt=self.adopt, progress=watcher.progress, stop=watcher.stop
                )
                more.done[:0] = outcome.done
                outcome = more
            outcome.interrupted |= watcher.interrupted
        return outcome

    def _goes_on_draining(self, session: Session, outcome: Outcome, watcher: Watcher) -> bool:
        """Wait while destinations drain; say whether a further run is due."""
        if outcome.out or outcome.interrupted or not self._drains(session, outcome):
            return False
        said = False
        while not watcher.interrupted:
            session.again()
            plan = session.plan(adopt=self.adopt)
            if len(plan) or not session.draining() or session.out:
                return bool(len(plan)) and not session.out
            if not said:
                sys.stderr.write("draining: waiting for connections to end, or for the deadline\n")
                said = True
            _sleep(DRAIN_LOOK_S, watcher.stop)
        return False

    @staticmethod
    def _drains(session: Session, outcome: Outcome) -> bool:
        return bool(session.draining()) or any(
            getattr(action.after, "draining_since", None) for action in outcome.done
        )

    def _report(
        self,
        session: Session,
        outcome: Outcome,
        findings: list[Finding],
        proved: Property | None = None,
    ) -> int:
        code = _outcome_code(outcome) or self._differs(findings, proved)
        if self.as_json:
            told = {"properties": [property_data(proved)] if proved else []}
            _print_json(_outcome_data(outcome, findings, session, code) | told)
        else:
            render.show_outcome(render.screen(), outcome, session.marked, session.forgotten)
            if proved is not None:
                show_property(render.screen(), proved)
            if outcome.interrupted:
                render.screen().print("interrupted: run it again to go on from here")
        return code

    def _differs(self, findings: list[Finding], proved: Property | None) -> int:
        """Say whether something is not as asked: a cloud's part that stays, data that hangs."""
        leaves = not self.spec.services and any(f.id == "cloud.left_behind" for f in findings)
        hangs = proved is not None and proved.status == FAIL
        return DIFFERS if leaves or hangs else FINE


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _outcome_code(outcome: Outcome) -> int:
    if outcome.interrupted:
        return INTERRUPTED
    if outcome.out:
        return OUT
    return DIFFERS if len(outcome.left) or outcome.left.refusals else FINE


def _outcome_data(
    outcome: Outcome, findings: list[Finding], session: Session, code: int
) -> dict[str, Any]:
    return {
        **planfile.header("outcome"),
        "done": [_action_data(action, session) for action in outcome.done],
        "left": [_action_data(action, session) for action in outcome.left],
        "undone": [_action_data(action, session) for action in outcome.undone],
        "refusals": list(outcome.left.refusals),
        "out": {name: str(error) for name, error in outcome.out.items()},
        "forgotten": {name: str(error) for name, error in session.forgotten.items()},
        "findings": [wire.encode(finding) for finding in findings],
        "interrupted": outcome.interrupted,
        "exit_code": code,
    }


def _action_data(action: Action, session: Session) -> dict[str, Any]:
    text = describe(action, mark_of(session.marked, action))
    return {"place": action.place, "verb": action.verb, "text": text}


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop():
        time.sleep(0.05)
