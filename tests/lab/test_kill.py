"""kill -9 after any line of progress: the next run is the recovery, and nothing foreign moves."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import dumps
import pytest
from labs import Lab, reference
from runs import PROGRESS, killed_after

from onearm.lab import client

pytestmark = pytest.mark.lab

ACTIONS = 12
# Before we come: others' services, one of them with destinations whose order counts, links,
# addresses, filter rules; sysctls that we set, that suffice already, or that do not concern us.
OTHERS = {
    "server-1": """
        ipvsadm -A -t 203.0.113.20:80 -s wrr
        for n in 9 7 8; do ipvsadm -a -t 203.0.113.20:80 -r 203.0.113.$n:80 -g -w $n; done
        ipvsadm -A -u 203.0.113.2:53 -s sh -p 360
        ipvsadm -A -f 7 -s lc
        ip address add 203.0.113.20/32 dev eth0
        sysctl -q -w net.ipv4.vs.conntrack=1 net.ipv4.vs.expire_quiescent_template=1
    """,
    "server-2": """
        ip link add other0 type dummy
        ip address add 203.0.113.21/32 dev other0
        ip address add 192.0.2.1/24 dev eth0
        arptables-legacy -A INPUT -i eth0 -d 203.0.113.21 -j DROP
        arptables-legacy -A OUTPUT -s 203.0.113.21 -j mangle --mangle-ip-s 203.0.113.4
        sysctl -q -w net.ipv4.conf.eth0.arp_announce=1 net.ipv4.conf.all.arp_filter=1
    """,
    "server-3": """
        ip link add other1 up type dummy
        ip address add 203.0.113.22/28 dev other1
        sysctl -q -w net.ipv4.conf.eth0.arp_ignore=2
    """,
}


@pytest.fixture(scope="module")
def both(lab):
    """Two labs, for each core one: this is the longest of all tests."""
    second = client.up(f"{lab.name}-2").name
    yield Lab(lab.name, lab.folder), Lab(second, lab.folder)
    client.down(second)


def test_runs_killed_after_any_line_converge_when_repeated(both):
    """The reference, with consent to set sysctls that others' services share."""
    spec = both[0].spec(reference() + "shared_director: true\n")
    turns = itertools.count(1)
    with ThreadPoolExecutor(len(both)) as pool:
        work = [pool.submit(_kill_in_turns, lab, spec, turns) for lab in both]
    assert sum(future.result() for future in work) == ACTIONS


def _kill_in_turns(lab, spec, turns):
    """Take the next k until all are done; return how many it was."""
    for host, script in OTHERS.items():
        lab.sh(host, script)
    before, little = dumps.whole(lab), dumps.small(lab)
    done = 0
    for k in iter(turns.__next__, ACTIONS + 1):
        if k > ACTIONS:
            break
        last = killed_after(lab, k, "apply", spec, "--yes")
        assert PROGRESS.match(last)[2] == str(ACTIONS)
        again = lab.onearm("apply", spec, "--yes", "--json", code=0).json()
        assert (again["left"], again["out"]) == ([], {}), f"apply killed after line {k}"
        standing = lab.on("server-1", "ipvsadm", "-Sn")
        assert standing.count("-t 203.0.113.2:80") == 3, standing
        killed_after(lab, k, "destroy", spec, "--yes")
        lab.onearm("destroy", spec, "--yes", code=0)
        left = dumps.difference(little, dumps.small(lab))
        assert not left, f"destroy killed after line {k}:\n{left}"
        done += 1
    left = dumps.difference(before, dumps.whole(lab))
    assert not left, left
    return done
