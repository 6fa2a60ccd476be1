"""What people read: plans, outcomes, findings and tables, at 80 columns and in pipes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from onearm.cloud_facts import CloudFacts
from onearm.commands import commands, shell_line
from onearm.diff import Plan
from onearm.facts import DestinationFact, Facts, ServiceFact, mark_of
from onearm.finding import Finding
from onearm.model import Action, Mark, endpoint
from onearm.reconcile import Outcome
from onearm.spec import Spec, names_of
from onearm.words import SIGNS, describe, file_lines, reason

COLOURS = {"create": "green", "update": "yellow", "delete": "red", "keep": "cyan"}
PIPE_WIDTH = 1000  # columns
WAITS = "what is left waits for what is out; take a host gone for good out of the spec"
FEW = 5  # places that are out for one reason, each with a line of its own
SEVERITIES = {"error": "bold red", "warning": "yellow", "note": "cyan", "critical": "bold red"}


def plural(number: int, word: str) -> str:
    """Write a number with its word: 1 change, 2 changes."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def screen(*, stderr: bool = False) -> Console:
    """Open the people's output: rich honours NO_COLOR and pipes; no text is taken for markup.

    A pipe without COLUMNS gets whole lines: who reads them with grep wants them unbroken.
    """
    piped = not (sys.stderr if stderr else sys.stdout).isatty() and "COLUMNS" not in os.environ
    width = PIPE_WIDTH if piped else None
    return Console(highlight=False, markup=False, emoji=False, stderr=stderr, width=width)


def indented(console: Console, text: Text, by: int) -> None:
    """Print a text with all its lines indented, and nothing behind their last words."""
    for line in text.wrap(console, max(console.width - by, 20)):
        line.rstrip()
        console.print(Text(" " * by) + line)


def show_plan(
    console: Console,
    plan: Plan,
    facts: Facts,
    cut: Mapping[Action, int],
    *,
    numbered: bool = True,
) -> None:
    """Print a plan: steps in order, places as headings, one line per action."""
    for number, step in enumerate(plan.steps, 1):
        for place, batch in sorted(step.items()):
            if numbered:
                console.print(Text.assemble((f"{number:>2} ", "dim"), (place, "bold")))
            for action in batch:
                _show_action(console, action, mark_of(facts, action), cut.get(action, 0))


def _show_action(console: Console, action: Action, mark: Mark | None, cut: int) -> None:
    style = COLOURS[action.verb]
    line = Text.assemble((f"{SIGNS[action.verb]} ", style), describe(action, mark))
    indented(console, line, 5)
    why = f"cuts {plural(cut, 'connection')}" if cut else reason(action)
    if why:
        indented(console, Text(why, "bold red" if cut else "dim"), 9)
    for changed in file_lines(action):
        indented(console, Text(changed, "green" if changed.startswith("+") else "red"), 9)


def show_commands(
    console: Console, actions: Iterable[Action], facts: Facts, cloud: CloudFacts | None = None
) -> None:
    """Print what an engineer would have typed, in order; places as comments. Never wrapped."""
    last = ""
    for action in actions:
        typed = commands(action, mark_of(facts, action), cloud)
        if typed and action.place != last:
            last = action.place
            console.out(f"# {shlex.quote(last)}", highlight=False)
        for argv in typed:
            console.out(shell_line(argv), highlight=False)


def show_scripts(console: Console, scripts: Mapping[str, Iterable[Sequence[str]]]) -> None:
    """Print what a new spec has the daemons of these hosts run."""
    for place, found in scripts.items():
        # What it may do there: docs/how-to/run-the-daemon.md.
        head = Text.assemble((f"checks run on {place}", "bold"), ", as root without capabilities")
        console.print(head)
        for argv in found:
            indented(console, Text(shell_line(list(argv)), "bold yellow"), 5)


def show_findings(console: Console, findings: Iterable[Finding]) -> None:
    """Print findings: what was seen, and the cure."""
    for finding in findings:
        head = Text.assemble(
            (finding.severity, SEVERITIES[finding.severity]), f" {finding.id}: {finding.said}"
        )
        console.print(head)
        indented(console, Text.assemble(("cure: ", "dim"), finding.cure), 2)


