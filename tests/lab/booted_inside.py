"""What is tried in a guest with systemd: the daemon's whole life under its unit, told as JSON."""

import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

SHARED = Path("/mnt/shared")
UNIT = "onearm-director@web"
PATIENCE_S = 60
STEADY = 10  # times in a row that it is so
KINDS = ("Cap", "NoNewPrivs", "Seccomp:")
# Where a daemon that was taken over could write, and whether the unit lets it.
PLACES = (
    *("/usr/x", "/etc/onearm/x", "/var/x", "/sys/kernel/x", "/root/x", "/home/x"),
    *("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory"),
    *("/proc/sys/net/ipv4/ip_default_ttl", "/run/onearm/x", "/var/lib/onearm/x"),
)


def run(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 or not check, (words, done.stdout, done.stderr)
    return done.stdout


def show(name):
    return run("systemctl", "show", "-P", name, UNIT).strip()


def until(true):
    """Ask again and again; give the last answer when it never becomes true."""
    end = time.monotonic() + PATIENCE_S
    while not (answer := true()) and time.monotonic() < end:
        time.sleep(0.2)
    return answer


def snapshot():
    said = run("onearm", "status", "--json", check=False)
    return json.loads(said) if said.startswith("{") else {}


def states():
    found = snapshot().get("services", [])
    return {
        f"{s['port']}/{s['protocol']}": server["state"] for s in found for server in s["servers"]
    }


def all_up():
    found = states()
    return found if found and set(found.values()) == {"up"} else None


def table():
    """Say who serves, without the marks of the checks and without figures."""
    rows = [line.split() for line in run("ipvsadm", "-Sn").splitlines()]
    return sorted(" ".join(row) for row in rows if "-f" not in row)


def rights():
    tasks = Path(f"/proc/{show('MainPID')}/task").iterdir()
    lines = [(t.name, (t / "status").read_text().splitlines()) for t in sorted(tasks)]
    return {name: [x for x in found if x.startswith(KINDS)] for name, found in lines}


def writable():
    """Try to write in the daemon's own view of the files, as root with all rights."""
    shell = 'for f in "$@"; do if (cat /dev/null >>"$f") 2>/dev/null; then echo "$f"; fi; done'
    enter = ("nsenter", "--target", show("MainPID"), "--mount", "--root")
    return run(*enter, "sh", "-c", shell, "sh", *PLACES).split()


def shown():
    page = run("curl", "-sS", "http://127.0.0.1:9611/")
    file = Path("/var/lib/prometheus/node-exporter/onearm.prom")
    return {
        "page": "<html" in page,
        "metrics": "onearm_" in run("curl", "-sS", "http://127.0.0.1:9611/metrics"),
        "file": "onearm_" in file.read_text(),
    }


def reload_():
    """A bad file, then the good one: what systemd is told."""
    spec, said = Path("/etc/onearm/web.yaml"), []
    good = spec.read_text()
    for text in ("nonsense", good):
        fresh = spec.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(spec)
        run("systemctl", "reload", UNIT)
        # Its file's change alone makes a round: the signal's may begin when that one has told.
        until(lambda bad=text != good: all(as_told(bad) for _ in range(STEADY)))
        said.append([show("ActiveState"), show("StatusText")])
    return said


def as_told(bad):
    """Say whether no reload goes on, and the state of the file is told."""
    time.sleep(0.2)
    return show("ActiveState") == "active" and ("not taken" in show("StatusText")) == bad


def restarted(count):
    came = lambda: show("NRestarts") == str(count) and show("ActiveState") == "active"
    return bool(until(came)) and until(all_up)


def falls(number, count):
    """Signal it so that it ends or hangs; say who served before, meanwhile and in the end."""
    before = table()
    run("systemctl", "kill", "--kill-whom=main", f"--signal={number}", UNIT)
    until(lambda: show("ActiveState") != "active" or show("NRestarts") == str(count))
    meanwhile = table()
    return {"up": restarted(count), "tables": [before, meanwhile, table()]}


def stop():
    before = table()
    run("systemctl", "stop", UNIT)
    address = run("ip", "-br", "address", "show", "dev", "eth0")
    left = sorted(path.name for path in Path("/run/onearm").iterdir())
    said = [show("ActiveState"), show("Result")]
    return {
        "tables": [before, table()],
        "vip": "203.0.113.2/32" in address,
        "left": left,
        "is": said,
    }


STEPS = {
    "start": lambda: run("systemctl", "start", UNIT),
    "up": lambda: until(all_up) or states(),
    "status": lambda: [show("ActiveState"), show("StatusText")],
    "rights": rights,
    "script": lambda: until(lambda: Path("/run/onearm/script").read_text().splitlines()),
    "writable": writable,
    "shown": lambda: until(shown),
    "reload": reload_,
    "commands": lambda: [
        run("onearm", verb, "server-2", *more).splitlines()
        for verb, more in (("drain", ["--deadline", "0s"]), ("undrain", []))
    ],
    "up_again": lambda: until(all_up) or states(),
    "events": lambda: [e for e in snapshot()["events"] if "level" in e],
    "restarts": lambda: show("NRestarts"),
    "killed": lambda: falls("KILL", 1),
    "hangs": lambda: falls("STOP", 2),
    "stop": stop,
    "log": lambda: run("journalctl", "-o", "cat", "--no-pager", "-u", UNIT).splitlines(),
}


def prove():
    told = {}
    try:
        for name, step in STEPS.items():
            told[name] = step()
            print(name, flush=True)
    except Exception as error:
        told["failed"] = f"{name}: {error!r}\n{run('journalctl', '--no-pager', '-n', '40')}"
        raise
    finally:
        (SHARED / "told.new").write_text(json.dumps(told))
        (SHARED / "told.new").rename(SHARED / "told.json")


# The real server: answers for every kind of check.


def answer_dns(query):
    """Answer any question with one address."""
    record = b"\xc0\x0c\x00\x01\x00\x01" + bytes(4) + b"\x00\x04" + bytes(4)
    return query[:2] + b"\x81\x80\x00\x01\x00\x01" + bytes(4) + query[12:] + record


def datagrams(port, answer):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        # One socket per address: the reply must leave from the address that was asked.
        s.bind(("203.0.113.2", port))
        while True:
            data, peer = s.recvfrom(2000)
            s.sendto(answer(data), peer)


def streams(port, context=None):
    server = http.server.ThreadingHTTPServer(("", port), http.server.SimpleHTTPRequestHandler)
    if context:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.serve_forever()


def serve():
    os.chdir("/mnt/shared/units")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(SHARED / "cert.pem", SHARED / "key.pem")
    work = [(streams, port) for port in (22, 53, 80, 81, 82, 514)]
    work += [(streams, port, tls) for port in (443, 8443)]
    work += [(datagrams, 53, answer_dns), (datagrams, 514, lambda data: b"re: " + data)]
    threads = [threading.Thread(target=what, args=more) for what, *more in work]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    {"prove": prove, "serve": serve}[sys.argv[1]]()
