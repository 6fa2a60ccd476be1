"""How soon a director's daemon reacts, in the lab's guest: from a fault to what it logs of it.

Both moments are of the guest's one clock: what breaks prints it first, the log holds the other.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

SPEC = Path(__file__).parents[1] / "examples/reference.yaml"
CHECK = "check: {kind: tcp, interval: 500ms, timeout: 500ms, rise: 2, fall: 2}\n"
RUNS, PATIENCE_S = 7, 30.0
HOME, LOG = "/etc/onearm/default.yaml", "/run/bench-director.log"
DIRECTOR = f"{sys.executable} -I -m onearm director {HOME} --log-format json"
START = f"setsid sh -c 'echo $$ >/run/bench.pid; exec {DIRECTOR}' >{LOG} 2>&1 &"
STOP = "kill $(cat /run/bench.pid); while kill -0 $(cat /run/bench.pid); do sleep 0.1; done 2>&1"
LOUD = "sysctl -qw net.ipv4.conf.all.arp_ignore={0} net.ipv4.conf.eth0.arp_ignore={0}"
VIP = "ip address {} 203.0.113.2/32 dev {}"
FORGET_S = 6.0  # longer than a claimant that fell silent is remembered
Call = Callable[[str, list[str]], str]


@dataclass(frozen=True)
class Reaction:
    """What is done where, what the log then says, and what was promised."""

    what: str
    promise: str
    host: str
    script: str
    event: str
    text: str
    rest_s: float = 1.0


REACTIONS = (
    Reaction(
        "VIP removed from a real server: it is out", "interval x fall + timeout: 1.5 s",
        "server-2", VIP.format("del", "eth-vip"), "round", "delete destination server-2",
    ),
    Reaction(
        "put back: it is in again", "interval x rise + timeout: 1.5 s",
        "server-2", VIP.format("add", "eth-vip"), "round", "create destination server-2",
    ),
    Reaction(
        "a real server answers ARP for the VIP: it is named", "1 s",
        "server-2", LOUD.format(0), "arp", "server-2 (", 0.0,
    ),
    Reaction(
        "`ipvsadm -C` on the director: the table stands", "resync: 10 s",
        "server-1", "ipvsadm -C", "round", "create destination server-3",
    ),
    Reaction(
        "VIP removed from the director: it is back", "resync: 10 s",
        "server-1", VIP.format("del", "eth0"), "drift", "healed: create VIP",
    ),
)  # fmt: skip
MENDS = {"arp": ("server-2", LOUD.format(1), FORGET_S)}  # what the daemon does not mend itself


def events(call: Call) -> Iterator[tuple[float, str, str]]:
    """Read the daemon's log: when, which kind, what."""
    for line in call("server-1", ["cat", LOG]).splitlines():
        if line.startswith("{"):
            one = json.loads(line)
            moment = datetime.fromisoformat(one["at"].replace("Z", "+00:00"))
            yield moment.timestamp(), one["event"], one["text"]


def reacted(call: Call, one: Reaction) -> float:
    """Break it once; give the seconds until the log says so."""
    begun = float(call(one.host, ["sh", "-ec", f"date +%s.%N; {one.script}"]).split()[0])
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        for at, event, text in events(call):
            if at > begun and event == one.event and one.text in text:
                return at - begun
        time.sleep(0.2)
    last = "\n".join(" ".join(map(str, event)) for event in [*events(call)][-12:])
    raise SystemExit(
        f"bench: {one.what}: nothing within {PATIENCE_S:g} s; the log ends with\n{last}"
    )


def begin(call: Call) -> None:
    """Start the daemon, and wait until it serves with both."""
    install = f"mkdir -p /etc/onearm; printf '%s' \"$1\" >{HOME}; {START}"
    call("server-1", ["sh", "-ec", install, "sh", CHECK + SPEC.read_text(encoding="utf-8")])
    until = time.monotonic() + PATIENCE_S
    while sum(text.endswith(" is up") for _, _, text in events(call)) < 2:
        if time.monotonic() > until:
            raise SystemExit("bench: the daemon does not serve with both real servers")
        time.sleep(0.2)


def page(call: Call) -> Iterator[str]:
    """Measure in the lab that `call(host, argv)` reaches, in turns; yield the lines of the page.

    Each turn has a fresh daemon: one that saw a server come back often asks more of it.
    """
    found: dict[str, list[float]] = {one.what: [] for one in REACTIONS}
    for _ in range(RUNS):
        begin(call)
        for one in REACTIONS:
            time.sleep(one.rest_s)
            found[one.what].append(reacted(call, one))
            if one.event in MENDS:
                host, script, rest_s = MENDS[one.event]
                call(host, ["sh", "-ec", script])
                time.sleep(rest_s)
        call("server-1", ["sh", "-c", STOP])
    yield "From the fault to the line in the daemon's log, by the guest's clock, in turns; checks"
    yield f"of kind `tcp` with interval 500 ms, timeout 500 ms, rise 2 and fall 2; of {RUNS} each:"
    yield ""
    yield "| what | median | longest | promised |"
    yield "|---|---:|---:|---:|"
    for one in REACTIONS:
        times = found[one.what]
        yield f"| {one.what} | {median(times):.2f} s | {max(times):.2f} s | {one.promise} |"
