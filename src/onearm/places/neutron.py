"""Neutron as a place: look, observe and apply, through openstacksdk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from onearm.cloud_facts import CloudFacts
from onearm.errors import PlaceError, UsageError
from onearm.model import (
    Action,
    AddressPair,
    GroupMembership,
    Key,
    PortSecurity,
    Resource,
    Seen,
    VipPort,
    state_key,
)
from onearm.places import neutron_marks, neutron_observe
from onearm.places.neutron_api import CALL_S, Api, Json
from onearm.places.neutron_groups import GroupWriter
from onearm.places.neutron_look import look
from onearm.places.neutron_rows import VIP_OWNER, Groups, ports, ports_by_id
from onearm.places.neutron_write import PortWriter
from onearm.spec import Cloud, Spec

WIDTH = 8  # requests at once
ON_PORTS = (AddressPair, GroupMembership, PortSecurity)


class NeutronPlace:
    """The cloud of one spec. Nothing is reached before the first verb; close it at the end."""

    def __init__(self, spec: Spec, *, call_s: float = CALL_S) -> None:
        """Keep the spec; `call_s` bounds one call to the API with its repetitions."""
        if spec.openstack is None:
            raise UsageError("this spec has no `openstack:` section, so there is no cloud to reach")
        self._spec = spec
        self._cloud: Cloud = spec.openstack
        self._api = Api(self._cloud.cloud, call_s=call_s)
        self._done_lock = threading.Lock()

    def close(self) -> None:
        """Let the connections go."""
        self._api.close()

    def look(self) -> CloudFacts:
        """Read what the cloud shows of the spec's network, ports and groups."""
        self._api.again()
        return look(self._api, self._spec, self._cloud)

    def observe(self, wanted: Mapping[Key, Resource] | Iterable[Resource]) -> dict[Key, Seen]:
        """Show what stands under the wanted keys, and what carries our mark."""
        self._api.again()
        resources = list(wanted.values() if isinstance(wanted, Mapping) else wanted)
        asked = {state_key(resource): resource for resource in resources}
        groups = Groups.load(self._api)
        return neutron_observe.observe(self._spec.name, asked, self._rows(resources), groups)

    def _rows(self, wanted: Sequence[Resource]) -> list[Json]:
        """Read the ports that matter: ours by their tags, those wanted by id and address."""
        api, what = self._api, "cannot list ports"
        rows = ports(api, what, tags=neutron_marks.tag(self._spec.name))
        rows += ports(api, what, device_owner=VIP_OWNER)
        vips = {(r.network_id, r.address) for r in wanted if isinstance(r, VipPort)}
        for network_id, address in sorted(vips, key=str):
            rows += ports(api, what, network_id=network_id, fixed_ips=f"ip_address={address}")
        found: dict[str, Json] = {str(row["id"]): row for row in rows}
        ids = {r.port_id for r in wanted if isinstance(r, ON_PORTS)} - found.keys()
        found |= {str(row["id"]): row for row in ports_by_id(api, ids)}
        return list(found.values())

    def apply(
        self, batch: Sequence[Action], done: Callable[[Action], None]
    ) -> dict[Action, PlaceError]:
        """Try every action and tell of each that took effect; return the refused.

        All changes of one port go in one request. Ports are written side by side, a few at a time.
        """
        self._api.again()
        groups = Groups.load(self._api)
        writer = GroupWriter(self._api, self._spec.name, groups)
        by_port: dict[str, list[Action]] = {}
        jobs: list[tuple[Sequence[Action], Callable[[], dict[Action, PlaceError]]]] = []
        for action in batch:
            if isinstance(action.resource, ON_PORTS):
                by_port.setdefault(action.resource.port_id, []).append(action)
            else:
                jobs.append(([action], _bound(writer.change, action)))
        hosts = PortWriter(self._api, self._spec.name, groups)
        jobs += [(some, _bound(hosts.change, port, some)) for port, some in by_port.items()]
        return self._run(jobs, done)

    def _run(
        self,
        jobs: Sequence[tuple[Sequence[Action], Callable[[], dict[Action, PlaceError]]]],
        done: Callable[[Action], None],
    ) -> dict[Action, PlaceError]:
        refused: dict[Action, PlaceError] = {}

        def work(actions: Sequence[Action], job: Callable[[], dict[Action, PlaceError]]) -> None:
            failed = job()
            with self._done_lock:
                refused.update(failed)
                for action in actions:
                    if action not in failed:
                        done(action)

        with ThreadPoolExecutor(max_workers=max(1, min(WIDTH, len(jobs)))) as pool:
            futures = [pool.submit(work, actions, job) for actions, job in jobs]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        return refused


def _bound(call: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: call(*arguments)
