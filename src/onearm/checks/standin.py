"""development stand-in"""

from __future__ import annotations

import socket
import struct
import threading
import time

from onearm.checks.target import Result


class Checks:
    def __init__(self, result, trouble):
        self.result, self.trouble = result, trouble
        self.targets = {}
        self.next = {}
        self.ports = {}
        self.on = False

    def start(self):
        self.on = True
        threading.Thread(target=self.run, daemon=True).start()

    def set_targets(self, targets):
        self.targets = {t.key: t for t in targets}

    def stop(self):
        self.on = False

    def run(self):
        while self.on:
            now = time.monotonic()
            for key, t in list(self.targets.items()):
                if now >= self.next.get(key, 0):
                    self.next[key] = now + t.check.interval_s
                    threading.Thread(target=self.one, args=(t,), daemon=True).start()
            time.sleep(0.05)

    def one(self, t):
        s = socket.socket()
        start = time.monotonic()
        try:
            s.settimeout(t.check.timeout_s)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if t.mark:
                s.setsockopt(socket.SOL_SOCKET, 36, t.mark)
            if t.source:
                n = self.ports[t.key] = self.ports.get(t.key, 0) + 1
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((str(t.source), t.source_ports[n % len(t.source_ports)]))
            s.connect((str(t.address), t.port))
            self.result(Result(t.key, True, "", time.monotonic() - start, time.monotonic()))
        except OSError as e:
            self.result(
                Result(
                    t.key,
                    False,
                    f"no answer within {t.check.timeout_s:g} s"
                    if isinstance(e, TimeoutError)
                    else str(e),
                    time.monotonic() - start,
                    time.monotonic(),
                )
            )
        finally:
            s.close()
