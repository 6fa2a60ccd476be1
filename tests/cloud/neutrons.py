"""A cloud as the tests see it: raw requests by other identities, specs, snapshots to compare."""

import copy
import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

import requests

from onearm import spec as specs
from onearm.diff import diff
from onearm.lab.cloud import files
from onearm.model import NEUTRON, AddressPair, GroupMembership, state
from onearm.places.neutron import NeutronPlace
from onearm.reconcile import Run

HOSTS = {"server-1": "203.0.113.3", "server-2": "203.0.113.4", "server-3": "203.0.113.5"}
VIP = ip_address("203.0.113.2")
VIP_NET = ip_network("203.0.113.2/32")
ALL = ip_network("0.0.0.0/0")
MOVES = ("revision_number", "updated_at")


def quiet():
    """Nothing is left open between tests."""


class Cloud:
    """One network with the reference's ports, by one identity's raw requests."""

    def __init__(self, server, identity, name):
        self.server, self.identity, self.name = server, identity, name
        self.http = requests.Session()
        self.tokens = {}
        self.network, self.subnet, self.ports, self.places = "", "", {}, []

    def ask(
        self, method, path, body=None, *, who=None, headers=None, good=True, seconds=60, **query
    ):
        who = who or self.identity
        token = self.tokens.setdefault(who, self._token(who))
        url = f"{self.server.url}/v2.0{path}"
        headers = {"X-Auth-Token": token, **(headers or {})}
        answer = self.http.request(
            method, url, json=body, params=query, headers=headers, timeout=seconds
        )
        if good:
            assert answer.ok, (method, path, answer.status_code, answer.text)
        return answer

    def _token(self, who):
        found = next(i for i in files.IDENTITIES if i.name == who)
        return ":".join((found.name, found.project, ",".join(found.roles), "raw"))

    def build(self, *, shared=False, owner="web"):
        body = {
            "name": self.name,
            "project_id": owner,
            "shared": shared,
            "provider:network_type": "local",
        }
        self.network = self.ask("POST", "/networks", {"network": body}, who="admin").json()[
            "network"
        ]["id"]
        subnet = {
            "network_id": self.network,
            "ip_version": 4,
            "cidr": "203.0.113.0/27",
            "enable_dhcp": False,
            "project_id": owner,
        }
        self.subnet = self.ask("POST", "/subnets", {"subnet": subnet}, who="admin").json()[
            "subnet"
        ]["id"]
        for host, address in HOSTS.items():
            self.ports[host] = self.make_port(host, address)

    def make_port(self, name, address, *, project=None, **more):
        body = {
            "network_id": self.network,
            "name": name,
            "project_id": project or "web",
            "fixed_ips": [{"ip_address": address}],
            "device_owner": "compute:nova",
            "device_id": f"vm-{name}-{self.name}",
            **more,
        }
        return self.ask("POST", "/ports", {"port": body}, who="admin").json()["port"]["id"]

    def remove(self):
        for place in self.places:
            place.close()
        for row in self.all("ports", network_id=self.network):
            self.ask("DELETE", f"/ports/{row['id']}", who="admin", good=False)
        self.ask("DELETE", f"/networks/{self.network}", who="admin", good=False)
        for row in self.all("security_groups"):
            if row["name"] != "default":
                self.ask("DELETE", f"/security-groups/{row['id']}", who="admin", good=False)
        self.http.close()

    def remove_routers(self):
        for row in self.all("floatingips"):
            self.ask("DELETE", f"/floatingips/{row['id']}", who="admin")
        for row in self.all("routers"):
            way = f"/routers/{row['id']}"
            for port in self.all("ports", device_id=row["id"]):
                leg = {"port_id": port["id"]}
                self.ask("PUT", f"{way}/remove_router_interface", leg, who="admin", good=False)
            self.ask("DELETE", way, who="admin")

    def remove_networks(self):
        for row in self.all("networks"):
            for port in self.all("ports", network_id=row["id"]):
                self.ask("DELETE", f"/ports/{port['id']}", who="admin")
            self.ask("DELETE", f"/networks/{row['id']}", who="admin")

    def make(self, kind, who="admin", **fields):
        answer = self.ask("POST", f"/{kind}s".replace("_", "-"), {kind: fields}, who=who)
        return answer.json()[kind]

    def all(self, kind, **query):
        rows = self.ask("GET", f"/{kind.replace('_', '-')}", who="admin", **query).json()[kind]
        return sorted(rows, key=lambda row: row["id"])

    def port(self, host):
        return self.ask("GET", f"/ports/{self.ports[host]}", who="admin").json()["port"]

    def pairs(self, host):
        return sorted(pair["ip_address"] for pair in self.port(host)["allowed_address_pairs"])

    def set_port(self, host, who=None, **fields):
        self.ask("PUT", f"/ports/{self.ports[host]}", {"port": fields}, who=who)

    def tag(self, kind, thing, *tags):
        for tag in tags:
            self.ask("PUT", f"/{kind}/{thing}/tags/{tag}")

    def group(self, name, *, stateful=True, **more):
        body = {"name": name, "project_id": "web", "stateful": stateful, **more}
        made = self.ask("POST", "/security-groups", {"security_group": body}, who="admin")
        return made.json()["security_group"]["id"]

    def snapshot(self):
        """All that the cloud holds, without what each write moves."""
        found = {
            "ports": self.all("ports", network_id=self.network),
            "security_groups": self.all("security_groups"),
            "security_group_rules": self.all("security_group_rules"),
        }
        found = copy.deepcopy(found)
        for rows in found.values():
            for row in rows:
                _settle(row)
        return json.loads(json.dumps(found, sort_keys=True))

    def spec(self, name="web", **openstack):
        section = {"cloud": self.identity, "network": self.network} | openstack
        director, *servers = (specs.Host(n, ip_address(a)) for n, a in HOSTS.items())
        return specs.Spec(
            name=name,
            directors=(director,),
            real_servers=tuple(servers),
            services=(specs.VirtualService(VIP, 80, "tcp"),),
            openstack=specs.Cloud(**section),
        )

    def place(self, name="web", *, call_s=30.0, **openstack):
        made = NeutronPlace(self.spec(name, **openstack), call_s=call_s)
        self.places.append(made)
        return made

    def pair(self, host, network, *, bare=False):
        return AddressPair(self.ports[host], ip_network(network), bare, host)

    def member(self, host, group, *, stateful=True, only=False):
        return GroupMembership(self.ports[host], group, stateful, only, host)


def _settle(row):
    for field in MOVES:
        row.pop(field, None)
    for field in ("tags", "security_groups"):
        if field in row:
            row[field] = sorted(row[field])
    if "allowed_address_pairs" in row:
        row["allowed_address_pairs"].sort(key=str)
    for rule in row.get("security_group_rules", ()):
        _settle(rule)
    if "security_group_rules" in row:
        row["security_group_rules"].sort(key=lambda rule: rule["id"])


def converge(place, wanted, name="web", *, adopt=False):
    """Do what apply does, for the cloud alone."""
    world = {NEUTRON: state(wanted)}
    return Run(name, world, {NEUTRON: place}, adopt=adopt).converge()


def plan(place, wanted, name="web", *, adopt=False):
    """Say what would be done."""
    world = {NEUTRON: state(wanted)}
    return diff(name, world, {NEUTRON: place.observe(world[NEUTRON])}, adopt=adopt)


def settled(place, wanted, name="web"):
    """Say that nothing is left to be done."""
    left = plan(place, wanted, name)
    return not len(left) and not left.refusals


def without_host(resource):
    return replace(resource, host="")
