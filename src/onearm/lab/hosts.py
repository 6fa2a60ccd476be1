"""One host of the lab: its namespaces and mounts, and the init that serves commands in it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from onearm.lab import linux, responder
from onearm.lab.execs import Execs
from onearm.lab.frames import Frame, Kind, Line
from onearm.lab.loop import Loop
from onearm.lab.topology import KNOWN, SYSCTLS, host_table, setting

OWN = ("/etc", "/var/lib", "/var/log")  # each host has its own, over the machine's
SCRATCH = "/mnt"  # holds the layers until they are mounted; then it is the machine's again
NAMESPACES = linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
MOST_FDS = 4096


def main(name: str, fd: int, names: Sequence[str]) -> None:
    """Be the init of one host, of those named, until the line to the agent ends."""
    line = Line(fd)
    try:
        enter(name)
        line.send(0, Kind.HELLO)
        await_frames(line)  # the wires are there
        settle(name, names)
        line.send(0, Kind.HELLO)
    except (OSError, subprocess.SubprocessError, EOFError) as error:
        line.send(0, Kind.FAILED, f"{name}: {error}".encode())
        return
    serve(name, line)


def close_others(*keep: int) -> None:
    """Close what was inherited: an end held here would hide the death of its owner."""
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, MOST_FDS)


def await_frames(line: Line) -> list[Frame]:
    """Wait for the next frames, blocking."""
    while True:
        select.select([line], [], [])
        frames = line.receive()
        if frames:
            return frames


def enter(name: str) -> None:
    """Leave the machine's namespaces and make the host's own file systems."""
    linux.unshare(NAMESPACES)
    linux.set_hostname(name)
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc")
    linux.mount("sysfs", "/sys", "sysfs")
    linux.mount("tmpfs", SCRATCH, "tmpfs", options="mode=755")
    for number, directory in enumerate(OWN):
        own(directory, Path(SCRATCH) / str(number))
    linux.detach(SCRATCH)
    linux.mount("tmpfs", "/run", "tmpfs", options="mode=755")
    Path("/run/lock").mkdir(mode=0o1777)
    Path("/etc/hostname").write_text(name + "\n", "ascii")
    Path("/etc/hosts").write_text(host_table(), "ascii")
    set_sysctls(SYSCTLS)


def own(directory: str, layers: Path) -> None:
    """Give the host its own copy of a directory: an overlay, or where none can be, real files."""
    upper, work = layers / "upper", layers / "work"
    upper.mkdir(parents=True, mode=0o755)
    work.mkdir()
    shutil.copystat(directory, upper)
    try:
        options = f"lowerdir={directory},upperdir={upper},workdir={work}"
        linux.mount("overlay", directory, "overlay", options=options)
    except OSError:
        copy(Path(directory), upper)
        linux.mount(str(upper), directory, flags=linux.MS_BIND)


def copy(directory: Path, into: Path) -> None:
    """Copy /etc whole; of the others, which hold data, the top level of directories."""
    if directory == Path("/etc"):
        shutil.copytree(directory, into, symlinks=True, dirs_exist_ok=True)
        return
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            target = into / entry.name
            target.mkdir()
            shutil.copystat(entry, target)
            os.chown(target, entry.stat().st_uid, entry.stat().st_gid)


def set_sysctls(values: tuple[tuple[str, str], ...]) -> None:
    """Write what exists; a kernel without bridge netfilter or IPv6 has nothing to be quieted."""
    for name, value in values:
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", name).write_text(value, "ascii")


def settle(name: str, names: Sequence[str]) -> None:
    """Configure the host's own side of the network and start its responder."""
    ip_batch(setting(name, names, six=Path("/proc/net/if_inet6").exists()))
    set_sysctls(KNOWN[name].sysctls)
    if KNOWN[name].responder:
        start_responder()


def ip_batch(text: str) -> None:
    """Feed `ip -batch`; a failure says the first line of what it complained of."""
    done = subprocess.run(
        ["ip", "-batch", "-"], input=text.encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise OSError(f"ip: {done.stderr.decode(errors='replace').strip()}")


def start_responder() -> None:
    """Fork, not exec: a Python start costs half a second in the guest."""
    ears = responder.listen(None)
    if os.fork() == 0:
        close_others(*(ear.fileno() for ear in ears))
        responder.serve(ears)
    for ear in ears:
        ear.close()


def serve(name: str, line: Line) -> None:
    """Start commands and reap the dead until the agent is gone."""
    loop = Loop()
    execs = Execs(loop, name, line.send)

    def receive(frames: list[Frame]) -> None:
        for frame in frames:
            execs.take(frame)

    def ended() -> None:
        loop.going = False

    loop.add(line, receive, ended)
    loop.signals((signal.SIGCHLD,), lambda _: execs.reap())
    execs.reap()
    loop.run()
