"""`onearm verify`: reach the clients, gather the evidence, judge it, print it."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from onearm import planfile, wire
from onearm import spec as spec_module
from onearm.case import at_rest
from onearm.errors import PlaceError, Refused, UsageError
from onearm.evidence import Evidence
from onearm.probe import LAB_ROUTER, Client, Probe, bystand, default_clients, meet
from onearm.reach import lab_prefix
from onearm.render import indented, screen
from onearm.resting import words
from onearm.session import Session
from onearm.silence import in_l2, speaks_arp
from onearm.spec import Spec, VirtualService
from onearm.verdicts import FAIL, PASS, UNPROVED
from onearm.verify import Property, about, judge

STYLES = {PASS: "bold green", FAIL: "bold red", UNPROVED: "bold yellow"}


def verify_command(
    path: Path, *, cold: bool | None, strict: bool, clients: Sequence[str], as_json: bool
) -> int:
    """Prove by traffic; 5 when a property fails, with `strict` also when one is unproved."""
    spec = spec_module.load(path)
    lab = spec.reach.default == "lab"
    with Session(spec, ask_drops=True) as session:
        session.open()
        met, out = meet(session, reached(spec, clients))
        if not session.facts or not met:
            raise next(iter({**session.out, **out}.values()))
        make_cold = lab if cold is None else cold
        if make_cold:
            refuse_trap(spec, session)
        probe = Probe(session, met, make_cold)
        if lab:
            probe.bystanders, lost = bystand(session, {LAB_ROUTER: lab_prefix(LAB_ROUTER)})
            out |= lost
        evidence = probe.gather()
        properties = judge(spec, evidence)
    lost = session.out | out | evidence.out
    code = _code(properties, lost, strict=strict)
    if as_json:
        told = {"cold": make_cold, "exit_code": code}
        data = _data(spec, properties, evidence, met, lost) | told
        sys.stdout.write(json.dumps(data, indent=1) + "\n")
    else:
        _show(screen(), spec, properties, evidence, lost=lost, cold=make_cold)
    return code


def reached(spec: Spec, clients: Sequence[str]) -> dict[str, list[str]]:
    """Say how each client is reached: as told, or the lab's, or this machine."""
    return {text: _words(text) for text in clients} or default_clients(spec)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--client {text!r}: {error}: quote it as for a shell") from error


def refuse_trap(spec: Spec, session: Session) -> None:
    """Refuse a cold start where a plain ARP drop would then cut a real server off for good.

    Such a rule drops the server's own question for its gateway, asked in the VIP's name, as long
    as arp_announce is not 2 (net/ipv4/arp.c, arp_solicit).
    """
    for host in spec.real_servers:
        facts = session.facts.get(host.name)
        if facts is None or not facts.arp_drops:
            continue
        vips = [vip for service in spec.services for vip in service.vips]
        links = [k for k in facts.links if speaks_arp(k) and in_l2(spec, host, facts, k, vips)]
        if not all(_announces_best(facts.sysctls, link.name) for link in links):
            rule = facts.arp_drops[0]
            raise Refused(
                f"{host.name} drops its own ARP requests ({rule.tool}: {rule.text}) and"
                " arp_announce is not 2, so forgetting its neighbours would cut it off: replace the"
                " rule by one that rewrites the sender, or verify with --warm"
            )


def _announces_best(sysctls: dict[str, str], link: str) -> bool:
    values = [sysctls.get(f"net/ipv4/conf/{where}/arp_announce", "0") for where in ("all", link)]
    return max(values) == "2"


def _code(properties: list[Property], lost: dict[str, PlaceError], *, strict: bool) -> int:
    if lost:
        return 4
    statuses = {found.status for found in properties}
    return 5 if FAIL in statuses or (strict and UNPROVED in statuses) else 0


def _show(
    console: Console,
    spec: Spec,
    properties: list[Property],
    evidence: Evidence,
    *,
    lost: dict[str, PlaceError],
    cold: bool,
) -> None:
    last = ""
    rest = {about(service): _rest(evidence, service) for service in spec.services}
    for found in properties:
        if found.about != last:
            last = found.about
            console.print(Text(found.about, "bold"))
            if rest.get(last):
                indented(console, Text(rest[last], "yellow"), 2)
        show_property(console, found)
    for host, error in sorted(lost.items()):
        console.print(Text.assemble(("out ", "bold red"), str(error) or host))
    console.print(_summary(properties, evidence, cold=cold))


def _rest(evidence: Evidence, service: VirtualService) -> str:
    """Say who is out of rotation, and why; empty when all take their share."""
    out, some = at_rest(evidence, service)
    parts = [("out of rotation", out), ("in rotation in part", some)]
    return "; ".join(f"{label}: {words(found)}" for label, found in parts if found)


def show_property(console: Console, found: Property) -> None:
    """Print a property: its status and id, and below them what was seen."""
    head = Text.assemble((f"{found.status:<9}", STYLES[found.status]), found.id)
    indented(console, head, 2)
    for text in (found.evidence, *found.details):
        indented(console, Text(text, "dim"), 11)


def property_data(found: Property) -> dict[str, Any]:
    """Give a property as it stands in JSON."""
    return {**wire.encode(found), "details": list(found.details)}


def _summary(properties: list[Property], evidence: Evidence, *, cold: bool) -> str:
    counted = Counter(found.status for found in properties)
    parts = [f"{counted[status]} {status}" for status in (PASS, FAIL, UNPROVED) if counted[status]]
    tried = sum(len(trial.attempts) for trial in evidence.trials)
    text = f"{', '.join(parts)}; {tried} connections, {'cold' if cold else 'warm'} caches"
    unproved = sorted({found.id for found in properties if found.status == UNPROVED})
    text += f"; unproved: {', '.join(unproved)}" if unproved else ""
    if cold and evidence.not_flushed:
        text += f"; the caches of {', '.join(evidence.not_flushed)} could not be flushed"
    return text


def _data(
    spec: Spec,
    properties: list[Property],
    evidence: Evidence,
    clients: list[Client],
    lost: dict[str, PlaceError],
) -> dict[str, Any]:
    return {
        **planfile.header("verification"),
        "name": spec.name,
        "properties": [property_data(found) for found in properties],
        "out_of_rotation": [
            {"service": about(service), "host": host, "state": fact.state, "reason": fact.reason}
            | {"in_part": found is some}
            for service in spec.services
            for out, some in [at_rest(evidence, service)]
            for found in (out, some)
            for host, fact in sorted(found.items())
        ],
        "clients": [client.name for client in clients],
        "connections": sum(len(trial.attempts) for trial in evidence.trials),
        "frames": {host: len(frames) for host, frames in evidence.frames.items()},
        "frames_lost": evidence.lost,
        "forgotten_neighbours": {host: len(e) for host, e in evidence.flushed.items()},
        "not_flushed": evidence.not_flushed,
        "unproved": [f"{p.id} {p.about}" for p in properties if p.status == UNPROVED],
        "out": {name: str(error) for name, error in lost.items()},
    }
