"""Network namespaces on this machine's own kernel, where it has what the guest's lacks."""

import contextlib
import ctypes
import subprocess
import threading
import time
from pathlib import Path

import pytest

from onearm.kernel import tools


class Namespace:
    """A network namespace, held by a process; a thread of ours may work in it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        ours, theirs = (Path(f"/proc/{pid}/ns/net") for pid in ("self", self.holder.pid))
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if theirs.readlink() != ours.readlink():
                    return
            time.sleep(0.01)
        pytest.fail("this machine makes no network namespace")

    def sh(self, script):
        argv = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "sh", "-ec", script]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, work):
        """Call our own code there, in a thread that ends with it."""
        brought = []

        def body():
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/proc/{self.holder.pid}/ns/net").open("rb") as there:
                assert libc.setns(there.fileno(), tools.CLONE_NEWNET) == 0
            try:
                brought.append((work(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised again in the caller
                brought.append((None, error))

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        result, error = brought[0]
        if error:
            raise error
        return result

    def end(self):
        self.holder.kill()
        self.holder.wait()
