"""The lab of a soak: its spec, the daemon on server-1, the load on client, and looks at both."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onearm.errors import PlaceError
from onearm.lab import client, load

DIRECTOR = "server-1"
VIP = "203.0.113.2"
SERVERS = {"server-2": "203.0.113.4", "server-3": "203.0.113.5"}
HOME = "/etc/onearm/default.yaml"
PID = "/run/soak-director.pid"
RUN = f'echo $$ >{PID}; exec "$0" "$@"'
ONEARM = [sys.executable, "-I", "-m", "onearm"]
PATIENCE_S = 120.0
SPEC = """\
directors:
  server-1: 203.0.113.3
real_servers:
  server-2: 203.0.113.4
  server-3: 203.0.113.5
check: {{kind: tcp, interval: 500ms, timeout: 500ms, rise: 2, fall: 2}}
resync: 2s
services:
  - vip: 203.0.113.2
    port: 80/tcp
    scheduler: wrr
    real_servers: {{server-2: {{weight: {0}}}, server-3: {{weight: {1}}}}}
reach: lab
"""
# The daemon's memory and descriptors, the marks in the kernel, and what its probes left there.
LOOK = f"""
pid=$(cat {PID})
echo $pid $(sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status) \\
    $(ls /proc/$pid/fd | wc -l) $(ls -l /proc/$pid/fd | grep -c socket:) \\
    $(ipvsadm -Sn | grep -c -e '^-A -f') $(grep -c ' CB007103 ' /proc/net/ip_vs_conn)
"""


class World:
    """A running lab with the daemon and its load."""

    def __init__(self, name: str, folder: Path) -> None:
        """Say where; `begin` makes it."""
        self.name, self.folder = name, folder
        self.spec = folder / "soak.yaml"
        self.log = folder / "director.log"
        self.weights = (1, 1)
        self.daemon: subprocess.Popen[bytes] | None = None
        self.load: subprocess.Popen[bytes] | None = None

    # --- what is done

    def begin(self, rate: float) -> None:
        """Bring it all up: the world of the spec, the daemon, the load."""
        client.up(self.name)
        self.put_spec(self.weights)
        self.onearm("apply", str(self.spec), "--yes", code=0)
        self.start_daemon()
        self.until(self.whole, "both real servers are in rotation")
        wish = {
            "vip": VIP, "port": 80, "rate": rate, "transfers": 20, "pace": 50_000,
            "length": 1 << 40, "timeout": 3, "seconds": 0,
        }  # fmt: skip
        with (self.folder / "load.json").open("wb") as out:
            words = load.command(wish, live=False, as_json=True)
            self.load = self._start("client", words, stdout=out)

    def start_daemon(self) -> None:
        """Start `onearm director` on server-1; return when it has checked a real server."""
        before = self.checked()
        with self.log.open("ab") as log:
            words = ["sh", "-c", RUN, *ONEARM, "director", HOME]
            self.daemon = self._start(DIRECTOR, words, stdout=log, stderr=subprocess.STDOUT)
        self.until(lambda: self.checked() > before, "the daemon's first check")

    def checked(self) -> int:
        """Count what the daemon said about health so far."""
        return self.log.read_text("utf-8").count(" health: ") if self.log.exists() else 0

    def kill_daemon(self) -> None:
        self.on(DIRECTOR, f"kill -KILL $(cat {PID})")
        if self.daemon:
            self.daemon.wait(timeout=PATIENCE_S)

    def put_spec(self, weights: tuple[int, int]) -> None:
        """Replace the spec at once, where the daemon and where the operator has it."""
        self.weights = weights
        text = SPEC.format(*weights)
        self.spec.write_text(text, "utf-8")
        self.put_text(text)

    def put_text(self, text: str) -> None:
        replace = f"mkdir -p {Path(HOME).parent}; cat >{HOME}.new; mv {HOME}.new {HOME}"
        self.on(DIRECTOR, replace, stdin=text)

    def end_load(self) -> dict[str, Any]:
        """Stop the load; return what became of it."""
        if self.load is None:
            raise PlaceError("the soak has no load to end")
        self.load.terminate()
        self.load.wait(timeout=PATIENCE_S)
        found: dict[str, Any] = json.loads((self.folder / "load.json").read_text("utf-8"))
        return found

    def end_daemon(self) -> int:
        """Stop the daemon as systemd does; return its exit code."""
        if self.daemon is None:
            raise PlaceError("the soak has no daemon to end")
        self.on(DIRECTOR, f"kill -TERM $(cat {PID})")
        return self.daemon.wait(timeout=PATIENCE_S)

    def end(self) -> None:
        """Take the lab down, and with it all that runs there."""
        client.down(self.name)
        for process in (self.daemon, self.load):
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=PATIENCE_S)

    # --- how

    def onearm(self, *words: str, code: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line as an operator does."""
        done = subprocess.run(
            [*ONEARM, *words], capture_output=True, text=True, check=False,
            env=self._environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if code is not None and done.returncode != code:
            raise PlaceError(f"onearm {' '.join(words)}: {done.returncode}: {done.stderr.strip()}")
        return done

    def on(self, host: str, script: str, stdin: str = "") -> str:
        """Run a shell script on a host of the lab."""
        words = ["sh", "-ec", script]
        code, out, complaint = client.call(self.name, host, words, stdin.encode(), PATIENCE_S)
        if code:
            raise PlaceError(f"{host}: {script.strip()}: {code}: {complaint.decode().strip()}")
        return out.decode()

    def _start(self, host: str, words: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*ONEARM, "lab", "exec", host, "--", *words],
            env=self._environment(), stdin=subprocess.DEVNULL, **streams,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "ONEARM_LAB": self.name, "COLUMNS": "80"}

    # --- what is seen

    def rotation(self) -> dict[str, int]:
        """Who is behind the VIP in the director's kernel, with which weight."""
        rows = [line.split() for line in self.on(DIRECTOR, "ipvsadm -Sn").splitlines()]
        ours = {row[4]: int(row[7]) for row in rows if row[:3] == ["-a", "-t", f"{VIP}:80"]}
        names = {f"{address}:80": name for name, address in SERVERS.items()}
        return {names[address]: weight for address, weight in ours.items()}

    def whole(self) -> bool:
        """Whether both are served with the weights of the spec."""
        return self.rotation() == dict(zip(SERVERS, self.weights, strict=True))

    def announced(self) -> bool:
        return VIP in self.on(DIRECTOR, "ip -4 -o address show dev eth0")

    def look(self) -> tuple[int, ...]:
        """Give pid, RSS in kB, descriptors, sockets among them, marks, connection entries."""
        return tuple(map(int, self.on(DIRECTOR, LOOK).split()))

    def until(self, true: Callable[[], bool], what: str) -> float:
        """Wait until something is true; return how long that took."""
        begun = time.monotonic()
        while not true():
            if time.monotonic() > begun + PATIENCE_S:
                raise PlaceError(f"in vain: {what}; rotation {self.rotation()}")
            if self.daemon is not None and self.daemon.poll() is not None:
                raise PlaceError(f"the daemon ended with {self.daemon.returncode}, waiting: {what}")
            time.sleep(0.1)
        return time.monotonic() - begun
