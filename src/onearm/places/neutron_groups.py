"""Groups, rules and reserved VIPs: made with a mark in the very request, taken down by the last."""

from __future__ import annotations

from collections.abc import Sequence

from onearm.errors import Denied, PlaceError, Unreachable
from onearm.model import Action, GroupRule, SecurityGroup, VipPort
from onearm.places import neutron_tags
from onearm.places.neutron_answers import Reply
from onearm.places.neutron_api import Api, Json, path
from onearm.places.neutron_marks import (
    Was,
    birth,
    birth_name,
    rule_names,
    rule_tag,
    tag,
    whole_names,
)
from onearm.places.neutron_rows import (
    VIP_OWNER,
    Group,
    Groups,
    addresses,
    canonical,
    group,
    ports,
    vip_port,
)

STANDS, GONE = 409, 404
HERE = Was(here=True).tag


class GroupWriter:
    """Makes and takes down what has an own life in Neutron, for one spec by its name."""

    def __init__(self, api: Api, name: str, groups: Groups) -> None:
        """Take the groups as they are now."""
        self._api, self._name, self._groups = api, name, groups

    def change(self, action: Action) -> dict[Action, PlaceError]:
        """Do one change; return it with the reason if it was refused."""
        resource = action.resource
        try:
            if isinstance(resource, SecurityGroup):
                self._group(action, resource)
            elif isinstance(resource, GroupRule):
                self._rule(action, resource)
            elif isinstance(resource, VipPort):
                self._vip(action, resource)
        except Unreachable:
            raise
        except PlaceError as error:
            return {action: error}
        return {}

    def _group(self, action: Action, wanted: SecurityGroup) -> None:
        found = self._groups.named(wanted.name, stateful=wanted.stateful)
        if action.after is None:
            if found is not None:
                self._leave("security-groups", found.id, found.tags, found.names)
            return
        if found is None:
            found = self._create_group(wanted)
        if found.names and not found.born:
            self._clear(found)
        self._join("security-groups", found.id, found.names)

    def _create_group(self, wanted: SecurityGroup) -> Group:
        what = f"cannot create the security group {wanted.name!r}"
        body: Json = {"name": wanted.name, "description": birth(self._name)}
        if not wanted.stateful:
            body["stateful"] = False
        reply = self._api.send(what, "POST", "/security-groups", {"security_group": body})
        row = self._made(what, reply, "security_group")
        made = group(row)
        if made.stateful != wanted.stateful:
            self._api.send(what, "DELETE", path("security-groups", made.id))
            raise Denied(
                f"neutron: {what}: this cloud made it stateful although it was asked otherwise;"
                " it has no stateless groups"
            )
        self._groups.rows.append(made)
        return made

    def _clear(self, made: Group) -> None:
        """Take the rules that every new group comes with; wanted ones are created after."""
        for row in made.rules:
            if not birth_name(row.get("description")):
                self._delete(f"cannot remove a rule of {made.name!r}", "rules", str(row["id"]))

    def _rule(self, action: Action, wanted: GroupRule) -> None:
        home = self._groups.named(wanted.group, stateful=wanted.stateful)
        if home is None:
            if action.after is None:
                return
            raise Denied(
                f"neutron: the security group {wanted.group!r} is not there, so it gets no rules:"
                " run plan again"
            )
        same = canonical(wanted)
        row = next((row for rule, row in home.standing() if canonical(rule) == same), None)
        if action.after is None:
            self._leave_rule(home, same, row)
        elif row is None:
            self._create_rule(home, wanted)
        else:
            self._join_rule(home, same, row)

    def _create_rule(self, home: Group, wanted: GroupRule) -> None:
        what = f"cannot add a rule to the security group {home.name!r}"
        body: Json = {
            "security_group_id": home.id,
            "direction": wanted.direction,
            "ethertype": wanted.ethertype,
            "protocol": wanted.protocol,
            "port_range_min": wanted.port_min,
            "port_range_max": wanted.port_max,
            "remote_ip_prefix": None if wanted.remote is None else str(wanted.remote),
            "description": birth(self._name, wanted.description),
        }
        reply = self._api.send(what, "POST", "/security-group-rules", {"security_group_rule": body})
        exists = reply.status == STANDS and "already exists" in self._api.words(reply)
        if not reply.good and not exists:
            raise self._api.refusal(what, reply)

    def _join_rule(self, home: Group, same: GroupRule, row: Json) -> None:
        creator = birth_name(row.get("description"))
        if creator != self._name:
            neutron_tags.add(
                self._api, "security-groups", home.id, [rule_tag(self._name, "rule", same)]
            )
        self._untag_rule(home, same, "not")

    def _leave_rule(self, home: Group, same: GroupRule, row: Json | None) -> None:
        creator = birth_name(row.get("description")) if row else ""
        others = set(rule_names(home.tags, creator, same)) - {self._name}
        if row is not None and not others:
            self._delete(f"cannot remove a rule of {home.name!r}", "rules", str(row["id"]))
        elif creator == self._name:
            neutron_tags.add(
                self._api, "security-groups", home.id, [rule_tag(self._name, "not", same)]
            )
        self._untag_rule(home, same, "rule")
        if not others:
            gone = [t for t in home.tags if t.endswith(rule_tag("", "not", same)[len("onearm:") :])]
            neutron_tags.remove(self._api, "security-groups", home.id, gone)

    def _untag_rule(self, home: Group, same: GroupRule, kind: str) -> None:
        text = rule_tag(self._name, kind, same)
        if text in home.tags:
            neutron_tags.remove(self._api, "security-groups", home.id, [text])

    def _vip(self, action: Action, wanted: VipPort) -> None:
        row = self._holder(wanted)
        if action.after is None:
            if row is not None and vip_port(row) is not None:
                tags = frozenset(row.get("tags") or ())
                names = whole_names(tags, str(row.get("description") or ""))
                self._leave("ports", str(row["id"]), tags, names, int(row["revision_number"]))
            return
        if row is None:
            row = self._reserve(wanted)
        if vip_port(row) is None:
            raise Denied(
                f"neutron: {wanted.address} belongs to port {row['id']}"
                f" ({row.get('name') or 'without name'}, {row.get('device_owner') or 'bound'}),"
                " which serves something else: use another VIP, or free this one"
            )
        names = whole_names(row.get("tags") or (), str(row.get("description") or ""))
        self._join("ports", str(row["id"]), names)

    def _holder(self, wanted: VipPort) -> Json | None:
        found = ports(
            self._api,
            f"cannot look for the port of {wanted.address}",
            network_id=wanted.network_id,
            fixed_ips=f"ip_address={wanted.address}",
        )
        return next((row for row in found if wanted.address in addresses(row)), None)

    def _reserve(self, wanted: VipPort) -> Json:
        what = f"cannot reserve {wanted.address} by a port"
        body: Json = {
            "network_id": wanted.network_id,
            "name": f"onearm-vip-{wanted.address}",
            "description": birth(self._name, "holds the address of a load balancer"),
            "fixed_ips": [{"ip_address": str(wanted.address)}],
            "admin_state_up": False,
            "device_owner": VIP_OWNER,
            "security_groups": [],
        }
        reply = self._api.send(what, "POST", "/ports", {"port": body})
        if reply.status == STANDS:
            row = self._holder(wanted)
            if row is not None:
                return row
        return self._made(what, reply, "port")

    def _made(self, what: str, reply: Reply, key: str) -> Json:
        if not reply.good:
            raise self._api.refusal(what, reply)
        row = self._api.parsed(what, reply).get(key)
        if not isinstance(row, dict) or "id" not in row:
            raise Unreachable(
                f"neutron: {what}: the answer does not show it: try again, what was made is found"
            )
        return row

    def _join(self, kind: str, thing: str, names: Sequence[str]) -> None:
        """Add our name; what stood there before anybody of ours stays when the last one goes."""
        neutron_tags.add(
            self._api, kind, thing, [tag(self._name)] if names else [HERE, tag(self._name)]
        )

    def _leave(
        self, kind: str, thing: str, tags: frozenset[str], names: Sequence[str], revision: int = -1
    ) -> None:
        mine = [t for t in sorted(tags) if t.startswith(f"{tag(self._name)}:")]
        if set(names) - {self._name}:
            neutron_tags.remove(self._api, kind, thing, [*mine, tag(self._name)])
        elif HERE in tags:
            neutron_tags.remove(self._api, kind, thing, [*mine, tag(self._name), HERE])
        else:
            self._delete(f"cannot delete {kind[:-1]} {thing}", kind, thing, revision)

    def _delete(self, what: str, kind: str, thing: str, revision: int = -1) -> None:
        kind = "security-group-rules" if kind == "rules" else kind
        reply = self._api.send(what, "DELETE", path(kind, thing), None, revision)
        if not reply.good and reply.status != GONE:
            raise self._api.refusal(what, reply)
