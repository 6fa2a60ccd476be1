"""The daemon on a lab's director: started, killed, asked, and what its kernel has in rotation."""

import contextlib
import json
import subprocess
import sys
import textwrap
from datetime import datetime
from pathlib import Path

from runs import wait_for

import onearm

HOST = "server-1"
HOME = "/etc/onearm/default.yaml"
PID = "/run/director.pid"
SERVERS = {"203.0.113.4": "server-2", "203.0.113.5": "server-3"}
CHECKED = """
directors:
  server-1: 203.0.113.3
real_servers:
  server-2: 203.0.113.4
  server-3: 203.0.113.5
check: {kind: tcp, interval: 500ms, timeout: 500ms, rise: 2, fall: 2}
resync: 2s
services:
  - vip: 203.0.113.2
    port: 80/tcp
    scheduler: wrr
reach: lab
"""

# Asks the daemon, and ends it without a word the moment that it has answered.
LAST_WORD = """
import json, os, sys
sys.path.append(sys.argv[1])
from onearm.serve import client
answer = client.ask(client.path_of("default"), json.loads(sys.argv[2]))
os.kill(int(sys.argv[3]), 9)
print(json.dumps(answer))
"""


class Director:
    """`onearm director` on server-1 of a lab, with its log in a file."""

    def __init__(self, lab, text=CHECKED):
        self.lab, self.file = lab, lab.folder / "director.log"
        self.file.write_bytes(b"")
        self.put(text)
        self.process = None

    def put(self, text):
        """Replace the spec where the daemon has it, at once, and where the operator has it."""
        self.spec = self.lab.spec(text, "director.yaml")
        replace = f"mkdir -p /etc/onearm; cat >{HOME}.new; mv {HOME}.new {HOME}"
        self.lab.on(HOST, "sh", "-ec", replace, stdin=textwrap.dedent(text).encode())

    def start(self, *options):
        """Begin; return once it has done its first round."""
        self.lab.nodes.end()  # one that has applied holds the host's lock
        begun = len(self.events())
        run = f'echo $$ >{PID}; exec "$0" "$@"'
        words = [sys.executable, "-I", "-m", "onearm", "director", HOME, "--log-format", "json"]
        with self.file.open("ab") as log:
            self.process = self.lab.start(
                *("lab", "exec", HOST, "--", "sh", "-c", run, *words, *options),
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.wait(lambda: any(one["event"] == "health" for one in self.events()[begun:]))

    def wait(self, true):
        """Wait until something is true, while it runs."""

        def now():
            assert self.process.poll() is None, self.log()[-3000:]
            return true()

        return wait_for(now, lambda: f"{rotation(self.lab)}\n{self.log()[-3000:]}")

    def log(self):
        return self.file.read_text()

    def events(self):
        """What it logged, a line each."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def at(self, kind, text):
        """When it last logged such a thing, by the lab's clock."""
        times = [one["at"] for one in self.events() if one["event"] == kind and text in one["text"]]
        return datetime.fromisoformat(times[-1].replace("Z", "+00:00")).timestamp()

    def snapshot(self):
        """What it shows to those on its host."""
        words = [sys.executable, "-I", "-m", "onearm", "status", "--json"]
        return json.loads(self.lab.on(HOST, *words))

    def said(self, kind):
        """The texts of one kind of event."""
        return [one["text"] for one in self.events() if one["event"] == kind]

    def pid(self):
        return int(self.lab.on(HOST, "cat", PID))

    def signal(self, name):
        self.lab.on(HOST, "kill", f"-{name}", str(self.pid()))

    def kill(self):
        """End it without a word."""
        self.signal("KILL")
        self.process.wait(timeout=30)

    def last_word(self, **request):
        """Ask, and kill it as soon as it has answered; return the answer."""
        src = str(Path(onearm.__file__).parents[1])
        words = ("python3", "-Ic", LAST_WORD, src, json.dumps(request), str(self.pid()))
        answer = json.loads(self.lab.on(HOST, *words))
        self.process.wait(timeout=30)
        return answer

    def stop(self):
        """End it as systemd does; return its exit code."""
        if self.process and self.process.poll() is None:
            self.signal("TERM")
            return self.process.wait(timeout=30)
        return None


@contextlib.contextmanager
def director(lab, text=CHECKED, *options):
    """The world of a spec, and its daemon."""
    daemon = Director(lab, text)
    lab.onearm("apply", daemon.spec, "--yes", code=0)
    daemon.start(*options)
    try:
        yield daemon
    finally:
        daemon.stop()
        lab.onearm("destroy", daemon.spec, "--yes")


def rotation(lab, vip="203.0.113.2"):
    """Who is behind a VIP in the director's kernel, with which weight."""
    rows = [line.split() for line in lab.on(HOST, "ipvsadm", "-Sn").splitlines()]
    found = [row for row in rows if row[0] == "-a" and row[2].startswith(f"{vip}:")]
    return {SERVERS[row[4].partition(":")[0]]: int(row[7]) for row in found}
