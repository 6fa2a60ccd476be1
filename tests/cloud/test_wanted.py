"""All that is wanted, on a real Neutron: it stands, a second look finds nothing, it goes."""

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from neutrons import VIP

from onearm.cloud_checks import cloud_findings
from onearm.desire import desire
from onearm.diff import diff
from onearm.finding import forbidding, lacking_rights
from onearm.model import NEUTRON
from onearm.places.neutron import NeutronPlace
from onearm.reconcile import Run
from onearm.spec import Member, VirtualService

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SERVERS = (Member("server-2"), Member("server-3"))


def web(made, **openstack):
    found = made.spec(director_groups="replace", **openstack)
    vip = VirtualService(VIP, 80, "tcp", "rr")
    return replace(found, services=(replace(vip, members=SERVERS),))


class Round:
    def __init__(self, cloud, spec):
        self.spec, self.place = spec, NeutronPlace(spec)
        cloud.places.append(self.place)

    def look(self):
        self.facts = self.place.look()
        self.findings = cloud_findings(self.spec, {}, self.facts)
        world = desire(self.spec, {}, NOW, self.facts)
        self.world = {NEUTRON: world[NEUTRON]}
        return diff(self.spec.name, self.world, {NEUTRON: self.place.observe(self.world[NEUTRON])})

    def go(self):
        plan = self.look()
        outcome = Run(self.spec.name, self.world, {NEUTRON: self.place}, shown=plan).converge()
        assert not outcome.out, outcome.out
        assert not len(outcome.left), [str(a) for a in outcome.left]
        return outcome


@pytest.mark.parametrize("firewall", ["ovn", "iptables_hybrid", "openvswitch"])
def test_it_stands_and_a_second_look_finds_nothing_and_it_goes(cloud, firewall):
    before = cloud.snapshot()
    spec = web(cloud, firewall=firewall, director_port_security="off")
    up = Round(cloud, spec)
    plan = up.look()
    assert not forbidding(up.findings) and not lacking_rights(up.findings), up.findings
    assert not plan.refusals and len(plan)
    up.go()
    again = Round(cloud, spec)
    left = again.look()
    assert not len(left) and not left.refusals, [str(a) for a in left]
    assert not forbidding(again.findings), forbidding(again.findings)
    Round(cloud, replace(spec, services=())).go()
    assert cloud.snapshot() == before
