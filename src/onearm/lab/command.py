"""`onearm lab exec [--name N] HOST -- CMD`: parsed by hand, because it is a process per command."""

from __future__ import annotations

import sys

from onearm.errors import OnearmError, UsageError
from onearm.lab.client import exec_main

USAGE = "usage: onearm lab exec [--name N] HOST -- CMD [ARG …]"


def parse(words: list[str]) -> tuple[str | None, str, list[str]]:
    """Return the lab's name, the host and the command; --name may stand before or after HOST."""
    name, words = _name(words)
    if not words or words[0] == "--":
        raise UsageError(f"{USAGE}; the host is missing")
    host, words = words[0], words[1:]
    later, command = _name(words)
    command = command[1:] if command[:1] == ["--"] else command
    if not command:
        raise UsageError(f"{USAGE}; the command is missing")
    return later or name, host, command


def _name(words: list[str]) -> tuple[str | None, list[str]]:
    """Take leading options off; --name is the only one."""
    name: str | None = None
    while words and words[0].startswith("-") and words[0] != "--":
        option, equals, value = words[0].partition("=")
        if option != "--name":
            raise UsageError(f"{USAGE}; there is no option {option}")
        name, words = (value, words[1:]) if equals else ("".join(words[1:2]), words[2:])
    return name, words


def exec_command(words: list[str]) -> int:
    """Run a command on a lab host and exit as it does."""
    if words[:1] in (["--help"], ["-h"]):
        sys.stdout.write(f"{USAGE}\n\nRuns CMD on a host of the lab and exits as CMD does.\n")
        return 0
    try:
        return exec_main(*parse(words))
    except OnearmError as error:
        sys.stderr.write(f"onearm: {error}\n")
        return error.exit_code
