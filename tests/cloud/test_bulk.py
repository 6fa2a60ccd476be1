"""Many real servers: how many requests a plan and an apply need."""

import os
import time
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

import pytest
from neutrons import VIP
from test_wanted import Round

from onearm.finding import forbidding
from onearm.lab.cloud import install
from onearm.places.neutron_api import Api
from onearm.spec import Host, Member, VirtualService

pytestmark = pytest.mark.parametrize("neutron", install.GENERATIONS[:1], indirect=True)
KNOWN = 110  # servers of the spec: more ids than one request takes
SERVING = int(os.environ.get("PORTS", "12"))  # whose ports are written; 200 in the benchmark
FEW = 20  # requests of a plan, however many servers there are
PER_PORT = 4  # requests of an apply: read, mark, read again, write


@pytest.fixture
def asked(monkeypatch):
    """Count the requests by method."""
    found, real = Counter(), Api._once

    def once(self, what, method, *rest):
        found[method] += 1
        return real(self, what, method, *rest)

    monkeypatch.setattr(Api, "_once", once)
    return found


def crowd(cloud, known, serving):
    """Make the servers' ports in one request, and a spec where some of them serve."""
    more = {"network_id": cloud.network, "ip_version": 4, "enable_dhcp": False}
    cloud.make("subnet", cidr="203.0.112.0/24", project_id="web", **more)
    hosts = [(f"r-{n}", f"203.0.112.{n + 10}") for n in range(known)]
    rows = [
        {"network_id": cloud.network, "name": name, "project_id": "web",
         "device_owner": "compute:nova", "device_id": f"vm-{name}",
         "fixed_ips": [{"ip_address": address}]}
        for name, address in hosts
    ]  # fmt: skip
    cloud.ask("POST", "/ports", {"ports": rows}, who="admin", seconds=300)
    made = cloud.spec(director_groups="replace", firewall="ovn")
    servers = tuple(Host(name, ip_address(address)) for name, address in hosts)
    members = tuple(Member(name) for name, _ in hosts[:serving])
    service = VirtualService(VIP, 80, "tcp", "rr", (), members)
    return replace(made, real_servers=servers, services=(service,))


def test_a_plan_is_a_few_requests_and_an_apply_a_few_for_each_port(cloud, asked):
    spec = crowd(cloud, max(KNOWN, SERVING), SERVING)

    def measured(what, work):
        asked.clear()
        begun = time.monotonic()
        found = work()
        took = time.monotonic() - begun
        print(f"measured: {what} | {asked.total()} | {took:.1f} s")
        return found

    turn = Round(cloud, spec)
    plan = measured("a plan, nothing stands", turn.look)
    assert not forbidding(turn.findings), turn.findings
    assert len(plan) > 2 * SERVING
    assert asked.total() <= FEW and set(asked) == {"GET"}
    measured(f"an apply, {len(plan)} changes", turn.go)
    groups_and_rules = sum(getattr(a.resource, "port_id", "") == "" for a in plan)
    assert asked["PUT"] == SERVING + 1  # each port is written once, whatever is changed of it
    assert asked.total() <= PER_PORT * (SERVING + 1) + 4 * groups_and_rules + 2 * FEW
    again = Round(cloud, spec)
    assert not len(measured("a plan, all stands", again.look))
    assert asked.total() <= FEW
