"""What a Python process loads, as it tells it itself."""

import subprocess
import sys

CLOUDS = {"pyroute2", "openstack", "keystoneauth1", "neutronclient", "requests", "httpx", "asyncio"}
HEAVY = CLOUDS | {"click", "rich", "yaml"}


def loaded(*argv, isolated="-I"):
    """List the packages that a Python process loaded, all but its own standard library's."""
    command = [sys.executable, isolated, "-X", "importtime", *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {row[2].strip() for row in rows[1:]}


def tops(modules):
    return {name.partition(".")[0] for name in modules}
