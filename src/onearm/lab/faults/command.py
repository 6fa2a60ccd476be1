"""`onearm lab fault`: the table for people and programs, one fault on, faults off."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from onearm.errors import Unreachable
from onearm.lab import paths
from onearm.lab.faults import planted
from onearm.lab.faults.fault import Fault
from onearm.lab.faults.planted import Planted
from onearm.lab.faults.table import FAULTS

Running = dict[str, list[str]]  # by a fault's id: the hosts that it is on


def running(name: str | None) -> tuple[Running, str]:
    """Say what is on, and else why nothing is."""
    found: Running = {}
    try:
        for one in planted.planted(name):
            found.setdefault(one.fault.id, []).append(one.host)
    except Unreachable as error:
        return found, str(error)
    return found, ""


def as_object(name: str | None) -> dict[str, Any]:
    """Give the table as the one object."""
    on, _ = running(name)
    return {
        "onearm": 1,
        "kind": "faults",
        "lab": paths.lab_name(name),
        "faults": [
            {
                "id": fault.id,
                "finding": fault.finding,
                "also": list(fault.also),
                "about": fault.about,
                "host": fault.hosts[0],
                "hosts": list(fault.hosts),
                "on": on.get(fault.id, []),
            }
            for fault in FAULTS.values()
        ],
    }


def show(console: Console, name: str | None) -> None:
    """Print the table, those that are on in bold and with a mark."""
    on, why_not = running(name)
    hosts: tuple[str, ...] = ()
    for fault in FAULTS.values():
        if fault.hosts != hosts:
            hosts = fault.hosts
            console.print(Text(f"\n{' or '.join(hosts)}", style="bold"))
        _show(console, fault, on.get(fault.id, []))
    count = sum(map(len, on.values()))
    console.print(f"\n{len(FAULTS)} faults, {count} on{f': {why_not}' if why_not else ''}")


def _show(console: Console, fault: Fault, on: list[str]) -> None:
    head = Text(f"{'*' if on else ' '} {fault.id:<22} ", style="bold red" if on else "bold")
    head.append(fault.finding, style="not bold cyan")
    if on:
        head.append(f"  on {', '.join(on)}", style="bold red")
    console.print(head)
    for line in Text(fault.about).wrap(console, max(console.width - 4, 20)):
        console.print(f"    {line.plain.rstrip()}")


def planted_words(one: Planted) -> str:
    """Say what has been done, what should be found, and how it ends."""
    return (
        f"{one.host}: {one.fault.about}\n"
        f"to be found: {one.fault.finding}; to end it: onearm lab fault clear {one.fault.id}"
    )


def cleared_words(stack: planted.Stack) -> str:
    """Say what has ended."""
    lines = [f"{one.fault.id} is over on {one.host}" for one in stack]
    return "\n".join(lines) or "no such fault was on"
