"""From a host's name to the command prefix that reaches it; the operator's own, never a host's."""

from __future__ import annotations

import os
import sys

from onearm.errors import UsageError
from onearm.figures import duration
from onearm.spec import Reach
from onearm.ssh_sharing import sharing

SSH = ("ssh", "-o", "BatchMode=yes")
LAB_VARIABLE = "ONEARM_LAB"
DEFAULT_LAB = "lab"
TIMEOUT_VARIABLE = "ONEARM_TIMEOUT"
TIMEOUT_S, LONGEST_TIMEOUT_S = 20.0, 3600.0


def prefix(reach: Reach, host: str) -> list[str]:
    """Return the words that precede a command to run it on `host` as root."""
    if host in reach.prefixes:
        return list(reach.prefixes[host])
    return keyword_prefix(reach.keywords.get(host, reach.default), host)


def keyword_prefix(keyword: str, host: str) -> list[str]:
    """Spell out `ssh`, `local` or `lab` for a host."""
    if keyword == "local":
        return []
    if keyword == "lab":
        return lab_prefix(host)
    return [*SSH, *sharing(), host, "sudo", "-n"]


def lab_prefix(host: str) -> list[str]:
    """Return the prefix that reaches a host of the lab named by $ONEARM_LAB."""
    this = [sys.executable, "-I", "-m", "onearm"]
    return [*this, "lab", "exec", "--name", lab_name(), host, "--"]


def lab_name() -> str:
    """Name the lab that commands mean when they do not say."""
    return os.environ.get(LAB_VARIABLE) or DEFAULT_LAB


def timeout_s() -> float:
    """Say how long a host may take to answer one request: $ONEARM_TIMEOUT, or 20 s."""
    said = os.environ.get(TIMEOUT_VARIABLE)
    if not said:
        return TIMEOUT_S
    found = duration(said)
    if found is None or not 1 <= found <= LONGEST_TIMEOUT_S:
        raise UsageError(f"{TIMEOUT_VARIABLE}={said!r}: write 1s to 1h, as in 45s or 2m")
    return found
