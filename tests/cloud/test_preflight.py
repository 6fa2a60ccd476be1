"""What is foreseen of routers, segments, MTUs and quotas, from a real Neutron's own rows."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from neutrons import HOSTS, VIP
from test_wanted import Round, web

from onearm.cloud_checks import cloud_findings
from onearm.errors import PlaceError
from onearm.finding import forbidding
from onearm.reconcile import Run
from worlds import host

D, R = "server-1", "server-2"


def seen(wide, spec=None, **openstack):
    """Give the findings by id, as a plan would show them."""
    turn = Round(wide, spec or web(wide, firewall="ovn", **openstack))
    turn.look()
    found = {}
    for finding in turn.findings:
        found.setdefault(finding.id, []).append(finding)
    return found


def router(cloud, name, **more):
    """Put a router between an outer network and the VIP's; return their ids."""
    pools = [{"start": "203.0.113.20", "end": "203.0.113.30"}]
    cloud.ask("PUT", f"/subnets/{cloud.subnet}", {"subnet": {"allocation_pools": pools}})
    outer = cloud.make("network", **{"name": "outer", "router:external": True})["id"]
    cloud.make("subnet", network_id=outer, ip_version=4, cidr="192.0.2.0/24", enable_dhcp=False)
    gateway = {"network_id": outer, **more.pop("gateway", {})}
    made = cloud.make("router", name=name, project_id="web", external_gateway_info=gateway, **more)
    leg = {"subnet_id": cloud.subnet}
    cloud.ask("PUT", f"/routers/{made['id']}/add_router_interface", leg, who="admin")
    return made["id"], outer


def test_no_router_no_word_of_it(wide):
    found = seen(wide)
    assert not {"router.nat", "router.distributed", "fip.on_vip_port"} & found.keys()
    assert not {"same_segment", "net.mtu_equal", "quota.free"} & found.keys()


@pytest.mark.parametrize(("who", "snat"), [("owner", True), ("owner", False), ("admin", True)])
def test_a_router_in_the_path(wide, who, snat):
    router(wide, "edge", gateway={"enable_snat": snat})
    (said,) = seen(wide, cloud=who)["router.nat"]
    assert (said.severity, "router edge" in said.observed) == ("warning", True)
    assert "one namespace" in said.observed and ("SNAT" in said.observed) == snat


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_a_distributed_router_is_told_though_only_an_administrator_is_shown_it(wide, who):
    router(wide, "edge", distributed=True)
    found = seen(wide, cloud=who)
    (said,) = found["router.distributed"]
    assert "router edge is distributed" in said.observed and "real server" in said.observed
    assert "router.nat" not in found


def test_a_router_beyond_this_network_is_not_in_the_path(wide):
    edge, _ = router(wide, "edge")
    wide.ask(
        "PUT", f"/routers/{edge}/remove_router_interface", {"subnet_id": wide.subnet}, who="admin"
    )
    assert "router.nat" not in seen(wide)


def test_floating_ips_by_what_they_lead_to(wide):
    _, outer = router(wide, "edge")
    Round(wide, web(wide, firewall="ovn")).go()  # which reserves the VIP
    (vip_port,) = wide.all("ports", fixed_ips=f"ip_address={VIP}", network_id=wide.network)
    ports = {"VIP": vip_port["id"], D: wide.ports[D], R: wide.ports[R]}
    made = {
        name: wide.make("floatingip", floating_network_id=outer, port_id=port, project_id="web")[
            "floating_ip_address"
        ]
        for name, port in ports.items()
    }
    found = {f.observed.split()[3]: f for f in seen(wide)["fip.on_vip_port"]}
    assert set(found) == {made["VIP"], made[D]}  # a real server's own does no harm
    assert found[made["VIP"]].severity == "note"
    assert found[made[D]].severity == "warning"
    assert "where no service is" in found[made[D]].observed


