"""What the lab's Neutron holds at first: the reference's network, and the lab hosts' ports."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path

from onearm.lab.cloud.api import Api
from onearm.lab.topology import GUARDED, HOSTS

NETWORK = "provider"
SUBNET, GATEWAY = "203.0.113.0/27", "203.0.113.1"
PROJECT = "web"  # of the identities `owner` and `reader`
PLACEMENTS = ("apart", "together")
APART = {"server-1": "compute-1", "neighbour": "compute-3"}  # the real servers: compute-2


def nodes(placement: str) -> dict[str, str]:
    """Name the compute node that each host is on."""
    if placement == "together":
        return dict.fromkeys(GUARDED, "compute-1")
    return {host: APART.get(host, "compute-2") for host in GUARDED}


def build(admin: Api, directory: Path, on: Mapping[str, str]) -> None:
    """Make network, subnet, the project's `default` group with SSH let in, and the ports."""
    network = admin.make(
        "network",
        name=NETWORK,
        project_id=PROJECT,
        **{"provider:network_type": "flat", "provider:physical_network": "provider"},
    )
    admin.make(
        "subnet",
        network_id=network["id"],
        name=NETWORK,
        project_id=PROJECT,
        ip_version=4,
        cidr=SUBNET,
        gateway_ip=GATEWAY,
        enable_dhcp=False,
    )
    servers = {host: str(uuid.uuid4()) for host in GUARDED}
    (directory / "servers.json").write_text(json.dumps(servers))
    for host, server in servers.items():
        _port(admin, network["id"], host, server, on[host])
    _let_ssh_in(admin)


def _port(admin: Api, network: str, host: str, server: str, node: str) -> None:
    address = HOSTS[host].addresses[0][0].split("/")[0]
    admin.make(
        "port",
        network_id=network,
        name=host,
        project_id=PROJECT,
        mac_address=HOSTS[host].wires[0].mac,
        fixed_ips=[{"ip_address": address}],
        device_owner="compute:nova",
        device_id=server,
        **{"binding:host_id": node},
    )


def _let_ssh_in(admin: Api) -> None:
    """Let everybody in by SSH, as projects do; their group came with their first port."""
    for group in admin.list("security_groups", project_id=PROJECT, name="default"):
        admin.make(
            "security_group_rule",
            security_group_id=group["id"],
            project_id=PROJECT,
            direction="ingress",
            ethertype="IPv4",
            protocol="tcp",
            port_range_min=22,
            port_range_max=22,
            remote_ip_prefix="0.0.0.0/0",
        )


def place(admin: Api, on: Mapping[str, str]) -> None:
    """Put the hosts on their compute nodes, where they are not."""
    for port in admin.list("ports", project_id=PROJECT):
        node = on.get(port["name"])
        if node and port["binding:host_id"] != node:
            admin.change("port", port["id"], **{"binding:host_id": node})
