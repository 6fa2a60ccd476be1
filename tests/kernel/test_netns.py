"""The running kernel, in a network namespace of its own: links, frames, ARP and its filters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
UNSHARE = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]


def run(name):
    """Run one function of inside.py in a namespace that ends with it."""
    code = f"import sys; sys.path[:0] = {[str(HERE), str(HERE.parents[1] / 'src')]}; import inside"
    argv = [*UNSHARE, sys.executable, "-ISB", "-c", f"{code}; inside.{name}()"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "reads_as_ip_does",
        "ways_back_as_ip_says",
        "listens_as_ss_says",
        "counts_as_nstat_does",
        "reads_firewalls_and_leaves_them",
        "changes_and_their_refusals",
        "captures_what_concerns_the_vip",
        "captures_ip_and_counts_losses",
        "captures_a_reply_from_a_wrong_address",
        "asks_who_has",
        "moves_an_address_by_announcing_it",
        "silences_by_nft",
        "silences_by_arptables",
        "half_a_silence_is_completed",
        "trials_leave_the_host_alone",
        "sees_foreign_drops",
    ],
)
def test_in_a_namespace(name):
    print(run(name))
