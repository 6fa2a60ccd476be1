"""Which Neutron port is a host's: named in the spec, its server's, or the one with its address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from onearm.errors import Denied, PlaceError
from onearm.places.neutron_api import Api, Json
from onearm.places.neutron_rows import addresses, ports
from onearm.spec import Cloud, Host

SHOWN = 10


def network_row(api: Api, cloud: Cloud, rows: Sequence[Json] = ()) -> Json | None:
    """Find the network of the VIPs: by name or id, else that of the named ports."""
    if cloud.network is None:
        ids = {str(row["network_id"]) for row in rows}
        if len(ids) != 1:
            return None
        return _one(api, "networks", next(iter(ids)), "network")
    return _one(api, "networks", cloud.network, "network")


def _one(api: Api, kind: str, wanted: str, word: str) -> Json:
    what = f"cannot look for the {word} {wanted!r}"
    found = api.list(what, kind, id=wanted) or api.list(what, kind, name=wanted)
    return _single(found, f"the {word} {wanted!r}")


def _single(found: Sequence[Json], what: str) -> Json:
    if len(found) == 1:
        return found[0]
    if not found:
        raise Denied(
            f"neutron: {what} is not there, or these rights do not show it: compare the spec with"
            " the openstack client's lists"
        )
    raise Denied(
        f"neutron: {what} fits {len(found)}: {_listed(found)}; name one of them by its id under"
        " `openstack: ports:`"
    )


def _listed(found: Sequence[Json]) -> str:
    shown = [f"{row['id']} ({_told(row)})" for row in found[:SHOWN]]
    more = len(found) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _told(row: Json) -> str:
    held = [str(address) for address in addresses(row)]
    return ", ".join([str(row.get("name") or "without name"), *held])


def named_ports(api: Api, cloud: Cloud) -> dict[str, Json]:
    """Find the ports that the spec names, by the host's name."""
    return {host: _named(api, host, wanted) for host, wanted in cloud.ports.items()}


def _named(api: Api, host: str, wanted: str) -> Json:
    what = f"cannot look for the port of {host}"
    found = ports(api, what, id=wanted) or ports(api, what, name=wanted)
    return _single(found, f"the port {wanted!r} of {host}")


def match(
    api: Api, hosts: Sequence[Host], named: dict[str, Json], rows: Sequence[Json]
) -> tuple[dict[str, str], list[PlaceError]]:
    """Give each host's port id; and an error, which lists what fits, for each that has not one."""
    servers = _servers(api, [host for host in hosts if host.name not in named])
    matched: dict[str, str] = {}
    errors: list[PlaceError] = []
    for host in hosts:
        try:
            row = named.get(host.name) or _match(host, servers.get(host.name, ()), rows)
        except PlaceError as error:
            errors.append(error)
        else:
            matched[host.name] = str(row["id"])
    return matched, errors


def _match(host: Host, servers: Sequence[str], rows: Sequence[Json]) -> Json:
    if len(servers) > 1:
        raise Denied(
            f"neutron: {len(servers)} servers are called {host.name!r} ({', '.join(servers)}); name"
            " the port of one under `openstack: ports:`"
        )
    found = [row for row in rows if servers and row.get("device_id") == servers[0]]
    if len(found) > 1:
        found = [row for row in found if host.address in addresses(row)] or found
    found = found or [row for row in rows if host.address in addresses(row)]
    where = f"the port of {host.name} ({host.address} in the network)"
    return _single(found, where)


def _servers(api: Api, hosts: Sequence[Host]) -> dict[str, list[str]]:
    """Find the servers that are called as hosts, where the cloud has a compute service."""
    if not hosts:
        return {}
    names = {host.name for host in hosts}
    found: dict[str, list[str]] = {}
    try:
        for server in _all_servers(api) if api.base("compute") is not None else ():
            for key in {server.get("name"), server.get("id")} & names:
                found.setdefault(str(key), []).append(str(server["id"]))
    except PlaceError:
        return {}  # compute is a help, not a need: the address finds the port as well
    return found


def _all_servers(api: Api) -> Iterator[Json]:
    """List the project's servers page by page: by name Nova would be asked once for each host."""
    marker: dict[str, str] = {}
    while True:
        page: Any = api.get("cannot list servers", "/servers", service="compute", **marker)
        rows = page.get("servers") or []
        yield from rows
        if not rows or not any(k.get("rel") == "next" for k in page.get("servers_links") or ()):
            return
        marker = {"marker": str(rows[-1]["id"])}
