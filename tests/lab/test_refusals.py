"""What a plan may not do: said before anything is changed, with the right exit code."""

import dumps
import pytest
from labs import HOSTS, REFERENCE, reference

pytestmark = pytest.mark.lab

EVERYONE = (*HOSTS, "neighbour", "router")


@pytest.fixture(scope="module")
def before(lab):
    return dumps.small(lab, EVERYONE)


@pytest.fixture(autouse=True)
def untouched(lab, before):
    """Whatever is refused, nothing moves."""
    yield
    left = dumps.difference(before, dumps.small(lab, EVERYONE))
    assert not left, left


def _refused(lab, spec):
    """Apply; list the ids of what was found, and all that was said."""
    error = lab.onearm("apply", spec, "--yes", code=3).err
    assert "nothing was changed" in error
    return error


def test_a_vip_that_a_machine_outside_the_spec_answers_for(lab):
    lab.sh("neighbour", "ip address add 203.0.113.2/32 dev eth0")
    standing = dumps.small(lab)
    error = _refused(lab, REFERENCE)
    assert "a machine outside the spec, 02:00:00:00:00:0a on eth0" in error
    assert not dumps.difference(standing, dumps.small(lab))
    lab.sh("neighbour", "ip address del 203.0.113.2/32 dev eth0")


def test_a_real_server_behind_a_router(lab):
    far = lab.spec(reference(**{"server-3": "client", "203.0.113.5": "198.51.100.10", "rr": "wrr"}))
    error = _refused(lab, far)
    assert "client (198.51.100.10) is not on-link for server-1" in error
    assert "203.0.113.1" in error


def test_hosts_that_are_not_who_the_spec_says(lab):
    swapped = reference(**{"203.0.113.4": "x", "203.0.113.5": "203.0.113.4"})
    error = _refused(lab, lab.spec(swapped.replace("server-2: x", "server-2: 203.0.113.5")))
    assert "203.0.113.5 is not an address of the machine reached as server-2" in error
    assert "203.0.113.4 is not an address of the machine reached as server-3" in error


def test_a_director_with_no_address_besides_the_vip(lab):
    lab.sh("server-1", "ip link add own type dummy; ip address add 203.0.113.3/32 dev own")
    lab.sh(
        "server-1", "ip address del 203.0.113.3/27 dev eth0; ip route add 203.0.113.0/27 dev eth0"
    )
    error = _refused(lab, REFERENCE)
    assert "eth0 has no address besides the VIP" in error
    lab.sh("server-1", "ip link del own; ip route del 203.0.113.0/27 dev eth0")
    lab.sh("server-1", "ip address add 203.0.113.3/27 dev eth0")
    lab.sh("server-1", "ip route add default via 203.0.113.1")