def test_mtus_of_hosts_and_of_the_network(wide):
    def said(mtu, *sizes):
        wide.ask("PUT", f"/networks/{wide.network}", {"network": {"mtu": mtu}})
        turn = Round(wide, web(wide, firewall="ovn"))
        turn.look()
        facts = {}
        for (name, address), size in zip(HOSTS.items(), sizes, strict=True):
            known = host(ip_address(address))
            links = tuple(replace(link, mtu=size) for link in known.links)
            facts[name] = replace(known, links=links)
        return [f.observed for f in cloud_findings(turn.spec, facts, turn.facts)
                if f.id == "net.mtu_equal"]  # fmt: skip

    assert said(1500, 1500, 1500, 1500) == []
    assert "and the network's is 1400" in said(1400, 1500, 1500, 1500)[0]
    assert "server-3 1400" in said(1500, 1500, 1500, 1400)[0]


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_segments_of_a_routed_network(wide, who):
    halves = [
        {"provider:network_type": "vlan", "provider:physical_network": side,
         "provider:segmentation_id": 100}
        for side in ("left", "right")
    ]  # fmt: skip
    network = wide.make("network", name="multi", project_id="web", segments=halves)["id"]
    subnets, ports = [], {}
    for row, cidr in zip(wide.all("segments", network_id=network),
                         ("203.0.113.0/27", "203.0.114.0/27"), strict=True):  # fmt: skip
        more = {"segment_id": row["id"], "enable_dhcp": False, "project_id": "web"}
        subnets.append(wide.make("subnet", network_id=network, ip_version=4, cidr=cidr, **more))
    addresses = {D: "203.0.113.3", R: "203.0.113.4", "server-3": "203.0.114.5", "4": "203.0.113.5"}
    for name, address in addresses.items():
        ports[name] = wide.make(
            "port", network_id=network, name=name, project_id="web", device_owner="compute:nova",
            fixed_ips=[{"ip_address": address}], device_id=f"vm-{name}",
        )["id"]  # fmt: skip
    spread = web(wide, cloud=who, network=network, firewall="ovn")
    third = replace(spread.real_servers[1], address=ip_address("203.0.114.5"))
    apart = replace(spread, real_servers=(spread.real_servers[0], third))
    (said,) = seen(wide, apart)["same_segment"]
    assert (said.severity, "several segments" in said.observed) == ("error", True)
    (said,) = seen(wide, spread)["same_segment"]
    assert (said.severity, "in one of them" in said.observed) == ("note", True)


def test_ports_in_different_networks(wide):
    other = wide.make("network", name="other", project_id="web")["id"]
    wide.make("subnet", network_id=other, ip_version=4, cidr="203.0.113.0/27", project_id="web")
    port = wide.make("port", network_id=other, project_id="web", name="astray",
                     fixed_ips=[{"ip_address": HOSTS["server-3"]}])["id"]  # fmt: skip
    (said,) = seen(wide, ports={"server-3": port})["same_segment"]
    assert said.severity == "error" and f"server-3 in {other}" in said.observed


@pytest.mark.parametrize("kind", ["security_group", "security_group_rule", "port"])
def test_a_quota_that_does_not_suffice_is_foreseen_and_one_that_just_does_suffices(wide, kind):
    spec = web(wide, firewall="ovn")
    used = wide.ask("GET", "/quotas/web/details.json", who="admin").json()["quota"][kind]["used"]
    turn = Round(wide, spec)
    before = wide.snapshot()
    need = {"security_group": 2, "port": 1}.get(kind)
    if need is None:
        kinds = [type(action.resource).__name__ for action in turn.look()]
        need = kinds.count("GroupRule")
    try:
        quota(wide, **{kind: used + need - 1})
        turn.look()
        (said,) = [f for f in forbidding(turn.findings) if f.id == "quota.free"]
        assert f"{need} more of {kind} are needed, and the quota leaves {need - 1}" in said.observed
        forced = Run(spec.name, turn.world, {"neutron": turn.place}).converge()
        assert "Quota exceeded" in str(forced.out["neutron"])  # it would have been so
        Round(wide, replace(spec, services=())).go()
        assert wide.snapshot() == before
        quota(wide, **{kind: used + need})
        turn = Round(wide, spec)
        turn.go()
        assert not [f for f in turn.findings if f.id == "quota.free"]
    finally:
        quota(wide, **{kind: -1})


def test_more_pairs_than_allowed_are_foreseen_and_the_clouds_own_limit_is_the_last_word(wide):
    clients = tuple(ip_network(f"10.{n}.0.0/16") for n in range(1, 20, 2))  # and the VIP: 11
    spec = replace(web(wide, firewall="ovn"), clients=clients)
    turn = Round(wide, spec)
    turn.look()
    (said,) = [f for f in forbidding(turn.findings) if f.id == "pairs.quota"]
    assert "11 allowed address pairs, and 10 are" in said.observed
    more = replace(spec, openstack=replace(spec.openstack, max_address_pairs=11))
    before = wide.port(D)["allowed_address_pairs"]
    turn = Round(wide, more)
    turn.look()
    assert not forbidding(turn.findings)
    outcome = Run(more.name, turn.world, {"neutron": turn.place}).converge()
    assert "exceeds the maximum 10" in str(outcome.out["neutron"])  # as this server is set
    assert wide.port(D)["allowed_address_pairs"] == before
    Round(wide, replace(more, services=())).go()


def quota(cloud, **limits):
    cloud.ask("PUT", "/quotas/web", {"quota": limits}, who="admin")


def test_a_quota_that_is_not_shown_forbids_nothing(wide, monkeypatch):
    real = Round(wide, web(wide)).place._api.__class__.find

    def find(self, what, path, **query):
        if "quotas" in path:
            raise PlaceError("no")
        return real(self, what, path, **query)

    monkeypatch.setattr("onearm.places.neutron_api.Api.find", find)
    assert "quota.free" not in seen(wide)
