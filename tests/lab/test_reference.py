"""The reference load balancer end to end: applied once, shown by the real tools, proved cold."""

import pytest
from labs import REFERENCE

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", autouse=True)
def applied(lab):
    lab.process("apply", REFERENCE, "--yes", code=0)
    yield
    lab.onearm("destroy", REFERENCE, "--yes", code=0)


def test_the_real_ipvsadm_prints_the_references_table(lab):
    words = [" ".join(line.split()) for line in lab.on("server-1", "ipvsadm", "-Ln").splitlines()]
    assert "TCP 203.0.113.2:80 rr" in words
    routes = sorted(line for line in words if "Route" in line)
    assert routes == ["-> 203.0.113.4:80 Route 1 0 0", "-> 203.0.113.5:80 Route 1 0 0"]


def test_it_is_proved_with_cold_caches(lab):
    report = lab.process("verify", REFERENCE, "--cold", "--strict", "--json", code=0).json()
    assert {p["id"]: p["status"] for p in report["properties"]} == {
        "arp.single_mac": "pass",
        "path.every_destination": "pass",
        "path.client_address": "pass",
        "path.direct_reply": "pass",
        "path.distribution": "pass",
    }
    assert all(lost == 0 for lost in report["frames_lost"].values())


def test_a_second_apply_writes_nothing(lab):
    assert lab.onearm("plan", REFERENCE, "--check", code=0).out.endswith("nothing to do\n")
    before = lab.on("server-1", "stat", "-c", "%Y %i", "/var/lib/onearm/ledger.json")
    outcome = lab.onearm("apply", REFERENCE, "--yes", "--json", code=0).json()
    assert outcome["done"] == []
    assert lab.on("server-1", "stat", "-c", "%Y %i", "/var/lib/onearm/ledger.json") == before
