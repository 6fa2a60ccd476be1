"""What ssh, sudo and shells say of a way that ends, and what onearm makes of it."""

import pytest

from onearm.places.obstacles import explained, obstacle

# As these were printed by OpenSSH 9.2, sudo 1.9.13, dash, bash and busybox; paths shortened.
SAID = {
    "ssh: Could not resolve hostname s2: Name or service not known": "its name is not known",
    "channel 0: open failed: connect failed: Name or service not known stdio forwarding failed"
    " kex_exchange_identification: Connection closed by remote host"
    " Connection closed by UNKNOWN port 65535": "the network does not lead",
    "ssh: connect to host s2 port 22: Connection refused": "the network does not lead",
    "ssh: connect to host s2 port 22: No route to host": "the network does not lead",
    "ssh: connect to host s2 port 22: Connection timed out": "the network does not lead",
    "Timeout, server s2 not responding.": "the network does not lead",
    "kex_exchange_identification: Connection closed by remote host"
    " Connection closed by 203.0.113.4 port 22": "its sshd, or that of the jump host, closed",
    "kex_exchange_identification: Connection closed by remote host"
    " Connection closed by UNKNOWN port 65535": "the jump host does not reach",
    "kex_exchange_identification: Connection closed by remote host"
    " Connection closed by 203.0.113.1 port 22"
    " kex_exchange_identification: Connection closed by remote host"
    " Connection closed by UNKNOWN port 65535": "its sshd, or that of the jump host, closed",
    "Connection reset by 203.0.113.4 port 22": "its sshd, or that of the jump host, closed",
    "No ED25519 host key is known for s2 and you have requested strict checking."
    " Host key verification failed.": "its ssh host key is not known",
    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @ IT IS POSSIBLE THAT"
    " Host key verification failed.": "its ssh host key is another one",
    "ops@s2: Permission denied (publickey,password).": "ssh was let in with no key",
    "Received disconnect from 203.0.113.4 port 22:2: Too many authentication failures": "ssh was",
    "/root/.ssh/config: line 3: Bad configuration option: proxyjmp": "ssh does not take its own",
    "Bad owner or permissions on /root/.ssh/config": "ssh does not take its own",
    "bash: line 1: sudo: command not found": "sudo is not there",
    "sh: 1: sudo: not found": "sudo is not there",
    "sudo: a password is required": "sudo asks for a password",
    "sudo: a terminal is required to read the password; either use the -S option": "sudo asks",
    "sudo: sorry, you must have a tty to run sudo": "sudo asks for a password",
    "ops is not in the sudoers file.": "sudo does not allow it",
    "Sorry, user ops is not allowed to execute '/usr/bin/x' as root on s2.": "sudo does not",
    "This account is currently not available.": "the account does not let",
    "sudo: python3: command not found": "python3 is not there",
    "bash: line 1: python3: command not found": "python3 is not there",
    "sh: 1: python3: not found": "python3 is not there",
    "env: 'python3': No such file or directory": "python3 is not there",
    "onearm needs Python 3.9 or later, and this is 3.6": "its python3 is too old",
    "install: error writing '/run/onearm/x': No space left on device": "a file system there is",
    "install: cannot create regular file '/run/onearm/x': Read-only file system": "a file system",
    "install: cannot create directory '/run/onearm': Permission denied": "who comes that way is",
}


@pytest.mark.parametrize("said", SAID)
def test_a_complaint_is_understood(said):
    assert explained(said).startswith(SAID[said])
    assert explained(said).endswith("; ")
    assert explained(said).isprintable()


@pytest.mark.parametrize("said", ["", "Killed", "Segmentation fault", "Connection: keep-alive"])
def test_what_nobody_wrote_down_is_left_as_it_is(said):
    assert not explained(said)


def test_only_what_may_pass_is_tried_again():
    passing = {said for said in SAID if obstacle(said).passing}
    assert len(passing) == 3
    assert all("closed" in SAID[said] for said in passing)
