"""The guest has the memory that it is asked to have."""

import os
import subprocess
import sys

import pytest

ONEARM = [sys.executable, "-I", "-m", "onearm", "lab"]


def lab(*words, memory):
    return subprocess.run(
        [*ONEARM, *words],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "ONEARM_LAB_MEMORY": memory,
            "ONEARM_LAB_BACKEND": "uml",
        },
    )


def test_it_is_as_large_as_it_is_said():
    name = ("--name", f"memory-{os.getpid()}")
    assert lab("up", *name, "--json", memory="640M").returncode == 0
    try:
        said = lab("exec", *name, "server-1", "--", "head", "-1", "/proc/meminfo", memory="").stdout
    finally:
        lab("down", *name, memory="")
    assert 600_000 < int(said.split()[1]) < 640 * 1024


@pytest.mark.parametrize("memory", ["much", "640", "0M", "640M ro"])
def test_what_is_no_size_is_refused(memory):
    done = lab("up", "--name", "memory", memory=memory)
    assert (done.returncode, done.stderr) == (
        4,
        f"onearm: ONEARM_LAB_MEMORY is {memory!r}: write megabytes like 2048M\n",
    )
