"""What formats have in common when a service is put together: flags, quorum, the one check."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from onearm.imports.found import Check, Keys, Note, Server, Value, shown
from onearm.imports.table import Gathered
from onearm.model import Address
from onearm.spec_load.checks import COMMON, KINDS, LONGEST_TIMEOUT_S, UDP
from onearm.spec_load.services import ONE_PACKET, SCHEDULERS

ORDER = ("kind", "through", "interval", "timeout", "rise", "fall", "port", "address")
ONE_CHECK = "a service has one check, and this is another"
UNCHECKED = "it had no check, and has now the one of the other servers"
ENDS_FIRST = "in a spec a check ends before the next one begins"
NUMBERED = {"flag-1": "fallback", "flag-2": "port"}

Asked = tuple[Server, str, Check | None]  # a real server, its place in the file, its check
Doubt = Callable[[str, bool], None]  # says why something is not as it was, and whether it differs


def flags(found: Gathered, scheduler: str, protocol: str) -> tuple[str, ...]:
    """Give the flags that the service's scheduler knows; the others are noted."""
    given = found.values.get("flags[]", ())
    names = [_named(str(flag), scheduler) for flag in given] if isinstance(given, tuple) else []
    if ONE_PACKET in names and protocol != "udp":
        names = [name for name in names if name != ONE_PACKET]
        found.note(found.origin["flags[]"], "one-packet scheduling is a matter of udp")
    known = (*SCHEDULERS.get(scheduler, ()), ONE_PACKET)
    if any(name not in known for name in names):
        found.drop("flags[]", f"scheduler {scheduler} has no such flag in a spec")
    return tuple(sorted({name for name in names if name in known}))


def persistence(found: Gathered, protocol: str, vip: Address) -> tuple[tuple[str, Value], ...]:
    """Give how long clients stay, as the pairs of the spec's map; empty when they do not."""
    seconds = found.values.get("persistence")
    if "persistence.engine" in found.values and protocol != "udp":
        found.drop("persistence.engine", "an engine reads datagrams, and this is no service of udp")
    if int(str(found.values.get("persistence.netmask", 0))) > vip.max_prefixlen:
        found.drop("persistence.netmask", f"an address of IPv{vip.version} is not so long")
    pairs: list[tuple[str, Value]] = [("timeout", f"{seconds!s}s")]
    for key in ("netmask", "engine"):
        if f"persistence.{key}" not in found.values:
            continue
        if seconds is None:
            found.drop(f"persistence.{key}", "nobody stays: it has no timeout", differs=False)
        else:
            pairs.append((key, found.values[f"persistence.{key}"]))
    return () if seconds is None else tuple(pairs)


def kind(found: Gathered, scheduler: str, protocol: str, vip: Address) -> dict[str, Value]:
    """Give what kind of service it is: its scheduler, or the tool's own, flags and persistence."""
    keys: dict[str, Value] = {"scheduler": found.values.get("scheduler", scheduler)}
    keys["flags"] = flags(found, str(keys["scheduler"]), protocol)
    keys["persistence"] = persistence(found, protocol, vip)
    return {key: value for key, value in keys.items() if value}


def bounds(found: Gathered) -> tuple[int, int]:
    """Give the bounds of a real server; a lower one that a spec cannot have is noted."""
    upper, lower = (int(str(found.values.get(key, 0))) for key in ("upper", "lower"))
    if lower > upper:
        found.drop("lower", "it goes with an upper bound, which is not smaller")
        lower = 0
    return upper, lower


def _named(flag: str, scheduler: str) -> str:
    """Give a flag's name, where it stands as a number."""
    return f"{scheduler}-{NUMBERED[flag]}" if flag in NUMBERED else flag


def check_keys(kind: str, values: dict[str, Value], service: tuple[int, str], doubt: Doubt) -> Keys:
    """Put a check's keys into a spec's order; a timeout ends before the next check begins."""
    port, protocol = service
    made = {"kind": kind, "through": "host", "rise": 1, **values}
    interval, timeout = made.get("interval", 2.0), made.get("timeout", 1.0)
    least = min(float(str(interval)), LONGEST_TIMEOUT_S)
    if float(str(timeout)) > least:
        made["timeout"] = least
        doubt(f"{ENDS_FIRST}: the timeout is {least:g} s", False)  # noqa: FBT003
    if kind == "icmp":
        made.pop("port", None)
    sends = protocol if kind == "script" else "udp" if kind in UDP else "tcp"
    if kind != "icmp" and sends != protocol:
        made.setdefault("port", port)
    if made.get("port") == port and sends == protocol:
        made.pop("port")
    known = dict.fromkeys((*ORDER, *KINDS[kind]))
    return tuple((key, made[key]) for key in known if key in made and key in (*COMMON, *known))


def one_check(checks: Sequence[Asked]) -> tuple[Check | None, list[Note]]:
    """Make one check of those of all servers; those that differ are noted, with their place."""
    found = [check for _, _, check in checks if check]
    if not found:
        return None, []
    spread = [_anywhere(server, check) for server, _, check in checks if check]
    if len({check.keys for check in found}) > 1 and len({check.keys for check in spread}) == 1:
        found, checks = (
            spread,
            [
                (server, at, _anywhere(server, check) if check else None)
                for server, at, check in checks
            ],
        )
    notes = []
    for server, at, check in checks:
        what = f"the check of {server.address}"
        if check is None:
            notes.append(Note(at, what, UNCHECKED, differs=True))
        elif check.keys != found[0].keys:
            own = [f"{k} {shown(str(v))}" for k, v in check.keys if (k, v) not in found[0].keys]
            notes.append(Note(at, f"{what} ({', '.join(own)})", ONE_CHECK, differs=True))
    return replace(found[0], notes=_once([n for check in found for n in check.notes])), notes


def _once(notes: list[Note]) -> tuple[Note, ...]:
    """Say once what is the same for every server."""
    first: dict[tuple[str, str], Note] = {}
    for note in notes:
        first.setdefault((note.what, note.why), note)
    return tuple(first.values())


def _anywhere(server: Server, check: Check) -> Check:
    """Let a script take the real server's address from its environment, not from its words."""
    keys = dict(check.keys)
    argv = keys.get("argv")
    own = re.compile(rf"(?<![\w.]){re.escape(str(server.address))}(?![\w.])")
    if not isinstance(argv, tuple) or not any(own.search(str(word)) for word in argv):
        return check
    words = [own.split(str(word)) for word in argv]
    told = ['"$ONEARM_ADDRESS"'.join(shlex.quote(p) if p else "" for p in word) for word in words]
    line = " ".join(word or "''" for word in told)
    keys["argv"] = ("/bin/sh", "-c", f"exec {line}")
    return replace(check, keys=tuple(keys.items()))


def quorum(found: Gathered, servers: Sequence[Server]) -> int | None:
    """Give the number of servers that a sum of weights comes to."""
    wanted = found.values.get("quorum")
    if not isinstance(wanted, int):
        return None
    weights = {server.weight for server in servers}
    if len(weights) == 1 and (weight := weights.pop()):
        return min(-(-wanted // weight), len(servers))
    if wanted > 1:
        found.drop("quorum", "it adds up weights, which differ here: a spec counts servers")
        return None
    return 1
