"""A lab with its cloud for tests: the API by identity, the real openstack client, one long talk."""

import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import requests
from labs import Lab

from onearm.lab import enforce
from onearm.lab.cloud import files, install
from onearm.lab.cloud.api import Api

MOVES = ("revision_number", "updated_at", "Revision")
SERVER = """
import socket, threading
door = socket.create_server(("0.0.0.0", 22))
print("ready", flush=True)
def echo(line):
    while data := line.recv(4096):
        line.sendall(data)
while True:
    threading.Thread(target=echo, args=(door.accept()[0],), daemon=True).start()
"""
CLIENT = """
import socket, sys
line = socket.create_connection(("203.0.113.3", 22), 10)
line.settimeout(20)
for word in sys.stdin:
    line.sendall(word.encode())
    print(line.recv(4096).decode(), end="", flush=True)
"""


@dataclass
class CloudLab(Lab):
    """A running lab whose cloud is told by what `lab up` printed."""

    said: dict = None

    def api(self, who="admin"):
        return Api(self.said["cloud"]["url"], next(i for i in files.IDENTITIES if i.name == who))

    def turn(self, *words):
        """Let it be another driver, or other compute nodes."""
        return self.onearm("lab", "up", "--cloud", *words, code=0)

    def ask(self, method, path, body=None, who="admin"):
        """Send one raw request as an identity; return the status and the text of the answer."""
        found = next(i for i in files.IDENTITIES if i.name == who)
        token = ":".join((found.name, found.project, ",".join(found.roles), "raw"))
        answer = requests.request(
            method, f"{self.said['cloud']['url']}/v2.0{path}", json=body,
            headers={"X-Auth-Token": token}, timeout=60,
        )  # fmt: skip
        return answer.status_code, answer.text

    def ports(self):
        """Name the hosts' ports."""
        return {row["name"]: row["id"] for row in self.api().list("ports", project_id="web")}

    def set_port(self, host, **fields):
        """Change a host's port by hand, as its project may."""
        self.api("owner").change("port", self.ports()[host], **fields)

    def default(self):
        """Name the hosts' own group."""
        return self.api().list("security_groups", project_id="web", name="default")[0]["id"]

    def admit(self, port):
        """Open a TCP port to everybody in `default`; return what closes it."""
        made = self.api().make(
            "security_group_rule", security_group_id=self.default(), project_id="web",
            direction="ingress", protocol="tcp", port_range_min=port, port_range_max=port,
            remote_ip_prefix="0.0.0.0/0",
        )  # fmt: skip
        return lambda: self.delete("security-group-rules", made["id"])

    def delete(self, kind, thing):
        assert self.ask("DELETE", f"/{kind}/{thing}") == (204, "")

    def openstack(self, script, who="admin", *, check=True):
        """Give the real client lines of its own language; return the JSON values it prints."""
        client = install.environment() / "bin" / "openstack"
        done = subprocess.run(
            [client], input=script, capture_output=True, text=True, timeout=180,
            env={**self.environment(), "OS_CLOUD": who}, check=False,
        )  # fmt: skip
        if check:
            assert not done.stderr.strip(), done.stderr
        return list(values(done.stdout))

    def snapshot(self):
        """Show every port, group and rule by the real client, without what each write moves."""
        lists = self.openstack("port list -f json\nsecurity group list -f json\n"
                               "security group rule list -f json\n")  # fmt: skip
        kinds = ("port", "security group", "security group rule")
        asked = [f"{kind} show {row['ID']} -f json" for kind, rows in zip(kinds, lists, strict=True)
                 for row in rows]  # fmt: skip
        rows = [settled(row) for row in self.openstack("\n".join(asked) + "\n")]
        assert len(rows) == len(asked)
        return {row["id"]: row for row in rows}

    def drops(self):
        found = enforce.counters(self.name)
        return {(h, r): n for h, reasons in found.items() for r, n in reasons.items() if n}

    def web(self, host="client", seconds=2):
        """Ask the VIP once; empty when nothing came."""
        return self.on(host, "curl", "-sm", str(seconds), "http://203.0.113.2/", check=False)


def started(name, folder, *words):
    lab = CloudLab(name, folder)
    for variable in [v for v in os.environ if v.startswith("OS_")]:
        del os.environ[variable]
    lab.said = lab.onearm("lab", "up", "--cloud", "--json", *words, code=0, timeout=900).json()
    lab.env["OS_CLIENT_CONFIG_FILE"] = lab.said["cloud"]["clouds_yaml"]
    return lab


def mine(name):
    """List the processes of a lab's cloud."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any("serve.py" in w or w == "cloud.keeper" for w in words) and name in " ".join(words):
            found.append(int(entry.parent.name))
    return found


def values(text):
    """Read JSON values one behind the other, with whatever stands between them."""
    decoder, at = json.JSONDecoder(), 0
    while True:
        starts = [i for i in (text.find("{", at), text.find("[", at)) if i >= 0]
        if not starts:
            return
        value, at = decoder.raw_decode(text, min(starts))
        yield value


def settled(row):
    row = {key: value for key, value in row.items() if key not in MOVES}
    for key, value in row.items():
        if isinstance(value, list):
            inner = [settled(item) if isinstance(item, dict) else item for item in value]
            row[key] = sorted(inner, key=lambda item: json.dumps(item, sort_keys=True))
    return row


class Talk:
    """One TCP connection from the client to the director's port 22, in use all the time."""

    def __init__(self, lab):
        pipe = subprocess.PIPE
        argv = ("lab", "exec", "server-1", "--", "python3", "-c", SERVER)
        self.server = lab.start(*argv)
        assert self.server.stdout.readline() == "ready\n"
        argv = ("lab", "exec", "client", "--", "python3", "-uc", CLIENT)
        environment = lab.environment()
        self.client = subprocess.Popen(
            [sys.executable, "-I", "-m", "onearm", *argv],
            stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment,
        )  # fmt: skip
        self.words, self.longest, self.alive = 0, 0.0, True
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._talk)
        self.thread.start()

    def _talk(self):
        while not self.stop.wait(0.05):
            begun = time.monotonic()
            self.client.stdin.write(f"word {self.words}\n")
            self.client.stdin.flush()
            ready = select.select([self.client.stdout], [], [], 25)[0]
            if not ready or self.client.stdout.readline() != f"word {self.words}\n":
                self.alive = False
                return
            self.words += 1
            self.longest = max(self.longest, time.monotonic() - begun)

    def close(self):
        self.stop.set()
        self.thread.join()
        for process in (self.client, self.server):
            process.terminate()
            process.communicate()
