"""Whole plans of clouds as text: tests/cases/NAME/new.yaml, and plan.txt, which is what is shown.

After a change that is meant: UPDATE=1 pytest tests/test_cloud_cases.py, and read the difference.
"""

import io
import os
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from rich.console import Console

from clouds import DEFAULT, cloud, group, pairs, port
from fakes import FakeHost
from onearm import render, spec
from onearm.cloud import wanted
from onearm.cloud_checks import cloud_findings, for_an_admin
from onearm.diff import diff
from onearm.facts import HostFacts
from onearm.finding import forbidding, lacking_rights
from onearm.model import NEUTRON, AddressPair, Mark, state, state_key

CASES = Path(__file__).parent / "cases"
EXAMPLE = Path(__file__).parents[1] / "examples/openstack.yaml"
HOSTS = {"server-1": "203.0.113.3", "server-2": "203.0.113.4", "server-3": "203.0.113.5"}


def ports(**more):
    return [port(host, address, **more) for host, address in HOSTS.items()]


def by_admin():
    """A shared network, where an administrator has set the director's pairs already."""
    set_already = [
        replace(p, pairs=pairs("203.0.113.2", "0.0.0.0/0") if p.host == "server-1" else ())
        for p in ports()
    ]
    return cloud(set_already, pairs_right=False, port_security_right=False)


def known():
    """A monitoring server in `default` too, and a database that admits its members."""
    other = replace(port("", "203.0.113.20"), id="p-monitor")
    database = group("database", {"protocol": "tcp", "remote_group_id": "g-default"})
    return cloud([*ports(), other], (DEFAULT, database))


FACTS = {  # what the cloud of each case shows
    "cloud-ovn": known,
    "cloud-iptables": lambda: cloud(ports(), firewall="iptables_hybrid"),
    "cloud-openvswitch": lambda: cloud(ports(), firewall="openvswitch"),
    "cloud-openvswitch-filtered": lambda: cloud(ports(), firewall="openvswitch"),
    "cloud-unknown-driver": lambda: cloud(ports(), firewall=""),
    "cloud-keep": lambda: cloud(ports(), firewall="iptables_hybrid"),
    "cloud-own-groups": lambda: cloud(ports()),
    "cloud-as-admin": by_admin,
    "cloud-several": lambda: cloud(ports()),
    "cloud-destroy": lambda: cloud(ports()),
}


def place(facts, wants):
    """Let Neutron hold the pairs of the facts; and for a destroy all that is wanted, as ours."""
    fake = FakeHost(NEUTRON, "192.0.2.1")
    for p in facts.ports:
        for pair in p.pairs:
            network = ip_address(pair.text) if pair.bare else pair.text
            thing = AddressPair(p.id, ip_network(network), pair.bare)
            fake.things[state_key(thing)] = thing
    for key, thing in state(wants).items():
        fake.things[key], fake.marks[key] = thing, Mark(thing, ("default",))
    return fake


def shown(name, path):
    console = Console(file=io.StringIO(), width=100, color_system=None, highlight=False)
    found, facts = spec.load(path), FACTS[name]()
    standing = list(wanted(found, facts)) if name.endswith("destroy") else []
    fake = place(facts, standing)
    if standing:
        found = replace(found, services=())
        facts = replace(facts, marks=tuple(fake.marks.values()))
    desired = {NEUTRON: state(wanted(found, facts))}
    plan = diff(found.name, desired, {NEUTRON: fake.observe(desired[NEUTRON])})
    findings = cloud_findings(found, {}, facts)
    marked = {NEUTRON: HostFacts(marks=facts.marks)}
    render.show_plan(console, plan, marked, {})
    render.show_findings(console, findings)
    for refusal in plan.refusals:
        console.print(f"refused {refusal}")
    console.print(f"exit {3 if forbidding(findings) or plan.refusals else code(findings)}")
    admin = "as-admin" in name
    actions = [a for a in plan if for_an_admin(a, facts)] if admin else plan
    console.print("\n--commands" + (" --as-admin" if admin else ""))
    render.show_commands(console, actions, marked, facts)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def code(findings):
    return 4 if lacking_rights(findings) else 0


@pytest.mark.parametrize("name", FACTS)
def test_the_plan_is_as_kept(name):
    path = CASES / name / "new.yaml"
    text, kept = shown(name, path), CASES / name / "plan.txt"
    if os.environ.get("UPDATE"):
        kept.write_text(text)
    assert text == kept.read_text()


def test_every_case_is_one_of_these():
    assert {path.name for path in CASES.glob("cloud-*")} == set(FACTS)


def test_the_example_is_the_first_case():
    example, case = spec.load(EXAMPLE), spec.load(CASES / "cloud-ovn/new.yaml")
    named = replace(example.openstack, cloud="lab", network="public")
    assert replace(example, openstack=named) == case
