"""What stopped us on the way to a host: from a foreign complaint to its cause and cure; pure."""

from __future__ import annotations

import re
from typing import NamedTuple


class Obstacle(NamedTuple):
    """A complaint by its pattern, what it means, and what to do about it.

    `passing`: it may be gone at the next try, a moment later.
    """

    pattern: re.Pattern[str]
    cause: str
    cure: str
    passing: bool = False


def _one(pattern: str, cause: str, cure: str, *, passing: bool = False) -> Obstacle:
    return Obstacle(re.compile(pattern, re.IGNORECASE), cause, cure, passing)


# The words are those of OpenSSH 7 to 10 (ssh.c, sshconnect.c, kex.c), sudo 1.8 to 1.9 and of the
# usual shells. The first that fits is the cause: what comes early on the way comes first.
OBSTACLES = (
    _one(
        r"could not resolve hostname",
        "its name is not known here",
        "give it a HostName in ~/.ssh/config, or correct its name in the spec",
    ),
    _one(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed",
        "its ssh host key is another one than the one on record",
        "find out why before anything else; if the host was made anew, ssh-keygen -R NAME",
    ),
    _one(
        r"host key verification failed|no \S+ host key is known",
        "its ssh host key is not known here",
        "compare the fingerprint once by hand with: ssh NAME true",
    ),
    _one(
        r"permission denied \([a-z-]*(publickey|password|keyboard|gssapi|hostbased)"
        r"|too many authentication failures|no more authentication methods|load key .*: ",
        "ssh was let in with no key",
        "try by hand: ssh -o BatchMode=yes NAME true; look at ssh-add -l, IdentityFile and User",
    ),
    _one(
        r"connection refused|connection timed out|operation timed out|no route to host"
        r"|network is unreachable|stdio forwarding failed|channel \d+: open failed"
        r"|timeout, server \S+ not responding|connection to \S+ (closed|timed out)|broken pipe",
        "the network does not lead to its sshd",
        "look whether it runs, and at its security group and the ProxyJump in ~/.ssh/config",
    ),
    # A jump host that cannot go on says no more than this; its own refusal has lines of its own.
    _one(
        r"^kex_exchange_identification: [a-z :]+ connection closed by UNKNOWN port 65535$",
        "the jump host does not reach its sshd",
        "look whether it runs, on which port, and at its security group",
    ),
    _one(
        r"kex_exchange_identification|banner exchange|ssh_exchange_identification"
        r"|connection (closed|reset) by \S+ port \d+",
        "its sshd, or that of the jump host, closed the connection at once",
        "look at MaxStartups in its sshd_config, and at the log there",
        passing=True,
    ),
    _one(
        r"bad configuration option|terminating, \d+ bad configuration|bad owner or permissions on",
        "ssh does not take its own configuration",
        "correct the file that it names",
    ),
    _one(
        r"\bsudo: (command )?not found|unknown command.*sudo",
        "sudo is not there",
        "install it, or log in as root: reach: {NAME: [ssh, root@NAME]}",
    ),
    _one(
        r"sudo: .*(password is required|terminal is required|askpass)|must have a tty",
        "sudo asks for a password there",
        "allow it without one: USER ALL=(root) NOPASSWD: ALL in /etc/sudoers.d/onearm",
    ),
    _one(
        r"is not in the sudoers file|is not allowed to (execute|run)|may not run sudo",
        "sudo does not allow it to this user",
        "allow it: USER ALL=(root) NOPASSWD: ALL in /etc/sudoers.d/onearm",
    ),
    _one(
        r"this account is currently not available|account (has )?expired|password has expired",
        "the account does not let anybody work there",
        "give it a shell, or renew it",
    ),
    _one(
        r"onearm needs python",
        "its python3 is too old",
        "install Python 3.9 or later there as python3",
    ),
    _one(
        r"python3\S*:.*(command not found|not found|no such file)|unknown command.*python3"
        r"|failed to run command .?python3",
        "python3 is not there",
        "install it; nothing else is needed",
    ),
    _one(
        r"no space left on device|disk quota exceeded",
        "a file system there is full",
        "make room in /run and in /var/lib",
    ),
    _one(
        r"read-only file system",
        "a file system there is read-only",
        "make /run and /var/lib/onearm writable",
    ),
    _one(
        r"(cannot create|cannot open|can't open|install:).*permission denied",
        "who comes that way is not root there",
        "let the prefix end in sudo -n, or log in as root",
    ),
)


def obstacle(said: str) -> Obstacle | None:
    """Find the cause of a complaint; None for one that nobody wrote down."""
    return next((one for one in OBSTACLES if one.pattern.search(said)), None)


def explained(said: str) -> str:
    """Put the cause and the cure before a complaint, as `cause: cure; `; nothing if unknown."""
    found = obstacle(said)
    return f"{found.cause}: {found.cure}; " if found else ""
