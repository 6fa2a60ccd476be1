"""`onearm connections`: the directors' connection tables, as they stream by."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from onearm import planfile, render
from onearm import spec as spec_module
from onearm.connections_show import Rows, Seen, show_sums, title
from onearm.entries import KINDS, Entry, Served, Wanted
from onearm.errors import PlaceError, UsageError
from onearm.session import Session
from onearm.spec import Spec, names_of
from onearm.tally import Sums, by_server, together

FINE, OUT, INTERRUPTED = 0, 4, 130
ROWS = 20  # that people are shown unless they say how many
PROTOCOLS = ("tcp", "udp", "sctp", "ip")


@dataclass(frozen=True)
class Asked:
    """The options, as they were typed."""

    every: bool = False
    vip: str | None = None
    client: str | None = None
    service: str | None = None
    state: str | None = None
    limit: int | None = None


Question = tuple[Wanted, tuple[Served, ...]]
Ask = Callable[[str, Callable[[Entry], None]], Seen]


def connections_command(path: Path, asked: Asked, *, as_json: bool) -> int:
    """Show what stands in the tables of the spec's directors; nothing is locked or changed."""
    spec = spec_module.load(path)
    wanted, services = question(spec, asked)
    if asked.limit is None and not as_json:
        wanted = replace(wanted, limit=ROWS)
    with Session(spec) as session:

        def ask(director: str, tell: Callable[[Entry], None]) -> Seen:
            told = 0

            def count(entry: Entry) -> None:
                nonlocal told
                told += 1
                tell(entry)

            found = session.place(director).connections(wanted, services, count)
            groups = found.groups
            return Seen(found.read, told, found.missed, together(groups), by_server(groups))

        if as_json:
            return _as_json(spec, ask)
        return _for_people(spec, ask, every=wanted.every)


def question(spec: Spec, asked: Asked) -> Question:
    """Say which entries are wanted; raises UsageError."""
    services = _all(spec)
    try:
        vip = ip_address(asked.vip) if asked.vip else None
        client = ip_network(asked.client, strict=False) if asked.client else None
    except ValueError as error:
        raise UsageError(
            f"{error}: --vip takes an address, --client an address or prefix"
        ) from None
    if asked.service:
        services = (_service(asked.service),)
        _known(spec, asked, f"--service {asked.service}", title(services[0]))
    if vip is not None:
        _known(spec, asked, f"--vip {asked.vip}", f"{vip}")
    every = asked.every and not asked.service
    return Wanted(every, vip, client, (asked.state or "").upper(), asked.limit), services


def _all(spec: Spec) -> tuple[Served, ...]:
    """List what the spec serves, each endpoint of a group."""
    return tuple(
        Served(s.protocol, end.vip, end.port, end.last if end.last != end.port else 0)
        for s in spec.services
        for end in s.endpoints
    )


def _service(text: str) -> Served:
    where, _, protocol = text.rpartition("/")
    vip, _, port = where.rpartition(":")
    try:
        found = Served(protocol.lower(), ip_address(vip.strip("[]")), int(port))
    except ValueError:
        found = Served("", ip_address("0.0.0.0"), 0)  # noqa: S104 - no address to listen on
    if found.protocol not in PROTOCOLS or not 0 <= found.port <= 0xFFFF:  # noqa: PLR2004 - a port
        raise UsageError(f"--service {text}: write it as VIP:PORT/PROTOCOL, 203.0.113.2:80/tcp")
    return found


def _known(spec: Spec, asked: Asked, option: str, word: str) -> None:
    """Refuse what the spec does not have: without that word an empty answer would say nothing."""
    every = _all(spec)
    served = _service(asked.service) if asked.service else None
    of_service = served is not None and word == title(served)
    known = {title(one) if of_service else str(one.vip) for one in every}
    met = of_service and served is not None and any(map(served.within, every))
    if not (asked.every or met or word in known):
        has = ", ".join(sorted(known)) or "no service"
        raise UsageError(f"{option}: the spec has {has}; --all takes in what is not in the spec")


def _for_people(spec: Spec, ask: Ask, *, every: bool) -> int:
    console = render.screen()
    names = names_of(spec.real_servers)
    out: dict[str, Exception] = {}
    for director in spec.directors:
        rows = Rows(console, names)
        with _noting(out, director.name):
            seen = ask(director.name, rows.add)
            rows.flush()
            show_sums(console, director.name, seen, names, every=every)
    render.show_out(console, out)
    return OUT if out else FINE


@contextmanager
def _noting(out: dict[str, Exception], director: str) -> Iterator[None]:
    try:
        yield
    except PlaceError as error:
        out[director] = error


def _as_json(spec: Spec, ask: Ask) -> int:
    """Write one object, entry by entry: they may be millions, and nothing is kept of them."""
    names = names_of(spec.real_servers)
    out: dict[str, Exception] = {}
    directors: dict[str, Any] = {}
    head = json.dumps({**planfile.header("connections"), "name": spec.name})
    sys.stdout.write(f'{head[:-1]}, "entries": [')
    comma, code = "\n", FINE

    def tell(entry: Entry) -> None:
        nonlocal comma
        sys.stdout.write(comma + json.dumps(_entry_data(director.name, entry, names)))
        comma = ",\n"

    try:
        for director in spec.directors:
            with _noting(out, director.name):
                directors[director.name] = _seen_data(ask(director.name, tell), names)
    except KeyboardInterrupt:
        code = INTERRUPTED
    rest = {
        "directors": directors,
        "interrupted": code == INTERRUPTED,
        "out": {name: str(error) for name, error in out.items()},
    }
    sys.stdout.write(f"\n], {json.dumps(rest, indent=1)[1:]}\n")
    return code or (OUT if out else FINE)


def _entry_data(director: str, entry: Entry, names: dict[Any, str]) -> dict[str, Any]:
    return {
        "director": director,
        "kind": entry.kind,
        "protocol": entry.protocol,
        "client": str(entry.client),
        "client_port": entry.client_port,
        "vip": str(entry.vip),
        "port": entry.port,
        "server": str(entry.server),
        "server_port": entry.server_port,
        "host": names.get(entry.server),
        "state": entry.state,
        "expires_s": entry.expires_s,
        "pe": entry.pe,
        "pe_data": entry.pe_data,
    }


def _seen_data(seen: Seen, names: dict[Any, str]) -> dict[str, Any]:
    return {
        "table": max(0, seen.read - 1),
        "shown": seen.told,
        "missed": seen.missed,
        **_sums_data(seen.all),
        "servers": [
            {
                "service": title(served),
                "server": str(server),
                "host": names.get(server),
                **_sums_data(sums),
            }
            for (served, server), sums in seen.servers.items()
        ],
    }


def _sums_data(sums: Sums) -> dict[str, Any]:
    return {
        **{f"{kind}s": sums.kinds[kind] for kind in KINDS},
        "states": dict(sums.states),
        "syn_recv_old": sums.old,
        "half_open": sums.half_open,
    }
