"""The daemon on the lab's director, started by hand and watched from outside."""

import contextlib
import json
import sys

from runs import wait_for

from onearm.serve import client

SPEC = """
name: process
directors: {server-1: 203.0.113.3}
real_servers: {server-2: 203.0.113.4, server-3: 203.0.113.5}
check: {kind: tcp, interval: 500ms, timeout: 500ms, fall: 2, rise: 1}
resync: 1s
services:
  - {vip: 203.0.113.2, port: 80/tcp, scheduler: rr}
reach: lab
"""
FILE = "/run/process.yaml"
# `wait` is what knows how it ended; it must not be the leader of what runs here.
STARTS = """
rm -f /run/d.*
mkfifo /run/d.err
{reader} </run/d.err >/run/d.log &
setsid sh -c '{before}
    {set} {python} -I -m onearm director {spec} --withdraw >/run/d.err 2>&1 </dev/null &
    echo $! >/run/d.pid; wait $!; echo $? >/run/d.code' >/dev/null 2>&1 </dev/null &
"""
ASKS = """
import json, sys
sys.path.append("{src}")
from onearm.serve import client
print(json.dumps(client.ask(client.path_of("process"), json.loads(sys.argv[1]))))
"""


class Director:
    """A daemon; what it was started with is taken down at its end."""

    def __init__(self, lab, *, text=SPEC, reader="cat", before="", **env):
        self.lab = lab
        self.write(text)
        words = {"python": sys.executable, "spec": FILE, "reader": reader, "before": before}
        lab.sh("server-1", STARTS.format(set=" ".join(f"{k}={v}" for k, v in env.items()), **words))
        self.pid = wait_for(lambda: self.file("pid")).strip()

    def file(self, name):
        return self.lab.sh("server-1", f"cat /run/d.{name}", check=False)

    def write(self, text):
        """Replace its spec, within the lab: what this machine's files hold is cached there."""
        self.lab.on("server-1", "sh", "-c", f"cat >{FILE}.new", stdin=text.encode())
        self.lab.on("server-1", "mv", f"{FILE}.new", FILE)

    def ask(self, **request):
        """Ask by its socket, in the lab: its own process of Python, as for everybody there."""
        script = ASKS.format(src=client.__file__.rsplit("/", 3)[0])
        said = self.lab.on("server-1", "python3", "-Ic", script, json.dumps(request), check=False)
        return json.loads(said) if said else None

    def up(self):
        """Wait until it serves with both real servers."""
        wait_for(lambda: self.servers() == ["server-2", "server-3"], self.log)
        return self

    def servers(self):
        """Who has weight in the kernel."""
        rows = self.lab.on("server-1", "ipvsadm", "-Sn").split("\n")
        names = {"203.0.113.4:80": "server-2", "203.0.113.5:80": "server-3"}
        found = [row.split() for row in rows if "-a -t 203.0.113.2:80" in row]
        found = [words for words in found if words[-1] != "0"]
        return sorted(names[words[words.index("-r") + 1]] for words in found)

    def log(self):
        return self.file("log")

    def kill(self, name):
        self.lab.sh("server-1", f"kill -{name} {self.pid}")

    def code(self):
        """Wait for its end; say how it ended."""
        return int(wait_for(lambda: self.file("code"), self.log))

    def status(self, *names):
        """Read lines of /proc/PID/status of all its threads."""
        pattern = "|".join(names)
        said = self.lab.sh("server-1", f"grep -hE '^({pattern}):' /proc/{self.pid}/task/*/status")
        return [line.split() for line in said.splitlines()]

    def count(self, what):
        return len(self.lab.sh("server-1", f"ls /proc/{self.pid}/{what}").split())


@contextlib.contextmanager
def director(lab, **options):
    """Run one; however the test ends, it withdraws."""
    running = Director(lab, **options)
    try:
        yield running
    finally:
        if not running.file("code"):
            running.kill("TERM")
            running.code()
