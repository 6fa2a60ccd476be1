"""What other processes ask of the daemon, carried out by its one owner."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from onearm import wire
from onearm.daemon.rounds import bounded
from onearm.daemon.waits import ForSpec
from onearm.errors import UsageError
from onearm.facts import OutFact
from onearm.model import Drain
from onearm.rotation import full_weight
from onearm.snapshot import DOWN, DRAINED, RAMPING
from onearm.words import describe

if TYPE_CHECKING:
    from onearm.daemon.core import Core

Reply = Callable[[Any], None]
LONGEST_DRAIN_S = 7 * 86400
LONGEST_WAIT_S = 60.0
WAIT_S = 10.0


def _drain(core: Core, request: dict[str, Any], reply: Reply) -> None:
    """Want it drained; the answer comes when the ledger holds that, so that it outlives a crash."""
    host = _host(core, request)
    deadline = request.get("deadline_s")
    if deadline is not None and not (
        isinstance(deadline, (int, float)) and 0 <= deadline <= LONGEST_DRAIN_S
    ):
        raise UsageError(f"deadline {deadline!r}: give it as 30s, 5m or 1h, a week at most")
    core.rounds.cut.pop(host, None)
    core.want_drain(host, Drain(host, core.now().isoformat(), deadline), reply)
    core.note("drain", f"{host} is drained by hand")


def _undrain(core: Core, request: dict[str, Any], reply: Reply) -> None:
    """Want it back; the answer comes when the ledger holds no drain of it any more."""
    host = _host(core, request)
    if host not in core.drained_by_hand:
        raise UsageError(f"{host} is not drained by hand: look at onearm status")
    core.want_drain(host, None, reply)
    core.note("drain", f"{host} is not drained any more")


def _drained(core: Core, request: dict[str, Any], _reply: Reply) -> dict[str, Any]:
    """Say how far a drain is."""
    host = _host(core, request)
    verdicts = [d.verdicts[host] for d in core.rotation.decisions.values() if host in d.verdicts]
    views = [s for v in core.latest.services for s in v.servers if s.host == host]
    done = (
        host in core.drained_by_hand
        and all(v.state == DRAINED for v in verdicts)
        and not core.dirty
    )
    return {
        "host": host,
        "draining": host in core.drained_by_hand,
        "drained": done and not core.dirty and all(view.weight is None for view in views),
        "connections": sum(view.active for view in views),
        "cut": core.rounds.cut.get(host, 0),
    }


def _host(core: Core, request: dict[str, Any]) -> str:
    host = request.get("host")
    known = sorted({h for service in core.spec.services for h in service.hosts})
    if host not in known:
        raise UsageError(f"{str(host)[:63]!r} serves nothing here: known are {', '.join(known)}")
    return str(host)


def _converge(core: Core, request: dict[str, Any], reply: Reply) -> None:
    """Take the file as it is at this moment, and answer when all stands so."""
    core.reload()
    core.dirty = True
    seconds, digest = request.get("deadline_s"), request.get("digest")
    seconds = min(seconds, LONGEST_WAIT_S) if isinstance(seconds, (int, float)) else WAIT_S
    wanted = digest if isinstance(digest, str) else None
    core.waits.specs.append(ForSpec(reply, wanted, time.monotonic() + seconds))


def _left(core: Core, _request: dict[str, Any], _reply: Reply) -> dict[str, Any]:
    """Say what differs at this moment from what the daemon wants."""
    plan = core.rounds.plan()
    left = [describe(action) for action in plan] + list(plan.refusals)
    out = [wire.encode(fact) for fact in _out(core)]
    return {**core.state(), "left": bounded(dict.fromkeys([*left, *core.rounds.left])), "out": out}


def _out(core: Core) -> Iterator[OutFact]:
    """List the destinations whose weight is not the spec's, and those that fail."""
    for service in core.spec.services:
        at = (service.protocol, service.vip, service.port)
        decision = core.rotation.decisions.get(at)
        full = {m.host: full_weight(service, m) for m in service.members}
        for host, seen in decision.verdicts.items() if decision else ():
            if seen.weight != full.get(host) or seen.state in {DOWN, RAMPING}:
                yield OutFact(*at, host, seen.state, seen.reason, seen.weight)


def _hosts(core: Core, request: dict[str, Any], _reply: Reply) -> dict[str, Any]:
    hosts = request.get("hosts")
    if not isinstance(hosts, (list, tuple)) or not all(isinstance(h, str) for h in hosts):
        raise UsageError("hosts: a list of names is wanted")
    core.here.remember_hosts(tuple(hosts))
    return {}


def _withdraw(core: Core, _request: dict[str, Any], reply: Reply) -> None:
    """End, and take all down first; the answer comes when that is done."""
    core.stopping = core.withdrawing = True
    core.farewells.append(reply)


COMMANDS: dict[str, Callable[[Core, dict[str, Any], Reply], dict[str, Any] | None]] = {
    "drain": _drain,
    "undrain": _undrain,
    "drained": _drained,
    "converge": _converge,
    "left": _left,
    "hosts": _hosts,
    "withdraw": _withdraw,
}
