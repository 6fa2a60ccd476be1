"""PID 1 of a guest until it becomes systemd: the root, our Python where a unit sees it, two hosts.

`booted_init.py SRC MODULES FOLDER`, run by the machine's own Python.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SHARED = Path("/mnt/shared")
WORLD = Path("/opt/world")
FILES = {
    "web.yaml": "/etc/onearm/web.yaml",
    "web.env": "/etc/onearm/web.env",
    "limits.conf": "/etc/systemd/system/onearm-director@.service.d/limits.conf",
}
LAUNCHER = """#!/bin/sh
exec env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={at}/src:{at}/site LD_LIBRARY_PATH={at}/python/lib \\
    {at}/python/bin/{name} -m onearm "$@"
"""
# What would clean /tmp, where this repository may lie, and what takes time for nothing.
MASKED = ("systemd-tmpfiles-setup", "systemd-binfmt", "systemd-sysctl", "systemd-udevd")
# server-1 is the guest itself; server-2 holds the VIP in silence.
NETWORK = """
ip link set lo up
ip netns add server-2
ip link add eth0 type veth peer name eth0 netns server-2
ip address add 203.0.113.3/27 dev eth0
ip link set eth0 up
ip -n server-2 link set lo up
ip -n server-2 address add 203.0.113.4/27 dev eth0
ip -n server-2 link set eth0 up
ip -n server-2 link add eth-vip type dummy
ip -n server-2 link set eth-vip up
ip netns exec server-2 sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
ip -n server-2 address add 203.0.113.2/32 dev eth-vip
"""


def show(source, target):
    target.mkdir(parents=True, exist_ok=True)
    linux.mount(source, target, flags=linux.MS_BIND)


def install(world):
    for what in ("python", "site", "src", "inside"):
        show(world[what], WORLD / what)
    launcher = Path("/usr/local/bin/onearm")
    launcher.write_text(LAUNCHER.format(at=WORLD, name=world["name"]))
    launcher.chmod(0o755)
    for unit in (SHARED / "units").iterdir():
        Path("/etc/systemd/system", unit.name).write_bytes(unit.read_bytes())
    for name, target in world.get("files", FILES).items():
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_bytes((SHARED / name).read_bytes())
    Path("/var/lib/prometheus/node-exporter").mkdir(parents=True)
    for name in world.get("masked", MASKED):
        Path(f"/etc/systemd/system/{name}.service").symlink_to(os.devnull)


def begin(modules, folder):
    guest.prepare(modules)
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    SHARED.mkdir(parents=True)
    linux.mount("none", SHARED, "hostfs", options=folder)
    world = json.loads((SHARED / "world.json").read_text())
    install(world)
    network = world.get("network", NETWORK)
    subprocess.run(["sh", "-exc", network], stdin=subprocess.DEVNULL, check=True)
    words = ("--system", "--unit=proof.target", "--log-target=console", "--show-status=no")
    os.execv("/lib/systemd/systemd", ["systemd", *words])  # noqa: S606 - PID 1 becomes systemd


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    from onearm.lab import guest, linux

    begin(*sys.argv[2:])
