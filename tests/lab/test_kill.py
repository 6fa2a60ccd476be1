"""kill -9 after any line of progress: the next run is the recovery, and nothing foreign moves."""

import dumps
import pytest
from chosen import part
from labs import reference
from runs import PROGRESS, killed_after

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


# The first line, the last, and one of three of those between; ALL=1 takes all.
LINES = [1, *part(range(2, ACTIONS)), ACTIONS]


@pytest.fixture(scope="module")
def shared(lab):
    """The lab with others' things, which must be left as they are after all of it."""
    for host, script in OTHERS.items():
        lab.sh(host, script)
    before, little = dumps.whole(lab), dumps.small(lab)
    yield lab, little
    lab.nodes.end()
    left = dumps.difference(before, dumps.whole(lab))
    assert not left, left


@pytest.mark.parametrize("k", LINES)
def test_a_run_killed_after_any_line_converges_when_repeated(shared, k):
    """The reference, with consent to set sysctls that others' services share."""
    lab, before = shared
    spec = lab.spec(reference() + "shared_director: true\n")
    last = killed_after(lab, k, "apply", spec, "--yes")
    assert PROGRESS.match(last)[2] == str(ACTIONS)
    again = lab.onearm("apply", spec, "--yes", "--json", code=0).json()
    assert (again["left"], again["out"]) == ([], {}), f"apply killed after line {k}"
    standing = lab.on("server-1", "ipvsadm", "-Sn")
    assert standing.count("-t 203.0.113.2:80") == 3, standing
    killed_after(lab, k, "destroy", spec, "--yes")
    lab.onearm("destroy", spec, "--yes", code=0)
    left = dumps.difference(before, dumps.small(lab))
    assert not left, f"destroy killed after line {k}:\n{left}"
