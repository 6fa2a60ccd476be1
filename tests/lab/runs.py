"""Runs of the command line that are watched or killed, and transfers that must outlive them."""

import contextlib
import re
import signal
import time

PROGRESS = re.compile(r"\[(\d+)/(\d+)\] ")
VIP = "203.0.113.2"
PATIENCE_S = 30


def stopped_after(lab, pattern, *words, number=signal.SIGKILL):
    """Start `onearm WORDS`, signal it once a line on stderr matches, return (code, out, err)."""
    process = lab.start(*words)
    seen = []
    for line in process.stderr:
        seen.append(line)
        if re.search(pattern, line):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=120)
    return process.returncode, out, "".join(seen) + err


def killed_after(lab, k, *words):
    """Kill `onearm WORDS` after its k-th progress line; return the last line that it wrote."""
    code, _, err = stopped_after(lab, rf"^\[{k}/", *words)
    lines = [line for line in err.splitlines() if PROGRESS.match(line)]
    assert len(lines) >= k, f"{words}: no line {k}, code {code}:\n{err}"
    return lines[-1]


def wait_for(true, state=lambda: ""):
    """Ask again and again until the answer is true; return it."""
    until = time.monotonic() + PATIENCE_S
    while not (answer := true()):
        assert time.monotonic() < until, f"waited in vain: {state()}"
        time.sleep(0.1)
    return answer


class Transfer:
    """An endless download through the VIP over one connection, from one port of the client."""

    def __init__(self, lab, number, port=80):
        self.lab, self.number, self.file = lab, number, f"/run/{number}.bytes"
        url = f"http://{VIP}:{port}/bytes/1000000000?rate=20000"
        curl = f"curl -s -o {self.file} --local-port {number} '{url}'"
        self.pid = lab.sh("client", f"setsid {curl} >/dev/null 2>&1 & echo $!").strip()
        self.server = wait_for(self.server_now, lambda: lab.on("server-1", "ipvsadm", "-Lcn"))
        self.goes_on()

    def server_now(self):
        """Name the real server that the director keeps the connection on."""
        rows = [line.split() for line in self.lab.on("server-1", "ipvsadm", "-Lcn").splitlines()]
        for row in rows:
            if len(row) == 6 and row[3].endswith(f":{self.number}") and row[2] == "ESTABLISHED":
                return {"203.0.113.4:80": "server-2", "203.0.113.5:80": "server-3"}.get(row[5])
        return None

    def bytes(self):
        """Count what has come, over the one connection; 0 once that is over."""
        count = f"kill -0 {self.pid} 2>/dev/null && stat -c %s {self.file} 2>/dev/null || echo 0"
        return int(self.lab.sh("client", count))

    def goes_on(self):
        """Wait for more bytes."""
        had = self.bytes()
        wait_for(lambda: self.bytes() > had)

    def end(self):
        """Close the connection."""
        self.lab.sh("client", f"kill {self.pid} 2>/dev/null; rm -f {self.file}", check=False)


@contextlib.contextmanager
def transfers(lab, *numbers):
    """Open one transfer per port; yields them by the real server that each came to."""
    opened = [Transfer(lab, number) for number in numbers]
    try:
        yield {transfer.server: transfer for transfer in opened}
    finally:
        for transfer in opened:
            transfer.end()
