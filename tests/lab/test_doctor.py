"""Every fault of the lab is named first by the finding that it must produce."""

import pytest
from chosen import SEED, part
from diagnosing import UDP, diagnosing, ids, told
from labs import reference

from onearm.doctor.table import BY_ID, LAB, TABLE
from onearm.lab.faults import planted
from onearm.lab.faults.table import FAULTS

pytestmark = pytest.mark.lab
SPEC = reference().replace("\nreach", f"\n{UDP}reach")

# Two at once, on different hosts or of different kinds: neither may hide the other.
PAIRS = (
    ("vip-missing", None, "listen-nowhere", "server-3"),
    ("arp-answers", None, "director-drops-icmp", None),
    ("server-drops", None, "route-none", "server-3"),
    ("vs-conntrack", None, "listen-own-address", None),
    ("weight-differs", None, "mtu-differs", None),
    ("pair-missing-server", None, "vip-missing", "server-3"),
    ("neighbour-wrong", None, "listen-own-address", "server-3"),
    ("route-via-director", None, "server-out-drops", "server-3"),
    ("arp-stale", None, "vs-nodest", None),
    ("destination-gone", None, "server-rejects", "server-3"),
    ("other-scheduler", None, "gateway-wrong", "server-3"),
    ("rp-filter", None, "arp-announces", "server-3"),
)


@pytest.fixture(scope="module")
def doctor(lab):
    path = lab.spec(SPEC)
    lab.onearm("apply", path, "--yes", code=0)
    with diagnosing(lab, path) as found:
        first = found()
        assert not ids(first), told(first)
        yield found


@pytest.mark.parametrize("fault", part(list(FAULTS.values())), ids=lambda fault: fault.id)
def test_a_fault_is_named_first(lab, doctor, fault):
    try:
        planted.add(lab.name, fault.id)
        found = doctor()
    finally:
        planted.clear(lab.name)
    named = ids(found)
    print(f"proved: doctor (seed {SEED}): {fault.id:<22} -> {' '.join(named) or 'nothing'}")
    assert named[:1] == [fault.finding], told(found)
    assert set(named) <= {fault.finding, *fault.also}, told(found)


@pytest.mark.parametrize("pair", part(PAIRS), ids=lambda pair: f"{pair[0]}+{pair[2]}")
def test_two_faults_are_both_named(lab, doctor, pair):
    first, at, second, where = pair
    try:
        planted.add(lab.name, first, at)
        planted.add(lab.name, second, where)
        found = doctor()
    finally:
        planted.clear(lab.name)
    named = set(ids(found))
    print(f"proved: doctor (seed {SEED}): {first} + {second} -> {' '.join(sorted(named))}")
    assert {FAULTS[first].finding, FAULTS[second].finding} <= named, told(found)


def test_every_finding_that_says_so_has_a_fault():
    planted_ids = {fault.finding for fault in FAULTS.values()}
    planted_ids |= {identity for fault in FAULTS.values() for identity in fault.also}
    assert planted_ids <= BY_ID.keys()
    # what traffic shows is seen as a consequence of faults, or where hosts are missing
    shown = ("hop.", "path.", "host.", "client.", "cloud.", "plan.")
    lacking = {row.id for row in TABLE if row.tested == LAB} - planted_ids
    assert {identity for identity in lacking if not identity.startswith(shown)} == set()
