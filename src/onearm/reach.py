"""From a host's name to the command prefix that reaches it; the operator's own, never a host's."""

from __future__ import annotations

import os
import sys

from onearm.spec import Reach

SSH = ("ssh", "-o", "BatchMode=yes")
LAB_VARIABLE = "ONEARM_LAB"
DEFAULT_LAB = "lab"


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
    return [*SSH, host, "sudo", "-n"]


def lab_prefix(host: str) -> list[str]:
    """Return the prefix that reaches a host of the lab named by $ONEARM_LAB."""
    this = [sys.executable, "-I", "-m", "onearm"]
    return [*this, "lab", "exec", "--name", lab_name(), host, "--"]


def lab_name() -> str:
    """Name the lab that commands mean when they do not say."""
    return os.environ.get(LAB_VARIABLE) or DEFAULT_LAB
