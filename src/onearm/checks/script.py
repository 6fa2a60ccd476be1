"""The script check: a program of the operator's, in its own session, ended with all it began."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from select import EPOLLIN

from onearm.checks.place import Place
from onearm.checks.probe import Probe, Watch
from onearm.checks.target import Target
from onearm.checks.verdict import Verdict, clean, ours

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STDERR_MOST = 64 * 1024  # then it is closed, which the script may notice
KEPT = 1024  # of it, for the reason
PIECE = 16 * 1024


def environment(target: Target) -> dict[str, str]:
    """Give the whole environment of a script; docs/reference/checks.md promises it."""
    return {
        "ONEARM_VIP": str(target.vip or target.address),
        "ONEARM_PORT": str(target.port),
        "ONEARM_PROTOCOL": target.protocol,
        "ONEARM_REAL_SERVER": target.host,
        "ONEARM_ADDRESS": str(target.address),
        "PATH": PATH,
        "LANG": "C.UTF-8",
    }


class Script(Probe):
    """Its end is seen by a pidfd; its words are read as they come, so that it is never stuck."""

    __slots__ = ("child", "pidfd", "said", "spoken", "stderr")

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.child: subprocess.Popen[bytes] | None = None
        self.pidfd = self.stderr = -1
        self.said = b""
        self.spoken = 0

    def begin(self, watch: Watch) -> Verdict | None:
        argv = self.place.check.argv
        try:
            self._start(list(argv))
        except OSError as error:
            raise ours(error.errno or 0, f"{argv[0]} cannot be started") from None
        watch.watch(self.pidfd, EPOLLIN, self)
        watch.watch(self.stderr, EPOLLIN, self)
        return None

    def _start(self, argv: list[str]) -> None:
        self.stderr, words = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_blocking(self.stderr, False)
            self.child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                env=environment(self.place.target),
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(words)
        self.pidfd = os.pidfd_open(self.child.pid)

    def ready(self, events: int, watch: Watch, /) -> Verdict | None:
        if self.child is None or not events:
            return None
        if self.stderr >= 0:
            self._read(watch)
        if os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        kill(self.child)  # what it left behind; its number is its own until it is waited for
        code = self.child.wait()
        said = clean(self.said.split(b"\n")[0])
        if code == 0:
            return Verdict(ok=True, reason=said or "exit 0")
        ended = f"exit {code}" if code > 0 else f"ended by {_signal(-code)}"
        return Verdict(ok=False, reason=f"{ended}: {said}" if said else ended)

    def expired(self) -> Verdict:
        return Verdict(ok=False, reason=f"not done within {self.place.check.timeout_s:g} s")

    def close(self, watch: Watch) -> None:
        if self.stderr >= 0:
            self._hang_up(watch)
        if self.pidfd >= 0:
            watch.unwatch(self.pidfd)
        if self.child is None:
            return
        kill(self.child)
        if self.child.poll() is None and self.pidfd >= 0:
            Remains(self).begin(watch)
        else:
            bury(self.child, self.pidfd)
        self.child, self.pidfd = None, -1

    def _read(self, watch: Watch) -> None:
        """Keep the beginning of what it says; the rest is read so that it is not stuck."""
        try:
            data = os.read(self.stderr, PIECE)
        except BlockingIOError:
            return
        self.spoken += len(data)
        self.said += data[: KEPT - len(self.said)]
        if not data or self.spoken > STDERR_MOST:
            self._hang_up(watch)

    def _hang_up(self, watch: Watch) -> None:
        watch.unwatch(self.stderr)
        os.close(self.stderr)
        self.stderr = -1


class Remains(Probe):
    """A child that was killed and is not gone yet: nobody waits for it, it is buried when it is."""

    __slots__ = ("child", "pidfd")

    def __init__(self, script: Script) -> None:
        super().__init__(script.place)
        if script.child is None:
            raise ValueError("a script without a child leaves none behind")
        self.child, self.pidfd = script.child, script.pidfd

    def begin(self, watch: Watch) -> Verdict | None:
        watch.watch(self.pidfd, EPOLLIN, self)
        return None

    def ready(self, events: int, watch: Watch, /) -> Verdict | None:
        if events:
            self.close(watch)
        return None

    def close(self, watch: Watch) -> None:
        watch.unwatch(self.pidfd)
        bury(self.child, self.pidfd)


def kill(child: subprocess.Popen[bytes]) -> None:
    """End a child and all of its session; one that runs as somebody else may not be ours to end."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def bury(child: subprocess.Popen[bytes], pidfd: int) -> None:
    """Wait for a child that has ended, or is about to; the kernel's own bound is a second."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(1)
    if pidfd >= 0:
        os.close(pidfd)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
