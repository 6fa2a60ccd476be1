"""A real daemon on the lab's director: started, watched by what it shows, killed."""

import sys
import time
from pathlib import Path

ONEARM = Path(sys.prefix, "bin", "onearm")
HOST, FILE, PID = "server-1", "/etc/onearm/default.yaml", "/run/test-daemon.pid"
PATIENCE_S = 60  # for what must come; nothing is asserted of how fast


class Daemon:
    """The daemon of a spec; its file is the director's own."""

    def __init__(self, lab, path):
        self.lab, self.path, self.process = lab, path, None
        lab.on(HOST, "install", "-D", "/dev/stdin", FILE, stdin=path.read_bytes())

    def start(self):
        script = f"echo $$ >{PID}; exec {ONEARM} director {FILE}"
        words = ("lab", "exec", HOST, "--", "sh", "-c", script)
        self.log = (self.lab.folder / "daemon.log").open("a")
        self.process = self.lab.start(*words, stdout=self.log, stderr=self.log)
        self.until(bool)

    def end(self, signal="TERM"):
        """End it by a signal, and wait until it has."""
        if self.process is not None:
            self.lab.sh(HOST, f"kill -{signal} $(cat {PID})")
            self.process.wait(PATIENCE_S)
            self.log.close()
            self.process = None

    def states(self):
        """Give the state of each real server as it shows it; empty where none runs."""
        told = self.lab.onearm("status", self.path, "--json").json()["directors"][HOST]
        shown = (told.get("daemon") or {}).get("services", [])
        return {server["host"]: server["state"] for s in shown for server in s.get("servers", ())}

    def until(self, fits):
        """Wait for states that fit; they are given to `fits`."""
        deadline = time.monotonic() + PATIENCE_S
        while not fits(found := self.states()):
            assert time.monotonic() < deadline, (found, Path(self.log.name).read_text())
            time.sleep(0.2)
        return found

    def becomes(self, **states):
        wanted = {name.replace("_", "-"): state for name, state in states.items()}
        self.until(lambda found: wanted.items() <= found.items())