def show_out(
    console: Console, out: Mapping[str, Exception], below: Callable[[str], None] = lambda _: None
) -> None:
    """Name the places that are out, each with the reason, and with `below` what belongs there.

    Many with one reason (a bastion that is down, --limit) are one paragraph that names them all.
    """
    alike: dict[str, list[str]] = {}
    for place, error in sorted(out.items()):
        alike.setdefault(str(error).removeprefix(f"{place}: "), []).append(place)
    for why, places in alike.items():
        if len(places) > FEW:
            console.print(Text.assemble(("out ", "bold red"), f"{len(places)} places: {why}"))
            indented(console, Text(" ".join(places)), 4)
        for place in places:
            if len(places) <= FEW:
                console.print(Text.assemble(("out ", "bold red"), f"{place}: {why}"))
            below(place)


def summary(plan: Iterable[Action]) -> str:
    """Count changes by verb."""
    verbs = [action.verb for action in plan]
    words = [("create", "create"), ("update", "update"), ("delete", "delete"), ("keep", "note")]
    counted = [f"{verbs.count(verb)} to {word}" for verb, word in words if verb in verbs]
    return ", ".join(counted) or "nothing to do"


def show_outcome(
    console: Console, outcome: Outcome, facts: Facts, forgotten: Mapping[str, Exception]
) -> None:
    """Print what was done, and host by host what is left."""
    console.print(f"{plural(len(outcome.done), 'change')} done", highlight=False)
    for name, error in sorted(forgotten.items()):
        console.print(f"forgotten {name}, which left the spec: {error}", highlight=False)

    def below(place: str) -> None:
        """Say what is left on a place that is out, as far as it was seen."""
        rest = [action for action in outcome.undone if action.place == place]
        if rest:
            which = f"{place}: " if len(outcome.out) > FEW else ""
            head = f"{which}left there when it was last seen: {summary(rest)}"
            _show_left(console, head, rest, facts)

    show_out(console, outcome.out, below)
    left: dict[str, list[Action]] = {}
    for action in outcome.left:
        left.setdefault(action.place, []).append(action)
    for place, rest in sorted(left.items()):
        _show_left(console, f"left on {place}: {summary(rest)}", rest, facts)
    if outcome.out or left:
        well = len(facts.keys() - outcome.out.keys() - left.keys())
        console.print(f"nothing is left on {plural(well, 'other place')}")
    if outcome.out and left:
        console.print(WAITS, highlight=False)


def _show_left(console: Console, head: str, rest: Sequence[Action], facts: Facts) -> None:
    indented(console, Text(head, "bold yellow"), 0 if head.startswith("left on") else 4)
    for action in rest:
        _show_action(console, action, mark_of(facts, action), 0)


def show_status(console: Console, spec: Spec, facts: Facts) -> None:
    """Print the services of the spec with the kernel's figures, and who holds each VIP."""
    for director in spec.directors:
        if director.name in facts:
            _show_services(console, spec, director.name, facts[director.name].services)
    for vip in dict.fromkeys(vip for service in spec.services for vip in service.vips):
        holders = [
            f"{name} ({fact.link})" for name, seen in facts.items() for fact in seen.holds(vip)
        ]
        console.print(f"{vip} is held by {', '.join(sorted(holders)) or 'nobody'}", highlight=False)


def _show_services(
    console: Console, spec: Spec, director: str, services: Iterable[ServiceFact]
) -> None:
    names = names_of(spec.real_servers)
    wanted = {service.identity for service in spec.services}
    table = Table(box=None, pad_edge=False, title=f"services on {director}", title_justify="left")
    for column in ("service", "server", "weight", "active", "inactive", "conns", "conn/s"):
        table.add_column(column, justify="left" if column in ("service", "server") else "right")
    for service in services:
        ours = service.identity in wanted
        head = f"{endpoint(service.vip or service.fwmark, service.port)}/{service.protocol}"
        conns = str(service.counters.connections)
        rate = str(service.counters.connections_per_s)
        stay = f", persistent {service.persistence_s} s" if service.persistence_s else ""
        group = f", mark {service.fwmark:#x}" if service.vip and service.fwmark else ""
        note = f"{service.scheduler}{stay}{group}{'' if ours else ', not ours'}"
        table.add_row(Text(head, "bold"), note, "", "", "", conns, rate)
        for d in service.destinations:
            figures = (d.weight, d.active, d.inactive)
            counted = (d.counters.connections, d.counters.connections_per_s)
            server = names.get(d.server, str(d.server)) if ours else str(d.server)
            table.add_row(f"  {_way(d, service.port)}", server, *map(str, (*figures, *counted)))
    console.print(table)


def _way(destination: DestinationFact, port: int) -> str:
    own = f"to port {destination.port}" if destination.port != port else ""
    words = (destination.forwarding, destination.tunnel, own)
    return " ".join(word for word in words if word)
